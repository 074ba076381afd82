//! Jobs cancelled by an operator. A waiting job never runs: a process fails or deletes it through Laravel's own
//! classes, like a replay. A running job may end by itself within the grace period; then its process is killed, and the
//! job is failed or deleted likewise. A job that Laravel settles before that stays settled.

use super::job::Stage;
use super::machine::Schedule;
use super::worker::WorkerState;
use super::{Action, Cancel, Cause, JobId, JobKind, Now};

impl Schedule {
    pub(super) fn cancel(&mut self, now: Now, id: JobId, order: Cancel, out: &mut Vec<Action>) {
        // A popped job belongs to its worker; a job that Laravel has begun to fail, fails.
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.popped.is_none() && !job.failing) else { return };
        job.cancel.get_or_insert(order);
        match job.stage.clone() {
            Stage::Inspecting | Stage::Waiting | Stage::Bound => {
                self.take_back(now, id, out);
                self.passed_by(id, true);
                self.never_runs(now, id);
            }
            Stage::Ahead => {
                for worker in self.workers.ids(|worker| worker.ahead.contains(&id)) {
                    self.recall_one(worker, out);
                }
            }
            Stage::Running(worker) if job.kind == JobKind::Run => {
                let end = now.ms + self.config.grace_ms;
                self.workers.change(worker, |worker| {
                    if let WorkerState::Busy { deadline, .. } = &mut worker.state {
                        *deadline = Some(deadline.map_or(end, |deadline| deadline.min(end)));
                    }
                });
                self.recall_one(worker, out);
            }
            // Its end is being replayed: the result decides.
            Stage::Running(_) if job.kind != JobKind::Cancel => {}
            Stage::Running(_) | Stage::Verifying | Stage::Replaying => job.turn_to_cancel(),
        }
    }

    /// A job that is in no index waits to be failed or deleted.
    pub(super) fn never_runs(&mut self, now: Now, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.turn_to_cancel();
            job.never = true;
        }
        self.set_stage(now, id, Stage::Replaying);
        self.replays.push_back(id);
    }

    /// Cause for killing the process of a cancelled job that has not ended by itself.
    pub(super) fn cancelled(&self, id: JobId) -> Option<Cause> {
        let job = self.jobs.get(&id).filter(|job| job.kind == JobKind::Run)?;
        job.cancel.as_ref().map(|order| Cause::Cancelled(order.by.clone()))
    }

    /// For a cancelled job: whether it is deleted instead of failed, and whether it has never begun.
    pub fn how_cancelled(&self, id: JobId) -> (bool, bool) {
        let Some(job) = self.jobs.get(&id) else { return (false, false) };
        (job.cancel.as_ref().is_some_and(|order| order.delete), job.never)
    }
}
