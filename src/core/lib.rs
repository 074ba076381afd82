//! kqueue's decisions, and the protocols between its parts.
//!
//! All of it is pure: bytes and events in, messages and actions out, with no clock and no I/O. None of the crate's
//! dependencies has a clock or I/O.

pub mod alerts;
pub mod arbiter;
pub mod backoff;
pub mod histogram;
pub mod payload;
pub mod routing;
pub mod schedule;
pub mod wire;
