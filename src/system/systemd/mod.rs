//! systemd, for the coordinator and for the launcher that uses a user's own manager: units, jobs, scopes and their ends
//! over D-Bus; passed sockets; notifications.
//!
//! [`Manager`] is one connection to one service manager, for one thread. It touches the bus, `/proc` and
//! `/sys/fs/cgroup`, and has no policy: what a client may ask for is decided in the coordinator.

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
