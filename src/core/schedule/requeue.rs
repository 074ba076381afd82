//! Jobs moved by an operator: to the front of their queue, or to another queue. Only waiting jobs are moved; jobs that
//! have begun, or are being settled, stay where they are.

use super::job::Stage;
use super::machine::Schedule;
use super::{Action, JobId, JobKind, Now, Place};

impl Schedule {
    pub(super) fn requeue(&mut self, now: Now, id: JobId, place: Place, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.popped.is_some() || job.kind != JobKind::Run || job.cancel.is_some() {
            return;
        }
        let stage = job.stage.clone();
        match place {
            Place::Front(front) => {
                // A job about to start is ahead of all others; this counts if it comes back.
                job.front = job.front.max(front);
                if stage == Stage::Waiting {
                    self.take_back(now, id, out);
                    self.waits_in_front(now, id);
                }
            }
            Place::Away => match stage {
                Stage::Inspecting | Stage::Waiting | Stage::Bound => {
                    self.take_back(now, id, out);
                    self.forget(id);
                    out.push(Action::Unreserve(vec![id]));
                }
                Stage::Ahead => {
                    job.away = true;
                    for worker in self.workers.ids(|worker| worker.ahead.contains(&id)) {
                        self.recall_one(worker, out);
                    }
                }
                Stage::Running(_) | Stage::Verifying | Stage::Replaying => {}
            },
        }
    }
}
