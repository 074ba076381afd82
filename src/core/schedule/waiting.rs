//! The jobs that wait for one tier.

use std::collections::{BTreeMap, BTreeSet};

use super::gate::Pass;
use super::gates::Gates;
use super::job::{Job, Turn};
use super::share::{Rounds, Shares};
use super::{Config, JobId};

/// Jobs of one queue held back by the same limits. Jobs without limits are all in one lane.
#[derive(Clone, Debug, Default)]
struct Lane {
    order: BTreeMap<(Turn, JobId), Entry>,
    /// The same jobs by the time at which they began to wait.
    arrivals: BTreeSet<(u64, JobId)>,
    bytes: usize,
}

/// Data of a waiting job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    since: u64,
    bytes: usize,
    tenant: Option<u64>,
}

impl Entry {
    /// For a job that has just entered this stage.
    pub(super) fn of(job: &Job) -> Self {
        Self { since: job.since, bytes: job.bytes, tenant: job.tenant }
    }
}

impl Lane {
    fn remove(&mut self, turn: Turn, job: JobId) -> Option<Entry> {
        let entry = self.order.remove(&(turn, job))?;
        self.bytes -= entry.bytes;
        self.arrivals.remove(&(entry.since, job));
        Some(entry)
    }
}

/// Key of a lane: the limits, and the position of the queue.
type LaneKey = (Pass, usize);

/// Jobs that wait for one tier: by turn, then by arrival. Jobs held back by a limit are passed by.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    free: Lane,
    limited: BTreeMap<LaneKey, Lane>,
    /// Set where queues have shares. Then jobs without limits are in lanes by queue, too.
    shares: Option<Shares>,
    rounds: Rounds,
}

impl Waiting {
    pub(super) fn new(config: &Config) -> Self {
        Self { shares: Shares::new(config), ..Self::default() }
    }

    /// The round of the next job of this tenant.
    pub(super) fn next_round(&self, turn: Turn, tenant: u64) -> u64 {
        self.rounds.next(turn, tenant)
    }

    fn is_free(&self, pass: Pass) -> bool {
        pass.is_free() && self.shares.is_none()
    }

    pub(super) fn push(&mut self, job: JobId, turn: Turn, pass: Pass, entry: Entry) {
        if let Some(tenant) = entry.tenant {
            self.rounds.waits(turn, tenant);
        }
        let lane = match self.is_free(pass) {
            true => &mut self.free,
            false => self.limited.entry((pass, turn.queue())).or_default(),
        };
        lane.order.insert((turn, job), entry);
        lane.arrivals.insert((entry.since, job));
        lane.bytes += entry.bytes;
    }

    pub(super) fn remove(&mut self, job: JobId, turn: Turn, pass: Pass) -> bool {
        let removed = if self.is_free(pass) {
            self.free.remove(turn, job)
        } else {
            let key = (pass, turn.queue());
            let removed = self.limited.get_mut(&key).and_then(|lane| lane.remove(turn, job));
            self.limited.retain(|other, lane| *other != key || !lane.order.is_empty());
            removed
        };
        if let Some(tenant) = removed.and_then(|entry| entry.tenant) {
            self.rounds.waits_no_more(turn, tenant);
        }
        removed.is_some()
    }

