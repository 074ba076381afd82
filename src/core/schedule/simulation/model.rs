//! The objects of the simulation (messages, reservations, PHP processes), and fault rates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::rng::Rng;
use super::world::QUEUES;
use crate::arbiter::Claim;
use crate::payload::{Hints, LimitHint};
use crate::routing::{Limits, PerTier, Tier};
use crate::schedule::{Cause, Config, Done, Event, JobId, JobKind, Outcome, WorkerId};

/// Number of a message, kept through all its reservations.
pub type Uid = usize;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Queue,
    Delayed,
    Reserved(JobId),
    Done,
    Failed,
    /// Its reservation expired and another worker has it.
    Elsewhere,
}

#[derive(Debug)]
pub struct Message {
    pub class: usize,
    pub queue: &'static str,
    pub bytes: usize,
    pub timeout: Option<u32>,
    pub priority: Option<i32>,
    pub attempts: i32,
    pub place: Place,
    /// An operator has cancelled it.
    pub cancelled: bool,
    /// Front position, if an operator moved it while it was in its queue.
    pub front: u64,
}

/// One reservation of a message, and its history.
#[derive(Debug, Default)]
pub struct Reservation {
    pub uid: Uid,
    pub lost: bool,
    /// The worker it was delivered to and that has not reported yet, as seen by the schedule.
    pub at: Option<WorkerId>,
    /// Times that PHP began to run it.
    pub runs: u32,
    /// Times that PHP began to replay its end, and died of that.
    pub replays: u32,
    pub replay_deaths: u32,
    /// Its process died during its run.
    pub died: bool,
    pub verified: bool,
    pub deleted: bool,
    pub released: bool,
    pub failed: bool,
    /// PHP reported that it stays reserved.
    pub kept: bool,
    /// A process has died while Laravel was failing it.
    pub failing: bool,
    /// The queue to which an operator moves it.
    pub to: Option<&'static str>,
    pub end: Option<End>,
}

impl Reservation {
    pub fn is_settled(&self) -> bool {
        self.deleted || self.released || self.failed
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Finished(Outcome),
    Unreserved,
    /// Its process died, or the runtime ended, before the job was reported.
    Unseen,
}

/// Activity of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doing {
    Booting,
    Idle,
    /// Looks for a job, or has found one and waits for orders.
    Popping(Option<JobId>),
    Running(JobId, JobKind),
    Ending,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frame {
    /// A job, and whether to acknowledge it.
    Job(JobId, JobKind, bool),
    Check,
    Stop,
    /// Look for a job.
    Pop,
}

#[derive(Debug)]
pub struct Process {
    pub tier: Tier,
    pub doing: Doing,
    /// The last job it has read.
    pub read: Option<JobId>,
    pub inbox: VecDeque<Frame>,
    /// Jobs sent ahead and not claimed.
    pub tickets: VecDeque<JobId>,
    /// The job, as seen by the schedule, during which sending ahead to it has failed.
    pub refused: Option<JobId>,
    /// Arrival times of the last messages to it and from it.
    pub in_at: u64,
    pub out_at: u64,
    /// State as seen by the schedule.
    pub seen_idle: bool,
    pub seen_job: Option<JobId>,
    /// Told to leave, killed, or has announced its end.
    pub off: bool,
    /// The queues from which it may pop.
    pub queues: Vec<String>,
    /// Told to leave while it held a popped job; leaves after it.
    pub quits: bool,
}

/// Outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Well,
    Throws,
    Releases,
    Exits,
    Fatal,
    Segfault,
    /// PHP deletes the job itself or through the runtime, then dies.
    DiesAfterwards,
    /// Settles the job over its own connection and dies before reporting it.
    DiesUnsaid,
    /// Dies after Laravel has begun to fail the job and has deleted it.
    DiesFailing,
    Hangs,
    Alarm,
    LosesCount,
    /// Exceeds its memory limit, and leaves after the job.
    Grows,
}

/// Scheduled events of the simulation.
#[derive(Debug)]
pub enum Next {
    Tell(Event),
    Arrive(Uid),
    Back(Uid),
    Pop {
        settled: u64,
        count: usize,
        queues: Vec<String>,
    },
    Give(Vec<JobId>),
    Verify(JobId),
    /// A request for a shared limit reaches the arbiter.
    Share(Claim),
    Started(WorkerId),
    Booted(WorkerId),
    Frame(WorkerId, Frame),
    /// A look for a job ends.
    Look(WorkerId),
    Ends(WorkerId, JobId, Way),
    Left(WorkerId),
    /// The runtime observes the end of a process.
    Gone(WorkerId, Cause),
    Killed(WorkerId),
    Chaos,
    Heal,
    /// The template has finished booting.
    Boot,
}

/// Fault rates, per thousand.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub launch: u64,
    pub boot: u64,
    pub idle_death: u64,
    pub unread: u64,
    /// A job cannot be sent ahead.
    pub offer: u64,
    pub job: u64,
    pub silent: u64,
    pub slow: u64,
    pub chaos: u64,
    pub jump: u64,
    pub signals: u64,
    /// Drain, then possibly drain again, at any time.
    pub stop: u64,
    /// Hand over to another runtime.
    pub succeed: u64,
    /// Change the limits.
    pub settings: u64,
    /// Operators hold classes, cancel and move jobs, shrink the pool, replace workers, lift quarantines.
    pub steer: u64,
    /// Requests to the arbiter, or its answers, are lost.
    pub deaf: u64,
}

