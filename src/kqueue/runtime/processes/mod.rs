//! The PHP processes: where they come from, what they print, what they use, and how they end.

pub mod boot;
pub mod forking;
pub mod memory;
pub mod printed;
pub mod template;
pub mod units;
