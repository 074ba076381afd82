//! A PHP process as the schedule sees it.

use std::collections::VecDeque;

use super::{Cause, Done, JobId, WorkerId};
use crate::routing::Tier;

/// Where a worker stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// Asked for, and not ready yet.
    Starting,
    /// Ready for a job.
    Idle,
    /// Looks for a job by itself, or has found one and waits to be told what to do with it.
    Popping {
        /// Milliseconds at which it is not waited for any longer.
        until: u64,
        job: Option<JobId>,
    },
    /// Runs a job.
    Busy {
        job: JobId,
        /// Milliseconds at which it is killed, if it may not run for ever.
        deadline: Option<u64>,
        /// It has run past the bound of its tier and is no longer counted on.
        overrun: bool,
    },
    /// Let go, or leaving by itself; gets no more jobs.
    Leaving,
}

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub tier: Tier,
    pub state: State,
    /// Milliseconds at which it came into this state.
    pub since: u64,
    /// Milliseconds at which it was asked for.
    pub born: u64,
    /// Restarts that had been asked for when it was started.
    pub generation: u64,
    pub jobs: u32,
    /// The job an isolated process was started for.
    pub bound: Option<JobId>,
    /// Why we kill it, once we do.
    pub killed: Option<Cause>,
    /// What PHP said before it ended within a job.
    pub last_words: Option<(Option<String>, Done)>,
    /// Its own alarm rang: Laravel ends the process.
    pub timed_out: bool,
    /// It was asked something and did not answer in time.
    pub mute: bool,
    /// It is known to have read the job that it has.
    pub taken: bool,
    /// Jobs sent ahead to it that it has not claimed, as far as is known.
    pub ahead: VecDeque<JobId>,
    /// What was ahead of it has been taken back during this job.
    pub recalled: bool,
    /// An offer to it has failed during this job: it gets no other until the next.
    pub refused: bool,
    /// It said that it leaves: what was sent to it meanwhile it does not read.
    pub ending: bool,
    /// It has had a job to itself, and leaves after it.
    pub parting: bool,
    /// An operator wants another one in its place: it leaves after its job.
    pub spent: bool,
    /// It has said why it could not look for a job.
    pub failed: bool,
}

impl Worker {
    pub fn new(tier: Tier, now: u64, generation: u64, bound: Option<JobId>) -> Self {
        Self {
            tier,
            state: State::Starting,
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

    /// It gets no more jobs. Returns the one that it was started for, if it has not been handed it.
    pub fn leave(&mut self, now: u64) -> Option<JobId> {
        self.state = State::Leaving;
        self.since = now;
        self.bound.take()
    }

    /// It runs past the bound of its tier.
    pub fn overruns(&mut self) {
        if let State::Busy { overrun, .. } = &mut self.state {
            *overrun = true;
        }
    }

    pub fn job(&self) -> Option<JobId> {
        match self.state {
            State::Busy { job, .. } => Some(job),
            _ => None,
        }
    }

    /// Runs a job, or holds one that it has found itself.
    pub fn has_job(&self) -> bool {
        matches!(self.state, State::Busy { .. } | State::Popping { job: Some(_), .. })
    }

    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Busy { .. })
    }

    pub fn is_overrun(&self) -> bool {
        matches!(self.state, State::Busy { overrun: true, .. })
    }

    /// Looks for a job by itself, or holds one that it has found.
    pub fn is_popping(&self) -> bool {
        matches!(self.state, State::Popping { .. })
    }

    /// Ready for a job, or for a question.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle && self.killed.is_none()
    }

    /// It is there for jobs to come: neither leaving nor stuck in a job that takes too long for its tier.
    pub fn counts(&self) -> bool {
        self.killed.is_none() && !self.is_overrun() && self.state != State::Leaving
    }
}

/// A worker, for those who want to look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    /// Its number.
    pub id: WorkerId,
    /// Its tier.
    pub tier: Tier,
    /// `starting`, `idle`, `popping`, `busy` or `leaving`.
    pub state: &'static str,
    /// Milliseconds at which it came into this state.
    pub since: u64,
    /// The job it runs.
    pub job: Option<JobId>,
    /// Jobs it has run.
    pub jobs: u32,
}

impl WorkerView {
    pub(super) fn of(id: WorkerId, worker: &Worker) -> Self {
        let state = match worker.state {
            State::Starting => "starting",
            State::Idle => "idle",
            State::Popping { .. } => "popping",
            State::Busy { .. } => "busy",
            State::Leaving => "leaving",
        };
        Self { id, tier: worker.tier, state, since: worker.since, job: worker.job(), jobs: worker.jobs }
    }
}
