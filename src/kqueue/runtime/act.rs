//! Carries out the schedule's actions, each by the component that it concerns.

use super::Runtime;
use super::queue::Return;
use kqueue_core::schedule::{Action, Cause, Event, JobId, WorkerId};
use kqueue_core::wire::{Mode, ToWorker};

impl Runtime {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Launch { worker, tier, .. } => {
                self.launched(Mode::of(tier));
                self.processes.launch(worker, Mode::of(tier));
            }
            Action::Pop(worker) => self.let_pop(worker),
            Action::Deliver { worker, job, kind, cause, receipt } => self.deliver(worker, job, kind, cause, receipt),
            Action::Ahead { worker, job } => self.send_ahead(worker, job),
            Action::Recall(worker) => {
                let jobs = self.processes.recall(worker);
                if !jobs.is_empty() {
                    self.tell(Event::Recalled { worker, jobs });
                }
            }
            Action::Stop { worker, reason } => {
                if let Some(worker) = self.processes.workers.get_mut(&worker) {
                    worker.stopped = Some(reason);
                }
                self.processes.stop(worker, reason.as_str());
            }
            Action::Kill { worker, cause } => self.kill(worker, &cause),
            Action::Unreserve(jobs) => self.give_back(&jobs),
            Action::Verify(job) => self.verify(job),
            Action::Inspect(classes) => {
                let someone = || self.schedule.an_idle_worker().or_else(|| self.schedule.a_holder());
                self.processes.inspect(&classes, self.settings.property_hints, someone);
            }
            Action::Check(worker) => {
                self.processes.send(worker, ToWorker::Check { queues: &self.app.queues }.encode());
            }
            Action::Share(claim) => self.queue.share(claim),
            Action::Finished(finished) => self.finished(finished),
            Action::Quarantined(class) => {
                let text = format!("{class} has killed two processes: from now on each of its jobs runs isolated");
                tracing::warn!("{text}");
                self.happened("quarantine", text);
            }
            Action::Look => self.look_ahead(),
            Action::Sleep => self.fall_asleep(),
            Action::Wake => self.wake_up(),
            Action::Exit => {}
        }
    }

    /// Gives jobs back to their queues, or to where operators want them.
    pub(super) fn give_back(&mut self, jobs: &[JobId]) {
        let back = self.held.returning(jobs).into_iter().map(|(job, record)| Return {
            job,
            reservation: record.reservation.clone(),
            front: record.front,
            to: record.to.clone(),
        });
        self.queue.give_back(back);
    }

    /// Laravel has finished with a job: it is removed from the queue with the next batch.
    pub(super) fn acknowledge(&mut self, job: JobId) {
        self.queue.remove(self.held.acknowledge(job).map(|reservation| (job, reservation)));
    }

    fn verify(&mut self, job: JobId) {
        if let Some(reservation) = self.held.verify(job) {
            self.queue.verify(job, reservation);
        }
    }

    fn kill(&mut self, id: WorkerId, cause: &Cause) {
        if let Some(worker) = self.processes.workers.get(&id).filter(|_| !matches!(cause, Cause::Shutdown)) {
            let job = worker.job.and_then(|job| self.held.get(job));
            let running = job.map(|record| format!(" running {} ({})", record.class, record.uuid)).unwrap_or_default();
            let its = if matches!(cause, Cause::Cancelled(_)) { "its job was" } else { "it" };
            tracing::warn!("killing {} worker {id}{running}: {its} {cause}", worker.mode);
        }
        if let Some(worker) = self.processes.workers.get_mut(&id) {
            worker.killed.get_or_insert_with(|| cause.clone());
        }
        self.processes.kill(id, cause);
    }
}
