//! Logs the outcome of each job, and notable ones in the coordinator's journal too. An isolated job is logged once its
//! unit has ended and its usage is known.

use std::time::Duration;

use kqueue_core::schedule::{Finished, JobKind, Outcome, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_system::harmless;
use kqueue_system::log::{self, JobRecord};

use super::Runtime;
use super::held::epoch_ms;
use super::held::record::{Record, Usage};
use super::status::NAME;
use crate::history::Attempt;
use crate::workers::WorkerProcess;
use kqueue_control::Failure;

/// Maximum bytes of a cause in the list of failures.
const CAUSE: usize = 500;

impl Runtime {
    pub(super) fn finished(&mut self, finished: Finished) {
        let Some(record) = self.held.finish(&finished) else { return };
        self.cancel_is_settled(&record.uuid, &finished);
        if finished.outcome == Outcome::Released {
            // It may be due at once, which the queue does not announce.
            self.queue.look_again();
        }
        let scoped = self.processes.workers.iter().find(|(_, worker)| {
            worker.mode == Mode::Isolated && worker.unit.is_some() && worker.last == Some(finished.job)
        });
        match scoped.map(|(id, _)| *id) {
            Some(worker) => self.held.log_later(worker, record, finished),
            None => self.log_outcome(&record, finished),
        }
    }

    /// Logs the outcome of a job, and records it in the history.
    pub(super) fn log_outcome(&mut self, record: &Record, finished: Finished) {
        let Finished { tier, route, outcome, kind, ms, cause, .. } = finished;
        let fault = match kind {
            JobKind::Run | JobKind::Cancel => None,
            JobKind::Crash => Some(log::Fault::Crash),
            JobKind::Timeout | JobKind::Release => Some(log::Fault::Timeout),
        };
        let logged = JobRecord {
            job: &record.uuid,
            class: &record.class,
            queue: &record.reservation.queue,
            tier: tier.name(),
            attempt: record.attempt,
            took: record.took.unwrap_or(Duration::from_millis(ms)),
            outcome,
            fault,
            cause: cause.as_ref(),
            memory_peak: record.usage.as_ref().and_then(|usage| usage.memory_peak),
            cpu_usec: record.usage.as_ref().and_then(|usage| usage.cpu_usec),
        };
        let well = matches!(outcome, Outcome::Done | Outcome::Released) && logged.why().is_none();
        let failure = (!well).then(|| Failure {
            at: self.now().epoch,
            uuid: harmless::line(&record.uuid, NAME),
            class: harmless::line(&record.class, NAME),
            queue: harmless::line(&record.reservation.queue, NAME),
            tier: tier.name().to_owned(),
            outcome: outcome.as_str().to_owned(),
            attempt: record.attempt,
            cause: logged.why().map(|cause| harmless::line(&cause, CAUSE)),
        });
        let usage = record.usage();
        let ended = record.ended.unwrap_or_else(epoch_ms);
        self.recorder.attempt(Attempt {
            uuid: record.uuid.clone(),
            class: record.class.clone(),
            queue: record.reservation.queue.clone(),
            tags: record.tags.clone(),
            outcome,
            well,
            attempt: record.attempt,
            tier,
            route,
            worker: record.worker,
            queued: record.queued,
            ready: record.ready,
            started: record.started,
            ended,
            ms: logged.took.as_millis() as u64,
            memory_peak: usage.memory_peak,
            cpu_usec: usage.cpu_usec,
            timeout: self.seconds_for(record),
            cause: logged.why(),
        });
        let now = self.now().ms;
        self.service.observer.job_ended(now, failure);
        logged.emit();
        if let Some(priority) = logged.notable() {
            self.processes.note(priority, &logged.line(), logged.fields());
        }
    }

    /// Seconds that a job may run; 0 is without limit.
    pub(super) fn seconds_for(&self, record: &Record) -> u64 {
        let told = || self.settings.timeout_of(&record.class, &record.reservation.queue);
        record.timeout.map_or_else(told, u64::from)
    }

    /// Adds the usage of a unit to the job that ran in it, and logs that job if it has been waiting for this.
    pub(super) fn account(&mut self, id: WorkerId, worker: &WorkerProcess) {
        let usage = worker.unit_end.as_ref().filter(|_| worker.mode == Mode::Isolated).map(Usage::from);
        if let Some((record, finished)) = self.held.unlogged(id) {
            let seen_kb = record.seen_kb.max(worker.seen_kb);
            self.log_outcome(&Record { usage, seen_kb, ..record }, finished);
        } else if let Some(record) = worker.last.and_then(|job| self.held.get_mut(job)) {
            record.usage = usage;
            record.seen_kb = record.seen_kb.max(worker.seen_kb);
        }
    }
}
