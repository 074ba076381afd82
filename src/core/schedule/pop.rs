//! Native pop: where no backend serves the queue, pooled workers pop jobs by themselves, through Laravel's own
//! connection. A *look* is one attempt of a worker to pop. The schedule decides when a worker may look, and no job
//! waits in the runtime.
//!
//! While every look finds a job, ever more workers look at once. After the first fruitless look, one looks at a time,
//! with a growing pause.

use super::job::Stage;
use super::machine::{LEAVE_MS, Phase, Schedule};
use super::worker::{Worker, WorkerState};
use super::{Action, Cause, JobId, JobSpec, Now, Outcome, WorkerId};
use crate::routing::{Route, Tier, Why};

/// Milliseconds from one fruitless look to the next: minimum and maximum.
const PAUSE_MS: (u64, u64) = (10, 1_000);
/// The same after a look that failed.
const FAILED_MS: (u64, u64) = (100, 5_000);
/// Milliseconds after which a look counts as blocked on the queue: another worker may look beside it.
const PATIENCE_MS: u64 = 10_000;
/// Milliseconds after which a look counts as hung, and its process is replaced.
const POP_MS: u64 = 10 * 60_000;
/// Milliseconds for which every look must have found a job before the pool grows, and before it grows beyond its usual
/// size.
const FLOW_MS: (u64, u64) = (250, 1_000);
/// Milliseconds after which a running job counts as occupying its worker: another one takes its place.
const KEEPS_MS: u64 = 100;

/// Pacing of looks.
#[derive(Debug)]
pub(super) struct Looks {
    /// Maximum of looks under way at once.
    reach: usize,
    /// Since when no look has found a job, if none has (milliseconds).
    dry: Option<u64>,
    /// Milliseconds from one look to the next.
    pause: u64,
    /// Earliest time of the next look (milliseconds).
    next: u64,
    /// Since when every look has found a job (milliseconds).
    flows: Option<u64>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { reach: 1, dry: None, pause: 0, next: 0, flows: None }
    }
}

impl Looks {
    fn found(&mut self, now: u64) {
        self.reach = self.reach.saturating_add(1);
        (self.dry, self.pause, self.next) = (None, 0, now);
        self.flows.get_or_insert(now);
    }

    /// A look that began at `since` found nothing. `first` and `last`: minimum and maximum pause.
    fn in_vain(&mut self, since: u64, now: u64, (first, last): (u64, u64)) {
        match self.dry {
            None => (self.reach, self.dry, self.pause) = (1, Some(now), first),
            // Looks under way at the same time have all seen the same empty queue.
            Some(dry) if since < dry => {}
            Some(_) => self.pause = (self.pause * 2).clamp(first, last),
        }
        self.next = self.next.max(since + self.pause);
        self.flows = None;
    }
}

impl Schedule {
    /// Sends workers to look as far as allowed, and delivers popped jobs whose hints are known.
    pub(super) fn pop(&mut self, now: Now, known: bool, out: &mut Vec<Action>) {
        if !self.config.native {
            return;
        }
        let found: Vec<_> = self.popped.drain(..).collect();
        for (worker, job) in found {
            if self.workers.get(worker).is_none_or(|worker| worker.killed.is_some()) {
                // It leaves with its worker.
                continue;
            }
            let alone = self.runs_alone(job);
            self.workers.change(worker, |worker| worker.parting |= alone);
            self.deliver(now, worker, job, out);
        }
        while known && self.may_look(now.ms) {
            let Some((_, id)) = self.workers.idle(Tier::Pooled).last().copied() else { return };
            self.workers.change(id, |worker| {
                worker.state = WorkerState::Popping { until: now.ms + POP_MS, job: None };
                worker.since = now.ms;
            });
            self.looks.next = self.looks.next.max(now.ms + self.looks.pause);
            out.push(Action::Pop(id));
        }
    }

    /// Whether a worker is to look now, provided that the app's signals are known.
    pub(super) fn may_look(&self, now: u64) -> bool {
        self.serves_pops() && now >= self.looks.next && self.has_reach(now)
    }

    /// Whether any worker may be sent to look at all.
    fn serves_pops(&self) -> bool {
        let left = match self.config.max_jobs {
            0 => u64::MAX,
            max => max.saturating_sub(self.admitted),
        };
        let queues = &self.config.queues;
        let is_open = match queues.is_empty() {
            true => self.paused.is_empty(),
            false => queues.iter().any(|queue| !self.paused.contains(queue) && self.lets_pop(queue, 1)),
        };
        let popping = self.popping();
        self.config.native
            && self.phase == Phase::Running
            && !self.down
            && is_open
            && (popping as u64) < left
            && self.running(Tier::Pooled) + popping < self.config.max_concurrent[Tier::Pooled]
            && !self.workers.idle(Tier::Pooled).is_empty()
    }

