//! Limits of classes and queues: how many of their jobs run at once, and how many may start in a time.
//!
//! Each limit is a *gate*. A job passes the gates of its class and of its queue when it is given to a process, and not
//! before: what waits for a full tier holds up nobody of its kind. It is counted until it has left, or waits again. A rate
//! is a bucket of tokens, which a start takes one of; one that turns out to be none gives its token back.

use std::collections::BTreeMap;

use super::job::{Job, Stage};
use super::machine::Schedule;
use super::{Action, Config, JobId, Now};

/// What of a class or a queue may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Jobs at once; `None` is without limit, 0 lets none start.
    pub max_concurrent: Option<usize>,
    /// Starts in a time; `None` is without limit.
    pub rate: Option<Rate>,
}

/// A bucket of tokens: it holds `burst` of them, and `jobs` come back in every `per_ms` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Starts in every `per_ms`; never 0.
    pub jobs: u32,
    /// Milliseconds; never 0.
    pub per_ms: u64,
    /// Starts at once after a time without any; never 0.
    pub burst: u32,
}

/// The gates of one job, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pass {
    class: Option<usize>,
    queue: Option<usize>,
}

impl Pass {
    /// Whether nothing limits the job.
    pub fn is_free(self) -> bool {
        self == Self::default()
    }

    fn gates(self) -> impl Iterator<Item = usize> {
        [self.class, self.queue].into_iter().flatten()
    }
}

#[derive(Clone, Debug)]
struct Gate {
    limit: Limit,
    /// Jobs that have passed it and not left.
    passed: usize,
    /// What is in the bucket: a token is as many of these as a period has milliseconds.
    level: u64,
    /// When that was so (milliseconds).
    at: u64,
    open: bool,
    /// When it was last opened.
    opened: u64,
}

impl Gate {
    fn new(limit: Limit) -> Self {
        let level = limit.rate.map_or(0, |rate| full(&rate));
        Self { limit, passed: 0, level, at: 0, open: true, opened: 0 }
    }

    fn fill(&mut self, now: u64) {
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
    fn room(&self) -> usize {
        let tokens = self.limit.rate.map(|rate| usize::try_from(self.level / rate.per_ms).unwrap_or(usize::MAX));
        self.places().min(tokens.unwrap_or(usize::MAX))
    }

    fn places(&self) -> usize {
        self.limit.max_concurrent.map_or(usize::MAX, |most| most.saturating_sub(self.passed))
    }

    /// When there is a token, if there is none now.
    fn token_at(&self) -> Option<u64> {
        let rate = self.limit.rate?;
        let missing = rate.per_ms.saturating_sub(self.level);
        (missing > 0).then(|| self.at + missing.div_ceil(rate.jobs.into()))
    }
}

fn full(rate: &Rate) -> u64 {
    u64::from(rate.burst).saturating_mul(rate.per_ms)
}

/// All gates, and how far each is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates {
    all: Vec<Gate>,
    classes: BTreeMap<String, usize>,
    queues: BTreeMap<String, usize>,
    now: u64,
}

impl Gates {
    pub fn new(config: &Config) -> Self {
        let mut gates = Self::default();
        for (class, limit) in &config.class_limits {
            gates.classes.insert(class.clone(), gates.all.len());
            gates.all.push(Gate::new(*limit));
        }
        for (queue, limit) in &config.queue_limits {
            gates.queues.insert(queue.clone(), gates.all.len());
            gates.all.push(Gate::new(*limit));
        }
        gates
    }

