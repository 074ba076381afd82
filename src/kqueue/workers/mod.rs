//! PHP processes as the runtime sees them: their identity, connection, and exit status.
//!
//! Knows the worker socket and the protocol; independent of queues, and decides nothing about jobs.

mod connection;
mod listener;
mod table;
mod tickets;

pub use connection::{Outbox, Peer, Said};
pub use listener::Listener;
pub use table::{WorkerProcess, WorkerTable};
pub use tickets::Tickets;
