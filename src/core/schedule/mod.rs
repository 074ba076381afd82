//! The state machine of one app: which job runs when, in which process, and what becomes of it. Pure: no clock, no I/O.
#![doc = include_str!("states.md")]

mod admit;
mod adopt;
#[cfg(test)]
mod adopt_tests;
mod ahead;
mod backoff;
mod cancel;
mod cause;
mod config;
mod ended;
mod gate;
mod gates;
mod held;
mod job;
mod lease;
mod look;
mod machine;
mod permit;
mod plan;
mod pop;
mod requeue;
mod rolling;
#[cfg(test)]
mod scenarios;
mod share;
#[cfg(test)]
mod simulation;
mod sizing;
mod sleep;
mod stop;
mod usual;
mod waiting;
mod worker;
mod workers;

use std::fmt;

use crate::arbiter::{Claim, Grant};
use crate::payload::{Hints, LimitHint};
use crate::routing::{Route, Tier};

pub use crate::wire::{Done, JobKind, LastResort};
pub use adopt::{Adopted, AdoptedJob};
pub use cause::Cause;
pub use config::Config;
pub use gate::{Limit, Rate};
pub use look::Standing;
pub use machine::Schedule;
pub use usual::Usual;
pub use waiting::Waiting;
pub use worker::WorkerView;

/// A job, numbered by the runtime in the order of reservation.
pub type JobId = u64;
/// A PHP process, numbered by the schedule in the order of starting.
pub type WorkerId = u64;

/// When an event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back.
    pub ms: u64,
    /// Seconds since 1970, for what outlives the process.
    pub epoch: u64,
}

/// A reserved job, as far as the schedule needs to know it.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Its number.
    pub id: JobId,
    /// The class by which it is routed.
    pub class: String,
    /// The class to route it by if that one turns out to be none: a job may call itself what it likes.
    pub wrapper: Option<String>,
    /// Its queue.
    pub queue: String,
    /// Size of its payload.
    pub bytes: usize,
    /// Seconds, as the payload declares them; 0 is without limit.
    pub timeout: Option<u32>,
    /// What the instance declares.
    pub hints: Hints,
    /// Whose it is, where jobs of one queue go one by one for each of these; a hash of whatever says so.
    pub tenant: Option<u64>,
    /// Whose it is, where a limit of its class counts for each of these; see [`Schedule::is_limited_by`].
    pub key: Option<u64>,
    /// An operator has cancelled it before it became ours.
    pub cancel: Option<Cancel>,
    /// An operator has put it in front before it became ours: see [`Place::Front`]; else 0.
    pub front: u64,
}

/// Where an operator wants a job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others of its queue: whatever has the greatest number comes first.
    Front(u64),
    /// Out of our hands: it is given back ([`Action::Unreserve`]), and the runtime knows where to.
    Away,
}

/// An operator wants a job to run no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The operator's name.
    pub by: String,
    /// It is removed, and does not fail.
    pub delete: bool,
}

/// Why a job did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its process ended, or was killed.
    Process(Cause),
    /// Laravel says so: its exception, for one.
    Laravel(String),
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        Reason::Process(cause)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Process(cause) => cause.fmt(f),
            Reason::Laravel(error) => f.write_str(error),
        }
    }
}

