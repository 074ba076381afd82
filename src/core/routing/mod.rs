//! Which job goes where: hints, history and limits in, a tier and its reason out.
//!
//! [`route`] is a pure function and holds the order of the rules. [`History`] holds what earlier runs
//! taught, by class; the runtime tells it how each run ended and asks it for the route of the next job.
//! Time comes in as arguments: epoch seconds, because history outlives the process.

mod class_history;
mod durations;
mod history;
mod names;
mod per_tier;
mod rules;
mod why;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::payload::Hints;
pub use class_history::{
    ClassHistory, FORGIVING_RUNS, FORGIVING_SECS, MIN_RUNS, OVERRUN_RUNS, PEAKS, QUARANTINE_CRASHES, Summary,
};
pub use durations::DURATIONS;
pub use history::{History, MAX_CLASSES, Unreadable};
pub use names::{NameHint, name_hint};
pub use per_tier::PerTier;
pub use rules::{Route, route};
pub use why::Why;

/// How a job is run. Ordered: a later tier shields the others more and costs more to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// In a lane, forked from the booted template.
    Inline,
    /// In a pooled worker.
    Pooled,
    /// In a process and a scope of its own.
    Isolated,
}

impl Tier {
    /// Every tier, in order.
    pub const ALL: [Self; 3] = [Self::Inline, Self::Pooled, Self::Isolated];

    /// The tier's name as the configuration, the logs and the metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Pooled => "pooled",
            Self::Isolated => "isolated",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The bounds between the tiers. A job at a bound belongs below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest that an inline job is expected to take.
    pub inline_max: Duration,
    /// The longest that a pooled job is expected to take; not less than `inline_max`.
    pub pooled_max: Duration,
    /// MB that a pooled worker may use.
    pub pooled_memory_mb: u32,
    /// The tier of jobs that declare nothing; `None` lets the other rules find out.
    pub default_tier: Option<Tier>,
}

impl Limits {
    /// The tier for a job that takes `duration`.
    pub fn tier(&self, duration: Duration) -> Tier {
        if duration <= self.inline_max {
            Tier::Inline
        } else if duration <= self.pooled_max {
            Tier::Pooled
        } else {
            Tier::Isolated
        }
    }
}
