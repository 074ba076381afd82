//! What kqueue decides, and how its parts speak with each other.
//!
//! All of it is pure: bytes and events in, messages and actions out, with no clock and no I/O. The compiler keeps it so:
//! nothing that this crate depends on has either.

pub mod alerts;
pub mod arbiter;
pub mod backoff;
pub mod histogram;
pub mod payload;
pub mod routing;
pub mod schedule;
pub mod wire;
