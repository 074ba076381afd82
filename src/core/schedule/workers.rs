//! The workers of a schedule, with indexes over them.
//!
//! Decisions follow every event, and few of them concern every worker. So what they ask for (how many of a tier are
//! busy, who is idle, when the next deadline is) is kept beside the workers. A worker is changed through
//! [`Workers::change`] alone, which keeps the indexes in step.

use std::collections::{BTreeMap, BTreeSet};

use super::ahead::{DEPTH, PATIENCE_MS, can_recall};
use super::machine::LEAVE_MS;
use super::worker::{State, Worker};
use super::{Config, WorkerId};
use crate::routing::{PerTier, Tier};

/// The settings from which deadlines of workers follow.
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

    /// When a worker is to be looked at again because it will have taken too long with something.
    fn due(&self, worker: &Worker) -> Option<u64> {
        if worker.killed.is_some() {
            return None;
        }
        let since = worker.since;
        match &worker.state {
            State::Starting => Some(since.saturating_add(self.boot_ms)),
            State::Popping { until, .. } => Some(*until),
            State::Leaving => Some(since.saturating_add(LEAVE_MS)),
            State::Busy { deadline, overrun, .. } => {
                let bound = since.saturating_add(self.inline_ms).saturating_add(1);
                let overruns = (worker.tier == Tier::Inline && !overrun).then_some(bound);
                let recall = can_recall(worker).then_some(since.saturating_add(PATIENCE_MS));
                [*deadline, overruns, recall].into_iter().flatten().min()
            }
            State::Idle if worker.tier == Tier::Isolated || self.worker_max_ms == 0 => None,
            State::Idle => Some(worker.born.saturating_add(self.worker_max_ms)),
        }
    }
}

/// How many workers of one tier there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// That start and are not being killed.
    pub starting: usize,
    /// That have a job, including those that are being killed.
    pub busy: usize,
    /// That are there for jobs to come; see [`Worker::counts`].
    pub counting: usize,
    /// That have not been let go.
    pub live: usize,
    /// That were started for one job and have not been handed it.
    pub bound: usize,
    /// That look for a job by themselves, or hold one that they have found.
    pub popping: usize,
}

/// What the indexes hold of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    tier: Tier,
    counts: Counts,
    /// Since when it is idle.
    idle: Option<u64>,
    due: Option<u64>,
    /// How many jobs are ahead of it, if it may get more.
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
                starting: usize::from(alive && worker.state == State::Starting),
                busy: usize::from(worker.is_busy()),
                counting: usize::from(worker.counts()),
                live: usize::from(worker.state != State::Leaving),
                bound: usize::from(worker.bound.is_some()),
                popping: usize::from(matches!(worker.state, State::Popping { .. })),
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
    /// Idle workers by the time since when they are.
    idle: PerTier<BTreeSet<(u64, WorkerId)>>,
    /// Workers by the time at which they are to be looked at.
    due: BTreeSet<(u64, WorkerId)>,
    /// Lanes to which jobs may be sent ahead, by how many are ahead of them already.
    open: BTreeSet<(usize, WorkerId)>,
}

impl Index {
    /// Replaces what is held of a worker.
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

    /// Deadlines follow these settings from now on.
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

    /// Changes a worker. Nothing, if there is none of this number.
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

    /// The numbers of those that `which` picks, to change them.
    pub fn ids(&self, which: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.iter().filter(|(_, worker)| which(worker)).map(|(id, _)| id).collect()
    }

    pub fn counts(&self, tier: Tier) -> &Counts {
        &self.index.counts[tier]
    }

    pub fn all_counts(&self) -> impl Iterator<Item = &Counts> {
        self.index.counts.iter()
    }

    /// Idle workers of a tier and since when they are: the one that has been for longest comes first.
    pub fn idle(&self, tier: Tier) -> &BTreeSet<(u64, WorkerId)> {
        &self.index.idle[tier]
    }

    /// Lanes to which jobs may be sent ahead: the one with the fewest ahead of it comes first.
    pub fn open(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.index.open.iter().filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    /// Workers that have taken too long with something.
    pub fn due(&self, now: u64) -> Vec<WorkerId> {
        let mut due: Vec<_> = self.index.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        due.sort_unstable();
        due
    }

    /// When the next one will have.
    pub fn next_due(&self) -> Option<u64> {
        self.index.due.first().map(|(at, _)| *at)
    }

    /// Whether the indexes say of the workers what is true of them, by these settings.
    #[cfg(test)]
    pub fn agrees(&self, config: &Config) -> bool {
        self.times == Times::of(config) && self.index == self.counted_anew()
    }
}
