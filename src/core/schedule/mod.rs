//! The state machine of one app: decides which job runs when, in which process, and how it is settled. Pure: no clock,
//! no I/O.
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
pub use config::{Config, Defaults};
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

/// The time of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a monotonic clock.
    pub ms: u64,
    /// Seconds since 1970, for values that outlive the process.
    pub epoch: u64,
}

/// A reserved job, with the fields that the schedule needs.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Its number.
    pub id: JobId,
    /// The class by which it is routed.
    pub class: String,
    /// The class to route it by if `class` does not exist: the display name of a job is arbitrary.
    pub wrapper: Option<String>,
    /// Its queue.
    pub queue: String,
    /// Size of its payload.
    pub bytes: usize,
    /// Timeout from the payload, in seconds; 0 is without limit.
    pub timeout: Option<u32>,
    /// Hints that the job instance declares.
    pub hints: Hints,
    /// Hash of its tenant (the value of `fair_by`), where the tenants of a queue take turns.
    pub tenant: Option<u64>,
    /// Hash of the value per which a limit of its class counts; see [`Schedule::is_limited_by`].
    pub key: Option<u64>,
    /// Set if an operator cancelled it before it was reserved.
    pub cancel: Option<Cancel>,
    /// Position if an operator moved it to the front before it was reserved: see [`Place::Front`]; else 0.
    pub front: u64,
}

/// Where an operator moves a waiting job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others of its queue; the greatest number comes first.
    Front(u64),
    /// To another queue: it is given back ([`Action::Unreserve`]), and the runtime puts it into the requested queue.
    Away,
}

/// An operator's order to cancel a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The operator's name.
    pub by: String,
    /// Delete the job instead of failing it.
    pub delete: bool,
}

/// Why a job did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its process ended or was killed.
    Process(Cause),
    /// Reported by Laravel, such as the job's exception.
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

/// Result of an inspection of classes.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// The hints of each class.
    pub hints: Vec<(String, Hints)>,
    /// The limit that each class declares now; `None` if it declares none.
    pub limits: Vec<(String, Option<LimitHint>)>,
    /// The limit key of each job held ([`JobSpec::key`]).
    pub keys: Vec<(JobId, Option<u64>)>,
    /// Names that are not classes.
    pub missing: Vec<String>,
    /// Classes that end PHP when they are loaded.
    pub unloadable: Vec<String>,
}

/// An event, fed to [`Schedule::on`].
#[derive(Debug)]
pub enum Event {
    /// Jobs were reserved.
    Reserved(Vec<JobSpec>),
    /// A call for jobs found none.
    Empty {
        /// [`Schedule::settled`] at the time the call was made.
        settled: u64,
    },
    /// A worker has popped a job by itself, and waits for orders.
    Popped {
        /// The worker.
        worker: WorkerId,
        /// The job.
        job: JobSpec,
    },
    /// A worker that was sent to look for a job failed to; it has no job.
    PopFailed(WorkerId),
    /// Notification that a job was queued.
    Rung,
    /// Classes were inspected.
    Inspected(Inspection),
    /// A worker is ready for a job, and reports how the last one ended.
    Ready {
        /// The worker.
        worker: WorkerId,
        /// How its last job ended.
        done: Option<Done>,
    },
    /// A worker acknowledges a job that was delivered with `receipt`.
    Taken(WorkerId),
    /// A job has printed output. Sent once per class: see [`Schedule::prints`].
    Printed(JobId),
    /// A worker has claimed a job that was sent ahead to it, and reports how the last one ended.
    Next {
        /// The worker.
        worker: WorkerId,
        /// How its last job ended.
        done: Done,
        /// The job that it has claimed.
        job: JobId,
    },
    /// Jobs sent ahead have been taken back: the worker did not claim them, and no longer can.
    Recalled {
        /// The worker.
        worker: WorkerId,
        /// The jobs.
        jobs: Vec<JobId>,
    },
    /// Laravel has finished with the job of this worker; the runtime deletes it.
    Deleted {
        /// The worker.
        worker: WorkerId,
        /// Laravel is about to fail it.
        failed: bool,
    },
    /// A worker's loop ends by itself.
    Stopping {
        /// The worker.
        worker: WorkerId,
        /// Its exit status.
        status: i32,
        /// How its last job ended.
        done: Option<Done>,
    },
    /// PHP ends within a job, and reports how far Laravel got with it.
    Died {
        /// The worker.
        worker: WorkerId,
        /// The fatal error; `None` after `exit()`.
        fatal: Option<String>,
        /// How far Laravel got.
        done: Done,
    },
    /// A process has ended, or could not be started.
    Gone {
        /// The worker.
        worker: WorkerId,
        /// The cause.
        cause: Cause,
        /// Whether the last message sent to it was never read: its job has not begun.
        unread: bool,
    },
    /// Answer to [`Action::Verify`].
    Verified {
        /// The job.
        job: JobId,
        /// Whether the reservation is still ours.
        ours: bool,
    },
    /// A reservation expired; another worker may have the job now.
    LeaseLost(JobId),
    /// A worker exceeds its memory limit.
    MemoryOver {
        /// The worker.
        worker: WorkerId,
        /// Memory in use, in MB.
        used: u32,
        /// The limit, in MB.
        limit: u32,
    },
    /// Current signals of the app.
    State {
        /// Maintenance mode, unless `force` is set.
        down: bool,
        /// Paused queues.
        paused: Vec<String>,
    },
    /// An operator cancels a job. A waiting one fails at once; a running one has a grace period to end by itself.
    Cancel {
        /// The job.
        job: JobId,
        /// Who cancels it, and whether to delete it.
        order: Cancel,
    },
    /// An operator moves a waiting job. A running one is left alone.
    Requeue {
        /// The job.
        job: JobId,
        /// The destination.
        place: Place,
    },
    /// An operator ends the quarantine of a class.
    Lift(String),
    /// An operator replaces this process; it leaves after its job.
    Recycle(WorkerId),
    /// Answer to [`Action::Share`].
    Shared {
        /// Name of the limit.
        name: String,
        /// Number of the request.
        call: u64,
        /// The starts granted; `None` if there was no answer.
        grant: Option<Grant>,
    },
    /// The limits have changed and may be narrower: jobs given to a process that have not begun are held to the new
    /// ones.
    Narrowed,
    /// Replace every process after its current job; idle ones at once.
    Restart,
    /// Like [`Event::Restart`], but pooled workers one by one: each only when the one before it has been replaced.
    Reload,
    /// The template, if there is one, has booted, and the runtime has applied the app's current settings.
    Booted,
    /// The template did not boot.
    BootFailed,
    /// The app's queue connection has changed: jobs reserved while it woke are given back. The next [`Event::Booted`]
    /// says that jobs come from the new one.
    Moved,
    /// The app's code has changed: what is known of its classes is void.
    Renewed,
    /// Answer to [`Action::Look`]: milliseconds until the app is needed; `None` if no need is in sight, 0 where that
    /// cannot be determined.
    Sighted(Option<u64>),
    /// Wake the app if it sleeps.
    Wake,
    /// Pooled jobs usually come within this many milliseconds: the pool is kept as if they did. See [`Usual`].
    PoolExpected(u64),
    /// Processes of an earlier runtime, all in one event, so that new ones do not reuse their numbers.
    Adopted(Vec<Adopted>),
    /// An adopted process reports that it never got its job.
    Unsent(WorkerId),
    /// Stop: running jobs may finish, waiting ones are given back. A second one kills running jobs.
    Drain,
    /// Like [`Event::Drain`], but pooled and isolated jobs run on for the next runtime.
    HandOver,
    /// Time has passed.
    Tick,
}

