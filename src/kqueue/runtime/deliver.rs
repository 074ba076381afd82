//! Delivers jobs to processes: one at a time, or ahead.

use bytes::Bytes;

use super::Runtime;
use super::processes::{Delivery, Scope};
use crate::backend::Encoded;
use kqueue_config::Crash;
use kqueue_core::schedule::{Cause, Event, JobId, JobKind, WorkerId};
use kqueue_core::wire::{self, Mode, Parts, ToWorker};

/// Replaces a payload that the process already has.
static NOTHING: Bytes = Bytes::new();

impl Runtime {
    pub(super) fn deliver(&mut self, worker: WorkerId, job: JobId, kind: JobKind, cause: Option<Cause>, receipt: bool) {
        let Some(frame) = self.job_frame(worker, job, kind, cause, None, receipt) else { return };
        // Its output so far belongs to no job, or an earlier one.
        self.log_printed(self.processes.output_of(worker));
        let isolated = self.processes.workers.get(&worker).is_some_and(|worker| worker.mode == Mode::Isolated);
        let alone = isolated || self.schedule.is_parting(worker);
        let limits = (alone && self.processes.outlive()).then(|| self.limits(job));
        let Some(record) = self.held.get_mut(job) else { return };
        if kind == JobKind::Run {
            record.begins(worker);
        }
        let scope = limits.map(|limits| Scope { uuid: record.uuid.clone(), limits });
        let memory_mb = self.schedule.max_memory_mb(job);
        self.processes.deliver(worker, Delivery { job, kind, frame, memory_mb, scope });
    }

    pub(super) fn send_ahead(&mut self, worker: WorkerId, job: JobId) {
        let frame = self.job_frame(worker, job, JobKind::Run, None, Some(job), false);
        if !frame.is_some_and(|frame| self.processes.send_ahead(worker, job, frame)) {
            self.tell(Event::Recalled { worker, jobs: vec![job] });
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
        let alone = self.schedule.is_parting(worker);
        let (record, worker) = (self.held.get(job)?, self.processes.workers.get(&worker)?);
        let isolated = worker.mode == Mode::Isolated;
        let memory = if isolated || alone { Some(self.php_memory_limit(job)) } else { declared };
        // A process that outlives the runtime removes its job itself, as it must know whether the job is still in the
        // queue.
        let outlives = self.processes.outlive() && worker.mode != Mode::Lane;
        let limit = self.schedule.time_limit(job).filter(|_| outlives && !isolated);
        let watchdog = limit.map(|limit| (limit + 2 * self.settings.timeout_grace).as_secs() + 1);
        let own = record.timeout.is_none().then(|| self.seconds_for(record));
        let default = self.settings.timeout.map_or(0, |timeout| timeout.as_secs());
        let timeout = own.filter(|own| *own != default).and_then(|own| u32::try_from(own).ok());
        let cause = cause.map(|cause| match cause {
            Cause::Cancelled(_) => cause.to_string(),
            cause => format!("{} died with its process: {cause}", record.class),
        });
        let reservation = &record.reservation;
        let Encoded { driver, header, body } = reservation.receipt.encode();
        let (delete, unrun) = self.schedule.how_cancelled(job);
        let (last_resort, failing) = self.schedule.last_resort(job);
        let message = ToWorker::Job(wire::Job {
            id: job,
            kind,
            queue: &reservation.queue,
            // A worker that popped the job has its payload.
            payload: if self.queue.is_native() { &NOTHING } else { &reservation.payload },
            driver,
            header,
            body,
            ack: self.app.ack && !outlives,
            // Limits apply to runs only: the other kinds settle a job without running it.
            memory: memory.filter(|_| kind == JobKind::Run),
            timeout: timeout.filter(|_| kind == JobKind::Run),
            cause: cause.as_deref(),
            tries: self.settings.tries,
            backoff: &self.settings.backoff,
            release: self.settings.crash == Crash::Replay,
            last_resort,
            failing,
            delete,
            unrun,
            ticket,
            receipt,
            own: self.app.ack && outlives,
            watchdog: watchdog.filter(|_| kind == JobKind::Run),
        });
        Some(message.encode())
    }
}
