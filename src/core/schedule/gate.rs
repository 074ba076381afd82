//! Limits of classes and queues: how many of their jobs run at once, and how many may start per period.
//!
//! Each limit is a *gate*. A job passes the gates of its class and of its queue when it is given to a process, and not
//! before: a job that waits for a full tier blocks none of its kind. It counts until it has left, or waits again. A
//! rate is a token bucket of which each start takes one token; a start that never happens returns it.

use super::job::{Job, Stage};
use super::machine::Schedule;
use super::permit::Permit;
use super::{Action, JobId, Now};
use crate::payload::LimitHint;

/// Limit of a class or a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Concurrent jobs; `None` is without limit, 0 lets none start.
    pub max_concurrent: Option<usize>,
    /// Rate of starts; `None` is without limit.
    pub rate: Option<Rate>,
}

/// A token bucket: it holds `burst` tokens, and `jobs` are added every `per_ms` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Starts per `per_ms`; never 0.
    pub jobs: u32,
    /// Milliseconds; never 0.
    pub per_ms: u64,
    /// Capacity, in starts; never 0.
    pub burst: u32,
}

impl Limit {
    /// This configured limit, overridden by what a class declares. A limit of 0 is an operator's, and holds.
    #[must_use]
    pub(super) fn declared(self, hint: &LimitHint) -> Self {
        if self.max_concurrent == Some(0) {
            return self;
        }
        let rate = hint.rate.map(|(jobs, seconds)| {
            let burst = hint.burst.unwrap_or((jobs / seconds.max(1)).max(1));
            Rate { jobs, per_ms: u64::from(seconds.max(1)) * 1000, burst }
        });
        Self { max_concurrent: hint.concurrent.or(self.max_concurrent), rate: rate.or(self.rate) }
    }
}

/// The gates of one job, as indexes into [`Gates`](super::gates::Gates).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pass {
    pub class: Option<usize>,
    pub queue: Option<usize>,
}

impl Pass {
    /// Whether the job has no limits.
    pub fn is_free(self) -> bool {
        self == Self::default()
    }

    pub fn gates(self) -> impl Iterator<Item = usize> {
        [self.class, self.queue].into_iter().flatten()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub limit: Limit,
    /// Jobs that have passed it and not left.
    pub passed: usize,
    /// Level of the bucket: one token is `per_ms` units.
    level: u64,
    /// Time of `level` (milliseconds).
    at: u64,
    pub open: bool,
    /// When it was last opened (milliseconds).
    pub opened: u64,
    /// Set where hosts share the limit, whose bucket and places are shared then, too.
    pub permit: Option<Permit>,
}

impl Gate {
    /// A gate that no job has passed yet.
    pub fn new(limit: Limit, now: u64, shared: Option<String>) -> Self {
        let level = limit.rate.map_or(0, |rate| full(&rate));
        let is_shut = limit.max_concurrent == Some(0);
        // A limit of 0 needs no consent of other hosts.
        let permit = shared.filter(|_| !is_shut).map(Permit::new);
        let open = !is_shut && permit.is_none();
        Self { limit, passed: 0, level, at: now, open, opened: 0, permit }
    }

    /// Whether it lets as many pass as a new one.
    pub fn is_as_new(&self) -> bool {
        self.passed == 0
            && self.permit.as_ref().is_none_or(Permit::is_as_new)
            && self.limit.rate.is_none_or(|rate| self.level >= full(&rate))
    }

    /// Takes over from the gate of earlier settings: the bucket keeps its level, up to the new capacity.
    pub fn follow(&mut self, old: &Gate) {
        if let (Some(permit), Some(old)) = (&mut self.permit, &old.permit) {
            permit.follow(old);
        }
        if let (Some(rate), Some(before)) = (self.limit.rate, old.limit.rate) {
            // Scaled, as the units per token may differ.
            let level = u128::from(old.level) * u128::from(rate.per_ms) / u128::from(before.per_ms.max(1));
            self.level = u64::try_from(level).unwrap_or(u64::MAX).min(full(&rate));
            self.at = old.at;
        }
    }

    pub fn fill(&mut self, now: u64) {
        if let Some(rate) = self.limit.rate {
            let more = now.saturating_sub(self.at).saturating_mul(rate.jobs.into());
            self.level = self.level.saturating_add(more).min(full(&rate));
        }
        self.at = self.at.max(now);
        let open = self.room() > 0;
        if open && !self.open {
            self.opened = now;
        }
        self.open = open;
    }

    /// Jobs that may pass now.
    pub fn room(&self) -> usize {
        if let Some(permit) = &self.permit {
            return permit.room(self.at);
        }
        let tokens = self.limit.rate.map(|rate| usize::try_from(self.level / rate.per_ms).unwrap_or(usize::MAX));
        self.places().min(tokens.unwrap_or(usize::MAX))
    }

    pub fn places(&self) -> usize {
        if let Some(permit) = &self.permit {
            return permit.room(self.at);
        }
        self.limit.max_concurrent.map_or(usize::MAX, |most| most.saturating_sub(self.passed))
    }

