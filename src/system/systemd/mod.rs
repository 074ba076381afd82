//! systemd, as the coordinator and the launcher for a user's own manager need it: units, jobs, scopes and how
//! they end over D-Bus; sockets handed over; signs of life.
//!
//! [`Manager`] is one connection to one service manager, for one thread. It touches the bus, `/proc` and
//! `/sys/fs/cgroup`, and decides nothing: who may ask for what is the coordinator's.

pub mod activation;
mod bus;
mod create;
mod end;
mod error;
pub mod health;
mod jobs;
mod manager;
mod memory;
pub mod names;
pub mod process;
pub mod share;
mod signals;

pub use create::{NewScope, NewService};
pub use error::SystemdError;
pub use manager::{Bus, Manager};
