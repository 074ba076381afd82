//! The app's queues: reserves jobs, renews leases, removes finished jobs, gives others back.
//!
//! At most one call of each kind is under way; requests made meanwhile go with the next one. That keeps effects in
//! order, and batches small calls. Replies come back through [`QueueSide::next`]; events for other components are left
//! in [`QueueSide::events`]. Independent of processes, records and the schedule.

mod behind;
pub mod doorbell;
mod elsewhere;
mod fetch;
mod lease;
mod outage;
mod settle;
mod share;
pub mod sizes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::backend::{BackendError, Capabilities, Others, QueueBackend, Receipt, Reservation, Reserved};
use kqueue_config::Settings;
use kqueue_core::arbiter::Grant;
use kqueue_core::schedule::JobId;

use behind::Behind;
use doorbell::Doorbell;
pub use fetch::Demand;
use fetch::Fetch;
use lease::Leases;
use outage::Outage;
pub use outage::is_final;
pub use settle::Return;
use settle::{Removals, Returns};
use share::Shares;
pub use share::host;
use sizes::{Backlog, Count};

/// Delay before a failed call is repeated: from the first to the last, doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Capacity of the reply channel; there are never as many calls.
const ANSWERS: usize = 1024;

/// An event of the queue.
#[derive(Debug)]
pub enum QueueEvent {
    /// The first call succeeded.
    Opened,
    /// The doorbell rang: there may be a job.
    Rang,
    /// Jobs were reserved.
    Reserved(Vec<Reservation>),
    /// A call found no job. `settled`: the number of settled jobs when it was made.
    Empty { settled: u64 },
    /// Finished jobs were removed from the queue.
    Removed(Vec<JobId>),
    /// The leases of held jobs are due for renewal.
    RenewalDue,
    /// Leases were renewed; the flag is false where the reservation is lost.
    Renewed(Vec<(JobId, Receipt, bool)>),
    /// Jobs were given back to their queues.
    Returned(Vec<JobId>),
    /// A reservation was verified; `ours` is false where it is lost.
    Verified { job: JobId, receipt: Receipt, ours: bool },
    /// An outage begins, with its cause.
    Silent(String),
    /// The outage is over.
    Answers,
    /// The grant of a limit shared between hosts; `None` if it could not be determined.
    Shared { name: String, call: u64, grant: Option<Grant> },
    /// Milliseconds until the next delayed job is due, if there is one; 0 if the queue could not be read.
    Sighted(Option<u64>),
    /// The queue has moved to the app's new connection.
    Elsewhere,
    /// The settings of the connection can never work.
    Unusable(BackendError),
    /// The queue does not answer, and the settings say not to wait for it.
    Abandoned(BackendError),
}

/// Input returned by [`QueueSide::next`].
#[derive(Debug)]
pub enum QueueInput {
    Answer(Answer),
    /// The doorbell rang.
    Rang,
}

/// The reply to a call.
#[derive(Debug)]
pub enum Answer {
    Reserved { settled: u64, result: Result<Reserved, BackendError> },
    Removed { jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError> },
    Renewed { jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError> },
    Returned { jobs: Vec<Return>, result: Result<Vec<bool>, BackendError> },
    Verified { job: JobId, receipt: Receipt, ours: bool },
    Counted(BTreeMap<String, Count>),
    Behind { queue: String, result: Result<(Reserved, Others), BackendError> },
    Shared { name: String, call: u64, result: Result<Grant, BackendError> },
    Sighted(Option<u64>),
}

/// See the module.
pub struct QueueSide {
    backend: Rc<dyn QueueBackend>,
    doorbell: Doorbell,
    fetch: Fetch,
    outage: Outage,
    leases: Leases,
    removals: Removals,
    returns: Returns,
    backlog: Backlog,
    behind: Behind,
    shares: Shares,
    /// The backend to move to, if the app's queues have moved.
    next: Option<elsewhere::Next>,
    /// Events for other components, in order.
    pub events: VecDeque<QueueEvent>,
    answers: mpsc::Receiver<Answer>,
    answer: mpsc::Sender<Answer>,
}

impl QueueSide {
    /// With no call under way.
    pub fn new(backend: Rc<dyn QueueBackend>, doorbell: Doorbell, settings: &Settings) -> Self {
        let (answer, answers) = mpsc::channel(ANSWERS);
        Self {
            doorbell,
            fetch: Fetch::default(),
            outage: Outage::new(settings.limits.stop_when_empty),
            leases: Leases::new(settings.renew),
            removals: Removals::default(),
            returns: Returns::default(),
            backlog: Backlog::new(!backend.capabilities().exact_sizes),
            behind: Behind::default(),
            shares: Shares::default(),
            next: None,
            events: VecDeque::new(),
            answers,
            answer,
            backend,
        }
    }

