//! The settings of a schedule.

use std::collections::{BTreeMap, BTreeSet};

use super::gate::Limit;
use super::job::Job;
use crate::routing::{Limits, PerTier, Tier};

/// The settings that a schedule needs, and nothing else.
#[derive(Clone, Debug)]
pub struct Config {
    /// The queues in their order; empty if there is only one.
    pub queues: Vec<String>,
    /// Thresholds between the tiers.
    pub limits: Limits,
    /// Milliseconds without a job after which the app sleeps, and without a pooled job after which no pooled worker is
    /// kept; `None` is never.
    pub idle_ms: Option<u64>,
    /// Pooled workers kept idle.
    pub pool_min_idle: usize,
    /// Pooled workers with demand.
    pub pool_size: usize,
    /// Pooled workers under pressure.
    pub pool_max_size: usize,
    /// Concurrent jobs: inline, pooled, isolated.
    pub max_concurrent: PerTier<usize>,
    /// Limits of classes, by the name by which their jobs are routed.
    pub class_limits: BTreeMap<String, Limit>,
    /// Defaults for the jobs of a class.
    pub class_defaults: BTreeMap<String, Defaults>,
    /// Defaults for the jobs of a queue, where there is none for the class.
    pub queue_defaults: BTreeMap<String, Defaults>,
    /// Name of the payload value per which the limits of a class count.
    pub class_by: BTreeMap<String, String>,
    /// Classes whose limits are shared between hosts.
    pub class_shared: BTreeSet<String>,
    /// Queues whose limits are shared between hosts.
    pub queue_shared: BTreeSet<String>,
    /// Limits of queues.
    pub queue_limits: BTreeMap<String, Limit>,
    /// Weights for fair shares between queues; a queue without one has 1. If no queue has a weight, the order of the
    /// queues is strict.
    pub queue_weights: BTreeMap<String, u32>,
    /// Maximum of reserved jobs of a queue that wait for a limit, where that is less than its part of `max_waiting`.
    pub queue_waiting: BTreeMap<String, usize>,
    /// Whether jobs are reserved before a worker is free; false where giving a job back changes it (counts an attempt).
    pub ahead: bool,
    /// Maximum of reserved jobs that wait for their tier.
    pub max_waiting: usize,
    /// Maximum of the bytes of their payloads.
    pub max_waiting_bytes: usize,
    /// Milliseconds that a job may run if nothing sets its timeout; 0 is without limit.
    pub timeout_ms: u64,
    /// Milliseconds past its timeout after which a job's process is killed.
    pub grace_ms: u64,
    /// Milliseconds that a process may take to be ready.
    pub boot_ms: u64,
    /// Jobs after which a process is replaced; 0 is never.
    pub worker_max_jobs: u32,
    /// Age in milliseconds after which a process is replaced; 0 is never.
    pub worker_max_ms: u64,
    /// Milliseconds that running jobs may take on a drain.
    pub stop_ms: u64,
    /// Whether the death of a job's process is replayed inside Laravel.
    pub replay: bool,
    /// Native pop: pooled workers pop jobs by themselves, and no backend reserves any.
    pub native: bool,
    /// End when the queue is empty.
    pub stop_when_empty: bool,
    /// End after this many jobs; 0 is never.
    pub max_jobs: u64,
    /// Processor cores: bounds how eagerly lanes and pooled workers are added.
    pub cores: usize,
}

/// What counts for jobs that do not declare it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Tier, instead of the default of [`Limits`].
    pub tier: Option<Tier>,
    /// Memory in MB.
    pub memory_mb: Option<u32>,
    /// Priority: higher goes first.
    pub priority: Option<i32>,
    /// Timeout in seconds; 0 is without limit.
    pub timeout: Option<u32>,
}

impl Defaults {
    /// These, and `others` where these have none.
    pub fn or(self, others: Self) -> Self {
        Self {
            tier: self.tier.or(others.tier),
            memory_mb: self.memory_mb.or(others.memory_mb),
            priority: self.priority.or(others.priority),
            timeout: self.timeout.or(others.timeout),
        }
    }
}

impl Config {
    /// Defaults for the jobs of a class in a queue.
    pub(super) fn defaults(&self, class: &str, queue: &str) -> Defaults {
        let of_class = self.class_defaults.get(class).copied().unwrap_or_default();
        of_class.or(self.queue_defaults.get(queue).copied().unwrap_or_default())
    }

    /// Timeout of a job in milliseconds; 0 is without limit.
    pub(super) fn timeout_of(&self, job: &Job) -> u64 {
        let told = job.timeout.or_else(|| self.defaults(&job.class, &job.queue).timeout);
        told.map_or(self.timeout_ms, |seconds| u64::from(seconds) * 1000)
    }
}
