//! Sleep: an app that has had nothing to do for a while ends its processes, and the first job starts them again.
//!
//! Jobs are reserved while asleep, too: there is always room for some. They are held, as at a start, until a process is
//! ready; but none is delivered before the template has reported the app's current settings, as the runtime reserved
//! the jobs by the old ones. If nothing boots, held jobs are given back, and none is reserved until something does.
//!
//! With native pop the app never sleeps: only a worker can find a job.

use super::job::Stage as JobStage;
use super::machine::{Phase, Schedule};
use super::{Action, JobId, Now, StopReason};
use crate::routing::Tier;

/// Progress towards sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Awake,
    /// It has nothing to do; the runtime looks whether a job is in sight.
    Looking,
    /// It has no processes, since then.
    Asleep(Now),
    /// Its processes start. `moved`: its queue connection has changed, and nothing is reserved until the runtime uses
    /// the new one.
    Waking {
        moved: bool,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    stage: Stage,
    /// Last activity, or the next expected one (milliseconds). `None` before the first event.
    active: Option<u64>,
    /// When a pooled worker last began or ended a job, or the schedule began; or until when a pooled job is expected
    /// (milliseconds).
    pooled: Option<u64>,
    /// A process has been ready since the app woke.
    proved: bool,
    /// The template did not boot.
    faulty: bool,
}

impl Default for Rest {
    fn default() -> Self {
        Self { stage: Stage::Awake, active: None, pooled: None, proved: true, faulty: false }
    }
}

