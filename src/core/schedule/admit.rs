//! How jobs are admitted, routed, queued for their tier, and given back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::gate::Pass;
use super::job::{Job, Stage, Turn};
use super::machine::{Phase, Schedule};
use super::waiting::{Entry, Waiting};
use super::worker::Worker;
use super::{Action, Inspection, JobId, JobKind, JobSpec, LastResort, Now, StopReason, WorkerId};
use crate::payload::{Hints, LimitHint, is_class_name};
use crate::routing::{Limits, Route, Tier};

/// Classes whose declarations are remembered.
const CLASSES: usize = 4096;
/// Maximum of jobs reserved per call.
const BATCH: usize = 64;

impl Schedule {
    /// How many jobs to reserve now. Jobs that wait for a full tier do not count against the others,
    /// so that these keep flowing past them, up to the bounds on all that wait.
    pub fn wanted(&self, now: Now) -> usize {
        if self.config.native
            || self.phase != Phase::Running
            || self.down
            || self.waiting_bytes >= self.config.max_waiting_bytes
            || self.takes_none()
        {
            return 0;
        }
        let held: usize = self.waiting.iter().map(|waiting| waiting.len()).sum();
        let asked: usize = self.inspecting.values().map(|(_, jobs)| jobs.len()).sum();
        let room = self.most_waiting().saturating_sub(held + asked);
        let left = match self.config.max_jobs {
            0 => usize::MAX,
            max => max.saturating_sub(self.admitted).try_into().unwrap_or(usize::MAX),
        };
        if self.is_helpless() {
            return 0;
        }
        let rooms = [self.inline_room(now.ms), self.pooled_room(), self.isolated_room()];
        let free: usize = match self.config.ahead {
            true => rooms.iter().sum(),
            false if self.is_backed_up() => 0,
            // All of them may be for one tier.
            false => rooms.iter().copied().max().unwrap_or(0),
        };
        free.saturating_sub(asked).min(room).min(left).min(BATCH).min(self.quantum())
    }

