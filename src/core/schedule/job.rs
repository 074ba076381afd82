//! A job as the schedule sees it, and the queue of those that wait for a tier.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, JobId, JobKind, WorkerId};
use crate::payload::Hints;
use crate::routing::{Route, Tier};

/// Where a job stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Its class is being asked what it declares.
    Inspecting,
    /// Waits for a worker of its tier.
    Waiting,
    /// A process is being started for it alone, or has popped it and is about to be told to run it.
    Bound,
    /// Sent ahead to a worker that is busy with another.
    Ahead,
    /// Runs.
    Running(WorkerId),
    /// Its process died; is it still ours?
    Verifying,
    /// Waits to be replayed.
    Replaying,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub class: String,
    pub queue: String,
    pub bytes: usize,
    pub timeout: Option<u32>,
    pub hints: Hints,
    pub tier: Tier,
    /// Where it was meant to go when it was routed last, and why.
    pub route: Option<Route>,
    /// As it was when the job began to wait: what it goes by may change meanwhile.
    pub turn: Turn,
    /// Nothing was known of its class when it was routed.
    pub unknown: bool,
    pub stage: Stage,
    pub kind: JobKind,
    /// What its process died of.
    pub cause: Option<Cause>,
    /// How often its end was tried to be replayed.
    pub replays: u32,
    /// Milliseconds at which it came into this stage.
    pub since: u64,
    /// Laravel has finished with it.
    pub deleted: bool,
    /// Laravel had begun to fail it when its process died.
    pub failing: bool,
    /// The class by which it is routed if `class` is none.
    pub wrapper: Option<String>,
    /// The worker that has taken it off the queue by itself. Nobody else can run it, or give it back.
    pub popped: Option<WorkerId>,
}

/// Whose turn it is among those that wait for one tier: the order of the queues is strict, as it is Laravel's;
/// within a queue the highest priority goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    queue: usize,
    priority: Reverse<i32>,
}

impl Turn {
    /// Of a job with this priority, from the queue in this place of their order.
    pub(super) fn new(queue: usize, priority: i32) -> Self {
        Self { queue, priority: Reverse(priority) }
    }
}

/// Jobs that wait for one tier: by their turn, then by arrival.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    order: BTreeMap<(Turn, JobId), u64>,
    /// The same jobs by the time at which they began to wait.
    arrivals: BTreeSet<(u64, JobId)>,
}

impl Waiting {
    pub(super) fn push(&mut self, job: JobId, turn: Turn, now: u64) {
        self.order.insert((turn, job), now);
        self.arrivals.insert((now, job));
    }

    pub(super) fn remove(&mut self, job: JobId, turn: Turn) -> bool {
        let since = self.order.remove(&(turn, job));
        since.is_some_and(|since| self.arrivals.remove(&(since, job)))
    }

    /// The next job, without taking it.
    pub(super) fn first(&self) -> Option<(JobId, u64)> {
        self.order.first_key_value().map(|((_, job), since)| (*job, *since))
    }

    /// Since when the one has waited that has waited for longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.arrivals.first().map(|(since, _)| *since)
    }

    pub(super) fn pop(&mut self) -> Option<JobId> {
        let ((_, job), since) = self.order.pop_first()?;
        self.arrivals.remove(&(since, job));
        Some(job)
    }

    /// Every waiting job, in order.
    pub fn iter(&self) -> impl Iterator<Item = JobId> + '_ {
        self.order.keys().map(|(_, job)| *job)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_queue_then_higher_priority_then_arrival() {
        let mut waiting = Waiting::default();
        for (job, queue, priority) in [(1, 0, 0), (2, 0, 5), (3, 0, -1), (4, 0, 5), (5, 0, 0), (6, 1, 9)] {
            waiting.push(job, Turn::new(queue, priority), 10 - job);
        }
        assert_eq!(waiting.oldest(), Some(4));
        assert_eq!(waiting.iter().collect::<Vec<_>>(), [2, 4, 1, 5, 3, 6]);
        assert!(waiting.remove(4, Turn::new(0, 5)));
        assert!(!waiting.remove(4, Turn::new(0, 5)));
        assert_eq!(waiting.pop(), Some(2));
        assert_eq!(waiting.first(), Some((1, 9)));
        assert_eq!(waiting.oldest(), Some(4));
    }
}
