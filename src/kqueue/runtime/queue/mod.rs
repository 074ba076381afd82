//! The runtime's dealings with the queue: reserve, wait, remove, renew, give back.
//!
//! Each kind of call is under way at most once; what comes up meanwhile goes with the next one. That keeps
//! the order of effects, and makes batches of what would otherwise be many small calls.

pub mod backlog;
pub mod bell;
mod calls;

use std::rc::Rc;
use std::time::{Duration, Instant};

use backlog::Backlog;
use bell::Bell;

use self::calls::Logged;
pub use self::calls::{is_final, without_payload};
use crate::backend::{BackendError, QueueBackend, Receipt, Reservation, Reserved, Wait};
use crate::runtime::Runtime;
use crate::runtime::input::Input;
use kqueue_core::schedule::{Event, JobId};
use kqueue_system::harmless;

/// How long one wait for work lasts: a job that becomes due meanwhile, and that no queue announces, is at
/// most so late.
const WAIT: Duration = Duration::from_secs(1);
/// Delays before a queue that does not answer is asked again: from the first to the last, doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes of a server's own text in one line of the log.
const MAX_ERROR: usize = 512;
/// Leases are renewed when this part of them is over.
const RENEWALS_PER_LEASE: u32 = 3;

/// The queue's side of the runtime.
pub struct QueueSide {
    pub backend: Rc<dyn QueueBackend>,
    pub fetch: Fetch,
    pub acks: Acks,
    pub backlog: Backlog,
    pub bell: Bell,
}

impl QueueSide {
    /// Nothing is under way yet.
    pub fn new(backend: Rc<dyn QueueBackend>, bell: Bell) -> Self {
        Self { backend, fetch: Fetch::default(), acks: Acks::default(), backlog: Backlog::default(), bell }
    }

    /// Whether nothing is left to be removed or given back, and no call may still bring a job.
    pub fn is_settled(&self) -> bool {
        self.acks.sending.is_none()
            && self.fetch.returning.is_none()
            && self.fetch.state == FetchState::Idle
            && self.unsettled() == 0
    }

    /// Jobs that are still to be removed or given back.
    pub fn unsettled(&self) -> usize {
        self.acks.pending.len() + self.fetch.back.len()
    }

    /// When a call is made again that failed to settle something.
    pub fn retry_at(&self) -> Option<Instant> {
        let acks = self.acks.retry.filter(|_| !self.acks.pending.is_empty() && self.acks.sending.is_none());
        let back = self.fetch.retry.filter(|_| !self.fetch.back.is_empty() && self.fetch.returning.is_none());
        // One that is due and has to wait for another is looked at now and then.
        Some([acks, back].into_iter().flatten().min()?.max(Instant::now() + Duration::from_millis(10)))
    }
}

