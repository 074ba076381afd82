//! The runtime's dealings with the queue: reserve, wait, remove, renew, give back.
//!
//! Each kind of call is under way at most once; what comes up meanwhile goes with the next one. That keeps
//! the order of effects, and makes batches of what would otherwise be many small calls.

mod calls;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::calls::Logged;
pub(super) use self::calls::{is_final, without_payload};
use super::backlog::Count;
use super::{Record, Runtime};
use crate::backend::{BackendError, Receipt, Reservation, Reserved, Wait};
use crate::launch::{LaunchError, UnitError};
use kqueue_core::schedule::{Cause, Event, JobId, JobKind, WorkerId};
use kqueue_core::wire::Parts;
use kqueue_core::wire::coordinator::Purpose;
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

/// What comes back from calls that were under way beside the runtime.
#[derive(Debug)]
pub(super) enum QueueInput {
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
    Scoped { worker: WorkerId, job: JobId, kind: JobKind, frame: Parts, result: Result<(), UnitError> },
    /// How many jobs the queues have.
    Counted(BTreeMap<String, Count>),
    /// Why we are to stop.
    Purpose(Purpose),
    /// A process was started, or could not be.
    Started { worker: WorkerId, result: Result<i32, LaunchError> },
}

/// How far we are with getting jobs.
#[derive(Debug, Default)]
pub(super) struct Fetch {
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
pub(super) struct Acks {
    pub pending: Vec<(JobId, Reservation)>,
    pub sending: Option<Instant>,
    retry: Option<Instant>,
}

impl Runtime {
    /// Makes the calls that are due.
    pub(super) fn look_after_queue(&mut self) {
        // Whether the queue is empty is asked once more, now that nobody can put anything back.
        let last_look = self.settings.stop_when_empty && self.schedule.job_count() == 0;
        let is_waiting = self.fetch.state == FetchState::Waiting;
        if is_waiting && (last_look || self.fetch.queues.iter().any(|queue| !self.schedule.may_run(queue))) {
            self.fetch.look_again();
        }
        self.send_acks();
        self.return_jobs();
        let now = Instant::now();
        if self.fetch.state != FetchState::Idle || self.fetch.retry.is_some_and(|at| now < at) {
            return;
        }
        self.fetch.retry = None;
        let asked = self.schedule.wanted(self.now());
        let queues: Rc<[String]> = self.schedule.open_queues(&self.app.queues).into_iter().cloned().collect();
        if asked == 0 || queues.is_empty() {
            return;
        }
        let (backend, inputs) = (self.backend.clone(), self.inputs.clone());
        let max = asked.min(backend.capabilities().max_batch);
        self.fetch.since = Some(now);
        self.fetch.queues = queues.clone();
        let wait = if self.fetch.dry { Wait::up_to(WAIT) } else { Wait::none() };
        self.fetch.state = if self.fetch.dry { FetchState::Waiting } else { FetchState::Reserving };
        self.fetch.wait = self.fetch.dry.then(|| wait.clone());
        let settled = self.schedule.settled();
        tokio::task::spawn_local(async move {
            let result = backend.next_batch(&queues, max, &wait).await;
            let _ = inputs.send(QueueInput::Reserved { settled, result }).await;
        });
    }

    pub(super) fn on_queue(&mut self, input: QueueInput) -> anyhow::Result<()> {
        match input {
            QueueInput::Reserved { settled, result } => self.fetched(settled, result)?,
            QueueInput::Removed { jobs, result } => self.removed(jobs, result),
            QueueInput::Renewed { jobs, result } => self.renewed(jobs, result),
            QueueInput::Returned { jobs, result } => self.returned(jobs, result),
            QueueInput::Verified { job, receipt, ours } => self.verified(job, receipt, ours),
            QueueInput::Started { worker, result } => self.process_started(worker, result),
            QueueInput::Scoped { worker, job, kind, frame, result } => self.scoped(worker, job, kind, frame, result),
            QueueInput::Counted(counts) => self.backlog.counted(counts),
            QueueInput::Purpose(purpose) => self.on_purpose(purpose),
        }
        Ok(())
    }