    /// Lanes of which a job may start.
    fn open<'a>(&'a self, gates: &'a Gates) -> impl Iterator<Item = (Pass, &'a Lane)> {
        let limited = self.limited.iter().map(|((pass, _), lane)| (*pass, lane));
        let limited = limited.filter(|(pass, _)| gates.is_open(*pass));
        std::iter::once((Pass::default(), &self.free)).chain(limited)
    }

    /// The next job, its limits, and since when it has waited (milliseconds).
    fn next(&self, gates: &Gates) -> Option<((Turn, JobId), Pass, u64)> {
        if self.limited.is_empty() {
            return self.free.order.first_key_value().map(|(key, entry)| (*key, Pass::default(), entry.since));
        }
        let first = |(pass, lane): (Pass, &Lane)| {
            let (key, entry) = lane.order.first_key_value()?;
            Some((*key, pass, entry.since))
        };
        let tag = |turn: Turn| self.shares.as_ref().map_or(0, |shares| shares.tag(turn.queue()));
        self.open(gates).filter_map(first).min_by_key(|((turn, job), ..)| (tag(*turn), *turn, *job))
    }

    /// The next job, without taking it, and since when it could have started (milliseconds).
    pub(super) fn first(&self, gates: &Gates) -> Option<(JobId, u64)> {
        let ((_, job), pass, since) = self.next(gates)?;
        Some((job, since.max(gates.opened(pass))))
    }

    pub(super) fn pop(&mut self, gates: &Gates) -> Option<JobId> {
        let ((turn, job), pass, _) = self.next(gates)?;
        self.rounds.took(turn);
        self.remove(job, turn, pass);
        if let Some(shares) = &mut self.shares {
            shares.took(turn.queue(), 1);
        }
        Some(job)
    }

    /// A job that was taken for a worker is about to wait again.
    pub(super) fn came_back(&mut self, turn: Turn) {
        if let Some(shares) = &mut self.shares {
            shares.came_back(turn.queue());
        }
    }

    /// Since when the longest waiting job of those that could start has waited (milliseconds).
    pub(super) fn oldest(&self, gates: &Gates) -> Option<u64> {
        if self.limited.is_empty() {
            return self.free.arrivals.first().map(|(since, _)| *since);
        }
        let oldest = |(pass, lane): (Pass, &Lane)| {
            let (since, _) = lane.arrivals.first()?;
            Some((*since).max(gates.opened(pass)))
        };
        self.open(gates).filter_map(oldest).min()
    }

    /// How many could start by their limits.
    pub(super) fn ready(&self, gates: &Gates) -> usize {
        if self.limited.is_empty() {
            return self.free.order.len();
        }
        self.open(gates).map(|(pass, lane)| lane.order.len().min(gates.room(pass))).sum()
    }

    /// Jobs of a queue that wait for a limit, and the bytes of their payloads.
    pub(super) fn held_back(&self, gates: &Gates, queue: usize) -> (usize, usize) {
        let of_queue = self.limited.iter().filter(|((_, of), _)| *of == queue);
        let held = of_queue.filter_map(|((pass, _), lane)| {
            let jobs = lane.order.len().saturating_sub(gates.room(*pass));
            (jobs > 0).then_some((jobs, lane.bytes))
        });
        held.fold((0, 0), |(jobs, bytes), (more, size)| (jobs + more, bytes + size))
    }

    /// The jobs of a queue that wait for a limit, with the bytes of each.
    pub(super) fn those_held_back(&self, gates: &Gates, queue: usize) -> Vec<(Turn, JobId, usize)> {
        let of_queue = self.limited.iter().filter(|((_, of), _)| *of == queue);
        let held = of_queue.flat_map(|((pass, _), lane)| lane.order.iter().skip(gates.room(*pass)));
        held.map(|((turn, job), entry)| (*turn, *job, entry.bytes)).collect()
    }

    /// How many wait for this gate of a shared limit alone.
    pub(super) fn want(&self, gates: &Gates, gate: usize) -> usize {
        let waits = self.limited.iter().filter(|((pass, _), _)| gates.waits_for(*pass, gate));
        waits.map(|(_, lane)| lane.order.len()).sum()
    }

    /// When a limit lets the next one start by time alone (milliseconds).
    pub(super) fn opens_at(&self, gates: &Gates) -> Option<u64> {
        self.limited.keys().filter_map(|(pass, _)| gates.opens_at(*pass)).min()
    }

    /// Every waiting job, in order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = JobId> + '_> {
        if self.limited.is_empty() {
            return Box::new(self.free.order.keys().map(|(_, job)| *job));
        }
        let lanes = std::iter::once(&self.free).chain(self.limited.values());
        let mut all: Vec<_> = lanes.flat_map(|lane| lane.order.keys().copied()).collect();
        all.sort_unstable();
        Box::new(all.into_iter().map(|(_, job)| job))
    }

    /// Number of waiting jobs.
    pub fn len(&self) -> usize {
        self.free.order.len() + self.limited.values().map(|lane| lane.order.len()).sum::<usize>()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.free.order.is_empty() && self.limited.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_queue_then_higher_priority_then_arrival() {
        let (mut waiting, gates, free) = (Waiting::default(), Gates::default(), Pass::default());
        for (job, queue, priority) in [(1, 0, 0), (2, 0, 5), (3, 0, -1), (4, 0, 5), (5, 0, 0), (6, 1, 9)] {
            let entry = Entry { since: 10 - job, bytes: 1, tenant: None };
            waiting.push(job, Turn::new(queue, priority), free, entry);
        }
        assert_eq!(waiting.oldest(&gates), Some(4));
        assert_eq!(waiting.iter().collect::<Vec<_>>(), [2, 4, 1, 5, 3, 6]);
        assert!(waiting.remove(4, Turn::new(0, 5), free));
        assert!(!waiting.remove(4, Turn::new(0, 5), free));
        assert_eq!(waiting.pop(&gates), Some(2));
        assert_eq!(waiting.first(&gates), Some((1, 9)));
        assert_eq!(waiting.oldest(&gates), Some(4));
    }
}