/// How far we are with getting jobs.
#[derive(Debug, Default)]
pub struct Fetch {
    state: FetchState,
    /// The last call found no job: the next one waits for some.
    dry: bool,
    /// Ends the wait of the call that is under way. None once it has been ended.
    wait: Option<Wait>,
    /// The queues that it is for.
    queues: Rc<[String]>,
    /// When it was made.
    since: Option<Instant>,
    failures: u32,
    /// Since when it has not answered.
    silent: Option<Instant>,
    /// What it says instead.
    error: Option<String>,
    retry: Option<Instant>,
    logged: Logged,
    /// The queue has answered once.
    answered: bool,
    /// Since when these calls are under way.
    renewing: Option<Instant>,
    returning: Option<Instant>,
    /// Jobs that are to be given back.
    pub back: Vec<JobId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FetchState {
    #[default]
    Idle,
    /// What is there is being reserved.
    Reserving,
    /// So is what comes.
    Waiting,
}

/// Finished jobs on their way out of the queue.
#[derive(Debug, Default)]
pub struct Acks {
    pub pending: Vec<(JobId, Reservation)>,
    pub sending: Option<Instant>,
    retry: Option<Instant>,
}

impl Runtime {
    /// Makes the calls that are due.
    pub fn look_after_queue(&mut self) {
        // Whether the queue is empty is asked once more, now that nobody can put anything back.
        let last_look = self.settings.limits.stop_when_empty && self.schedule.job_count() == 0;
        let is_waiting = self.queue.fetch.state == FetchState::Waiting;
        if is_waiting && (last_look || self.queue.fetch.queues.iter().any(|queue| !self.schedule.may_run(queue))) {
            self.queue.fetch.look_again();
        }
        self.send_acks();
        self.return_jobs();
        let now = Instant::now();
        if self.queue.fetch.state != FetchState::Idle || self.queue.fetch.retry.is_some_and(|at| now < at) {
            return;
        }
        self.queue.fetch.retry = None;
        let asked = self.schedule.wanted(self.now());
        let queues: Rc<[String]> = self.schedule.open_queues(&self.app.queues).into_iter().cloned().collect();
        if asked == 0 || queues.is_empty() {
            return;
        }
        let (backend, inputs) = (self.queue.backend.clone(), self.inputs.clone());
        let max = asked.min(backend.capabilities().max_batch);
        let fetch = &mut self.queue.fetch;
        fetch.since = Some(now);
        fetch.queues = queues.clone();
        let wait = if fetch.dry { Wait::up_to(WAIT) } else { Wait::none() };
        fetch.state = if fetch.dry { FetchState::Waiting } else { FetchState::Reserving };
        fetch.wait = fetch.dry.then(|| wait.clone());
        let settled = self.schedule.settled();
        tokio::task::spawn_local(async move {
            let result = backend.next_batch(&queues, max, &wait).await;
            let _ = inputs.send(Input::Reserved { settled, result }).await;
        });
    }

    /// A call for jobs is over.
    pub fn fetched(&mut self, settled: u64, result: Result<Reserved, BackendError>) -> anyhow::Result<()> {
        let was_waiting = self.queue.fetch.state == FetchState::Waiting;
        let was_ended = was_waiting && self.queue.fetch.wait.take().is_none();
        self.queue.fetch.state = FetchState::Idle;
        if was_ended && result.as_ref().is_ok_and(Reserved::is_empty) {
            // It has not looked: the next call does.
            return Ok(());
        }
        if let Some(found) = self.answer(result)? {
            self.queue.fetch.dry = found.jobs.is_empty();
            self.reserved(found, settled);
        }
        Ok(())
    }

    /// Takes note of whether the queue answered.
    fn answer<T>(&mut self, result: Result<T, BackendError>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(answer) => {
                if self.queue.fetch.failures > 0 {
                    tracing::info!("the queue answers again");
                }
                self.queue.fetch.failures = 0;
                self.queue.fetch.logged = Logged::default();
                (self.queue.fetch.silent, self.queue.fetch.error) = (None, None);
                if !self.queue.fetch.answered {
                    self.queue.fetch.answered = true;
                    self.notify(&[sd_notify::NotifyState::Ready]);
                    self.arm_renewal();
                }
                Ok(Some(answer))
            }
            // Once the queue has answered, the settings can work: what refuses them now is an outage as any other.
            Err(error) if !self.queue.fetch.answered && is_final(&error) => {
                Err(anyhow::Error::new(error).context(format!("queue connection '{}'", self.app.connection)))
            }
            // Nobody waits for a queue to come back who wants to work off what is there.
            Err(error) if self.settings.limits.stop_when_empty => {
                anyhow::bail!("queue connection '{}': {error}", self.app.connection)
            }
            Err(error) => {
                let (first, last) = RETRY;
                let delay = first.saturating_mul(1 << self.queue.fetch.failures.min(10)).min(last);
                let (what, logged) = match error {
                    BackendError::Settings(_) | BackendError::Refused { .. } => {
                        ("the queue refuses us", &mut self.queue.fetch.logged.refused)
                    }
                    _ => ("the queue does not answer", &mut self.queue.fetch.logged.silent),
                };
                if !std::mem::replace(logged, true) {
                    let error = harmless::line(&error.to_string(), MAX_ERROR);
                    tracing::error!("{what}: {error}; trying again, running jobs go on");
                }
                self.queue.fetch.failures = self.queue.fetch.failures.saturating_add(1);
                self.queue.fetch.silent = self.queue.fetch.silent.or(self.queue.fetch.since);
                self.queue.fetch.error = Some(error.to_string());
                self.queue.fetch.retry = Some(Instant::now() + delay);
                Ok(None)
            }
        }
    }

