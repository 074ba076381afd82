//! The table of processes, with what is known of the end of each.

use std::collections::BTreeMap;
use std::time::Instant;

use super::connection::Outbox;
use super::tickets::Tickets;
use crate::launch::Exit;
use crate::launch::output::Own;
use kqueue_core::schedule::{Cause, JobId, StopReason, WorkerId};
use kqueue_core::wire::coordinator::{Unit, UnitEnd};
use kqueue_core::wire::{Mode, Parts};

/// One PHP process.
#[derive(Debug)]
pub struct WorkerProcess {
    /// Its role.
    pub mode: Mode,
    /// Its process id, once known.
    pub pid: Option<i32>,
    /// Whether the template forked it: then its exit status comes from the template.
    pub forked: bool,
    /// Sends to it while it is connected.
    pub outbox: Option<Outbox>,
    /// Its current job.
    pub job: Option<JobId>,
    /// The job that wants a SIGTERM when the runtime waits for its end.
    pub interruptible: Option<JobId>,
    /// The pipe from which it claims jobs sent ahead, if it is a lane.
    pub tickets: Option<Tickets>,
    /// The output stream of this process alone, if it has one.
    pub own: Option<Own>,
    /// Maximum memory in MB that this job declares.
    pub memory_mb: Option<u32>,
    /// Memory of the process in KiB when it got that job.
    pub baseline_kb: Option<u64>,
    /// Its exit status, once known.
    pub exit: Option<Exit>,
    /// Set once it is disconnected: since when, and whether it had left frames unread.
    pub closed: Option<(Instant, bool)>,
    /// When its end was known while its connection was still open.
    pub ended_at: Option<Instant>,
    /// Its violation of the protocol, if any.
    pub fault: Option<String>,
    /// Why the app did not boot in it, if so.
    pub boot_failure: Option<String>,
    /// The unit it is in, if it has one of its own.
    pub unit: Option<Unit>,
    /// How that unit ended, once known.
    pub unit_end: Option<UnitEnd>,
    /// The scope that limits its current job, if it has a unit besides.
    pub bounds: Option<Unit>,
    /// The cause of its end according to its unit, if more specific than the exit status.
    pub unit_cause: Option<Cause>,
    /// Its last job.
    pub last: Option<JobId>,
    /// When it got that job, if known.
    pub given: Option<Instant>,
    /// Peak memory in KiB observed since then.
    pub seen_kb: Option<u64>,
    /// Why it was told to stop, if it was.
    pub stopped: Option<StopReason>,
    /// Why it was killed, if it was.
    pub killed: Option<Cause>,
}

impl WorkerProcess {
    /// A process that has been requested.
    pub fn new(mode: Mode, forked: bool) -> Self {
        Self {
            mode,
            pid: None,
            forked,
            outbox: None,
            job: None,
            interruptible: None,
            tickets: None,
            own: None,
            memory_mb: None,
            baseline_kb: None,
            exit: None,
            closed: None,
            ended_at: None,
            fault: None,
            boot_failure: None,
            unit: None,
            unit_end: None,
            bounds: None,
            unit_cause: None,
            last: None,
            given: None,
            seen_kb: None,
            stopped: None,
            killed: None,
        }
    }

    /// Records that it got a job.
    pub fn take(&mut self, job: JobId) {
        (self.job, self.last, self.given) = (Some(job), Some(job), Some(Instant::now()));
        (self.memory_mb, self.baseline_kb, self.seen_kb) = (None, None, None);
    }

    /// The cause of its end, as far as known.
    pub fn cause(&self) -> Cause {
        if let Some(cause) = &self.unit_cause {
            return cause.clone();
        }
        match (&self.boot_failure, &self.fault, self.exit) {
            (Some(why), _, _) => Cause::BootFailed(why.clone()),
            (_, Some(fault), _) => Cause::Protocol(fault.clone()),
            (_, _, Some(Exit::Code(code))) => Cause::Exit(code),
            (_, _, Some(Exit::Signal(signal))) => Cause::Signal(signal),
            (_, _, None) => Cause::Vanished,
        }
    }

    /// Whether its end is fully known. With a unit, that is the end of the unit, and of the scope of its job: for a
    /// process killed from outside, these know more than the exit status.
    pub fn has_ended(&self) -> bool {
        if self.unit.is_some() { self.unit_end.is_some() && self.bounds.is_none() } else { self.exit.is_some() }
    }

    /// Whether it left frames unread.
    pub fn unread(&self) -> bool {
        self.closed.is_some_and(|(_, unread)| unread)
    }

    /// Sends it a frame; false if it is not connected or takes no more.
    pub fn send(&self, frame: Parts) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.send(frame))
    }
}

/// All processes but the template.
pub type WorkerTable = BTreeMap<WorkerId, WorkerProcess>;
