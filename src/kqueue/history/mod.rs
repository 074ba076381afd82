//! What has happened: the last jobs, figures over time and events, in `history.sqlite` in the app's state directory.
//!
//! The runtime's loop records with [`Recorder`], which only puts things into memory. One task writes them in batches, and
//! queries run beside the loop. Whatever is wrong with the file stops nobody: it is said once, and what can be kept
//! is kept in memory until the file can be used again.
//!
//! Bounded in number, age and bytes; safe to delete at any time. Touches that file alone, and knows nothing of
//! workers, of PHP or of the queue.

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

/// Seconds of a day, and of the month for which everything is kept at the most.
const DAY: u64 = 86_400;
const MONTH: u64 = 31 * DAY;

/// Bytes of a name that are kept.
const NAME: usize = 200;
/// Bytes of a cause, a reason or the words of an event.
const TEXT: usize = 500;
