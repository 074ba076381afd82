//! The workers of a schedule, with indexes.
//!
//! Decisions follow every event, and few of them concern every worker. So the data that they need (how many of a tier
//! are busy, which are idle, when the next deadline is) is indexed. Workers are changed only through
//! [`Workers::change`], which keeps the indexes in step.

use std::collections::{BTreeMap, BTreeSet};

use super::ahead::{DEPTH, PATIENCE_MS, can_recall};
use super::machine::LEAVE_MS;
use super::worker::{Worker, WorkerState};
use super::{Config, WorkerId};
use crate::routing::{PerTier, Tier};

/// The settings that determine deadlines of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    boot_ms: u64,
    inline_ms: u64,
    worker_max_ms: u64,
}

impl Times {
    fn of(config: &Config) -> Self {
        let inline_ms = u64::try_from(config.limits.inline_max.as_millis()).unwrap_or(u64::MAX);
        Self { boot_ms: config.boot_ms, inline_ms, worker_max_ms: config.worker_max_ms }
    }

    /// When a worker is to be checked, as a deadline passes (milliseconds).
    fn due(&self, worker: &Worker) -> Option<u64> {
        if worker.killed.is_some() {
            return None;
        }
        let since = worker.since;
        match &worker.state {
            WorkerState::Starting => Some(since.saturating_add(self.boot_ms)),
            WorkerState::Popping { until, .. } => Some(*until),
            WorkerState::Leaving => Some(since.saturating_add(LEAVE_MS)),
            WorkerState::Busy { deadline, overrun, .. } => {
                let bound = since.saturating_add(self.inline_ms).saturating_add(1);
                let overruns = (worker.tier == Tier::Inline && !overrun).then_some(bound);
                let recall = can_recall(worker).then_some(since.saturating_add(PATIENCE_MS));
                [*deadline, overruns, recall].into_iter().flatten().min()
            }
            WorkerState::Idle if worker.tier == Tier::Isolated || self.worker_max_ms == 0 => None,
            WorkerState::Idle => Some(worker.born.saturating_add(self.worker_max_ms)),
        }
    }
}

/// Number of workers of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Starting, and not being killed.
    pub starting: usize,
    /// With a job, including those being killed.
    pub busy: usize,
    /// Capacity; see [`Worker::counts`].
    pub counting: usize,
    /// Not told to leave, nor leaving by themselves.
    pub live: usize,
    /// Started for one job that is not yet delivered.
    pub bound: usize,
    /// Looking for a job, or holding a popped one.
    pub popping: usize,
}

/// The index entries of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    tier: Tier,
    counts: Counts,
    /// Since when it is idle (milliseconds).
    idle: Option<u64>,
    due: Option<u64>,
    /// Number of jobs ahead of it, if it may get more.
    open: Option<usize>,
}