    /// The queues out of `queues` from which jobs may be reserved, in the order in which they are to be asked.
    pub fn open_queues<'a>(&self, queues: &'a [String]) -> Vec<&'a String> {
        let open = queues.iter().filter(|queue| !self.paused.contains(*queue) && !self.is_held_back(queue));
        self.by_share(open.collect())
    }

    pub(super) fn reserved(&mut self, now: Now, specs: Vec<JobSpec>, out: &mut Vec<Action>) {
        self.brought(&specs);
        let mut back = Vec::new();
        let mut ask = Vec::new();
        for spec in specs {
            if !self.may_run(&spec.queue) {
                back.push(spec.id);
                continue;
            }
            self.wake(now, out);
            self.admitted += 1;
            self.take_in(now, spec, None, &mut ask);
        }
        self.inspect(ask, out);
        if !back.is_empty() {
            out.push(Action::Unreserve(back));
        }
    }

    /// Admits a job. `popped`: the worker that already has it.
    pub(super) fn take_in(&mut self, now: Now, mut spec: JobSpec, popped: Option<WorkerId>, ask: &mut Vec<String>) {
        let id = spec.id;
        if spec.cancel.is_some() && popped.is_none() {
            self.jobs.insert(id, job(spec, now.ms));
            return self.never_runs(now, id);
        }
        self.waiting_bytes += spec.bytes;
        if self.missing.contains(&spec.class)
            && let Some(wrapper) = spec.wrapper.take()
        {
            spec.class = wrapper;
        }
        self.jobs.insert(id, Job { popped, ..job(spec, now.ms) });
        self.enqueue_or_ask(now, id, ask);
    }

    /// Queues a job for its tier, or asks first for the hints of its class; classes to inspect are added to `ask`.
    pub(super) fn enqueue_or_ask(&mut self, now: Now, id: JobId, ask: &mut Vec<String>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if self.hints.contains_key(&job.class) || !is_class_name(&job.class) {
            match job.popped {
                Some(worker) => {
                    self.waiting_bytes -= job.bytes;
                    self.hold(now, worker, id);
                }
                None => self.enqueue(now, id),
            }
            return;
        }
        job.stage = Stage::Inspecting;
        let (_, jobs) = self.inspecting.entry(job.class.clone()).or_insert_with(|| {
            ask.push(job.class.clone());
            (now.ms, Vec::new())
        });
        jobs.push(id);
    }

    /// Takes in the answer to an inspection. Omitted classes declare nothing once the inspection's deadline passes.
    pub(super) fn inspected(&mut self, now: Now, found: Inspection, out: &mut Vec<Action>) {
        let mut ask = Vec::new();
        for class in found.unloadable {
            note(&mut self.unloadable, class);
        }
        self.take_keys(&found.keys);
        if self.take_limits(found.limits) {
            self.count_passed();
            self.line_up();
        }
        for class in &found.missing {
            note(&mut self.missing, class.clone());
        }
        for (class, hints) in found.hints {
            self.remember(class.clone(), hints);
            let is_none = self.missing.contains(&class);
            for id in self.inspecting.remove(&class).map(|(_, jobs)| jobs).unwrap_or_default() {
                if let Some(job) = self.jobs.get_mut(&id).filter(|_| is_none)
                    && let Some(wrapper) = job.wrapper.take()
                {
                    job.class = wrapper;
                }
                self.enqueue_or_ask(now, id, &mut ask);
            }
        }
        if !ask.is_empty() {
            out.push(Action::Inspect(ask));
        }
    }

    /// Whether jobs use this name and it is not a class.
    pub fn is_missing(&self, class: &str) -> bool {
        self.missing.contains(class)
    }

    /// What the replay of a job leaves out, and whether the job is to fail whatever its retry rules are.
    pub fn last_resort(&self, id: JobId) -> (LastResort, bool) {
        let Some(job) = self.jobs.get(&id) else { return Default::default() };
        let deadly = job.failing || self.unloadable.contains(&job.class);
        let resort = match job.replays {
            0 if !deadly => LastResort::None,
            0 | 1 => LastResort::NoClass,
            _ => LastResort::Alone,
        };
        (resort, job.failing)
    }

    /// Takes in the limits that classes declare. True if any has changed.
    fn take_limits(&mut self, limits: Vec<(String, Option<LimitHint>)>) -> bool {
        let before = self.limits.len();
        let mut changed = false;
        for (class, limit) in limits {
            match limit {
                Some(limit) if self.limits.get(&class) == Some(&limit) => {}
                Some(_) if self.limits.len() >= CLASSES && !self.limits.contains_key(&class) => {}
                Some(limit) => {
                    self.limits.insert(class, limit);
                    changed = true;
                }
                None => drop(self.limits.remove(&class)),
            }
        }
        changed || self.limits.len() != before
    }

    fn remember(&mut self, class: String, hints: Hints) {
        if self.hints.len() >= CLASSES {
            self.hints.pop_first();
        }
        self.hints.insert(class, hints);
    }

    pub(super) fn empty(&mut self, now: Now, settled: u64, out: &mut Vec<Action>) {
        if self.config.stop_when_empty && settled == self.settled() && self.jobs.is_empty() && !self.is_stopping() {
            self.over(now, out);
        }
    }

    pub(super) fn route(&mut self, id: JobId) -> Option<Route> {
        let job = self.jobs.get(&id)?;
        let hints = self.declared_by(job);
        let defaults = self.config.defaults(&job.class, &job.queue);
        let limits = Limits { default_tier: defaults.tier.or(self.config.limits.default_tier), ..self.config.limits };
        // That of a queue says nothing about how long its jobs take.
        let of_class = || self.config.class_defaults.get(&job.class)?.timeout;
        let timeout = job.timeout.or_else(of_class);
        Some(self.history.route(&job.class, &hints, timeout, &limits))
    }

    /// Routes a job and queues it for its tier.
    fn enqueue(&mut self, now: Now, id: JobId) {
        let Some(route) = self.route(id) else { return };
        let Route { tier, known, .. } = route;
        let (turn, pass) = (self.turn(id), self.pass(id));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.pass = pass;
        // A job that had a round before keeps it, unless the rounds have begun anew.
        let kept = job.turn.round();
        let round = match job.tenant {
            // Moved to the front: outside of the rounds.
            _ if job.front > 0 => 0,
            Some(tenant) => {
                let next = self.waiting[tier].next_round(turn, tenant);
                let keeps = kept > 0 && job.tier == tier && job.turn.in_round(0) == turn;
                if keeps { kept.min(next) } else { next }
            }
            None => 0,
        };
        let turn = turn.in_round(round);
        (job.tier, job.route) = (tier, Some(route));
        job.turn = turn;
        job.unknown = !known;
        job.stage = Stage::Waiting;
        job.since = now.ms;
        if job.unknown && tier == Tier::Pooled {
            self.unknown.entry(job.class.clone()).or_default().insert(id);
        }
        self.waiting[tier].push(id, turn, job.pass, Entry::of(job));
    }

    /// Puts a job that was removed from its waiting list back, at its new position.
    pub(super) fn waits_in_front(&mut self, now: Now, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        self.waiting_bytes += job.bytes;
        self.enqueue(now, id);
    }

    /// Returns a job that was taken for a worker to its waiting list, ahead of later ones; cancelled, paused and moved
    /// jobs and replays go where they belong instead.
    pub(super) fn wait_again(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if self.probes.get(&job.class) == Some(&id) {
            self.probes.remove(&job.class);
        }
        match job.kind {
            JobKind::Run if job.cancel.is_some() => {
                self.passed_by(id, true);
                self.never_runs(now, id);
            }
            JobKind::Run if self.may_run(&job.queue) && !job.away => {
                let (bytes, tier, turn) = (job.bytes, job.tier, job.turn);
                self.waiting[tier].came_back(turn);
                self.passed_by(id, true);
                self.waiting_bytes += bytes;
                self.enqueue(now, id);
            }
            JobKind::Run => {
                self.forget(id);
                out.push(Action::Unreserve(vec![id]));
            }
            JobKind::Crash | JobKind::Timeout | JobKind::Release | JobKind::Cancel => {
                self.set_stage(now, id, Stage::Replaying);
                self.replays.push_front(id);
            }
        }
    }

    /// Removes a job from the index of its stage.
    pub(super) fn take_back(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (class, tier, bytes, turn, pass) = (job.class.clone(), job.tier, job.bytes, job.turn, job.pass);
        match job.stage {
            Stage::Waiting => {
                self.waiting[tier].remove(id, turn, pass);
                self.no_longer_unknown(&class, id);
                self.waiting_bytes -= bytes;
            }
            Stage::Inspecting => {
                if let Some((_, jobs)) = self.inspecting.get_mut(&class) {
                    jobs.retain(|other| *other != id);
                }
                self.waiting_bytes -= bytes;
            }
            Stage::Bound => {
                for worker_id in self.workers.ids(|worker| worker.bound == Some(id)) {
                    self.workers.change(worker_id, |worker| worker.bound = None);
                    // One that is still starting is stopped as soon as it is ready.
                    if self.workers.get(worker_id).is_some_and(Worker::is_idle) {
                        self.stop_worker(now, worker_id, StopReason::Idle, out);
                    }
                }
            }
            Stage::Replaying => self.replays.retain(|other| *other != id),
            Stage::Ahead => {
                for worker_id in self.workers.ids(|worker| worker.ahead.contains(&id)) {
                    self.workers.change(worker_id, |worker| worker.ahead.retain(|other| *other != id));
                }
            }
            Stage::Running(_) | Stage::Verifying => {}
        }
    }

    pub(super) fn no_longer_unknown(&mut self, class: &str, id: JobId) {
        if let Some(jobs) = self.unknown.get_mut(class) {
            jobs.remove(&id);
            if jobs.is_empty() {
                self.unknown.remove(class);
            }
        }
    }

    /// Time limit of a job: of its payload, else of its class or queue, else the default; `None` is without limit.
    pub fn time_limit(&self, id: JobId) -> Option<Duration> {
        let ms = self.config.timeout_of(self.jobs.get(&id)?);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// Hints of a job, completed by those of its class.
    pub fn declared(&self, id: JobId) -> Hints {
        self.jobs.get(&id).map(|job| self.declared_by(job)).unwrap_or_default()
    }

    fn declared_by(&self, job: &Job) -> Hints {
        let hints = job.hints.merge(&self.hints.get(&job.class).copied().unwrap_or_default());
        let told = hints.max_memory_mb.or_else(|| self.config.defaults(&job.class, &job.queue).memory_mb);
        Hints { max_memory_mb: told, ..hints }
    }

    /// Memory limits in MB, by class, of the classes that declare or are configured with one.
    pub fn class_memory_mb(&self) -> BTreeMap<String, u32> {
        let hinted = self.hints.iter().filter_map(|(class, hints)| Some((class.clone(), hints.max_memory_mb?)));
        let defaults = self.config.class_defaults.iter();
        let configured = defaults.filter_map(|(class, defaults)| Some((class.clone(), defaults.memory_mb?)));
        configured.chain(hinted).collect()
    }

    /// Memory limit in MB that a job declares, if any.
    pub fn max_memory_mb(&self, id: JobId) -> Option<u32> {
        self.declared(id).max_memory_mb
    }

    pub(super) fn turn(&self, id: JobId) -> Turn {
        let Some(job) = self.jobs.get(&id) else { return Turn::default() };
        let told = || self.config.defaults(&job.class, &job.queue).priority;
        let priority = self.declared(id).priority.or_else(told).unwrap_or(0);
        Turn::new(self.place_of(&job.queue), priority).in_front(job.front)
    }

    /// Drops a job that goes back to its queue unchanged. It counts as settled: a call for jobs made before cannot have
    /// found it there.
    pub(super) fn forget(&mut self, id: JobId) {
        self.passed_by(id, true);
        if self.jobs.remove(&id).is_some() {
            self.admitted -= 1;
            self.settled += 1;
        }
    }

    /// Whether jobs of a queue may start.
    pub fn may_run(&self, queue: &str) -> bool {
        self.phase == Phase::Running && !self.down && !self.paused.contains(queue) && !self.has_moved()
    }

    /// An operator ends the quarantine of a class: its waiting jobs are routed anew.
    pub(super) fn lift(&mut self, now: Now, class: &str) {
        if self.history.lift(class) {
            self.heavier(now, class);
        }
    }

    /// A class is heavier or lighter than estimated: routes its waiting jobs anew, before each of them occupies a
    /// worker of the wrong tier.
    pub(super) fn heavier(&mut self, now: Now, class: &str) {
        let of_class = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.class == class);
        let waiting: Vec<_> = self.waiting.iter().flat_map(Waiting::iter).filter(of_class).collect();
        for id in waiting {
            let Some(Route { tier, known, .. }) = self.route(id) else { continue };
            let Some(job) = self.jobs.get(&id) else { continue };
            if (tier, !known) != (job.tier, job.unknown) {
                self.waiting[job.tier].remove(id, job.turn, job.pass);
                self.no_longer_unknown(class, id);
                self.enqueue(now, id);
            }
        }
    }

    /// A run of an unknown class has been recorded: routes its waiting jobs anew, unless it still counts as unknown.
    pub(super) fn learnt(&mut self, now: Now, class: &str) {
        let Some(sample) = self.unknown.get(class).and_then(|jobs| jobs.first()).copied() else { return };
        let Some(Route { tier, known, .. }) = self.route(sample) else { return };
        if !known && tier == Tier::Pooled {
            return;
        }
        for id in self.unknown.remove(class).unwrap_or_default() {
            let (turn, pass) = self.jobs.get(&id).map(|job| (job.turn, job.pass)).unwrap_or_default();
            self.waiting[Tier::Pooled].remove(id, turn, pass);
            self.enqueue(now, id);
        }
    }

    /// Gives back the jobs that PHP has not seen and whose queue `which` selects.
    pub(super) fn give_back(&mut self, now: Now, which: impl Fn(&str) -> bool, out: &mut Vec<Action>) {
        let back: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.kind == JobKind::Run && job.popped.is_none() && which(&job.queue))
            .filter(|(_, job)| matches!(job.stage, Stage::Inspecting | Stage::Waiting | Stage::Bound))
            .map(|(id, _)| *id)
            .collect();
        for id in &back {
            self.take_back(now, *id, out);
            self.forget(*id);
        }
        if !back.is_empty() {
            out.push(Action::Unreserve(back));
        }
    }

    pub(super) fn signals(&mut self, now: Now, down: bool, paused: Vec<String>, out: &mut Vec<Action>) {
        // A late answer, of a process from before, does not count for an app that sleeps or wakes.
        self.checked = Some(now.ms).filter(|_| !self.is_asleep() && !self.is_waking());
        self.checking = None;
        self.down = down;
        self.paused = paused.into_iter().collect();
        if down || !self.paused.is_empty() {
            // Only running processes can report the end of the pause or maintenance mode.
            self.wake(now, out);
            self.recall_all(out);
        }
        if down {
            self.give_back(now, |_| true, out);
            // As Laravel's own worker: nothing can be popped, which counts as empty.
            if self.config.stop_when_empty && self.jobs.is_empty() && self.popping() == 0 && !self.is_stopping() {
                self.over(now, out);
            }
        } else if !self.paused.is_empty() {
            let paused = self.paused.clone();
            self.give_back(now, |queue| paused.contains(queue), out);
        }
    }
}

pub(super) fn job(spec: JobSpec, now: u64) -> Job {
    Job {
        class: spec.class,
        queue: spec.queue,
        bytes: spec.bytes,
        timeout: spec.timeout,
        hints: spec.hints,
        tier: Tier::Pooled,
        route: None,
        turn: Turn::default(),
        tenant: spec.tenant,
        key: spec.key,
        pass: Pass::default(),
        passed: None,
        unknown: false,
        stage: Stage::Inspecting,
        kind: JobKind::Run,
        cause: None,
        replays: 0,
        since: now,
        deleted: false,
        failing: false,
        wrapper: spec.wrapper,
        popped: None,
        cancel: spec.cancel,
        never: false,
        front: spec.front,
        away: false,
    }
}

/// Adds to a bounded set of names.
fn note(names: &mut BTreeSet<String>, name: String) {
    if names.len() >= CLASSES {
        names.pop_first();
    }
    names.insert(name);
}
