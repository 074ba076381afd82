//! What the schedule says is done here.

use std::time::Instant;

use crate::backend::Encoded;
use crate::launch::UnitError;
use crate::runtime::Runtime;
use crate::runtime::held::epoch_ms;
use crate::runtime::held::ledger::Given;
use crate::runtime::input::Errand;
use crate::runtime::service::horizon::DUTIES;
use crate::workers::{Tickets, Worker};
use kqueue_config::Crash;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::{Action, Cause, Event, JobId, JobKind, StopReason, WorkerId};
use kqueue_core::wire::{self, Mode, Parts, ToWorker};

impl Runtime {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Launch { worker, tier, .. } => self.launch(worker, tier),
            Action::Deliver { worker, job, kind, cause, receipt } => self.deliver(worker, job, kind, cause, receipt),
            Action::Ahead { worker, job } => self.send_ahead(worker, job),
            Action::Recall(worker) => self.recall(worker),
            Action::Stop { worker, reason } => self.let_go(worker, reason),
            Action::Kill { worker, cause } => self.kill(worker, &cause),
            Action::Unreserve(jobs) => self.give_back(jobs),
            Action::Verify(job) => self.verify(job),
            Action::Inspect(classes) => self.inspect(&classes),
            Action::Check(worker) => {
                let frame = ToWorker::Check { queues: &self.app.queues }.encode();
                if let Some(worker) = self.processes.workers.get(&worker) {
                    worker.send(frame);
                }
            }
            Action::Finished(finished) => self.finished(finished),
            Action::Quarantined(class) => {
                tracing::warn!("{class} has killed two processes: from now on each of its jobs runs isolated");
            }
            Action::Exit => {}
        }
    }

    fn launch(&mut self, worker: WorkerId, tier: Tier) {
        let mode = Mode::of(tier);
        let forked = self.processes.recipe.forking.is_on() && mode != Mode::Pooled;
        let mut process = Worker::new(mode, forked);
        if mode == Mode::Lane {
            process.tickets = Tickets::create(&self.settings.runtime_dir, worker)
                .inspect_err(|error| tracing::warn!("lane {worker} has no pipe for tickets: {error}"))
                .ok();
        }
        if forked {
            process.own = self
                .processes
                .printing
                .outputs
                .of_fork(&self.settings.runtime_dir, worker)
                .inspect_err(|error| tracing::warn!("{mode} worker {worker} prints with its template: {error}"))
                .ok();
        }
        self.processes.workers.insert(worker, process);
        if forked {
            self.processes.fork(worker, mode);
        } else if mode == Mode::Pooled && self.processes.outlive() {
            self.processes.start_unit(worker);
        } else {
            self.processes.start_process(worker, mode);
        }
    }

    fn deliver(&mut self, worker_id: WorkerId, job: JobId, kind: JobKind, cause: Option<Cause>, receipt: bool) {
        let Some(frame) = self.job_frame(worker_id, job, kind, cause, None, receipt) else { return };
        // What it has printed until now is none of this job's.
        self.pass_on_output_of(worker_id);
        let (Some(record), Some(worker)) = (self.held.get_mut(job), self.processes.workers.get_mut(&worker_id)) else {
            return;
        };
        if kind == JobKind::Run {
            record.delivered = Some(Instant::now());
            record.took = None;
        }
        worker.take(job);
        if worker.mode == Mode::Isolated && self.processes.outlive() {
            let uuid = record.uuid.clone();
            let limits = self.limits(job);
            self.processes.scope(worker_id, &uuid, limits, Errand { job, kind, frame });
            return;
        }
        self.weigh(worker_id, job);
        let Some(worker) = self.processes.workers.get_mut(&worker_id) else { return };
        if !worker.send(frame) {
            // Its connection has just closed: to be told so, the schedule needs to hear that nothing was read.
            worker.closed.get_or_insert((Instant::now(), true)).1 = true;
        }
        self.note_given(worker_id, job, kind);
        self.timers.memory.get_or_insert_with(|| Instant::now() + crate::runtime::processes::memory::PERIOD);
    }

    /// An isolated process is in its scope and gets its job, or is not.
    pub(super) fn scoped(&mut self, id: WorkerId, Errand { job, kind, frame }: Errand, result: Result<(), UnitError>) {
        let Some(worker) = self.processes.workers.get_mut(&id) else { return };
        if let Err(error) = result {
            let class = self.held.get(job).map_or("a job", |record| &record.class);
            tracing::warn!("{class} waits: no scope for it: {error}");
            self.processes.not_scoped(id);
            return;
        }
        if !worker.send(frame) {
            worker.closed.get_or_insert((Instant::now(), true)).1 = true;
        }
        self.note_given(id, job, kind);
    }

    /// All is known of the end of a process.
    pub(super) fn ended(&mut self, id: WorkerId) {
        self.processes.printing.outputs.begin();
        self.pass_on_output_of(id);
        let Some(worker) = self.processes.workers.remove(&id) else { return };
        self.account(id, &worker);
        let cause = worker.cause();
        if let Cause::BootFailed(_) = cause {
            tracing::error!("{} worker {id}: {cause}", worker.mode);
        }
        if id == DUTIES {
            // The schedule knows of no process that runs no jobs.
            return self.duties_gone(&cause);
        }
        if let Some(job) = worker.job.filter(|_| worker.unread()) {
            self.held.waits_again(job);
        }
        self.events.push_back(Event::Gone { worker: id, cause, unread: worker.unread() });
    }

    /// Notes where a job is about to run.
    pub(super) fn note_given(&mut self, id: WorkerId, job: JobId, kind: JobKind) {
        if let Some(worker) = self.processes.workers.get(&id) {
            let (mode, unit, pid) = (worker.mode, worker.unit.clone(), worker.pid.unwrap_or(0));
            self.held.given(job, Given { worker: id, mode, unit, pid, at: epoch_ms(), kind });
        }
    }

    /// The frame goes first: a lane that holds the ticket finds it, or waits for it.
    fn send_ahead(&mut self, worker_id: WorkerId, job: JobId) {
        let frame = self.job_frame(worker_id, job, JobKind::Run, None, Some(job), false);
        let offered = match (self.processes.workers.get_mut(&worker_id), frame) {
            (Some(worker), Some(frame)) => {
                let sent = worker.tickets.is_some() && worker.send(frame);
                sent && worker.tickets.as_mut().is_some_and(|tickets| tickets.offer(job))
            }
            _ => false,
        };
        if !offered {
            self.tell(Event::Recalled { worker: worker_id, jobs: vec![job] });
        }
    }

    fn recall(&mut self, worker_id: WorkerId) {
        let tickets = self.processes.workers.get_mut(&worker_id).and_then(|worker| worker.tickets.as_mut());
        let jobs = tickets.map(Tickets::take_back).unwrap_or_default();
        if !jobs.is_empty() {
            self.tell(Event::Recalled { worker: worker_id, jobs });
        }
    }

    fn job_frame(
        &self,
        worker: WorkerId,
        job: JobId,
        kind: JobKind,
        cause: Option<Cause>,
        ticket: Option<u64>,
        receipt: bool,
    ) -> Option<Parts> {
        let declared = self.schedule.max_memory_mb(job);
        let (record, worker) = (self.held.get(job)?, self.processes.workers.get(&worker)?);
        let isolated = worker.mode == Mode::Isolated;
        let memory = if isolated { Some(self.php_memory_limit(job)) } else { declared };
        // A process that outlives us leaves to nobody what it must know of: whether its job is still there.
        let outlives = self.processes.outlive() && worker.mode != Mode::Lane;
        let limit = self.schedule.time_limit(job).filter(|_| outlives && !isolated);
        let watchdog = limit.map(|limit| (limit + 2 * self.settings.timeout_grace).as_secs() + 1);
        let cause = cause.map(|cause| format!("{} died with its process: {cause}", record.class));
        let reservation = &record.reservation;
        let Encoded { driver, header, body } = reservation.receipt.encode();
        let (last_resort, failing) = self.schedule.last_resort(job);
        let message = ToWorker::Job(wire::Job {
            id: job,
            kind,
            queue: &reservation.queue,
            payload: &reservation.payload,
            driver,
            header,
            body,
            ack: self.app.ack && !outlives,
            // A replay needs no less than any other job, and no more.
            memory: memory.filter(|_| kind == JobKind::Run),
            cause: cause.as_deref(),
            tries: self.settings.tries,
            backoff: &self.settings.backoff,
            release: self.settings.crash == Crash::Replay,
            last_resort,
            failing,
            ticket,
            receipt,
            own: self.app.ack && outlives,
            watchdog: watchdog.filter(|_| kind == JobKind::Run),
        });
        Some(message.encode())
    }

    fn let_go(&mut self, worker: WorkerId, reason: StopReason) {
        if let Some(worker) = self.processes.workers.get(&worker) {
            worker.send(ToWorker::Stop { reason: reason.as_str() }.encode());
        }
    }

    fn kill(&mut self, id: WorkerId, cause: &Cause) {
        let Some(worker) = self.processes.workers.get(&id) else { return };
        if !matches!(cause, Cause::Shutdown) {
            let job = worker.job.and_then(|job| self.held.get(job));
            let running = job.map(|record| format!(" running {} ({})", record.class, record.uuid)).unwrap_or_default();
            tracing::warn!("killing {} worker {id}{running}: it {cause}", worker.mode);
        }
        match worker.pid {
            None if worker.unit.is_some() => self.processes.end_process(worker.unit.as_ref(), None),
            Some(pid) => self.processes.end_process(worker.unit.as_ref(), Some(pid)),
            None => {
                // Not even started: it is gone when it has been asked for in vain.
                let forked = self.processes.workers.remove(&id).is_some_and(|worker| worker.forked);
                if forked && matches!(cause, Cause::Boot(_)) {
                    self.processes.fork_unanswered(id);
                }
                self.tell(Event::Gone { worker: id, cause: cause.clone(), unread: false });
            }
        }
    }

    fn inspect(&mut self, classes: &[String]) {
        let frame = ToWorker::Inspect { classes, properties: self.settings.property_hints }.encode();
        if self.processes.templates.send(frame.clone()) {
            return;
        }
        // Without a template, a worker that has nothing else to do can answer. Failing that, time will.
        if let Some(worker) = self.schedule.an_idle_worker().and_then(|id| self.processes.workers.get(&id)) {
            worker.send(frame);
        }
    }
}