    fn reserved(&mut self, found: Reserved, settled: u64) {
        for aside in found.set_aside {
            tracing::error!(
                "a message of {} bytes on queue {} is no job ({}); it is now on {}",
                aside.bytes,
                aside.queue,
                aside.why,
                aside.now
            );
        }
        if found.jobs.is_empty() {
            self.tell(Event::Empty { settled });
            return;
        }
        let (held, schedule, properties) = (&mut self.held, &self.schedule, self.settings.property_hints);
        let admit = |reservation| held.admit(reservation, properties, |class| schedule.is_missing(class));
        let specs = found.jobs.into_iter().map(admit).collect();
        self.tell(Event::Reserved(specs));
    }

    /// Laravel has finished with a job: it goes with the next batch.
    pub fn acknowledge(&mut self, job: JobId) {
        if let Some(reservation) = self.held.acknowledge(job) {
            self.queue.acks.pending.push((job, reservation));
        }
    }

    fn send_acks(&mut self) {
        if self.queue.acks.sending.is_some()
            || self.queue.acks.pending.is_empty()
            || self.queue.acks.retry.is_some_and(|at| Instant::now() < at)
        {
            return;
        }
        self.queue.acks.sending = Some(Instant::now());
        let jobs = std::mem::take(&mut self.queue.acks.pending);
        let (backend, inputs) = (self.queue.backend.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let (ids, reservations): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            let result = backend.delete(&reservations).await;
            let jobs = ids.into_iter().zip(reservations).collect();
            let _ = inputs.send(Input::Removed { jobs, result }).await;
        });
    }

    pub fn removed(&mut self, jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError>) {
        self.queue.acks.sending = None;
        match result {
            Ok(ours) => {
                self.queue.acks.retry = None;
                self.held.removed(jobs.into_iter().map(|(id, _)| id).collect());
                let lost = ours.iter().filter(|ours| !**ours).count();
                if lost > 0 {
                    tracing::warn!(
                        "{lost} finished jobs were no longer reserved by us: their leases had run out, or they were cleared"
                    );
                }
            }
            Err(_) => {
                // They are finished, and must not run again: they stay at the head of the next batch.
                let newer = std::mem::replace(&mut self.queue.acks.pending, jobs);
                self.queue.acks.pending.extend(newer);
                self.queue.acks.retry = Some(Instant::now() + RETRY.0);
            }
        }
    }

    /// At the end: makes the calls alone that settle what is ours.
    pub fn settle_queue(&mut self) {
        self.send_acks();
        self.return_jobs();
    }

    /// Writes what the ledger was told.
    pub fn write_ledger(&mut self) {
        let settling = self.queue.acks.sending.is_some() || !self.queue.acks.pending.is_empty();
        self.held.write(settling);
    }

    pub fn arm_renewal(&mut self) {
        self.timers.renew = match self.queue.backend.lease() {
            Some(lease) if self.settings.renew => {
                Some(Instant::now() + (lease / RENEWALS_PER_LEASE).max(Duration::from_millis(300)))
            }
            _ => None,
        };
    }

    /// Starts the leases of all our jobs anew.
    pub fn renew(&mut self) {
        if self.queue.fetch.renewing.is_none() {
            let jobs = self.held.leased();
            if !jobs.is_empty() {
                self.queue.fetch.renewing = Some(Instant::now());
                let (backend, inputs) = (self.queue.backend.clone(), self.inputs.clone());
                tokio::task::spawn_local(async move {
                    let (ids, mut reservations): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
                    let result = backend.renew(&mut reservations).await;
                    let jobs = ids.into_iter().zip(reservations).collect();
                    let _ = inputs.send(Input::Renewed { jobs, result }).await;
                });
            }
        }
        self.arm_renewal();
    }

    pub fn renewed(&mut self, jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError>) {
        self.queue.fetch.renewing = None;
        let Ok(ours) = result else { return };
        for ((id, renewed), ours) in jobs.into_iter().zip(ours) {
            if self.held.renewed(id, renewed.receipt, ours) {
                self.tell(Event::LeaseLost(id));
            }
        }
    }

    /// Gives jobs back that PHP has not seen.
    pub fn give_back(&mut self, jobs: Vec<JobId>) {
        self.held.returning(&jobs);
        self.queue.fetch.back.extend(jobs);
    }

    fn return_jobs(&mut self) {
        // A renewal under way changes what a reservation is known by, and what a call under way brings may
        // belong behind these: they go back together, in their order.
        let busy = self.queue.fetch.returning.is_some()
            || self.queue.fetch.renewing.is_some()
            || (self.queue.fetch.brings_jobs() && self.queue.backend.capabilities().ordered);
        if self.queue.fetch.back.is_empty() || busy {
            return;
        }
        if self.queue.fetch.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.queue.fetch.returning = Some(Instant::now());
        let mut jobs = std::mem::take(&mut self.queue.fetch.back);
        // As they were reserved, so they go back.
        jobs.sort_unstable();
        let reservations = self.held.reservations(&jobs);
        let (backend, inputs) = (self.queue.backend.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let result = backend.unreserve(&reservations).await;
            let _ = inputs.send(Input::Returned { jobs, result }).await;
        });
    }

    pub fn returned(&mut self, jobs: Vec<JobId>, result: Result<Vec<bool>, BackendError>) {
        self.queue.fetch.returning = None;
        match result {
            Ok(_) => {
                if self.queue.backend.capabilities().unreserve {
                    tracing::debug!("{} jobs are back at the head of their queues", jobs.len());
                } else {
                    tracing::info!("{} jobs are back in their queues, each with an attempt counted", jobs.len());
                }
                self.held.returned(jobs);
            }
            Err(_) => {
                self.queue.fetch.back.extend(jobs);
                self.queue.fetch.retry = Some(Instant::now() + RETRY.0);
            }
        }
    }

    /// Finds out whether a job whose process died is still ours. Asked until the queue answers.
    pub fn verify(&mut self, job: JobId) {
        let Some(record) = self.held.get_mut(job) else { return };
        record.took = record.took.or(record.delivered.map(|at| at.elapsed()));
        let mut reservation = [without_payload(&record.reservation)];
        let (backend, inputs) = (self.queue.backend.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let mut delay = RETRY.0;
            loop {
                let result = backend.renew(&mut reservation).await;
                match result {
                    // A refusal says nothing about the job either.
                    Err(_) => tokio::time::sleep(delay).await,
                    Ok(ours) => {
                        let ours = ours.first().copied().unwrap_or(false);
                        let [Reservation { receipt, .. }] = reservation;
                        let _ = inputs.send(Input::Verified { job, receipt, ours }).await;
                        return;
                    }
                }
                delay = (delay * 2).min(RETRY.1);
            }
        });
    }

    pub fn verified(&mut self, job: JobId, receipt: Receipt, ours: bool) {
        if ours {
            self.held.verified(job, receipt);
        }
        self.tell(Event::Verified { job, ours });
    }
}
