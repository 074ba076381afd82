//! Read access to the schedule, for the runtime and for operators through the control socket.

use std::collections::BTreeMap;

use super::machine::{Phase, Schedule};
use super::waiting::Waiting;
use super::{Cause, JobId, Now, WorkerId, WorkerView};
use crate::routing::{PerTier, Route, Tier};

/// Progress of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It admits jobs.
    Running,
    /// It admits no job, and running jobs may finish until this time (milliseconds).
    Draining(u64),
    /// It has killed running jobs, and is over by this time (milliseconds).
    Killing(u64),
    /// It is over.
    Over,
}

impl Schedule {
    /// Jobs that have left so far. A call for jobs is tagged with it, to judge its answer ([`super::Event::Empty`]).
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether the schedule is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it no longer admits jobs.
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Jobs held now.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs of a class that are held and have not been given to a process.
    pub fn waiting_of(&self, class: &str) -> usize {
        self.jobs.values().filter(|job| !job.is_out() && job.class == class).count()
    }

    /// How many jobs of underserved tenants may be reserved out of order now; `None` while there is no need, as no job
    /// runs or waits, or while none may be reserved so.
    pub fn room_for_others(&self) -> Option<usize> {
        let serves = self.phase == Phase::Running && self.config.ahead && !self.config.native && !self.down;
        let busy = self.running_count() > 0 || self.waiting.iter().any(|waiting| !waiting.is_empty());
        if !serves || !busy || self.is_waking() || self.is_helpless() || self.config.max_jobs > 0 {
            return None;
        }
        let waiting: usize = self.waiting.iter().map(Waiting::len).sum();
        // Jobs reserved in order may have filled `max_waiting`.
        let most = self.config.max_waiting + self.config.max_waiting / 4;
        Some(if self.waiting_bytes < self.config.max_waiting_bytes { most.saturating_sub(waiting) } else { 0 })
    }

    /// Jobs of each tenant that wait for a process.
    pub fn waiting_of_each(&self) -> BTreeMap<u64, usize> {
        let mut each = BTreeMap::new();
        for job in self.jobs.values().filter(|job| !job.is_out()) {
            if let Some(tenant) = job.tenant {
                *each.entry(tenant).or_default() += 1;
            }
        }
        each
    }

    /// The classes of the jobs held, each at least once.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.jobs.values().map(|job| job.class.as_str())
    }

    /// The waiting jobs of each tier.
    pub fn waiting(&self) -> &PerTier<Waiting> {
        &self.waiting
    }

    /// Every worker.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> + '_ {
        self.workers.iter().map(|(id, worker)| WorkerView::of(id, worker))
    }

    /// An idle worker, to send a request to.
    pub fn an_idle_worker(&self) -> Option<WorkerId> {
        Tier::ALL.into_iter().find_map(|tier| self.workers.idle(tier).first()).map(|(_, id)| *id)
    }

    /// Progress of a stop.
    pub fn standing(&self) -> Standing {
        match self.phase {
            Phase::Running => Standing::Running,
            Phase::Draining { until } => Standing::Draining(until),
            Phase::Killing { until } => Standing::Killing(until),
            Phase::Over => Standing::Over,
        }
    }

    /// Whether the app is in maintenance mode, unless `force` is set.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Queues that the app has paused.
    pub fn paused(&self) -> impl Iterator<Item = &str> {
        self.paused.iter().map(String::as_str)
    }

    /// A process has ended before it was ready.
    pub(super) fn never_ready(&mut self, tier: Tier, cause: Cause) {
        let before = self.unready[tier].take().map_or(0, |(deaths, _)| deaths);
        self.unready[tier] = Some((before.saturating_add(1), cause));
    }

    /// A tier whose processes fail to get ready, and the cause of the last. A single failure counts only while no
    /// process of the tier can take a job.
    pub fn unready(&self) -> Option<(Tier, &Cause)> {
        let up = |tier: Tier| self.workers.counts(tier).busy > 0 || !self.workers.idle(tier).is_empty();
        Tier::ALL.into_iter().find_map(|tier| match &self.unready[tier] {
            Some((deaths, cause)) if *deaths > 1 || !up(tier) => Some((tier, cause)),
            _ => None,
        })
    }

    /// The last route of a job, and its reason.
    pub fn route_of(&self, job: JobId) -> Option<Route> {
        self.jobs.get(&job)?.route
    }

    /// Jobs that run now.
    pub fn running_count(&self) -> usize {
        self.workers.all_counts().map(|counts| counts.busy).sum()
    }

    /// Number of jobs that wait for a tier, and the first `most` of them with the milliseconds for which they have
    /// waited: those already assigned to a process come first.
    pub fn first_waiting(&self, now: Now, tier: Tier, most: usize) -> (usize, Vec<(JobId, u64)>) {
        let of_tier = || self.workers.iter().map(|(_, worker)| worker).filter(|worker| worker.tier == tier);
        let promised = || of_tier().flat_map(|worker| worker.bound.iter().chain(&worker.ahead).copied());
        let waiting = &self.waiting[tier];
        let age = |id: JobId| self.jobs.get(&id).map_or(0, |job| now.ms.saturating_sub(job.since));
        let first = promised().chain(waiting.iter()).take(most).map(|id| (id, age(id))).collect();
        (promised().count() + waiting.len(), first)
    }
}
