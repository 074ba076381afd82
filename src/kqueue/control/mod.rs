//! The control socket of a runtime: whoever may connect gets one snapshot of everything, as JSON, and the end
//! of the connection. Nothing that a peer sends is ever read.
//!
//! `control.sock` is in the runtime directory, made by systemd or by the runtime itself. Who may: the app's
//! own user, root, and members of the group of the socket's file (`kqueue`): the kernel refuses others by the
//! file's mode, and what it says of a peer is looked at once more. This module knows sockets and the
//! snapshot's form; what is in a snapshot is the runtime's affair.

mod client;
mod headline;
mod peer;
mod snapshot;
mod socket;

pub use client::{AskError, ask};
pub use snapshot::{Failure, Process, Queue, RunningJob, Sizes, Snapshot, State, TierLoad, VERSION, WaitingJob};
pub use socket::{Ask, ControlSocket};

/// The group whose members may ask.
pub const GROUP: &str = "kqueue";
