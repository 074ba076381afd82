//! The processes there are, and what is known of the end of each.

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
pub struct Worker {
    /// What it is for.
    pub mode: Mode,
    /// Its process id, once known.
    pub pid: Option<i32>,
    /// Whether the template forked it: then the template hears of its end.
    pub forked: bool,
    /// The way to it, while it is connected.
    pub outbox: Option<Outbox>,
    /// The job it has.
    pub job: Option<JobId>,
    /// The job that is to be told by SIGTERM that its end is waited for.
    pub interruptible: Option<JobId>,
    /// The pipe out of which it claims jobs that were sent ahead, if it is a lane.
    pub tickets: Option<Tickets>,
    /// The stream into which it alone prints, where that can be told beforehand.
    pub own: Option<Own>,
    /// MB that this job declares it needs at the most.
    pub memory_mb: Option<u32>,
    /// Its memory in KiB when it was given that job.
    pub baseline_kb: Option<u64>,
    /// How it ended, once known.
    pub exit: Option<Exit>,
    /// It is disconnected, since when, and whether it had left something unread.
    pub closed: Option<(Instant, bool)>,
    /// When its end was first known without that of its connection.
    pub ended_at: Option<Instant>,
    /// How it broke the protocol.
    pub fault: Option<String>,
    /// Why its app did not boot.
    pub boot_failure: Option<String>,
    /// The unit it is in, if it has one of its own.
    pub unit: Option<Unit>,
    /// How that ended, once known.
    pub unit_end: Option<UnitEnd>,
    /// The scope that bounds the job it has, where it has a unit besides.
    pub bounds: Option<Unit>,
    /// What its unit says it ended of, where that says more than the process.
    pub unit_cause: Option<Cause>,
    /// The job it had last.
    pub last: Option<JobId>,
    /// Since when it has that job, as far as is known.
    pub given: Option<Instant>,
    /// KiB of memory that it was seen to have at most since it was given that job.
    pub seen_kb: Option<u64>,
    /// Why it was told to leave.
    pub stopped: Option<StopReason>,
    /// Why it was killed.
    pub killed: Option<Cause>,
}

impl Worker {
    /// A process that has been asked for.
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

    /// It is given a job.
    pub fn take(&mut self, job: JobId) {
        (self.job, self.last, self.given) = (Some(job), Some(job), Some(Instant::now()));
        (self.memory_mb, self.baseline_kb, self.seen_kb) = (None, None, None);
    }

    /// What it ended of, as far as is known.
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

    /// Whether it is known how it ended. A process that killed another says less than the unit of that one.
    pub fn has_ended(&self) -> bool {
        if self.unit.is_some() { self.unit_end.is_some() && self.bounds.is_none() } else { self.exit.is_some() }
    }

    /// Whether what it was sent last was not read.
    pub fn unread(&self) -> bool {
        self.closed.is_some_and(|(_, unread)| unread)
    }

    /// Sends it a frame; false when it is not there to take it.
    pub fn send(&self, frame: Parts) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.send(frame))
    }
}

/// Every process but the template.
pub type Workers = BTreeMap<WorkerId, Worker>;