impl Facts {
    fn of(worker: &Worker, times: &Times) -> Self {
        let alive = worker.killed.is_none();
        let open = worker.tier == Tier::Inline
            && worker.taken
            && !worker.recalled
            && !worker.refused
            && !worker.ending
            && worker.is_busy()
            && worker.counts()
            && worker.ahead.len() < DEPTH;
        Self {
            tier: worker.tier,
            counts: Counts {
                starting: usize::from(alive && worker.state == WorkerState::Starting),
                busy: usize::from(worker.is_busy()),
                counting: usize::from(worker.counts()),
                live: usize::from(worker.state != WorkerState::Leaving),
                bound: usize::from(worker.bound.is_some()),
                popping: usize::from(matches!(worker.state, WorkerState::Popping { .. })),
            },
            idle: worker.is_idle().then_some(worker.since),
            due: times.due(worker),
            open: open.then_some(worker.ahead.len()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    counts: PerTier<Counts>,
    /// Idle workers, by the time since when they are idle.
    idle: PerTier<BTreeSet<(u64, WorkerId)>>,
    /// Workers, by their next deadline.
    due: BTreeSet<(u64, WorkerId)>,
    /// Lanes to which jobs may be sent ahead, by the number of jobs ahead of them.
    open: BTreeSet<(usize, WorkerId)>,
}

impl Index {
    /// Replaces the entries of a worker.
    fn replace(&mut self, id: WorkerId, before: Option<&Facts>, after: Option<&Facts>) {
        if before == after {
            return;
        }
        if let Some(Facts { tier, counts, .. }) = before {
            let all = &mut self.counts[*tier];
            all.starting -= counts.starting;
            all.busy -= counts.busy;
            all.counting -= counts.counting;
            all.live -= counts.live;
            all.bound -= counts.bound;
            all.popping -= counts.popping;
        }
        if let Some(Facts { tier, counts, .. }) = after {
            let all = &mut self.counts[*tier];
            all.starting += counts.starting;
            all.busy += counts.busy;
            all.counting += counts.counting;
            all.live += counts.live;
            all.bound += counts.bound;
            all.popping += counts.popping;
        }
        // A worker never changes its tier.
        if let Some(tier) = before.or(after).map(|facts| facts.tier) {
            let idle = |facts: Option<&Facts>| facts.and_then(|facts| facts.idle);
            replace(&mut self.idle[tier], id, idle(before), idle(after));
        }
        let due = |facts: Option<&Facts>| facts.and_then(|facts| facts.due);
        replace(&mut self.due, id, due(before), due(after));
        let open = |facts: Option<&Facts>| facts.and_then(|facts| facts.open);
        replace(&mut self.open, id, open(before), open(after));
    }
}

fn replace<K: Ord>(set: &mut BTreeSet<(K, WorkerId)>, id: WorkerId, before: Option<K>, after: Option<K>) {
    if before == after {
        return;
    }
    if let Some(key) = before {
        set.remove(&(key, id));
    }
    if let Some(key) = after {
        set.insert((key, id));
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    index: Index,
    times: Times,
}

impl Workers {
    pub fn new(config: &Config) -> Self {
        Self { all: BTreeMap::new(), index: Index::default(), times: Times::of(config) }
    }

    /// Applies the deadlines of other settings.
    pub fn configure(&mut self, config: &Config) {
        self.times = Times::of(config);
        self.index = self.counted_anew();
    }

    fn counted_anew(&self) -> Index {
        let mut index = Index::default();
        for (id, worker) in &self.all {
            index.replace(*id, None, Some(&Facts::of(worker, &self.times)));
        }
        index
    }

    pub fn insert(&mut self, id: WorkerId, worker: Worker) {
        let after = Facts::of(&worker, &self.times);
        let before = self.all.insert(id, worker).map(|worker| Facts::of(&worker, &self.times));
        self.index.replace(id, before.as_ref(), Some(&after));
    }

    pub fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.all.remove(&id)?;
        self.index.replace(id, Some(&Facts::of(&worker, &self.times)), None);
        Some(worker)
    }

    /// Changes a worker. `None` if it does not exist.
    pub fn change<R>(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker) -> R) -> Option<R> {
        let worker = self.all.get_mut(&id)?;
        let before = Facts::of(worker, &self.times);
        let result = change(worker);
        self.index.replace(id, Some(&before), Some(&Facts::of(worker, &self.times)));
        Some(result)
    }

    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.all.iter().map(|(id, worker)| (*id, worker))
    }

    /// The numbers of the workers selected by `which`, to change them.
    pub fn ids(&self, which: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.iter().filter(|(_, worker)| which(worker)).map(|(id, _)| id).collect()
    }

    pub fn counts(&self, tier: Tier) -> &Counts {
        &self.index.counts[tier]
    }

    pub fn all_counts(&self) -> impl Iterator<Item = &Counts> {
        self.index.counts.iter()
    }

    /// Idle workers of a tier, with the time since when they are idle: the longest idle comes first.
    pub fn idle(&self, tier: Tier) -> &BTreeSet<(u64, WorkerId)> {
        &self.index.idle[tier]
    }

    /// Lanes to which jobs may be sent ahead: the one with the fewest ahead comes first.
    pub fn open(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.index.open.iter().filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    /// Workers of which a deadline has passed, by number.
    pub fn due(&self, now: u64) -> Vec<WorkerId> {
        let mut due: Vec<_> = self.index.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        due.sort_unstable();
        due
    }

    /// The next deadline (milliseconds).
    pub fn next_due(&self) -> Option<u64> {
        self.index.due.first().map(|(at, _)| *at)
    }

    /// Whether the indexes agree with the workers, by these settings.
    #[cfg(test)]
    pub fn agrees(&self, config: &Config) -> bool {
        self.times == Times::of(config) && self.index == self.counted_anew()
    }
}
