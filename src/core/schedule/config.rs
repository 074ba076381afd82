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
    /// Tier for jobs of a class that declare none, instead of the default of `limits`.
    pub class_tiers: BTreeMap<String, Tier>,
    /// Memory in MB for a job of a class that declares none.
    pub class_memory: BTreeMap<String, u32>,
    /// Priority for jobs of a class that declare none: higher goes first.
    pub class_priorities: BTreeMap<String, i32>,
    /// Timeout in seconds for jobs of a class whose payload names none; 0 is without limit.
    pub class_timeouts: BTreeMap<String, u32>,
    /// The same per queue, for classes without one.
    pub queue_timeouts: BTreeMap<String, u32>,
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

impl Config {
    /// Timeout of a job in milliseconds; 0 is without limit.
    pub(super) fn timeout_of(&self, job: &Job) -> u64 {
        let told = job.timeout.or_else(|| self.class_timeouts.get(&job.class).copied());
        let told = told.or_else(|| self.queue_timeouts.get(&job.queue).copied());
        told.map_or(self.timeout_ms, |seconds| u64::from(seconds) * 1000)
    }
}
