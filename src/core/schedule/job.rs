//! A job as the schedule sees it.

use std::cmp::Reverse;

use super::gate::Pass;
use super::{Cancel, Cause, JobKind, WorkerId};
use crate::payload::Hints;
use crate::routing::{Route, Tier};

/// The stage of a job; see `states.md`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Its class is being inspected.
    Inspecting,
    /// Waits for a worker of its tier.
    Waiting,
    /// A process is being started for it alone, or the worker that popped it is about to be told to run it.
    Bound,
    /// Sent ahead to a worker that is busy with another.
    Ahead,
    /// Runs.
    Running(WorkerId),
    /// Its process died; its reservation is being checked.
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
    /// Its last route.
    pub route: Option<Route>,
    /// Its place in the order, as computed when it began to wait: the inputs may change meanwhile.
    pub turn: Turn,
    /// Hash of its tenant, where tenants take turns.
    pub tenant: Option<u64>,
    /// Hash of the value per which limits of its class count.
    pub key: Option<u64>,
    /// The gates (limits) that it passes.
    pub pass: Pass,
    /// Since when it counts against these limits (milliseconds).
    pub passed: Option<u64>,
    /// Nothing was known of its class when it was routed.
    pub unknown: bool,
    pub stage: Stage,
    pub kind: JobKind,
    /// Why its process ended, or why it was cancelled.
    pub cause: Option<Cause>,
    /// Replays that died.
    pub replays: u32,
    /// When it entered this stage (milliseconds).
    pub since: u64,
    /// Laravel has deleted it.
    pub deleted: bool,
    /// Laravel had begun to fail it when its process died.
    pub failing: bool,
    /// The class to route it by if `class` does not exist.
    pub wrapper: Option<String>,
    /// The worker that has popped it (native pop). No other can run it, and it cannot be given back.
    pub popped: Option<WorkerId>,
    /// Set if an operator cancelled it.
    pub cancel: Option<Cancel>,
    /// It was cancelled before it ran, and counts for no limit.
    pub never: bool,
    /// Its position if an operator moved it to the front; the greatest comes first, 0 is not moved.
    pub front: u64,
    /// An operator moves it to another queue, unless it runs by then.
    pub away: bool,
}

impl Job {
    /// Whether it has been given to a process, and has not come back to wait.
    pub fn is_out(&self) -> bool {
        !matches!(self.stage, Stage::Inspecting | Stage::Waiting) && !self.never
    }

    /// From now on PHP is to fail or to delete it, as the operator ordered.
    pub fn turn_to_cancel(&mut self) {
        if let Some(order) = &self.cancel {
            self.kind = JobKind::Cancel;
            self.cause = Some(Cause::Cancelled(order.by.clone()));
        }
    }
}

/// Order of the jobs that wait for one tier: the queues in strict order, as in Laravel; within a queue, jobs that
/// operators moved to the front, then the highest priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    queue: usize,
    front: Reverse<u64>,
    priority: Reverse<i32>,
    /// Round of its tenant among jobs of one priority; 0 where arrival decides.
    round: u64,
}

impl Turn {
    /// A turn for a job of this priority, from the queue at this position.
    pub(super) fn new(queue: usize, priority: i32) -> Self {
        Self { queue, front: Reverse(0), priority: Reverse(priority), round: 0 }
    }

    /// The same turn at this front position; see `Job::front`.
    pub(super) fn in_front(self, front: u64) -> Self {
        Self { front: Reverse(front), ..self }
    }

    /// The same turn in this round.
    pub(super) fn in_round(self, round: u64) -> Self {
        Self { round, ..self }
    }

    /// Its round.
    pub(super) fn round(self) -> u64 {
        self.round
    }

    /// The position of its queue.
    pub(super) fn queue(self) -> usize {
        self.queue
    }
}
