//! PHP processes as the runtime sees them: who they are, how to reach them, and how they ended.
//!
//! Knows the worker socket and the protocol; knows nothing of queues, and decides nothing about jobs.

mod connection;
mod listener;
mod table;
mod tickets;

pub use connection::{Outbox, Peer, Said};
pub use listener::Listener;
pub use table::{Worker, Workers};
pub use tickets::Tickets;