/// What was found out about classes.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// What each declares.
    pub hints: Vec<(String, Hints)>,
    /// The limit that each declares now, or that it declares none.
    pub limits: Vec<(String, Option<LimitHint>)>,
    /// Whose the jobs are that are ours, as far as limits count for each of these.
    pub keys: Vec<(JobId, Option<u64>)>,
    /// Names that are no classes.
    pub missing: Vec<String>,
    /// Those that end PHP when they are loaded.
    pub unloadable: Vec<String>,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Jobs were reserved.
    Reserved(Vec<JobSpec>),
    /// A call for jobs found none. `settled` is [`Schedule::settled`] at the time the call was made.
    Empty {
        /// Jobs settled when the call was made.
        settled: u64,
    },
    /// A worker has taken a job off the queue by itself, and waits to be told what to do with it.
    Popped {
        /// Which worker.
        worker: WorkerId,
        /// The job.
        job: JobSpec,
    },
    /// A worker that was sent to look for a job says why it could not. It has none.
    PopFailed(WorkerId),
    /// Somebody says that a job was queued.
    Rung,
    /// Classes were inspected.
    Inspected(Inspection),
    /// A worker wants a job, and says how the last one ended.
    Ready {
        /// Which.
        worker: WorkerId,
        /// How its last job ended.
        done: Option<Done>,
    },
    /// A worker has read the job that it was handed with `receipt`.
    Taken(WorkerId),
    /// A job has printed something. Said once for a class: see [`Schedule::prints`].
    Printed(JobId),
    /// A worker goes on with a job that was sent ahead to it, and says how the last one ended.
    Next {
        /// Which.
        worker: WorkerId,
        /// How its last job ended.
        done: Done,
        /// The one it goes on with.
        job: JobId,
    },
    /// Jobs that had been sent ahead have been taken back: the worker had not claimed them, and cannot any more.
    Recalled {
        /// From whom.
        worker: WorkerId,
        /// Which.
        jobs: Vec<JobId>,
    },
    /// The job of this worker is finished as far as Laravel is concerned; the runtime removes it.
    Deleted {
        /// Whose.
        worker: WorkerId,
        /// Laravel is about to fail it.
        failed: bool,
    },
    /// A worker's loop ends by itself.
    Stopping {
        /// Which.
        worker: WorkerId,
        /// Its exit status.
        status: i32,
        /// How its last job ended.
        done: Option<Done>,
    },
    /// PHP ends within a job, and says how far Laravel had got with it.
    Died {
        /// Which.
        worker: WorkerId,
        /// The fatal error; none after `exit()`.
        fatal: Option<String>,
        /// How far Laravel had got.
        done: Done,
    },
    /// A process has ended, or could not be started.
    Gone {
        /// Which.
        worker: WorkerId,
        /// How.
        cause: Cause,
        /// Whether what was last sent to it was never read: its job has not begun.
        unread: bool,
    },
    /// Whether the reservation of a job that is to be replayed is still ours.
    Verified {
        /// The job.
        job: JobId,
        /// Whether it is ours.
        ours: bool,
    },
    /// A reservation ran out under us; somebody else may have the job now.
    LeaseLost(JobId),
    /// A worker uses more memory than it may.
    MemoryOver {
        /// Which.
        worker: WorkerId,
        /// MB it has.
        used: u32,
        /// MB it may have.
        limit: u32,
    },
    /// What the app's signals say now.
    State {
        /// Maintenance mode (and not `force`).
        down: bool,
        /// Paused queues.
        paused: Vec<String>,
    },
    /// An operator cancels a job. One that waits fails at once; one that runs has a grace period to end by itself.
    Cancel {
        /// Which.
        job: JobId,
        /// Who wants that, and how.
        order: Cancel,
    },
    /// An operator wants a job elsewhere that waits. One that runs is left alone.
    Requeue {
        /// Which.
        job: JobId,
        /// Where.
        place: Place,
    },
    /// An operator ends the quarantine of a class.
    Lift(String),
    /// An operator wants another process in the place of this one, which leaves after its job.
    Recycle(WorkerId),
    /// Answer to [`Action::Share`]: what this limit lets start, or that nobody says.
    Shared {
        /// Which.
        name: String,
        /// The number of the question.
        call: u64,
        /// What may start.
        grant: Option<Grant>,
    },
    /// Other limits count, and may be narrower: what has been given to a process and has not begun goes by them.
    Narrowed,
    /// Replace every process after its current job: all idle ones at once.
    Restart,
    /// The same, but pooled workers one by one: each only when the one before it has been replaced.
    Reload,
    /// What processes are forked from is there, and the app is worked as it says that it is.
    Booted,
    /// What processes are forked from did not boot.
    BootFailed,
    /// The app has its jobs elsewhere by now: what was reserved while it woke goes back. [`Event::Booted`] says that
    /// they come from there.
    Moved,
    /// The app's code is other code than before: what was known of its classes counts no longer.
    Renewed,
    /// Answer to [`Action::Look`]: milliseconds until the app is needed, if it is known that it will be; 0 where nobody
    /// can tell.
    Sighted(Option<u64>),
    /// An app that sleeps is to start its processes.
    Wake,
    /// Pooled jobs usually come within so many milliseconds: pooled workers are kept as if they did. See [`Usual`].
    PoolExpected(u64),
    /// Processes that were there before us: all of them at once, so that none of ours is called like one.
    Adopted(Vec<Adopted>),
    /// An adopted process says that it never got its job.
    Unsent(WorkerId),
    /// Stop: running jobs may finish, waiting ones go back. A second time, running jobs are killed.
    Drain,
    /// As [`Event::Drain`], but pooled and isolated jobs run on for the next runtime.
    HandOver,
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a process for a tier. `job` names the one an isolated process is for.
    Launch {
        /// Its number from now on.
        worker: WorkerId,
        /// Its tier.
        tier: Tier,
        /// The job, if it is for one job alone.
        job: Option<JobId>,
    },
    /// Let a worker look for a job by itself; answered with [`Event::Popped`] or [`Event::Ready`].
    Pop(WorkerId),
    /// Hand a job to a worker.
    Deliver {
        /// To whom.
        worker: WorkerId,
        /// Which.
        job: JobId,
        /// What PHP is to do with it.
        kind: JobKind,
        /// What the job's last process died of, for a replay.
        cause: Option<Cause>,
        /// Whether it is to say so when it has read it.
        receipt: bool,
    },
    /// Send a busy worker a job ahead, which it may claim when it has finished its own.
    Ahead {
        /// To whom.
        worker: WorkerId,
        /// Which.
        job: JobId,
    },
    /// Take back what was sent ahead to a worker and not claimed; answered with [`Event::Recalled`].
    Recall(WorkerId),
    /// Let a worker leave; it holds no job.
    Stop {
        /// Which.
        worker: WorkerId,
        /// Why.
        reason: StopReason,
    },
    /// Kill a process and all it has started.
    Kill {
        /// Which.
        worker: WorkerId,
        /// Why.
        cause: Cause,
    },
    /// Give jobs back as they were, in this order.
    Unreserve(Vec<JobId>),
    /// Find out whether a reservation is still ours.
    Verify(JobId),
    /// Ask PHP what these classes declare.
    Inspect(Vec<String>),
    /// Ask this idle worker what the app's signals are.
    Check(WorkerId),
    /// Ask whoever keeps the limits that hosts share; answered with [`Event::Shared`].
    Share(Claim),
    /// Find out whether the app, which has nothing to do, will be needed soon; answered with [`Event::Sighted`].
    Look,
    /// End what processes are forked from: the app sleeps.
    Sleep,
    /// Start it again, and find out what the app is by now; answered with [`Event::Booted`] or [`Event::BootFailed`], and with
    /// [`Event::Moved`] or [`Event::Renewed`] before.
    Wake,
    /// A job has left: say so, and forget it.
    Finished(Finished),
    /// A class was quarantined.
    Quarantined(String),
    /// All is done.
    Exit,
}

