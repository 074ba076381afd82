//! A job as the schedule sees it.

use std::cmp::Reverse;

use super::gate::Pass;
use super::{Cancel, Cause, JobKind, WorkerId};
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
    /// Whose it is, where that counts.
    pub tenant: Option<u64>,
    /// Whose it is, where limits of its class count for each of these.
    pub key: Option<u64>,
    /// The limits that it is subject to.
    pub pass: Pass,
    /// Since when it counts among those that these limits bound (milliseconds).
    pub passed: Option<u64>,
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
    /// An operator wants it to run no more.
    pub cancel: Option<Cancel>,
    /// It was cancelled before it ran, and counts for no limit.
    pub never: bool,
    /// An operator wants it before others of its queue: what was wanted later comes first. 0: nobody does.
    pub front: u64,
    /// An operator wants it out of our hands, unless it runs by then.
    pub away: bool,
}

impl Job {
    /// It has been given to a process, and has not come back to wait.
    pub fn is_out(&self) -> bool {
        !matches!(self.stage, Stage::Inspecting | Stage::Waiting) && !self.never
    }

    /// From now on PHP is to fail or to delete it, as whoever has cancelled it wants.
    pub fn turn_to_cancel(&mut self) {
        if let Some(order) = &self.cancel {
            self.kind = JobKind::Cancel;
            self.cause = Some(Cause::Cancelled(order.by.clone()));
        }
    }
}

/// Whose turn it is among those that wait for one tier: the order of the queues is strict, as it is Laravel's;
/// within a queue, behind what operators have put in front, the highest priority goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    queue: usize,
    front: Reverse<u64>,
    priority: Reverse<i32>,
    /// Among those of one priority; 0 where they go as they came.
    round: u64,
}

impl Turn {
    /// Of a job with this priority, from the queue in this place of their order.
    pub(super) fn new(queue: usize, priority: i32) -> Self {
        Self { queue, front: Reverse(0), priority: Reverse(priority), round: 0 }
    }

    /// The same, where operators have put it in front: see `Job::front`.
    pub(super) fn in_front(self, front: u64) -> Self {
        Self { front: Reverse(front), ..self }
    }

    /// The same in this round.
    pub(super) fn in_round(self, round: u64) -> Self {
        Self { round, ..self }
    }

    /// Its round.
    pub(super) fn round(self) -> u64 {
        self.round
    }

    /// The place of its queue.
    pub(super) fn queue(self) -> usize {
        self.queue
    }
}