    /// Whether the limits of a queue have room for all looks under way and `more`.
    fn lets_pop(&self, queue: &str, more: usize) -> bool {
        let looking = self.workers.iter().filter(|(_, worker)| looks(worker)).count();
        self.gates.is_empty() || self.gates.room(self.gates.of_queue(queue)) >= looking + more
    }

    /// The queues from which a worker that was just sent to look may pop.
    pub fn queues_to_pop<'a>(&self, queues: &'a [String]) -> Vec<&'a String> {
        let open = self.open_queues(queues).into_iter();
        open.filter(|queue| self.lets_pop(queue, 0)).collect()
    }

    fn has_reach(&self, now: u64) -> bool {
        let eager = |worker: &Worker| looks(worker) && now < worker.since + PATIENCE_MS;
        self.workers.iter().filter(|(_, worker)| eager(worker)).count() < self.looks.reach
    }

    /// When the next look is due, if nothing else happens (milliseconds).
    pub(super) fn look_at(&self, now: u64) -> Option<u64> {
        if !self.serves_pops() {
            let queues = self.config.queues.iter().filter(|_| self.config.native && self.phase == Phase::Running);
            let opens = queues.filter_map(|queue| self.gates.opens_at(self.gates.of_queue(queue)));
            return opens.filter(|at| *at > now).min();
        }
        let patience = self
            .workers
            .iter()
            .filter(|(_, worker)| looks(worker))
            .map(|(_, worker)| worker.since + PATIENCE_MS)
            .filter(|at| *at > now)
            .min();
        let at = if self.has_reach(now) { Some(self.looks.next) } else { patience };
        at.filter(|at| *at > now)
    }

    /// Workers that look, or hold a popped job whose hints are not known yet.
    pub(super) fn popping(&self) -> usize {
        self.workers.counts(Tier::Pooled).popping
    }

    /// A worker has popped a job, and waits for orders.
    pub(super) fn popped(&mut self, now: Now, id: WorkerId, spec: JobSpec, out: &mut Vec<Action>) {
        let job = spec.id;
        self.admitted += 1;
        if self.phase == Phase::Over || !self.workers.get(id).is_some_and(looks) {
            self.jobs.insert(job, super::admit::job(spec, now.ms));
            let cause = Cause::Protocol("a popped job that was not requested".to_owned());
            self.leave(job, Tier::Pooled, Outcome::Left, 0, Some(cause.clone().into()), out);
            if self.phase != Phase::Over {
                self.kill_worker(id, cause, out);
            }
            return;
        }
        let mut ask = Vec::new();
        self.take_in(now, spec, Some(id), &mut ask);
        let pass = self.pass(job);
        if let Some(job) = self.jobs.get_mut(&job) {
            job.pass = pass;
        }
        self.passes(job);
        if !ask.is_empty() {
            out.push(Action::Inspect(ask));
        }
        self.workers.change(id, |worker| {
            worker.since = now.ms;
            worker.state = WorkerState::Popping { until: now.ms + POP_MS, job: Some(job) };
        });
        self.looks.found(now.ms);
        // A stopping runtime bounds the wait for this one, too.
        if self.is_stopping() {
            self.recall_looks(now);
        }
    }

    /// The look of a worker failed; its `Ready` or `Stopping` follows.
    pub(super) fn pop_failed(&mut self, id: WorkerId) {
        self.workers.change(id, |worker| worker.failed = true);
    }

    /// A worker that looked is back, leaves, or is gone. A job that it has popped leaves with it.
    pub(super) fn looked(&mut self, now: Now, id: WorkerId, worker: &Worker, cause: &Cause, out: &mut Vec<Action>) {
        match worker.state {
            WorkerState::Popping { job: Some(job), .. } => {
                self.take_back(now, job, out);
                self.popped.retain(|(popper, _)| *popper != id);
                self.leave(job, worker.tier, Outcome::Left, 0, Some(cause.clone().into()), out);
            }
            WorkerState::Popping { job: None, .. } => {
                let pauses = if worker.failed { FAILED_MS } else { PAUSE_MS };
                self.looks.in_vain(worker.since, now.ms, pauses);
            }
            _ => {}
        }
    }

    /// A look has found nothing: the queue counts as empty if no other look is under way and this one did not fail.
    pub(super) fn found_nothing(&mut self, now: Now, worker: &Worker, out: &mut Vec<Action>) {
        if self.popping() == 0 && !worker.failed {
            self.empty(now, self.settled(), out);
        }
    }

    /// A job was queued: the next look is due at once.
    pub(super) fn rung(&mut self, now: Now) {
        self.looks.next = now.ms;
        self.looks.pause = self.looks.pause.min(PAUSE_MS.0);
    }

    /// No worker is sent to look any more: looks under way get a short deadline.
    pub(super) fn recall_looks(&mut self, now: Now) {
        for id in self.workers.ids(|worker| matches!(worker.state, WorkerState::Popping { .. })) {
            self.workers.change(id, |worker| {
                if let WorkerState::Popping { until, .. } = &mut worker.state {
                    *until = (*until).min(now.ms + LEAVE_MS);
                }
            });
        }
    }

    /// Cause for killing a worker whose look has taken too long.
    pub(super) fn hangs(&self, since: u64, now: u64) -> Cause {
        match self.phase {
            Phase::Running => Cause::Pop(now.saturating_sub(since)),
            Phase::Draining { .. } | Phase::Killing { .. } | Phase::Over => Cause::Shutdown,
        }
    }

    /// When the pool is to grow beyond its usual size, if every look finds a job until then (milliseconds).
    pub(super) fn flooded_at(&self) -> Option<u64> {
        self.looks.flows.filter(|_| self.config.native).map(|since| since + FLOW_MS.1)
    }

    /// Busy pooled workers in whose place others are wanted. Booting a worker costs more than many quick jobs, and no
    /// more of those may come.
    pub(super) fn kept(&self, now: u64) -> usize {
        if !self.config.native || self.looks.flows.is_some_and(|since| now >= since + FLOW_MS.0) {
            return self.running(Tier::Pooled);
        }
        // A worker that leaves after its job does not come back to look.
        let kept = |worker: &Worker| worker.is_busy() && (worker.parting || now >= worker.since + KEEPS_MS);
        self.workers.iter().filter(|(_, worker)| kept(worker)).count()
    }

    /// When [`Schedule::kept`] changes by itself (milliseconds).
    pub(super) fn kept_at(&self, now: u64) -> Option<u64> {
        if !self.config.native || self.phase != Phase::Running {
            return None;
        }
        let busy =
            self.workers.iter().filter(|(_, worker)| worker.is_busy()).map(|(_, worker)| worker.since + KEEPS_MS);
        let flows = self.looks.flows.map(|since| since + FLOW_MS.0);
        busy.chain(flows).filter(|at| *at > now).min()
    }

    /// The hints of a popped job are known: it is ready for delivery.
    pub(super) fn hold(&mut self, now: Now, worker: WorkerId, job: JobId) {
        let route = self.route(job);
        if let Some(job) = self.jobs.get_mut(&job) {
            job.route = route;
        }
        self.set_stage(now, job, Stage::Bound);
        self.popped.push((worker, job));
    }

    /// Whether a worker was sent to look and has not come back.
    pub fn is_looking(&self, worker: WorkerId) -> bool {
        self.workers.get(worker).is_some_and(looks)
    }

    /// A worker that holds a popped job, to be asked what its class declares.
    pub fn a_holder(&self) -> Option<WorkerId> {
        let holds = |worker: &Worker| worker.killed.is_none() && worker.is_popping() && worker.has_job();
        self.workers.iter().find(|(_, worker)| holds(worker)).map(|(id, _)| id)
    }

    /// Whether a worker runs its job alone, and leaves after it.
    pub fn is_parting(&self, worker: WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|worker| worker.parting)
    }

    /// Whether a popped job runs alone in its process, which leaves after it.
    fn runs_alone(&mut self, job: JobId) -> bool {
        self.route(job).is_some_and(|Route { tier, why, .. }| {
            // A long duration is no reason to boot the app for each job: it delays no other job, which other workers
            // pop.
            let long = matches!(
                why,
                Why::Estimate(_)
                    | Why::History { .. }
                    | Why::Overrun { .. }
                    | Why::Timeout(_)
                    | Why::Name(_)
                    | Why::Nothing
            );
            tier == Tier::Isolated && !long
        })
    }
}

/// Whether a worker was sent to look and has not come back.
fn looks(worker: &Worker) -> bool {
    matches!(worker.state, WorkerState::Popping { job: None, .. })
}