/// Why a worker is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It has run as many jobs, or lived as long, as it may.
    Recycle,
    /// There is nothing for it to do.
    Idle,
    /// `queue:restart`, or a reload.
    Restart,
    /// We stop.
    Drain,
}

impl StopReason {
    /// As PHP is told.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Recycle => "recycle",
            StopReason::Idle => "idle",
            StopReason::Restart => "restart",
            StopReason::Drain => "drain",
        }
    }
}

/// How a job left.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Which.
    pub job: JobId,
    /// The tier in which it ran last.
    pub tier: Tier,
    /// Where it was meant to run and why, if it has come that far.
    pub route: Option<Route>,
    /// How.
    pub outcome: Outcome,
    /// What PHP was last told to do with it: tells a crash and a timeout from a failure of its own.
    pub kind: JobKind,
    /// Milliseconds in its last process.
    pub ms: u64,
    /// What went wrong.
    pub cause: Option<Reason>,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end.
    Done,
    /// It is back on its queue, for another attempt.
    Released,
    /// It has failed for good.
    Failed,
    /// It stays reserved, as under Laravel, until `retry_after`.
    Left,
    /// Its reservation had run out, so it is no longer ours.
    Lost,
}

impl Outcome {
    /// As the log has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Released => "released",
            Outcome::Failed => "failed",
            Outcome::Left => "left",
            Outcome::Lost => "lost",
        }
    }
}