    /// Those of other settings. A bucket keeps what is in it, as far as the new one holds that; who has passed is to be
    /// counted anew.
    pub fn configured(&self, config: &Config) -> Self {
        let mut new = Self::new(config);
        new.now = self.now;
        let named = |from: &BTreeMap<String, usize>, name: &String| from.get(name).and_then(|at| self.all.get(*at));
        let pairs = new.classes.iter().map(|(name, at)| (*at, named(&self.classes, name)));
        let pairs: Vec<_> = pairs.chain(new.queues.iter().map(|(name, at)| (*at, named(&self.queues, name)))).collect();
        for (at, old) in pairs {
            if let (Some(gate), Some(old)) = (new.all.get_mut(at), old)
                && let (Some(rate), Some(before)) = (gate.limit.rate, old.limit.rate)
            {
                // In parts of a token, of which the new period may have another number.
                let level = u128::from(old.level) * u128::from(rate.per_ms) / u128::from(before.per_ms.max(1));
                gate.level = u64::try_from(level).unwrap_or(u64::MAX).min(full(&rate));
                gate.at = old.at;
            }
            if let Some(gate) = new.all.get_mut(at) {
                gate.at = gate.at.max(self.now);
            }
        }
        new
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The gates of a job of this class from this queue.
    pub fn pass(&self, class: &str, queue: &str) -> Pass {
        if self.is_empty() {
            return Pass::default();
        }
        Pass { class: self.classes.get(class).copied(), queue: self.queues.get(queue).copied() }
    }

    /// Time has passed: there are more tokens.
    pub fn refresh(&mut self, now: u64) {
        self.now = now;
        self.all.iter_mut().for_each(|gate| gate.fill(now));
    }

    fn of(&self, pass: Pass) -> impl Iterator<Item = &Gate> {
        pass.gates().filter_map(|at| self.all.get(at))
    }

    /// Jobs that may pass these gates now.
    pub fn room(&self, pass: Pass) -> usize {
        self.of(pass).map(Gate::room).min().unwrap_or(usize::MAX)
    }

    pub fn is_open(&self, pass: Pass) -> bool {
        self.of(pass).all(|gate| gate.open)
    }

    /// Whether nothing at all passes these gates.
    fn is_shut(&self, pass: Pass) -> bool {
        self.of(pass).any(|gate| gate.limit.max_concurrent == Some(0))
    }

    /// Since when these gates are open.
    pub fn opened(&self, pass: Pass) -> u64 {
        self.of(pass).map(|gate| gate.opened).max().unwrap_or(0)
    }

    /// When they will be without anybody having left; `None` if they are, or somebody has to leave.
    pub fn opens_at(&self, pass: Pass) -> Option<u64> {
        let waits = self.of(pass).all(|gate| gate.places() > 0);
        self.of(pass).filter_map(Gate::token_at).max().filter(|_| waits)
    }

    /// A job passes. One that is there already does whatever the limits are.
    pub fn take(&mut self, pass: Pass) {
        let now = self.now;
        for gate in pass.gates() {
            let Some(gate) = self.all.get_mut(gate) else { continue };
            gate.passed += 1;
            if let Some(rate) = gate.limit.rate {
                gate.level = gate.level.saturating_sub(rate.per_ms);
            }
            gate.fill(now);
        }
    }

    /// It has been counted before, under other settings.
    fn count(&mut self, pass: Pass) {
        let now = self.now;
        for gate in pass.gates() {
            if let Some(gate) = self.all.get_mut(gate) {
                gate.passed += 1;
                gate.fill(now);
            }
        }
    }

    /// It is counted no longer. `unstarted`: since when it has been, if it never started. Then its token comes back, but
    /// for what the bucket has been filled up with since: it may have been full without it.
    pub fn give(&mut self, pass: Pass, unstarted: Option<u64>) {
        let now = self.now;
        for gate in pass.gates() {
            let Some(gate) = self.all.get_mut(gate) else { continue };
            gate.passed = gate.passed.saturating_sub(1);
            if let (Some(rate), Some(since)) = (gate.limit.rate, unstarted) {
                let filled = now.saturating_sub(since).saturating_mul(rate.jobs.into());
                gate.level = gate.level.saturating_add(rate.per_ms.saturating_sub(filled)).min(full(&rate));
            }
            gate.fill(now);
        }
    }
}

impl Schedule {
    /// A job is given to a process.
    pub(super) fn passes(&mut self, id: JobId) {
        if self.gates.is_empty() {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.pass.is_free() && job.passed.is_none()) {
            job.passed = Some(self.gates.now);
            self.gates.take(job.pass);
        }
    }

    /// A job is with a process no more. `unread`: it never started there.
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

    /// Counts who has passed by the settings of now.
    pub(super) fn count_passed(&mut self) {
        self.gates = self.gates.configured(&self.config);
        for job in self.jobs.values_mut() {
            job.pass = self.gates.pass(&job.class, &job.queue);
            let passed = job.is_out() && !job.pass.is_free();
            // Its token was out of another bucket, and does not come back into this one.
            job.passed = passed.then_some(0);
            if passed {
                self.gates.count(job.pass);
            }
        }
    }

    /// What has been given to a process and has not begun goes by the limits of now: what was sent ahead comes back, and a
    /// job whose gates are shut does not wait for the process that is being started for it.
    pub(super) fn narrowed(&mut self, now: Now, out: &mut Vec<Action>) {
        self.recall_all(out);
        let bound = |job: &Job| job.stage == Stage::Bound && job.popped.is_none() && self.gates.is_shut(job.pass);
        let shut: Vec<JobId> = self.jobs.iter().filter(|(_, job)| bound(job)).map(|(id, _)| *id).collect();
        for id in shut {
            self.take_back(now, id, out);
            self.wait_again(now, id, out);
        }
    }

    /// Whether the limits let a job start that waits.
    pub(super) fn may_pass(&self, id: JobId) -> bool {
        self.gates.is_empty() || self.jobs.get(&id).is_some_and(|job| self.gates.is_open(job.pass))
    }
}
