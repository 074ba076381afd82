//! What became of a job is logged: here, and what is notable in the coordinator's journal too. Of an isolated job only once
//! its unit is gone, and with it all that the unit has to say.

use std::time::Duration;

use kqueue_core::schedule::{Finished, JobKind, Outcome, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_system::log::{self, JobRecord};

use super::Runtime;
use super::held::record::{Record, Usage};
use crate::workers::Worker;

impl Runtime {
    pub(super) fn finished(&mut self, finished: Finished) {
        let Some(record) = self.held.finish(&finished) else { return };
        if finished.outcome == Outcome::Released {
            // It may be due at once, which the queue tells nobody.
            self.queue.fetch.look_again();
        }
        let scoped = self.processes.workers.iter().find(|(_, worker)| {
            worker.mode == Mode::Isolated && worker.unit.is_some() && worker.last == Some(finished.job)
        });
        match scoped.map(|(id, _)| *id) {
            Some(worker) => self.held.log_later(worker, record, finished),
            None => self.log_outcome(&record, finished),
        }
    }

    /// Tells what became of a job.
    pub(super) fn log_outcome(&mut self, record: &Record, finished: Finished) {
        let Finished { tier, outcome, kind, ms, cause, .. } = finished;
        let fault = match kind {
            JobKind::Run => None,
            JobKind::Crash => Some(log::Fault::Crash),
            JobKind::Timeout | JobKind::Release => Some(log::Fault::Timeout),
        };
        let told = JobRecord {
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
        self.note_end(record, tier, outcome, told.why().as_deref());
        self.publish(&told);
    }

    /// What a unit used goes to the story of the job that ran in it.
    pub(super) fn account(&mut self, id: WorkerId, worker: &Worker) {
        let usage = worker.unit_end.as_ref().filter(|_| worker.mode == Mode::Isolated).map(Usage::from);
        if let Some((record, finished)) = self.held.unlogged(id) {
            self.log_outcome(&Record { usage, ..record }, finished);
        } else if let Some(record) = worker.last.and_then(|job| self.held.get_mut(job)) {
            record.usage = usage;
        }
    }

    fn publish(&self, record: &JobRecord<'_>) {
        record.emit();
        if let Some(priority) = record.notable() {
            self.processes.note(priority, &record.line(), record.fields());
        }
    }
}