    /// A call for jobs is over.
    fn fetched(&mut self, settled: u64, result: Result<Reserved, BackendError>) -> anyhow::Result<()> {
        let was_waiting = self.fetch.state == FetchState::Waiting;
        let was_ended = was_waiting && self.fetch.wait.take().is_none();
        self.fetch.state = FetchState::Idle;
        if was_ended && result.as_ref().is_ok_and(Reserved::is_empty) {
            // It has not looked: the next call does.
            return Ok(());
        }
        if let Some(found) = self.answer(result)? {
            self.fetch.dry = found.jobs.is_empty();
            self.reserved(found, settled);
        }
        Ok(())
    }

    /// Takes note of whether the queue answered.
    fn answer<T>(&mut self, result: Result<T, BackendError>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(answer) => {
                if self.fetch.failures > 0 {
                    tracing::info!("the queue answers again");
                }
                self.fetch.failures = 0;
                self.fetch.logged = Logged::default();
                (self.fetch.silent, self.fetch.error) = (None, None);
                if !self.fetch.answered {
                    self.fetch.answered = true;
                    self.notify(&[sd_notify::NotifyState::Ready]);
                    self.arm_renewal();
                }
                Ok(Some(answer))
            }
            // Once the queue has answered, the settings can work: what refuses them now is an outage as any other.
            Err(error) if !self.fetch.answered && is_final(&error) => {
                Err(anyhow::Error::new(error).context(format!("queue connection '{}'", self.app.connection)))
            }
            // Nobody waits for a queue to come back who wants to work off what is there.
            Err(error) if self.settings.stop_when_empty => {
                anyhow::bail!("queue connection '{}': {error}", self.app.connection)
            }
            Err(error) => {
                let (first, last) = RETRY;
                let delay = first.saturating_mul(1 << self.fetch.failures.min(10)).min(last);
                let (what, logged) = match error {
                    BackendError::Settings(_) | BackendError::Refused { .. } => {
                        ("the queue refuses us", &mut self.fetch.logged.refused)
                    }
                    _ => ("the queue does not answer", &mut self.fetch.logged.silent),
                };
                if !std::mem::replace(logged, true) {
                    let error = harmless::line(&error.to_string(), MAX_ERROR);
                    tracing::error!("{what}: {error}; trying again, running jobs go on");
                }
                self.fetch.failures = self.fetch.failures.saturating_add(1);
                self.fetch.silent = self.fetch.silent.or(self.fetch.since);
                self.fetch.error = Some(error.to_string());
                self.fetch.retry = Some(Instant::now() + delay);
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
        let mut specs = Vec::with_capacity(found.jobs.len());
        for reservation in found.jobs {
            let id = self.next_job;
            self.next_job += 1;
            let (mut record, parts) = Record::new(reservation, self.settings.property_hints);
            if self.schedule.is_missing(&record.class) {
                record.class_is_missing();
            }
            specs.push(record.spec(id, parts));
            if let Some(ledger) = &mut self.ledger {
                ledger.job(id, &record.reservation);
            }
            self.records.insert(id, record);
        }
        self.tell(Event::Reserved(specs));
    }

    /// Laravel has finished with a job: it goes with the next batch.
    pub(super) fn acknowledge(&mut self, job: JobId) {
        if let Some(record) = self.records.get_mut(&job).filter(|record| !record.acked) {
            record.acked = true;
            self.acks.pending.push((job, without_payload(&record.reservation)));
            if let Some(ledger) = &mut self.ledger {
                ledger.ack(job);
            }
        }
    }

    fn send_acks(&mut self) {
        if self.acks.sending.is_some()
            || self.acks.pending.is_empty()
            || self.acks.retry.is_some_and(|at| Instant::now() < at)
        {
            return;
        }
        self.acks.sending = Some(Instant::now());
        let jobs = std::mem::take(&mut self.acks.pending);
        let (backend, inputs) = (self.backend.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let reservations: Vec<_> = jobs.iter().map(|(_, job)| job.clone()).collect();
            let result = backend.delete(&reservations).await;
            let _ = inputs.send(QueueInput::Removed { jobs, result }).await;
        });
    }

