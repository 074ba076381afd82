//! How processes are replaced, and how the schedule stops.

use super::job::Stage;
use super::machine::{LEAVE_MS, Phase, Schedule};
use super::worker::WorkerState;
use super::{Action, Cause, Now, Outcome, Reason, StopReason, WorkerId};
use crate::routing::Tier;

impl Schedule {
    pub(super) fn restart(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rolling = false;
        self.replace(now, |_| true, out);
    }

    /// Replaces every process after its job; idle ones of the tiers in `at_once` leave at once.
    pub(super) fn replace(&mut self, now: Now, at_once: impl Fn(Tier) -> bool, out: &mut Vec<Action>) {
        self.generation += 1;
        self.hints.clear();
        self.missing.clear();
        self.unloadable.clear();
        self.recall_all(out);
        for id in self.workers.ids(|worker| worker.is_idle() && at_once(worker.tier)) {
            self.stop_worker(now, id, StopReason::Restart, out);
        }
    }

    /// Replaces one process, at once or after its job. One that is starting is as new as any replacement.
    pub(super) fn recycle(&mut self, now: Now, id: WorkerId, out: &mut Vec<Action>) {
        match self.workers.get(id).map(|worker| &worker.state) {
            Some(WorkerState::Idle) => self.stop_worker(now, id, StopReason::Recycle, out),
            Some(WorkerState::Busy { .. } | WorkerState::Popping { .. }) => {
                self.workers.change(id, |worker| worker.spent = true);
                self.recall_one(id, out);
            }
            Some(WorkerState::Starting | WorkerState::Leaving) | None => {}
        }
    }

    /// A worker exceeds its memory limit.
    pub(super) fn memory_over(&mut self, now: Now, id: WorkerId, used: u32, limit: u32, out: &mut Vec<Action>) {
        match self.workers.get(id).map(|worker| &worker.state) {
            Some(WorkerState::Busy { .. }) => self.kill_worker(id, Cause::Memory { used, limit }, out),
            Some(WorkerState::Idle) => self.stop_worker(now, id, StopReason::Recycle, out),
            _ => {}
        }
    }

    /// Starts a drain; a second request kills.
    pub(super) fn drain(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => {
                self.phase = Phase::Draining { until: now.ms + self.config.stop_ms };
                self.recall_all(out);
                self.recall_looks(now);
                self.give_back(now, |_| true, out);
            }
            Phase::Draining { .. } => self.kill(now, out),
            Phase::Killing { .. } | Phase::Over => {}
        }
    }

    pub(super) fn kill(&mut self, now: Now, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Killing { .. } | Phase::Over) {
            return;
        }
        self.phase = Phase::Killing { until: now.ms + LEAVE_MS / 2 };
        self.give_back(now, |_| true, out);
        for id in self.workers.ids(|worker| worker.is_busy() || worker.is_popping()) {
            if !self.is_left(id) {
                self.kill_worker(id, Cause::Shutdown, out);
            }
        }
    }

    /// Settles the remaining jobs, but for those left to the next runtime, and ends.
    pub(super) fn over(&mut self, now: Now, out: &mut Vec<Action>) {
        let left: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| !matches!(job.stage, Stage::Running(worker) if self.is_left(worker)))
            .map(|(id, job)| (*id, job.tier, job.cause.clone().map(Reason::from)))
            .collect();
        for (id, tier, cause) in left {
            self.take_back(now, id, out);
            self.leave(id, tier, Outcome::Left, 0, cause, out);
        }
        self.phase = Phase::Over;
        out.push(Action::Exit);
    }
}
