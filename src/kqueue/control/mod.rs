//! The runtime's end of the control socket: who may ask, and one answer for each who does.
//!
//! `control.sock` is in the runtime directory, made by systemd or by the runtime itself. Who may: the app's
//! own user, root, and members of the group of the socket's file (`kqueue`): the kernel refuses others by the
//! file's mode, and what it says of a peer is looked at once more. This module knows sockets and the form of
//! requests; what is in an answer is the runtime's affair. A page is made here, of several such answers.

mod page;
mod peer;
mod socket;

pub use socket::{Ask, ControlSocket, unable};
