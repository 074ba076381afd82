//! New settings for a schedule that works, and the replacement of its processes one by one.

use super::machine::{Phase, Schedule};
use super::share::Shares;
use super::waiting::{Entry, Waiting};
use super::worker::State;
use super::{Action, Config, JobId, Now, StopReason};
use crate::routing::{PerTier, Tier};

impl Schedule {
    /// Works by other settings from the next event on. What runs or has been started is left as it is: deadlines
    /// stay, and what there is too much of goes when it is next idle.
    pub fn configure(&mut self, config: Config) {
        self.workers.configure(&config);
        self.config = config;
        self.count_passed();
        self.line_up();
    }

    /// Lets those that wait do so by the settings of now, each since when it has.
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

    /// Replaces every process after its current job. Lanes come from a template within milliseconds, so idle ones
    /// leave at once. Pooled workers take an app's whole boot: they leave one by one, so that a reload costs
    /// one of them at a time, and one that breaks their boot no more than that one.
    pub(super) fn reload(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rolling = true;
        self.replace(now, |tier| tier != Tier::Pooled, out);
    }

    /// Lets the next pooled worker from before a reload go, if nobody's replacement is still on its way.
    pub(super) fn roll(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.rolling || self.phase != Phase::Running {
            return;
        }
        // The replacement of the last one is ordered first: whether it is there yet is what this waits for.
        self.size_pool(now, out);
        let pool = || self.workers.iter().filter(|(_, worker)| worker.tier == Tier::Pooled && worker.killed.is_none());
        let stale =
            || pool().filter(|(_, worker)| worker.generation < self.generation && worker.state != State::Leaving);
        if stale().next().is_none() {
            self.rolling = false;
            return;
        }
        let on_its_way = pool().any(|(_, worker)| worker.state == State::Starting);
        if on_its_way || self.backoff[Tier::Pooled].wait(now.ms).is_some() {
            return;
        }
        let longest = stale().filter(|(_, worker)| worker.is_idle()).min_by_key(|(_, worker)| worker.since);
        if let Some(id) = longest.map(|(id, _)| id) {
            self.stop_worker(now, id, StopReason::Restart, out);
        }
    }
}