impl Schedule {
    /// Since when the app is asleep, if it is (seconds since 1970).
    pub fn asleep_since(&self) -> Option<u64> {
        match self.rest.stage {
            Stage::Asleep(since) => Some(since.epoch),
            _ => None,
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep_since().is_some()
    }

    /// Whether no job may start yet, as the app's current settings are not known.
    pub fn is_waking(&self) -> bool {
        matches!(self.rest.stage, Stage::Waking { .. })
    }

    /// Whether nothing is to be reserved: the queue connection has changed, or only failed boots followed the
    /// wake-up.
    pub(super) fn takes_none(&self) -> bool {
        let unready = || self.unready.iter().any(Option::is_some);
        self.has_moved() || !self.rest.proved && (self.rest.faulty || unready())
    }

    /// Whether jobs reserved now come from the app's former queue connection.
    pub(super) fn has_moved(&self) -> bool {
        self.rest.stage == Stage::Waking { moved: true }
    }

    /// Records activity. `stirs`: whether the event was one that keeps an app awake.
    pub(super) fn note_activity(&mut self, now: Now, stirs: bool) {
        self.rest.pooled.get_or_insert(now.ms);
        let busy = stirs || !self.jobs.is_empty() || self.down || !self.paused.is_empty();
        if busy || self.rest.active.is_none() {
            self.rest.active = self.rest.active.max(Some(now.ms));
        }
    }

    /// A pooled worker begins or ends a job.
    pub(super) fn pool_is_used(&mut self, now: Now) {
        self.rest.pooled = self.rest.pooled.max(Some(now.ms));
    }

    /// A process is ready.
    pub(super) fn proves(&mut self) {
        self.rest.proved = true;
    }

    /// When the pool is no longer kept, as it has been without a job for long enough (milliseconds).
    fn pool_rests_at(&self) -> Option<u64> {
        Some(self.rest.pooled?.saturating_add(self.config.idle_ms?))
    }

    /// Pooled workers kept idle: with native pop at least one, which looks.
    pub(super) fn idle_pool(&self, now: u64) -> usize {
        let least = usize::from(self.config.native);
        // A pool that does not get ready is retried until it does.
        let rests = self.unready[Tier::Pooled].is_none() && self.pool_rests_at().is_some_and(|at| now >= at);
        // The job that wakes the app does not share the cores with workers that are merely kept.
        let bare = rests || self.is_asleep() || self.is_waking();
        if bare { least } else { self.config.pool_min_idle.max(least) }
    }

    /// When there will have been nothing to do for long enough (milliseconds).
    fn quiet_at(&self) -> Option<u64> {
        Some(self.rest.active?.saturating_add(self.config.idle_ms?))
    }

    /// Whether nothing is held and nothing goes on, and this has lasted long enough.
    fn is_quiet(&self, now: u64) -> bool {
        // A tier that does not get ready is retried, unless it is a pool of which none is kept.
        let there = |tier: Tier| self.unready[tier].is_none() || !self.workers.idle(tier).is_empty();
        let pool = there(Tier::Pooled) || self.config.pool_min_idle == 0;
        self.may_rest()
            && self.rest.proved
            && !self.rest.faulty
            && self.checking.is_none()
            && there(Tier::Inline)
            && pool
            && self.workers.all_counts().all(|counts| counts.starting + counts.busy + counts.popping == 0)
            && self.quiet_at().is_some_and(|at| now >= at)
    }

    /// Whether an app with these settings, and in this state, may sleep at all. During maintenance or a pause, a
    /// process is needed to report its end.
    fn may_rest(&self) -> bool {
        let serves = self.phase == Phase::Running && !self.down && self.paused.is_empty();
        serves && self.jobs.is_empty() && !self.config.native
    }

    /// Moves towards sleep, or back.
    pub(super) fn doze(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.rest.stage {
            Stage::Awake if self.is_quiet(now.ms) => {
                self.rest.stage = Stage::Looking;
                out.push(Action::Look);
            }
            Stage::Looking if !self.is_quiet(now.ms) => self.rest.stage = Stage::Awake,
            Stage::Asleep(_) if self.config.idle_ms.is_none() => self.wake(now, out),
            _ => {}
        }
    }

    /// Answer to `Look`: milliseconds until the app is needed, if that is known.
    pub(super) fn sighted(&mut self, now: Now, within: Option<u64>, out: &mut Vec<Action>) {
        if self.rest.stage != Stage::Looking {
            return;
        }
        self.rest.stage = Stage::Awake;
        match (within, self.config.idle_ms) {
            _ if !self.is_quiet(now.ms) => {}
            (Some(within), Some(idle)) if within <= idle => self.rest.active = Some(now.ms.saturating_add(within)),
            _ => self.fall_asleep(now, out),
        }
    }

    fn fall_asleep(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rest.stage = Stage::Asleep(now);
        for id in self.workers.ids(super::worker::Worker::is_idle) {
            self.stop_worker(now, id, StopReason::Idle, out);
        }
        // Earlier deaths say nothing about the processes to come, and must not delay jobs.
        (self.backoff, self.unready) = Default::default();
        self.checked = None;
        out.push(Action::Sleep);
    }

    /// Wakes an app that sleeps.
    pub(super) fn wake(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.phase == Phase::Running && self.is_asleep() {
            let Rest { active, pooled, .. } = self.rest;
            let stage = Stage::Waking { moved: false };
            self.rest = Rest { stage, active: active.max(Some(now.ms)), pooled, proved: false, faulty: false };
            // Signals from before the sleep are outdated.
            (self.checked, self.checking) = (None, None);
            out.push(Action::Wake);
        }
    }

    /// The template has booted, and the runtime has applied the app's current settings.
    pub(super) fn booted(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rest.faulty = false;
        if !self.is_waking() {
            return;
        }
        self.rest.stage = Stage::Awake;
        self.inspecting.values_mut().for_each(|(since, _)| *since = now.ms);
        let classes: Vec<String> = self.inspecting.keys().cloned().collect();
        if !classes.is_empty() {
            out.push(Action::Inspect(classes));
        }
    }

    /// The template did not boot.
    pub(super) fn boot_failed(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rest.faulty = true;
        self.give_up(now, out);
    }

    /// Nothing has booted since the app woke, and something has failed to: held jobs are given back instead of waiting
    /// indefinitely.
    pub(super) fn give_up(&mut self, now: Now, out: &mut Vec<Action>) {
        // Where giving back counts an attempt, they wait here instead.
        if !self.rest.proved && self.config.ahead {
            self.give_back(now, |_| true, out);
        }
    }

    /// The app's queue connection has changed. Reserved jobs are given back; the next [`super::Event::Booted`] says
    /// that jobs come from the new one.
    pub(super) fn moved(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.is_waking() {
            self.rest.stage = Stage::Waking { moved: true };
            self.give_back(now, |_| true, out);
        }
    }

    /// The app's code has changed: classes are inspected again, also those of waiting jobs.
    pub(super) fn renewed(&mut self, now: Now, out: &mut Vec<Action>) {
        self.hints.clear();
        self.missing.clear();
        self.unloadable.clear();
        let waits: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.stage == JobStage::Waiting).map(|(id, _)| *id).collect();
        let mut ask = Vec::new();
        for id in waits {
            self.take_back(now, id, out);
            self.waiting_bytes += self.jobs.get(&id).map_or(0, |job| job.bytes);
            self.enqueue_or_ask(now, id, &mut ask);
        }
        self.inspect(ask, out);
    }

    /// Has classes inspected, at once or after [`super::Event::Booted`].
    pub(super) fn inspect(&self, classes: Vec<String>, out: &mut Vec<Action>) {
        if !classes.is_empty() && !self.is_waking() {
            out.push(Action::Inspect(classes));
        }
    }

    /// When to check whether the app may sleep, or fewer processes are to be kept (milliseconds).
    pub(super) fn rest_at(&self, now: u64) -> Option<u64> {
        let quiet = self.quiet_at().filter(|_| self.rest.stage == Stage::Awake && self.may_rest());
        let pool = self.pool_rests_at().filter(|_| self.phase == Phase::Running && !self.is_asleep());
        quiet.into_iter().chain(pool).filter(|at| *at > now).min()
    }
}
