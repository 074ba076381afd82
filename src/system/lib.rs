//! Parts of the operating system that several programs of kqueue use: systemd over D-Bus, processes, users, the log,
//! and text that is safe for a terminal.
//!
//! The root process links this: nothing here connects to anything but the service manager and the journal.

pub mod harmless;
pub mod identity;
pub mod log;
pub mod owner;
pub mod proc;
pub mod processes;
pub mod sockets;
pub mod systemd;
pub mod unchecked;