    fn removed(&mut self, jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError>) {
        self.acks.sending = None;
        match result {
            Ok(ours) => {
                self.acks.retry = None;
                self.note_ended(jobs.into_iter().map(|(id, _)| id).collect());
                let lost = ours.iter().filter(|ours| !**ours).count();
                if lost > 0 {
                    tracing::warn!(
                        "{lost} finished jobs were no longer reserved by us: their leases had run out, or they were cleared"
                    );
                }
            }
            Err(_) => {
                // They are finished, and must not run again: they stay at the head of the next batch.
                let newer = std::mem::replace(&mut self.acks.pending, jobs);
                self.acks.pending.extend(newer);
                self.acks.retry = Some(Instant::now() + RETRY.0);
            }
        }
    }

    /// Removes what is finished before we end, and gives back what a call still under way brings, or gives up after
    /// a while.
    pub(super) async fn flush_acks(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        self.fetch.look_again();
        while (self.acks.sending.is_some()
            || !self.acks.pending.is_empty()
            || self.fetch.state != FetchState::Idle
            || self.fetch.returning.is_some()
            || !self.fetch.back.is_empty())
            && Instant::now() < deadline
        {
            self.send_acks();
            self.return_jobs();
            self.write_ledger();
            tokio::select! {
                Some(input) = self.heard.recv() => { let _ = self.on_queue(input); }
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
        let left = self.acks.pending.len() + self.fetch.back.len();
        if left > 0 {
            tracing::error!(
                "the queue does not answer: {left} jobs could not be settled and will run again after retry_after"
            );
        }
    }

    pub(super) fn arm_renewal(&mut self) {
        self.timers.renew = match self.backend.lease() {
            Some(lease) if self.settings.renew => {
                Some(Instant::now() + (lease / RENEWALS_PER_LEASE).max(Duration::from_millis(300)))
            }
            _ => None,
        };
    }

    /// Starts the leases of all our jobs anew.
    pub(super) fn renew(&mut self) {
        if self.fetch.renewing.is_none() {
            let held = self.records.iter().filter(|(_, record)| !record.acked && !record.lost && !record.returning);
            let mut jobs: Vec<_> = held.map(|(id, record)| (*id, without_payload(&record.reservation))).collect();
            if !jobs.is_empty() {
                self.fetch.renewing = Some(Instant::now());
                let (backend, inputs) = (self.backend.clone(), self.inputs.clone());
                tokio::task::spawn_local(async move {
                    let mut reservations: Vec<_> = jobs.iter().map(|(_, job)| job.clone()).collect();
                    let result = backend.renew(&mut reservations).await;
                    for ((_, job), renewed) in jobs.iter_mut().zip(reservations) {
                        *job = renewed;
                    }
                    let _ = inputs.send(QueueInput::Renewed { jobs, result }).await;
                });
            }
        }
        self.arm_renewal();
    }

    fn renewed(&mut self, jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError>) {
        self.fetch.renewing = None;
        let Ok(ours) = result else { return };
        for ((id, renewed), ours) in jobs.into_iter().zip(ours) {
            let Some(record) = self.records.get_mut(&id) else { continue };
            if ours {
                record.reservation.receipt = renewed.receipt;
                continue;
            }
            // A running job may just have released itself, and is about to say so.
            record.lost = !record.acked;
            if record.lost {
                tracing::debug!("the reservation of {} ({}) is gone", record.class, record.uuid);
                self.tell(Event::LeaseLost(id));
            }
        }
    }

    /// Gives jobs back that PHP has not seen.
    pub(super) fn give_back(&mut self, jobs: Vec<JobId>) {
        for id in &jobs {
            if let Some(record) = self.records.get_mut(id) {
                record.returning = true;
            }
        }
        self.fetch.back.extend(jobs);
    }

    fn return_jobs(&mut self) {
        // A renewal under way changes what a reservation is known by, and what a call under way brings may
        // belong behind these: they go back together, in their order.
        let busy = self.fetch.returning.is_some()
            || self.fetch.renewing.is_some()
            || (self.fetch.brings_jobs() && self.backend.capabilities().ordered);
        if self.fetch.back.is_empty() || busy {
            return;
        }
        if self.fetch.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.fetch.returning = Some(Instant::now());
        let mut jobs = std::mem::take(&mut self.fetch.back);
        // As they were reserved, so they go back.
        jobs.sort_unstable();
        let reservations: Vec<_> =
            jobs.iter().filter_map(|id| self.records.get(id)).map(|record| record.reservation.clone()).collect();
        let (backend, inputs) = (self.backend.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let result = backend.unreserve(&reservations).await;
            let _ = inputs.send(QueueInput::Returned { jobs, result }).await;
        });
    }

    fn returned(&mut self, jobs: Vec<JobId>, result: Result<Vec<bool>, BackendError>) {
        self.fetch.returning = None;
        match result {
            Ok(_) => {
                if self.backend.capabilities().unreserve {
                    tracing::debug!("{} jobs are back at the head of their queues", jobs.len());
                } else {
                    tracing::info!("{} jobs are back in their queues, each with an attempt counted", jobs.len());
                }
                for id in &jobs {
                    self.records.remove(id);
                }
                self.note_ended(jobs);
            }
            Err(_) => {
                self.fetch.back.extend(jobs);
                self.fetch.retry = Some(Instant::now() + RETRY.0);
            }
        }
    }

    /// Finds out whether a job whose process died is still ours. Asked until the queue answers.
    pub(super) fn verify(&mut self, job: JobId) {
        let Some(record) = self.records.get_mut(&job) else { return };
        record.took = record.took.or(record.delivered.map(|at| at.elapsed()));
        let mut reservation = [without_payload(&record.reservation)];
        let (backend, inputs) = (self.backend.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let mut delay = RETRY.0;
            loop {
                let result = backend.renew(&mut reservation).await;
                let [Reservation { receipt, .. }] = &reservation;
                let receipt = receipt.clone();
                match result {
                    // A refusal says nothing about the job either.
                    Err(_) => tokio::time::sleep(delay).await,
                    Ok(ours) => {
                        let ours = ours.first().copied().unwrap_or(false);
                        let _ = inputs.send(QueueInput::Verified { job, receipt, ours }).await;
                        return;
                    }
                }
                delay = (delay * 2).min(RETRY.1);
            }
        });
    }

