//! A PHP process as the schedule sees it.

use std::collections::VecDeque;

use super::{Cause, Done, JobId, WorkerId};
use crate::routing::Tier;

/// The state of a worker.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WorkerState {
    /// Launched, and not ready yet.
    Starting,
    /// Ready for a job.
    Idle,
    /// Looks for a job by itself, or has popped one and waits for orders.
    Popping {
        /// Deadline (milliseconds), after which it is killed.
        until: u64,
        job: Option<JobId>,
    },
    /// Runs a job.
    Busy {
        job: JobId,
        /// When it is killed (milliseconds); `None` without limit.
        deadline: Option<u64>,
        /// It has run past the bound of its tier and no longer counts as capacity.
        overrun: bool,
    },
    /// Told to stop, or leaving by itself; gets no more jobs.
    Leaving,
}

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub tier: Tier,
    pub state: WorkerState,
    /// When it entered this state (milliseconds).
    pub since: u64,
    /// When it was launched (milliseconds).
    pub born: u64,
    /// The schedule's generation when it was launched.
    pub generation: u64,
    pub jobs: u32,
    /// The job an isolated process was started for.
    pub bound: Option<JobId>,
    /// Why it is being killed, if it is.
    pub killed: Option<Cause>,
    /// PHP's report when it ended within a job: the fatal error, and how far Laravel got.
    pub last_words: Option<(Option<String>, Done)>,
    /// Its own alarm rang: Laravel ends the process.
    pub timed_out: bool,
    /// It did not answer a signals check in time.
    pub mute: bool,
    /// It has acknowledged its current job.
    pub taken: bool,
    /// Jobs sent ahead to it and not known to be claimed.
    pub ahead: VecDeque<JobId>,
    /// The jobs ahead of it have been recalled during its current job.
    pub recalled: bool,
    /// Sending a job ahead has failed, or jobs came back, during its current job: no more until the next job.
    pub refused: bool,
    /// It has announced its end: it reads no message sent since.
    pub ending: bool,
    /// It runs its job alone, and leaves after it.
    pub parting: bool,
    /// An operator replaces it: it leaves after its job.
    pub spent: bool,
    /// Its last look for a job failed.
    pub failed: bool,
}

impl Worker {
    pub fn new(tier: Tier, now: u64, generation: u64, bound: Option<JobId>) -> Self {
        Self {
            tier,
            state: WorkerState::Starting,
            since: now,
            born: now,
            generation,
            jobs: 0,
            bound,
            killed: None,
            last_words: None,
            timed_out: false,
            mute: false,
            taken: false,
            ahead: VecDeque::new(),
            recalled: false,
            refused: false,
            ending: false,
            parting: false,
            spent: false,
            failed: false,
        }
    }

    /// Makes it leave; it gets no more jobs. Returns the job that it was started for, if not yet delivered.
    pub fn leave(&mut self, now: u64) -> Option<JobId> {
        self.state = WorkerState::Leaving;
        self.since = now;
        self.bound.take()
    }

    /// Marks that its job runs past the bound of its tier.
    pub fn overruns(&mut self) {
        if let WorkerState::Busy { overrun, .. } = &mut self.state {
            *overrun = true;
        }
    }

    pub fn job(&self) -> Option<JobId> {
        match self.state {
            WorkerState::Busy { job, .. } => Some(job),
            _ => None,
        }
    }

    /// Whether it runs a job, or holds one that it has popped.
    pub fn has_job(&self) -> bool {
        matches!(self.state, WorkerState::Busy { .. } | WorkerState::Popping { job: Some(_), .. })
    }

    pub fn is_busy(&self) -> bool {
        matches!(self.state, WorkerState::Busy { .. })
    }

    pub fn is_overrun(&self) -> bool {
        matches!(self.state, WorkerState::Busy { overrun: true, .. })
    }

    /// Whether it looks for a job by itself, or holds one that it has popped.
    pub fn is_popping(&self) -> bool {
        matches!(self.state, WorkerState::Popping { .. })
    }

    /// Whether it is ready for a job, or for a signals check.
    pub fn is_idle(&self) -> bool {
        self.state == WorkerState::Idle && self.killed.is_none()
    }

    /// Whether it counts as capacity: neither leaving nor in a job that overruns its tier.
    pub fn counts(&self) -> bool {
        self.killed.is_none() && !self.is_overrun() && self.state != WorkerState::Leaving
    }
}

/// A worker, as shown to operators.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    /// Its number.
    pub id: WorkerId,
    /// Its tier.
    pub tier: Tier,
    /// `starting`, `idle`, `popping`, `busy` or `leaving`.
    pub state: &'static str,
    /// When it entered this state (milliseconds).
    pub since: u64,
    /// The job it runs.
    pub job: Option<JobId>,
    /// Jobs it has run.
    pub jobs: u32,
}

impl WorkerView {
    pub(super) fn of(id: WorkerId, worker: &Worker) -> Self {
        let state = match worker.state {
            WorkerState::Starting => "starting",
            WorkerState::Idle => "idle",
            WorkerState::Popping { .. } => "popping",
            WorkerState::Busy { .. } => "busy",
            WorkerState::Leaving => "leaving",
        };
        Self { id, tier: worker.tier, state, since: worker.since, job: worker.job(), jobs: worker.jobs }
    }
}
