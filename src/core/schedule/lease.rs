//! Reservations in doubt: of jobs whose process has died, or whose lease has expired.

use super::job::{Job, Stage};
use super::machine::Schedule;
use super::{Action, JobId, Now, Outcome, Reason};

impl Schedule {
    pub(super) fn verified(&mut self, now: Now, id: JobId, ours: bool, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.stage == Stage::Verifying) else { return };
        if ours {
            self.set_stage(now, id, Stage::Replaying);
            self.replays.push_back(id);
        } else {
            let (tier, cause) = (job.tier, job.cause.clone().map(Reason::from));
            self.leave(id, tier, Outcome::Lost, 0, cause, out);
        }
    }

    pub(super) fn lease_lost(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        // A running job is left alone: it may have just released itself. So is one that is about to run.
        let runs = |job: &&Job| matches!(job.stage, Stage::Running(_) | Stage::Ahead) || job.popped.is_some();
        let idle = self.jobs.get(&id).filter(|job| !runs(job));
        if let Some((tier, cause)) = idle.map(|job| (job.tier, job.cause.clone().map(Reason::from))) {
            self.take_back(now, id, out);
            self.leave(id, tier, Outcome::Lost, 0, cause, out);
        }
    }
}
