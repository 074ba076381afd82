//! The runtime's side of the control socket: access control, and one answer for each connection.
//!
//! `control.sock` is in the runtime directory, made by systemd or by the runtime itself. Allowed are the app's own
//! user, root, and members of the group of the socket's file (`kqueue`): the kernel rejects others by the file's mode,
//! and the peer credentials are checked once more. This module handles sockets and the format of requests; the content
//! of answers comes from the runtime. Dashboard pages are rendered here, from several such answers.

mod page;
mod peer;
mod socket;

pub use socket::{Ask, ControlSocket, unable};
