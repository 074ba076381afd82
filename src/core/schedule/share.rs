//! Shares: queues get parts of the capacity by their weights, and the jobs of one queue take turns by their value of
//! `fair_by`.
//!
//! Both are fair queueing by start tags. Each queue has a virtual time, which a job of a queue of weight `w` advances
//! by `1/w`; the queue with the least time comes next, and one that was idle does not catch up. So between two starts
//! of a queue that has work, another of weight `w'` starts at most `w'/w + 1`.

use std::collections::BTreeMap;

use super::job::Turn;
use super::machine::Schedule;
use super::{Config, JobSpec};

/// Advance of the virtual time per job of a queue of weight 1: divisible by most weights.
const ONE: u64 = 720_720;
/// Maximum of jobs per call from a queue of weight 1.
const QUANTUM: usize = 8;

/// Virtual times of queues, by position.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    weights: Vec<u64>,
    times: Vec<u64>,
    now: u64,
}

impl Shares {
    /// `None` where the order of the queues is strict.
    pub fn new(config: &Config) -> Option<Self> {
        let weight = |queue: &String| u64::from(config.queue_weights.get(queue).copied().unwrap_or(1).max(1));
        let mut weights: Vec<u64> = config.queues.iter().map(weight).collect();
        // For jobs of an unknown queue.
        weights.push(1);
        let times = vec![0; weights.len()];
        (!config.queue_weights.is_empty()).then_some(Self { weights, times, now: 0 })
    }

    /// Start tag of a queue: the least comes next.
    pub fn tag(&self, queue: usize) -> u64 {
        self.times.get(queue).copied().unwrap_or(0).max(self.now)
    }

    /// This many jobs of a queue have had their turn.
    pub fn took(&mut self, queue: usize, jobs: u64) {
        let tag = self.tag(queue);
        let weight = self.weights.get(queue).copied().unwrap_or(1);
        if let Some(time) = self.times.get_mut(queue) {
            *time = tag + jobs * ONE / weight;
        }
        self.now = self.now.max(tag);
    }

    /// A job that had its turn waits again: takes its advance back.
    pub fn came_back(&mut self, queue: usize) {
        let weight = self.weights.get(queue).copied().unwrap_or(1);
        if let Some(time) = self.times.get_mut(queue) {
            *time = time.saturating_sub(ONE / weight);
        }
    }

    fn weight(&self, queue: usize) -> usize {
        self.weights.get(queue).map_or(1, |weight| usize::try_from(*weight).unwrap_or(1))
    }
}

/// Rounds of the jobs that wait for one tier: in each line, those of each tenant take turns. A line is a turn without
/// its round: the jobs of one queue and priority, as others come before or after them whatever their rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds(BTreeMap<Turn, Line>);

/// The rounds of a line in which jobs wait.
#[derive(Clone, Debug, Default)]
struct Line {
    now: u64,
    /// Last round of each waiting tenant, and how many of its jobs wait.
    last: BTreeMap<u64, (u64, usize)>,
}

impl Rounds {
    /// The round of the next job of this tenant.
    pub fn next(&self, turn: Turn, tenant: u64) -> u64 {
        let Some(line) = self.0.get(&turn.in_round(0)) else { return 1 };
        line.now.max(line.last.get(&tenant).map_or(0, |(round, _)| *round)) + 1
    }

    pub fn waits(&mut self, turn: Turn, tenant: u64) {
        let line = self.0.entry(turn.in_round(0)).or_default();
        let (last, jobs) = line.last.entry(tenant).or_default();
        *last = turn.round().max(*last);
        *jobs += 1;
    }

    pub fn waits_no_more(&mut self, turn: Turn, tenant: u64) {
        let Some(line) = self.0.get_mut(&turn.in_round(0)) else { return };
        if let Some((_, jobs)) = line.last.get_mut(&tenant) {
            *jobs -= 1;
            if *jobs == 0 {
                line.last.remove(&tenant);
            }
        }
        // Whoever comes next begins with the first round.
        if line.last.is_empty() {
            self.0.remove(&turn.in_round(0));
        }
    }

    /// A job of this round had its turn.
    pub fn took(&mut self, turn: Turn) {
        if let Some(line) = self.0.get_mut(&turn.in_round(0)) {
            line.now = turn.round().max(line.now);
        }
    }
}

impl Schedule {
    /// Sorts queues into the order in which they are asked for jobs.
    pub(super) fn by_share<'a>(&self, mut queues: Vec<&'a String>) -> Vec<&'a String> {
        if let Some(shares) = &self.asked {
            queues.sort_by_key(|queue| shares.tag(self.place_of(queue)));
        }
        queues
    }

    /// Maximum of jobs per call, so that the first queue gets no more than its share.
    pub(super) fn quantum(&self) -> usize {
        let Some(shares) = &self.asked else { return usize::MAX };
        let queues = self.config.queues.iter().enumerate();
        let open = queues.filter(|(_, name)| !self.paused.contains(*name) && !self.is_held_back(name));
        let first = open.map(|(queue, _)| queue).min_by_key(|queue| shares.tag(*queue));
        first.map_or(usize::MAX, |queue| QUANTUM * shares.weight(queue))
    }

    /// A call has brought these jobs.
    pub(super) fn brought(&mut self, specs: &[JobSpec]) {
        let Some(mut shares) = self.asked.take() else { return };
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for spec in specs {
            *counts.entry(self.place_of(&spec.queue)).or_default() += 1;
        }
        // In the order of their tags at the time of the call.
        let mut counts: Vec<_> = counts.into_iter().map(|(queue, jobs)| (shares.tag(queue), queue, jobs)).collect();
        counts.sort_unstable();
        for (_, queue, jobs) in counts {
            shares.took(queue, jobs);
        }
        self.asked = Some(shares);
    }
}
