//! History: the last jobs, figures over time, and events, in `history.sqlite` in the app's state directory.
//!
//! The runtime's loop records with [`Recorder`], which only buffers in memory. One task writes the buffer in batches,
//! and queries run on other threads. A faulty file does not stop the runtime: the error is logged once, and records are
//! kept in memory, within bounds, until the file can be used again.
//!
//! Bounded in number, age and bytes; safe to delete at any time. Uses that file alone, and is independent of workers,
//! PHP and the queue.

mod attempt;
mod buffer;
mod events;
mod figures;
mod file;
mod jobs;
mod names;
mod prune;
mod recorder;
mod tally;
#[cfg(test)]
mod tests;
mod write;

pub use attempt::{Attempt, is_class, is_wanted, why};
pub use buffer::{Grade, Id};
pub use recorder::Recorder;
pub use tally::Sample;

/// The file's name.
pub const FILE: &str = "history.sqlite";

/// Seconds of a day, and of the month for which anything is kept at most.
const DAY: u64 = 86_400;
const MONTH: u64 = 31 * DAY;

/// Maximum bytes of a name.
const NAME: usize = 200;
/// Maximum bytes of a cause, a reason or an event's text.
const TEXT: usize = 500;
