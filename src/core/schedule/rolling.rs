//! New settings for a running schedule, and the replacement of its processes one by one.

use super::machine::{Phase, Schedule};
use super::share::Shares;
use super::waiting::{Entry, Waiting};
use super::worker::WorkerState;
use super::{Action, Config, JobId, Now, StopReason};
use crate::routing::{PerTier, Tier};

impl Schedule {
    /// Applies other settings from the next event on. Running jobs and started processes are left alone: deadlines of
    /// jobs stay, and surplus processes leave when they are next idle.
    pub fn configure(&mut self, config: Config) {
        self.workers.configure(&config);
        self.config = config;
        self.count_passed();
        self.line_up();
    }

    /// Queues waiting jobs anew by the current settings; each keeps the time since when it has waited.
    pub(super) fn line_up(&mut self) {
        let all: Vec<JobId> = self.waiting.iter().flat_map(|waiting| waiting.iter()).collect();
        self.waiting = PerTier::of(|_| Waiting::new(&self.config));
        self.asked = Shares::new(&self.config);
        for id in all {
            let turn = self.turn(id);
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let round = job.tenant.map_or(0, |tenant| self.waiting[job.tier].next_round(turn, tenant));
            job.turn = turn.in_round(round);
            self.waiting[job.tier].push(id, job.turn, job.pass, Entry::of(job));
        }
    }

    /// Replaces every process after its current job. Lanes are forked from a template within milliseconds, so idle ones
    /// leave at once. Pooled workers take a whole boot of the app: they leave one by one, so that a reload costs one of
    /// them at a time, and one that breaks their boot costs no more than that one.
    pub(super) fn reload(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rolling = true;
        self.replace(now, |tier| tier != Tier::Pooled, out);
    }

    /// Stops the next pooled worker from before a reload, unless a replacement is still starting.
    pub(super) fn roll(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.rolling || self.phase != Phase::Running {
            return;
        }
        // Launches the replacement of the last one first: the check below waits until it is ready.
        self.size_pool(now, out);
        let pool = || self.workers.iter().filter(|(_, worker)| worker.tier == Tier::Pooled && worker.killed.is_none());
        let stale =
            || pool().filter(|(_, worker)| worker.generation < self.generation && worker.state != WorkerState::Leaving);
        if stale().next().is_none() {
            self.rolling = false;
            return;
        }
        let on_its_way = pool().any(|(_, worker)| worker.state == WorkerState::Starting);
        if on_its_way || self.backoff[Tier::Pooled].wait(now.ms).is_some() {
            return;
        }
        let longest = stale().filter(|(_, worker)| worker.is_idle()).min_by_key(|(_, worker)| worker.since);
        if let Some(id) = longest.map(|(id, _)| id) {
            self.stop_worker(now, id, StopReason::Restart, out);
        }
    }
}
