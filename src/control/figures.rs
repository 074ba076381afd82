//! Replies with figures. Pure data.

use std::collections::BTreeMap;

use kqueue_core::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// Figures of some jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Attempts that ended, by how: `done`, `released`, `failed`, `left`, `lost`.
    pub outcomes: BTreeMap<String, u64>,
    /// Milliseconds from when a job was due to its start.
    pub wait: Histogram,
    /// Milliseconds that attempts took.
    pub duration: Histogram,
    /// Highest peak memory in bytes, of attempts for which it is known.
    pub memory_peak: Option<u64>,
    /// Total processor time in microseconds, of attempts for which it is known.
    pub cpu_usec: u64,
}

impl Figures {
    /// Attempts that ended.
    pub fn runs(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Adds other figures.
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

/// Figures of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassFigures {
    /// Its name.
    pub class: String,
    /// The tier that its last job ran in.
    pub tier: Option<String>,
    /// The reason for that tier.
    pub why: Option<String>,
    /// Memory limit of a job of it in that tier, in bytes: by its own declaration, else by the tier's setting.
    pub memory_limit: Option<u64>,
    /// The figures of its jobs.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures of one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueFigures {
    /// Its name.
    pub queue: String,
    /// The figures of its jobs.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures by class and queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The version of this format.
    pub version: u32,
    /// The start, in seconds since 1970: that of the minute or hour that contains the requested time.
    pub since: u64,
    /// The end, in seconds since 1970.
    pub until: u64,
    /// All jobs.
    pub total: Figures,
    /// By class, most runs first.
    pub classes: Vec<ClassFigures>,
    /// By queue, in the order in which they are worked.
    pub queues: Vec<QueueFigures>,
    /// What this reply lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// Figures of one span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// When it begins, in seconds since 1970.
    pub at: u64,
    /// Figures of the jobs that ended in it.
    #[serde(flatten)]
    pub figures: Figures,
    /// Highest number of waiting jobs, if that was sampled.
    pub backlog: Option<u64>,
    /// Longest time that the oldest of them had waited, in seconds.
    pub oldest: Option<u64>,
}

/// Figures over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// The version of this format.
    pub version: u32,
    /// Length of one point in seconds.
    pub step: u64,
    /// The points, the earliest first, without gaps.
    pub points: Vec<Point>,
    /// Each queue, if requested.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queues: BTreeMap<String, QueueSeries>,
    /// What this reply lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// One queue over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSeries {
    /// Figures of all points together.
    #[serde(flatten)]
    pub figures: Figures,
    /// Attempts that ended, by point.
    pub runs: Vec<u64>,
}

/// Figures of one class in one queue and one tier, since the runtime's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsRow {
    /// The class; `other` for classes beyond the maximum number that is kept.
    pub class: String,
    /// The queue.
    pub queue: String,
    /// The tier.
    pub tier: String,
    /// The figures of its jobs.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Counters and histograms since the runtime's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// The version of this format.
    pub version: u32,
    /// When the runtime started, in seconds since 1970.
    pub since: u64,
    /// By class, queue and tier: a few hundred at the most.
    pub rows: Vec<MetricsRow>,
    /// Number of processes that were started, by tier.
    pub started: BTreeMap<String, u64>,
    /// Number of processes that ended, by tier and then by reason: `recycled`, `killed`, `oom`, `crashed`, `left`.
    pub ended: BTreeMap<String, BTreeMap<String, u64>>,
    /// Orders given to the coordinator or carried out in its place, by kind: `start`, `scope`, `list`.
    pub orders: BTreeMap<String, u64>,
    /// Number of times that the queue stopped answering.
    pub outages: u64,
    /// The runtime's own resident memory, in bytes.
    pub resident: Option<u64>,
}