    /// Applies new settings.
    pub fn configure(&mut self, settings: &Settings) {
        self.leases.configure(settings.renew);
        self.forget_shared();
        if self.outage.has_answered() {
            self.leases.arm(self.backend.lease());
        }
        // A waiting call is for the previous queues.
        self.look_again();
    }

    pub fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// Checks whether jobs can be moved to another queue.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn can_move(&self, from: &[String], to: &str) -> Result<(), String> {
        let to_check = [to.to_owned()];
        self.check_queues(&to_check).map_err(|error| error.to_string())?;
        self.backend.unmovable(from, to).map_or(Ok(()), Err)
    }

    /// Drops cached state after jobs were moved in the queue by others.
    pub fn forget(&mut self) {
        self.backend.forget();
        self.look_again();
    }

    /// Whether workers pop by themselves, so that nothing is reserved here.
    pub fn is_native(&self) -> bool {
        self.backend.is_native()
    }

    /// Checks that these queues can be worked.
    ///
    /// # Errors
    /// See [`QueueBackend::check_queues`].
    pub fn check_queues(&self, queues: &[String]) -> Result<(), BackendError> {
        self.backend.check_queues(queues)
    }

    /// Waits for the next reply or ring. Cancel safe.
    pub async fn next(&mut self) -> QueueInput {
        tokio::select! {
            biased;
            Some(answer) = self.answers.recv() => QueueInput::Answer(answer),
            Some(()) = self.doorbell.rings.recv() => QueueInput::Rang,
            else => std::future::pending().await,
        }
    }

    pub fn handle(&mut self, input: QueueInput) {
        match input {
            QueueInput::Rang => {
                self.look_again();
                self.events.push_back(QueueEvent::Rang);
            }
            QueueInput::Answer(answer) => match answer {
                Answer::Reserved { settled, result } => self.fetched(settled, result),
                Answer::Removed { jobs, result } => self.removed(jobs, result),
                Answer::Renewed { jobs, result } => self.renewed(jobs, result),
                Answer::Returned { jobs, result } => self.returned(jobs, result),
                Answer::Verified { job, receipt, ours } => {
                    self.events.push_back(QueueEvent::Verified { job, receipt, ours });
                }
                Answer::Behind { queue, result } => self.looked_behind(&queue, result),
                Answer::Shared { name, call, result } => self.shared(name, call, result),
                Answer::Counted(counts) => self.backlog.counted(counts),
                Answer::Sighted(within) => self.events.push_back(QueueEvent::Sighted(within)),
            },
        }
    }

    /// When [`Self::on_time`], the next call or an event is due.
    pub fn wake(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(Instant::now());
        }
        let outage = self.fetch.outage().filter(|_| !self.outage.is_logged());
        let wakes = [self.fetch.wake(), outage, self.leases.wake(), self.backlog.wake(), self.settling_wake()];
        wakes.into_iter().chain([self.moving_wake(), self.behind.wake()]).flatten().min()
    }

    pub fn on_time(&mut self, now: Instant) {
        self.backlog.on_time(now);
        if self.leases.is_due(now) {
            self.events.push_back(QueueEvent::RenewalDue);
        }
        if let Some(since) = self.fetch.since()
            && self.fetch.outage().is_some_and(|at| at <= now)
            && self.outage.silent(since)
        {
            self.events.push_back(QueueEvent::Silent("the queue does not answer".to_owned()));
        }
    }

    /// Whether it has ever answered.
    pub fn has_answered(&self) -> bool {
        self.outage.has_answered()
    }

    /// How long the queue has not answered, if a reply is overdue.
    pub fn silence(&self) -> Option<Duration> {
        self.outage.silence().or(self.fetch.overdue())
    }

    /// The error of the current outage.
    pub fn error(&self) -> Option<&str> {
        self.outage.error()
    }

    /// Calls under way, and when they were made.
    pub fn calls_under_way(&self) -> impl Iterator<Item = (&'static str, Instant)> {
        let calls = [
            ("reserve jobs", self.fetch.since()),
            ("renew leases", self.leases.renewing),
            ("give jobs back", self.returns.sending),
            ("remove finished jobs", self.removals.sending),
        ];
        calls.into_iter().filter_map(|(name, since)| Some((name, since?)))
    }

    /// Makes a call without blocking the loop.
    fn call<F: Future<Output = Answer> + 'static>(&self, call: impl FnOnce(Rc<dyn QueueBackend>) -> F) {
        let (answer, call) = (self.answer.clone(), call(self.backend.clone()));
        tokio::task::spawn_local(async move { drop(answer.send(call.await).await) });
    }
}
