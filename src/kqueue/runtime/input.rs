//! What comes back from calls that were under way beside the runtime's loop.

use std::collections::BTreeMap;

use kqueue_core::schedule::{JobId, JobKind, WorkerId};
use kqueue_core::wire::Parts;
use kqueue_core::wire::coordinator::Purpose;

use super::Runtime;
use super::processes::memory::Usage;
use super::queue::backlog::Count;
use crate::backend::{BackendError, Receipt, Reservation, Reserved};
use crate::launch::{LaunchError, UnitError};

/// What a process is given once it is where it is to run.
#[derive(Debug)]
pub struct Errand {
    pub job: JobId,
    pub kind: JobKind,
    pub frame: Parts,
}

/// See the module.
#[derive(Debug)]
pub enum Input {
    /// A call for jobs.
    Reserved { settled: u64, result: Result<Reserved, BackendError> },
    /// Finished jobs have been removed.
    Removed { jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError> },
    /// Leases have been renewed.
    Renewed { jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError> },
    /// Jobs have been given back.
    Returned { jobs: Vec<JobId>, result: Result<Vec<bool>, BackendError> },
    /// A job that is to be replayed is still ours, or not.
    Verified { job: JobId, receipt: Receipt, ours: bool },
    /// An isolated process is in its scope, or could not be put there.
    Scoped { worker: WorkerId, errand: Errand, result: Result<(), UnitError> },
    /// How many jobs the queues have.
    Counted(BTreeMap<String, Count>),
    /// What running jobs use.
    Weighed(Vec<Usage>),
    /// Why we are to stop.
    Purpose(Purpose),
    /// A process was started, or could not be.
    Started { worker: WorkerId, result: Result<i32, LaunchError> },
}

impl Runtime {
    /// Hands an answer to whoever it is for.
    ///
    /// # Errors
    /// Those that end the runtime: see [`Self::fetched`].
    pub(super) fn on_input(&mut self, input: Input) -> anyhow::Result<()> {
        match input {
            Input::Reserved { settled, result } => self.fetched(settled, result)?,
            Input::Removed { jobs, result } => self.removed(jobs, result),
            Input::Renewed { jobs, result } => self.renewed(jobs, result),
            Input::Returned { jobs, result } => self.returned(jobs, result),
            Input::Verified { job, receipt, ours } => self.verified(job, receipt, ours),
            Input::Started { worker, result } => self.processes.process_started(worker, result),
            Input::Scoped { worker, errand, result } => self.scoped(worker, errand, result),
            Input::Counted(counts) => self.queue.backlog.counted(counts),
            Input::Purpose(purpose) => self.on_purpose(purpose),
            Input::Weighed(usages) => self.weighed(usages),
        }
        Ok(())
    }
}
