//! Answers in figures. Touches nothing.

use std::collections::BTreeMap;

use kqueue_core::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// How some jobs fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Attempts that ended, by how: `done`, `released`, `failed`, `left`, `lost`.
    pub outcomes: BTreeMap<String, u64>,
    /// Milliseconds from when a job could have run to its start.
    pub wait: Histogram,
    /// Milliseconds that attempts took.
    pub duration: Histogram,
    /// Bytes at most, of all that are known.
    pub memory_peak: Option<u64>,
    /// Processor time in microseconds, of all that are known.
    pub cpu_usec: u64,
}

impl Figures {
    /// Attempts that ended.
    pub fn runs(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (outcome, jobs) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += jobs;
        }
        self.wait.add(&other.wait);
        self.duration.add(&other.duration);
        self.memory_peak = self.memory_peak.max(other.memory_peak);
        self.cpu_usec = self.cpu_usec.saturating_add(other.cpu_usec);
    }
}

/// One class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassFigures {
    /// Its name.
    pub class: String,
    /// Where its last job ran.
    pub tier: Option<String>,
    /// Why there.
    pub why: Option<String>,
    /// Bytes that a job of it may have there: by its own declaration, else by the tier's setting.
    pub memory_limit: Option<u64>,
    /// How its jobs fared.
    #[serde(flatten)]
    pub figures: Figures,
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueFigures {
    /// Its name.
    pub queue: String,
    /// How its jobs fared.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures by class and queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The version of this form.
    pub version: u32,
    /// From when, in seconds since 1970: the minute or hour that what was asked for lies in.
    pub since: u64,
    /// Up to when.
    pub until: u64,
    /// All jobs.
    pub total: Figures,
    /// By class, most runs first.
    pub classes: Vec<ClassFigures>,
    /// By queue, in the order in which they are worked.
    pub queues: Vec<QueueFigures>,
    /// What this answer lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// Figures of one span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// When it begins, in seconds since 1970.
    pub at: u64,
    /// How jobs fared that ended in it.
    #[serde(flatten)]
    pub figures: Figures,
    /// Jobs that waited at most, where that was looked at.
    pub backlog: Option<u64>,
    /// Seconds that the oldest of them had waited at most.
    pub oldest: Option<u64>,
}

/// Figures over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// The version of this form.
    pub version: u32,
    /// Seconds of one point.
    pub step: u64,
    /// The points, the earliest first, without gaps.
    pub points: Vec<Point>,
    /// Each queue, where that was asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queues: BTreeMap<String, QueueSeries>,
    /// What this answer lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// One queue over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSeries {
    /// Of all points together.
    #[serde(flatten)]
    pub figures: Figures,
    /// Attempts that ended, by point.
    pub runs: Vec<u64>,
}

/// Figures of one class in one queue and one tier, since the runtime's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsRow {
    /// The class; `other` for those beyond the number that is told apart.
    pub class: String,
    /// The queue.
    pub queue: String,
    /// The tier.
    pub tier: String,
    /// How its jobs fared.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Counters and histograms since the runtime's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// The version of this form.
    pub version: u32,
    /// When the runtime started, in seconds since 1970.
    pub since: u64,
    /// By class, queue and tier: a few hundred at the most.
    pub rows: Vec<MetricsRow>,
    /// Processes that were started, by tier.
    pub started: BTreeMap<String, u64>,
    /// Processes that ended, by tier and then by why: `recycled`, `killed`, `oom`, `crashed`, `left`.
    pub ended: BTreeMap<String, BTreeMap<String, u64>>,
    /// Orders given to the coordinator or carried out in its place, by kind: `start`, `scope`, `list`.
    pub orders: BTreeMap<String, u64>,
    /// Times that the queue stopped answering.
    pub outages: u64,
    /// The runtime's own resident memory, in bytes.
    pub resident: Option<u64>,
}
