//! What several programs of kqueue need of the operating system: systemd over D-Bus, processes, users, the log, and text
//! that is fit for a terminal.
//!
//! The root process links this: nothing here opens a connection to anybody but the service manager and the journal.

pub mod harmless;
pub mod identity;
pub mod log;
pub mod owner;
pub mod proc;
pub mod processes;
pub mod sockets;
pub mod systemd;
pub mod unchecked;