/// An action for the runtime to carry out.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a process for a tier.
    Launch {
        /// Its number.
        worker: WorkerId,
        /// Its tier.
        tier: Tier,
        /// The job that an isolated process is for.
        job: Option<JobId>,
    },
    /// Let a worker look for a job by itself; answered with [`Event::Popped`] or [`Event::Ready`].
    Pop(WorkerId),
    /// Deliver a job to a worker.
    Deliver {
        /// The worker.
        worker: WorkerId,
        /// The job.
        job: JobId,
        /// How PHP is to process it.
        kind: JobKind,
        /// Why the job's last process ended, for a replay.
        cause: Option<Cause>,
        /// Whether the worker is to acknowledge that it has read it ([`Event::Taken`]).
        receipt: bool,
    },
    /// Send a job ahead to a busy worker, which may claim it after its current one.
    Ahead {
        /// The worker.
        worker: WorkerId,
        /// The job.
        job: JobId,
    },
    /// Take back the unclaimed jobs sent ahead to a worker; answered with [`Event::Recalled`].
    Recall(WorkerId),
    /// Let a worker leave; it holds no job.
    Stop {
        /// The worker.
        worker: WorkerId,
        /// The reason.
        reason: StopReason,
    },
    /// Kill a process and all its descendants.
    Kill {
        /// The worker.
        worker: WorkerId,
        /// The cause.
        cause: Cause,
    },
    /// Give jobs back unchanged, in this order.
    Unreserve(Vec<JobId>),
    /// Check whether a reservation is still ours; answered with [`Event::Verified`].
    Verify(JobId),
    /// Inspect what these classes declare; answered with [`Event::Inspected`].
    Inspect(Vec<String>),
    /// Ask this idle worker for the app's signals; answered with [`Event::State`].
    Check(WorkerId),
    /// Send a request to the arbiter of shared limits; answered with [`Event::Shared`].
    Share(Claim),
    /// Find out whether the idle app will be needed soon; answered with [`Event::Sighted`].
    Look,
    /// End the template: the app sleeps.
    Sleep,
    /// Start the template again and read the app's current settings; answered with [`Event::Booted`] or
    /// [`Event::BootFailed`], possibly preceded by [`Event::Moved`] or [`Event::Renewed`].
    Wake,
    /// A job has left: log it, and forget it.
    Finished(Finished),
    /// A class was quarantined.
    Quarantined(String),
    /// The schedule is over.
    Exit,
}

/// Why a worker is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It has reached its maximum of jobs, age or memory, or an operator replaces it.
    Recycle,
    /// There is nothing for it to do.
    Idle,
    /// `queue:restart`, or a reload.
    Restart,
    /// The runtime stops.
    Drain,
}

impl StopReason {
    /// The reason as sent to PHP.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Recycle => "recycle",
            StopReason::Idle => "idle",
            StopReason::Restart => "restart",
            StopReason::Drain => "drain",
        }
    }
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The job.
    pub job: JobId,
    /// The tier in which it ran last.
    pub tier: Tier,
    /// Its last route, if it was routed.
    pub route: Option<Route>,
    /// Its outcome.
    pub outcome: Outcome,
    /// The last kind of the job: distinguishes a crash or timeout from a failure of the job itself.
    pub kind: JobKind,
    /// Milliseconds in its last process.
    pub ms: u64,
    /// The error, if any.
    pub cause: Option<Reason>,
}

/// The outcome of a job.
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
    /// Its reservation expired, so it is no longer ours.
    Lost,
}

impl Outcome {
    /// The outcome as logged.
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