    fn verified(&mut self, job: JobId, receipt: Receipt, ours: bool) {
        if let Some(record) = self.records.get_mut(&job).filter(|_| ours) {
            record.reservation.receipt = receipt;
            record.lost = false;
        }
        self.tell(Event::Verified { job, ours });
    }

    fn process_started(&mut self, worker: WorkerId, result: Result<i32, LaunchError>) {
        match (worker, result) {
            (0, Ok(pid)) => {
                if let Some(other) = self.templates.started(pid) {
                    self.launcher.kill(other);
                }
            }
            (0, Err(error)) => self.template_not_started(error.to_string()),
            (_, Ok(pid)) => match self.workers.get_mut(&worker) {
                Some(known) => {
                    known.pid.get_or_insert(pid);
                }
                // Given up, and ended as a unit.
                None if self.units.is_some() => {}
                // Given up before it was there.
                None => self.launcher.kill(pid),
            },
            (_, Err(error)) => {
                // Why a unit did not get ready it has said itself, if it could.
                let Some(known) = self.workers.remove(&worker) else { return };
                let why = known.boot_failure.unwrap_or_else(|| error.to_string());
                tracing::error!("{why}");
                self.tell(Event::Gone { worker, cause: Cause::BootFailed(why), unread: false });
                self.start_waiting_units();
            }
        }
    }
}
