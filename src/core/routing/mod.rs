//! Routing of jobs to tiers: hints, history and limits in, a tier and its reason out.
//!
//! [`route`] is a pure function and defines the order of the rules. [`History`] stores earlier runs by class; the
//! runtime records the result of each run in it and gets the route of the next job from it. Time is passed as an
//! argument, in epoch seconds because history outlives the process.

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

/// How a job is run. Ordered: a later tier isolates jobs more from each other and costs more to start.
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

    /// The tier's name in configuration, logs and metrics.
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

/// The bounds between the tiers. A job exactly at a bound belongs to the lower tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum expected duration of an inline job.
    pub inline_max: Duration,
    /// Maximum expected duration of a pooled job; not less than `inline_max`.
    pub pooled_max: Duration,
    /// Memory that a pooled worker may use, MB.
    pub pooled_memory_mb: u32,
    /// The tier of jobs that declare nothing; `None` leaves it to the other rules.
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
