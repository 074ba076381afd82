//! Sleep: an app that has had nothing to do for a while ends its processes, and the first job starts them again.
//!
//! Jobs are looked for asleep as awake: there is always room for some. What comes is held, as at a start, until a process is
//! there; but no job is handed out before what processes are forked from has said what the app is by now, for the
//! runtime reserved it by what the app was. Where nothing boots, what is held goes back, and none is taken until something does.
//!
//! Workers that pop by themselves do not sleep: nobody else can tell that there is a job.

use super::job::Stage as JobStage;
use super::machine::{Phase, Schedule};
use super::{Action, JobId, Now, StopReason};
use crate::routing::Tier;

/// How far an app is from sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Awake,
    /// It has nothing to do; whether something is in sight is being looked for.
    Looking,
    /// Since then it has no processes.
    Asleep(Now),
    /// Its processes start. `moved`: its jobs come from elsewhere by now, and no call for them is made until that is so.
    Waking {
        moved: bool,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    stage: Stage,
    /// When there was something to do, or will be (milliseconds). None before the first event.
    active: Option<u64>,
    /// When a pooled worker began a job last, or the schedule did; or until when one is expected to.
    pooled: Option<u64>,
    /// A process has been ready since it woke.
    proved: bool,
    /// What processes are forked from did not boot.
    faulty: bool,
}

impl Default for Rest {
    fn default() -> Self {
        Self { stage: Stage::Awake, active: None, pooled: None, proved: true, faulty: false }
    }
}

impl Schedule {
    /// Since when the app has been asleep, if it is (seconds since 1970).
    pub fn asleep_since(&self) -> Option<u64> {
        match self.rest.stage {
            Stage::Asleep(since) => Some(since.epoch),
            _ => None,
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep_since().is_some()
    }

    /// Whether no job may start yet, for it is not known what the app is by now.
    pub fn is_waking(&self) -> bool {
        matches!(self.rest.stage, Stage::Waking { .. })
    }

    /// Whether nothing is to be reserved: not here, or nobody could run it.
    pub(super) fn takes_none(&self) -> bool {
        let unready = || self.unready.iter().any(Option::is_some);
        self.has_moved() || !self.rest.proved && (self.rest.faulty || unready())
    }

    /// Whether what is reserved now comes from where the app no longer has its jobs.
    pub(super) fn has_moved(&self) -> bool {
        self.rest.stage == Stage::Waking { moved: true }
    }

    /// Takes note that something goes on. `stirs`: whether that was an event for which an app stays awake.
    pub(super) fn note_activity(&mut self, now: Now, stirs: bool) {
        self.rest.pooled.get_or_insert(now.ms);
        let busy = stirs || !self.jobs.is_empty() || self.down || !self.paused.is_empty();
        if busy || self.rest.active.is_none() {
            self.rest.active = self.rest.active.max(Some(now.ms));
        }
    }

    /// A pooled worker begins a job.
    pub(super) fn pool_is_used(&mut self, now: Now) {
        self.rest.pooled = self.rest.pooled.max(Some(now.ms));
    }

    /// A process is ready.
    pub(super) fn proves(&mut self) {
        self.rest.proved = true;
    }

    /// When the pool has been without a job for so long that none of it is kept, if it is kept now.
    fn pool_rests_at(&self) -> Option<u64> {
        Some(self.rest.pooled?.saturating_add(self.config.idle_ms?))
    }

    /// Pooled workers that stay without a job: where they pop by themselves, at least the one that looks.
    pub(super) fn idle_pool(&self, now: u64) -> usize {
        let least = usize::from(self.config.native);
        // One that does not get ready is tried until it does.
        let rests = self.unready[Tier::Pooled].is_none() && self.pool_rests_at().is_some_and(|at| now >= at);
        // A job that wakes the app does not share the processors with what is merely kept.
        let bare = rests || self.is_asleep() || self.is_waking();
        if bare { least } else { self.config.pool_min_idle.max(least) }
    }

    /// When there will have been nothing to do for long enough.
    fn quiet_at(&self) -> Option<u64> {
        Some(self.rest.active?.saturating_add(self.config.idle_ms?))
    }

    /// Whether nothing is held and nothing goes on, now and for long enough.
    fn is_quiet(&self, now: u64) -> bool {
        // One that does not get ready is tried again; but for a pool of which nothing is kept.
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

    /// Whether an app of these settings, and in this state, sleeps at all. While it is down or a queue is paused, somebody has
    /// to say when that ends.
    fn may_rest(&self) -> bool {
        let serves = self.phase == Phase::Running && !self.down && self.paused.is_empty();
        serves && self.jobs.is_empty() && !self.config.native
    }

    /// Looks whether it is time to fall asleep.
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

    /// What is in sight: milliseconds until the app is needed, if it is known that it will be.
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
        // Deaths of before say nothing of the processes that are to come, and are not to keep jobs waiting.
        (self.backoff, self.unready) = Default::default();
        self.checked = None;
        out.push(Action::Sleep);
    }

    /// Starts what it takes to run jobs.
    pub(super) fn wake(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.phase == Phase::Running && self.is_asleep() {
            let Rest { active, pooled, .. } = self.rest;
            let stage = Stage::Waking { moved: false };
            self.rest = Rest { stage, active: active.max(Some(now.ms)), pooled, proved: false, faulty: false };
            // What the app's signals were says nothing of what they are.
            (self.checked, self.checking) = (None, None);
            out.push(Action::Wake);
        }
    }

    /// What processes are forked from is there, and the app is worked as it is by now.
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

    /// What processes are forked from did not boot.
    pub(super) fn boot_failed(&mut self, now: Now, out: &mut Vec<Action>) {
        self.rest.faulty = true;
        self.give_up(now, out);
    }

    /// Nothing has booted since it woke, and something has failed to: what is held would wait for nobody knows how long.
    pub(super) fn give_up(&mut self, now: Now, out: &mut Vec<Action>) {
        // Where giving back counts an attempt, it waits here instead.
        if !self.rest.proved && self.config.ahead {
            self.give_back(now, |_| true, out);
        }
    }

    /// The app has its jobs elsewhere by now. What was reserved goes back; the next [`super::Event::Booted`] says that they
    /// come from there.
    pub(super) fn moved(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.is_waking() {
            self.rest.stage = Stage::Waking { moved: true };
            self.give_back(now, |_| true, out);
        }
    }

    /// The app's code is other code by now: what its classes declare is to be asked anew, of those too whose jobs wait.
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

    /// Has classes inspected: at once, or when somebody is there who can.
    pub(super) fn inspect(&self, classes: Vec<String>, out: &mut Vec<Action>) {
        if !classes.is_empty() && !self.is_waking() {
            out.push(Action::Inspect(classes));
        }
    }

    /// When it is time to look whether the app may sleep, or fewer processes are to be kept.
    pub(super) fn rest_at(&self, now: u64) -> Option<u64> {
        let quiet = self.quiet_at().filter(|_| self.rest.stage == Stage::Awake && self.may_rest());
        let pool = self.pool_rests_at().filter(|_| self.phase == Phase::Running && !self.is_asleep());
        quiet.into_iter().chain(pool).filter(|at| *at > now).min()
    }
}
