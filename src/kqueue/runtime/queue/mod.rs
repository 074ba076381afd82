//! The app's queues: jobs are reserved from them, leases renewed, finished jobs removed, others given back.
//!
//! Each kind of call is under way at most once; what comes up meanwhile goes with the next one. That keeps the order of
//! effects, and makes batches of what would otherwise be many small calls. The answer of a call comes back through
//! [`QueueSide::next`]; what it means for others is left in [`QueueSide::events`]. Knows nothing of processes, of records
//! or of the schedule.

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

/// Delays before a queue that does not answer is asked again: from the first to the last, doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Answers that may wait to be handled. There are never as many calls.
const ANSWERS: usize = 1024;

/// What happened in the queue.
#[derive(Debug)]
pub enum QueueEvent {
    /// It has answered for the first time.
    Opened,
    /// Somebody says that there is a job to look for.
    Rang,
    /// These jobs are ours.
    Reserved(Vec<Reservation>),
    /// A call that was made after so many jobs had been settled found none.
    Empty { settled: u64 },
    /// These are no longer in the queue.
    Removed(Vec<JobId>),
    /// It is time to renew the leases of what is held.
    RenewalDue,
    /// Leases have been renewed: whether each reservation is still ours.
    Renewed(Vec<(JobId, Receipt, bool)>),
    /// These are back in their queues.
    Returned(Vec<JobId>),
    /// Whether this reservation is still ours.
    Verified { job: JobId, receipt: Receipt, ours: bool },
    /// It does not answer, and why.
    Silent(String),
    /// It answers again.
    Answers,
    /// What a limit lets start that hosts share; nothing, if nobody says.
    Shared { name: String, call: u64, grant: Option<Grant> },
    /// Milliseconds until the next delayed job, if there is one; 0 where the queue does not say.
    Sighted(Option<u64>),
    /// Jobs come from where the app has them by now.
    Elsewhere,
    /// The settings of the connection cannot work.
    Unusable(BackendError),
    /// It does not answer, and the settings say not to wait for it.
    Abandoned(BackendError),
}

/// What [`QueueSide::next`] waits for.
#[derive(Debug)]
pub enum QueueInput {
    Answer(Answer),
    /// Somebody has rung the doorbell.
    Rang,
}

/// The answer to a call.
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
    /// Where the app has its queues by now, if not here.
    next: Option<elsewhere::Next>,
    /// What others are to be told, in order.
    pub events: VecDeque<QueueEvent>,
    answers: mpsc::Receiver<Answer>,
    answer: mpsc::Sender<Answer>,
}

impl QueueSide {
    /// Nothing is under way yet.
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

    /// Works by other settings from now on.
    pub fn configure(&mut self, settings: &Settings) {
        self.leases.configure(settings.renew);
        self.forget_shared();
        if self.outage.has_answered() {
            self.leases.arm(self.backend.lease());
        }
        // A wait under way is one for the queues of before.
        self.look_again();
    }

    pub fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// Why its jobs cannot go to another queue, where they cannot.
    ///
    /// # Errors
    /// In one line.
    pub fn can_move(&self, from: &[String], to: &str) -> Result<(), String> {
        let to_check = [to.to_owned()];
        self.check_queues(&to_check).map_err(|error| error.to_string())?;
        self.backend.unmovable(from, to).map_or(Ok(()), Err)
    }

    /// Somebody has moved jobs in the queue by hand.
    pub fn forget(&mut self) {
        self.backend.forget();
        self.look_again();
    }

    /// Whether workers pop by themselves: nothing is ever reserved here.
    pub fn is_native(&self) -> bool {
        self.backend.is_native()
    }

    /// Refuses queues that cannot be worked.
    ///
    /// # Errors
    /// See [`QueueBackend::check_queues`].
    pub fn check_queues(&self, queues: &[String]) -> Result<(), BackendError> {
        self.backend.check_queues(queues)
    }

    /// Waits for the next answer, or for the doorbell. Cancelled, it loses neither.
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

    /// When something is due that no answer brings.
    pub fn wake(&self) -> Option<Instant> {
        let outage = self.fetch.outage().filter(|_| !self.outage.is_logged());
        let wakes = [self.fetch.wake(), outage, self.leases.wake(), self.backlog.wake(), self.settling_wake()];
        wakes.into_iter().chain([self.moving_wake(), self.behind.wake()]).flatten().min()
    }

    pub fn on_time(&mut self, now: Instant) {
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

    /// For how long it has not answered, if it should have.
    pub fn silence(&self) -> Option<Duration> {
        self.outage.silence().or(self.fetch.overdue())
    }

    /// What it says instead of an answer.
    pub fn error(&self) -> Option<&str> {
        self.outage.error()
    }

    /// Calls that have not come back, and when they were made.
    pub fn calls_under_way(&self) -> impl Iterator<Item = (&'static str, Instant)> {
        let calls = [
            ("reserve jobs", self.fetch.since()),
            ("renew leases", self.leases.renewing),
            ("give jobs back", self.returns.sending),
            ("remove finished jobs", self.removals.sending),
        ];
        calls.into_iter().filter_map(|(name, since)| Some((name, since?)))
    }

    /// Makes a call beside everything else that goes on.
    fn call<F: Future<Output = Answer> + 'static>(&self, call: impl FnOnce(Rc<dyn QueueBackend>) -> F) {
        let (answer, call) = (self.answer.clone(), call(self.backend.clone()));
        tokio::task::spawn_local(async move { drop(answer.send(call.await).await) });
    }
}
