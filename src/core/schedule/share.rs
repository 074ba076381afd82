//! Shares: of what several queues want, each gets a part by its weight; and of what one queue brings, each value of
//! `fair_by` gets its turn.
//!
//! Both are fair queueing by start tags. A queue has a time of its own, which a job of a queue of weight `w` takes forward by
//! `1/w`; the queue whose time is the least comes next, and one that had nothing to do does not catch up. So between two
//! starts of a queue that has work, another starts no more than `w'/w + 1`, `w'` being its weight.

use std::collections::BTreeMap;

use super::machine::Schedule;
use super::{Config, JobSpec};

/// What one job of a queue of weight 1 takes its time forward by: divisible by most weights.
const ONE: u64 = 720_720;
/// Jobs of a queue of weight 1 that one call brings at the most.
const QUANTUM: usize = 8;

/// The times of queues, by their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    weights: Vec<u64>,
    times: Vec<u64>,
    now: u64,
}

impl Shares {
    /// None where the order of the queues is strict.
    pub fn new(config: &Config) -> Option<Self> {
        let weight = |queue: &String| u64::from(config.queue_weights.get(queue).copied().unwrap_or(1).max(1));
        let mut weights: Vec<u64> = config.queues.iter().map(weight).collect();
        // For what is in no queue that is known.
        weights.push(1);
        let times = vec![0; weights.len()];
        (!config.queue_weights.is_empty()).then_some(Self { weights, times, now: 0 })
    }

    /// What tells whose turn it is: the least.
    pub fn tag(&self, queue: usize) -> u64 {
        self.times.get(queue).copied().unwrap_or(0).max(self.now)
    }

    /// So many jobs of a queue have had their turn.
    pub fn took(&mut self, queue: usize, jobs: u64) {
        let tag = self.tag(queue);
        let weight = self.weights.get(queue).copied().unwrap_or(1);
        if let Some(time) = self.times.get_mut(queue) {
            *time = tag + jobs * ONE / weight;
        }
        self.now = self.now.max(tag);
    }

    /// A job that had its turn waits again.
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

/// Whose turn it is among those of one queue that wait for one tier: the jobs of each value go one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds {
    now: BTreeMap<usize, u64>,
    /// The last round of each that waits, and how many of them do.
    last: BTreeMap<(usize, u64), (u64, usize)>,
}

impl Rounds {
    /// The round of the next job of this value.
    pub fn next(&self, queue: usize, value: u64) -> u64 {
        let last = self.last.get(&(queue, value)).map_or(0, |(round, _)| *round);
        self.now.get(&queue).copied().unwrap_or(0).max(last) + 1
    }

    pub fn waits(&mut self, queue: usize, value: u64, round: u64) {
        let (last, jobs) = self.last.entry((queue, value)).or_default();
        *last = round.max(*last);
        *jobs += 1;
    }

    pub fn waits_no_more(&mut self, queue: usize, value: u64) {
        if let Some((_, jobs)) = self.last.get_mut(&(queue, value)) {
            *jobs -= 1;
            if *jobs == 0 {
                self.last.remove(&(queue, value));
            }
        }
    }

    /// A job of this round had its turn.
    pub fn took(&mut self, queue: usize, round: u64) {
        if round > 0 {
            let now = self.now.entry(queue).or_default();
            *now = round.max(*now);
        }
    }
}

impl Schedule {
    /// In which order queues are asked for jobs now.
    pub(super) fn by_share<'a>(&self, mut queues: Vec<&'a String>) -> Vec<&'a String> {
        if let Some(shares) = &self.asked {
            queues.sort_by_key(|queue| shares.tag(self.place_of(queue)));
        }
        queues
    }

    /// Jobs that one call may bring, so that the first queue does not get more than its part.
    pub(super) fn quantum(&self) -> usize {
        let Some(shares) = &self.asked else { return usize::MAX };
        let queues = self.config.queues.iter().enumerate();
        let open = queues.filter(|(_, name)| !self.paused.contains(*name) && !self.is_held_back(name));
        let first = open.map(|(queue, _)| queue).min_by_key(|queue| shares.tag(*queue));
        first.map_or(usize::MAX, |queue| QUANTUM * shares.weight(queue))
    }

    /// A call has brought these.
    pub(super) fn brought(&mut self, specs: &[JobSpec]) {
        let Some(mut shares) = self.asked.take() else { return };
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for spec in specs {
            *counts.entry(self.place_of(&spec.queue)).or_default() += 1;
        }
        // By the tags that they had when they were asked.
        let mut counts: Vec<_> = counts.into_iter().map(|(queue, jobs)| (shares.tag(queue), queue, jobs)).collect();
        counts.sort_unstable();
        for (_, queue, jobs) in counts {
            shares.took(queue, jobs);
        }
        self.asked = Some(shares);
    }
}