pub const NO_FAULTS: Faults = Faults {
    launch: 0,
    boot: 0,
    idle_death: 0,
    unread: 0,
    offer: 0,
    job: 0,
    silent: 0,
    slow: 0,
    chaos: 0,
    jump: 0,
    signals: 0,
    stop: 0,
    succeed: 0,
    settings: 0,
    steer: 0,
    deaf: 0,
};

/// A few faults of most kinds.
pub const FEW_FAULTS: Faults = Faults {
    launch: 20,
    boot: 20,
    idle_death: 20,
    unread: 30,
    offer: 50,
    job: 100,
    silent: 5,
    slow: 50,
    jump: 1,
    signals: 300,
    deaf: 50,
    ..NO_FAULTS
};

/// Name, minimum and maximum milliseconds, and declarations.
pub struct Class {
    pub name: &'static str,
    pub ms: (u64, u64),
    pub hints: Hints,
    /// The limit that it declares.
    pub limit: Option<LimitHint>,
}

/// Jobs so quick that they are sent ahead.
const TINY: &str = "App\\Jobs\\Tiny";

pub fn classes() -> Vec<Class> {
    let hints = Hints::default();
    let class = |name, low, high| Class { name, ms: (low, high), hints, limit: None };
    vec![
        class("App\\Jobs\\Quick", 1, 20),
        class("App\\Jobs\\Middling", 50, 900),
        class("App\\Jobs\\Slow", 3_000, 6_000),
        class("App\\Jobs\\Changing", 5, 1_500),
        class("App\\Mail\\Greeting", 5, 1_300),
        class("Closure (web.php:12)", 1, 3_000),
        Class { hints: Hints { isolated: Some(true), ..hints }, ..class("App\\Jobs\\Alone", 100, 5_000) },
        Class { hints: Hints { isolated: Some(false), ..hints }, ..class("App\\Jobs\\Lane", 1, 200) },
        Class { hints: Hints { priority: Some(7), ..hints }, ..class("App\\Jobs\\Urgent", 1, 400) },
        Class {
            hints: Hints { max_memory_mb: Some(900), ..hints },
            ..class("App\\Jobs\\ReportOfTheYear", 500, 40_000)
        },
        Class {
            hints: Hints { estimated_duration: Some(Duration::from_secs(4)), ..hints },
            ..class("App\\Jobs\\Estimated", 5, 5_000)
        },
        class(TINY, 0, 2),
    ]
}

pub fn config() -> Config {
    Config {
        queues: Vec::new(),
        limits: Limits {
            inline_max: Duration::from_secs(1),
            pooled_max: Duration::from_secs(30),
            pooled_memory_mb: 256,
            default_tier: None,
        },
        idle_ms: None,
        pool_min_idle: 2,
        pool_size: 10,
        pool_max_size: 20,
        max_concurrent: PerTier::new(100, 20, 5),
        class_limits: BTreeMap::new(),
        class_defaults: BTreeMap::new(),
        queue_defaults: BTreeMap::new(),
        class_by: BTreeMap::new(),
        class_shared: BTreeSet::new(),
        queue_shared: BTreeSet::new(),
        queue_limits: BTreeMap::new(),
        queue_waiting: BTreeMap::new(),
        queue_weights: BTreeMap::new(),
        ahead: true,
        max_waiting: 1000,
        max_waiting_bytes: 64 << 20,
        timeout_ms: 60_000,
        grace_ms: 5_000,
        boot_ms: 20_000,
        worker_max_jobs: 0,
        worker_max_ms: 0,
        stop_ms: 30_000,
        replay: true,
        native: false,
        stop_when_empty: false,
        max_jobs: 0,
        cores: 4,
    }
}

/// The same with native pop.
pub fn native(config: Config) -> Config {
    let queues = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
    Config { native: true, queues, ..config }
}

/// An arbitrary configuration, including extreme values.
pub fn any_config(rng: &mut Rng) -> Config {
    let pool_max_size = *rng.pick(&[1, 2, 4, 8, 20]);
    let pool_size = 1 + rng.below(pool_max_size as u64) as usize;
    Config {
        queues: Vec::new(),
        idle_ms: *rng.pick(&[None, None, Some(0), Some(50), Some(700), Some(20_000)]),
        pool_min_idle: (rng.below(3) as usize).min(pool_size),
        pool_size,
        pool_max_size,
        max_concurrent: PerTier::new(*rng.pick(&[1, 2, 5, 100]), *rng.pick(&[1, 3, 20]), *rng.pick(&[1, 2, 5])),
        ahead: rng.chance(750),
        max_waiting: *rng.pick(&[1, 5, 50, 1000]),
        max_waiting_bytes: *rng.pick(&[1, 5_000, 64 << 20]),
        timeout_ms: *rng.pick(&[0, 10_000, 60_000]),
        grace_ms: *rng.pick(&[0, 1_000, 5_000]),
        boot_ms: *rng.pick(&[3_000, 20_000]),
        worker_max_jobs: *rng.pick(&[0, 0, 1, 7]),
        worker_max_ms: *rng.pick(&[0, 0, 5_000, 3_600_000]),
        stop_ms: *rng.pick(&[0, 2_000, 30_000]),
        replay: rng.chance(800),
        cores: *rng.pick(&[1, 2, 8]),
        ..config()
    }
}

pub fn done(reservation: &Reservation) -> Done {
    Done {
        deleted: reservation.deleted,
        released: reservation.released,
        failed: reservation.failed,
        ack: false,
        unfinished: false,
        cpu: None,
        peak: 20_000,
        error: None,
    }
}