    /// When there is a token (milliseconds), if there is none now.
    pub fn token_at(&self) -> Option<u64> {
        let rate = self.limit.rate.filter(|_| self.permit.is_none())?;
        let missing = rate.per_ms.saturating_sub(self.level);
        (missing > 0).then(|| self.at + missing.div_ceil(rate.jobs.into()))
    }
}

impl Gate {
    /// Lets a job pass, even if the gate is closed: one that is already running counts whatever the limits are.
    pub fn take(&mut self, now: u64) {
        self.passed += 1;
        if let Some(permit) = &mut self.permit {
            permit.take();
        } else if let Some(rate) = self.limit.rate {
            self.level = self.level.saturating_sub(rate.per_ms);
        }
        self.fill(now);
    }

    /// Counts a job no longer. `unstarted`: since when it was counted, if it never started. Then its token comes back,
    /// less what the bucket has been filled with since: without that start it might have been full.
    pub fn give(&mut self, now: u64, unstarted: Option<u64>) {
        self.passed = self.passed.saturating_sub(1);
        if let Some(permit) = &mut self.permit {
            permit.give(now, &self.limit, self.passed, unstarted.is_some());
        } else if let (Some(rate), Some(since)) = (self.limit.rate, unstarted) {
            let filled = now.saturating_sub(since).saturating_mul(rate.jobs.into());
            self.level = self.level.saturating_add(rate.per_ms.saturating_sub(filled)).min(full(&rate));
        }
        self.fill(now);
    }
}

fn full(rate: &Rate) -> u64 {
    u64::from(rate.burst).saturating_mul(rate.per_ms)
}

impl Schedule {
    /// A job is given to a process: it passes its gates.
    pub(super) fn passes(&mut self, id: JobId) {
        if self.gates.is_empty() {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.pass.is_free() && job.passed.is_none()) {
            job.passed = Some(self.gates.now());
            self.gates.take(job.pass);
        }
    }

    /// A job is no longer with a process. `unread`: it never started there.
    pub(super) fn passed_by(&mut self, id: JobId, unread: bool) {
        if self.gates.is_empty() {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&id)
            && let Some(since) = job.passed.take()
        {
            self.gates.give(job.pass, unread.then_some(since));
        }
    }

    /// Rebuilds the gates for the current settings and declarations, and counts the jobs that have passed.
    pub(super) fn count_passed(&mut self) {
        self.gates = self.gates.configured(&self.config, &self.limits);
        for job in self.jobs.values_mut() {
            job.pass = self.gates.pass(&job.class, &job.queue, job.key);
            let passed = job.is_out() && !job.pass.is_free();
            // Its token came from another bucket, and does not return to this one.
            job.passed = passed.then_some(0);
            if passed {
                self.gates.count(job.pass);
            }
        }
    }

    /// The gates of a job. If they are crowded, those that are as new and of whose values no job is known are freed
    /// first.
    pub(super) fn pass(&mut self, id: JobId) -> Pass {
        let Some(job) = self.jobs.get(&id) else { return Pass::default() };
        if self.gates.is_crowded(&job.class, job.key) {
            let known = self.jobs.values().flat_map(|job| job.pass.gates()).collect();
            self.gates.tidy(&known);
        }
        self.gates.pass(&job.class, &job.queue, job.key)
    }

    /// Name of the payload value per which jobs of a class are limited, as `declared`, or else by the settings. The
    /// caller that reserves jobs looks up the value ([`super::JobSpec::key`]).
    pub fn limited_by<'a>(&'a self, class: &str, declared: Option<&'a LimitHint>) -> Option<&'a str> {
        let declared = declared.and_then(|hint| hint.by.as_deref());
        declared.or_else(|| self.config.class_by.get(class).map(String::as_str))
    }

    /// Like [`Schedule::limited_by`], with what the class declared when it was last inspected.
    pub fn is_limited_by(&self, class: &str) -> Option<&str> {
        self.limited_by(class, self.limits.get(class))
    }

    /// Sets the limit keys of jobs after other settings, and counts passed jobs by them.
    pub fn say_whose(&mut self, keys: &[(JobId, Option<u64>)]) {
        self.take_keys(keys);
        self.count_passed();
        self.line_up();
    }

    pub(super) fn take_keys(&mut self, keys: &[(JobId, Option<u64>)]) {
        for (id, key) in keys {
            if let Some(job) = self.jobs.get_mut(id) {
                job.key = *key;
            }
        }
    }

    /// Holds jobs that were given to a process and have not begun to the current limits: recalls jobs sent ahead, and
    /// returns jobs whose gates are shut from processes still being started for them.
    pub(super) fn narrowed(&mut self, now: Now, out: &mut Vec<Action>) {
        self.recall_all(out);
        let bound = |job: &Job| job.stage == Stage::Bound && job.popped.is_none() && self.gates.is_shut(job.pass);
        let shut: Vec<JobId> = self.jobs.iter().filter(|(_, job)| bound(job)).map(|(id, _)| *id).collect();
        for id in shut {
            self.take_back(now, id, out);
            self.wait_again(now, id, out);
        }
    }

    /// Whether the limits let a waiting job start.
    pub(super) fn may_pass(&self, id: JobId) -> bool {
        self.gates.is_empty() || self.jobs.get(&id).is_some_and(|job| self.gates.is_open(job.pass))
    }
}
