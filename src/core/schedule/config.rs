//! The settings of a schedule.

use std::collections::{BTreeMap, BTreeSet};

use super::gate::Limit;
use super::job::Job;
use crate::routing::{Limits, PerTier, Tier};

/// What a schedule works by: the settings it needs, and nothing else.
#[derive(Clone, Debug)]
pub struct Config {
    /// The queues in their order; none if there is only one.
    pub queues: Vec<String>,
    /// Thresholds between the tiers.
    pub limits: Limits,
    /// Milliseconds without a job after which the app sleeps, and without a pooled one after which no pooled worker is kept;
    /// `None` is never.
    pub idle_ms: Option<u64>,
    /// Pooled workers that are kept without a job.
    pub pool_min_idle: usize,
    /// Pooled workers with demand.
    pub pool_size: usize,
    /// Pooled workers under pressure.
    pub pool_max_size: usize,
    /// Jobs at once: inline, pooled, isolated.
    pub max_concurrent: PerTier<usize>,
    /// Limits of classes, by the name by which their jobs are routed.
    pub class_limits: BTreeMap<String, Limit>,
    /// Where jobs of a class run that declare nothing, in place of what `limits` say.
    pub class_tiers: BTreeMap<String, Tier>,
    /// MB for a job of a class that declares none.
    pub class_memory: BTreeMap<String, u32>,
    /// The order of jobs of a class that declare none: higher goes first.
    pub class_priorities: BTreeMap<String, i32>,
    /// Seconds that a job of a class may run whose payload names no timeout; 0 is without limit.
    pub class_timeouts: BTreeMap<String, u32>,
    /// The same of queues, for classes of which nothing is said.
    pub queue_timeouts: BTreeMap<String, u32>,
    /// What tells the jobs of a class apart, where its limits count for each of these.
    pub class_by: BTreeMap<String, String>,
    /// Classes whose limits hosts share.
    pub class_shared: BTreeSet<String>,
    /// Queues whose limits they do.
    pub queue_shared: BTreeSet<String>,
    /// Limits of queues.
    pub queue_limits: BTreeMap<String, Limit>,
    /// Weights of queues, of which each gets a share; the order of the queues is strict where none has one. A queue
    /// without one has 1.
    pub queue_weights: BTreeMap<String, u32>,
    /// Reserved jobs of a queue that may wait for a limit, where that is less than its part of `max_waiting`.
    pub queue_waiting: BTreeMap<String, usize>,
    /// Whether jobs are reserved that may have to wait: one that is given back is then as it was.
    pub ahead: bool,
    /// Reserved jobs that wait for their tier.
    pub max_waiting: usize,
    /// Bytes of their payloads.
    pub max_waiting_bytes: usize,
    /// Milliseconds that a job may run whose payload names no timeout; 0 is without limit.
    pub timeout_ms: u64,
    /// Milliseconds past its timeout at which a job's process is killed.
    pub grace_ms: u64,
    /// Milliseconds that a process may take to be ready.
    pub boot_ms: u64,
    /// Jobs after which a process is replaced; 0 is never.
    pub worker_max_jobs: u32,
    /// Milliseconds after which it is replaced; 0 is never.
    pub worker_max_ms: u64,
    /// Milliseconds that running jobs may take on a drain.
    pub stop_ms: u64,
    /// Whether what a process died of is replayed inside Laravel.
    pub replay: bool,
    /// Pooled workers take jobs off the queue by themselves: no backend reserves any.
    pub native: bool,
    /// End when the queue is empty.
    pub stop_when_empty: bool,
    /// End after so many jobs; 0 is never.
    pub max_jobs: u64,
    /// Processor cores, for how eagerly lanes are added.
    pub cores: usize,
}

impl Config {
    /// Milliseconds that a job may run; 0 is without limit.
    pub(super) fn timeout_of(&self, job: &Job) -> u64 {
        let told = job.timeout.or_else(|| self.class_timeouts.get(&job.class).copied());
        let told = told.or_else(|| self.queue_timeouts.get(&job.queue).copied());
        told.map_or(self.timeout_ms, |seconds| u64::from(seconds) * 1000)
    }
}
