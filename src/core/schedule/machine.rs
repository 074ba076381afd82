//! The state, and the effect of each event on it. Decisions that follow from the new state are made in `plan`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::backoff::Backoff;
use super::gates::Gates;
use super::job::{Job, Stage};
use super::pop::Looks;
use super::share::Shares;
use super::sleep::Rest;
use super::waiting::Waiting;
use super::worker::{Worker, WorkerState};
use super::workers::Workers;
use super::{Action, Cause, Config, Done, Event, JobId, Now, StopReason, WorkerId};
use crate::payload::{Hints, LimitHint};
use crate::routing::{History, PerTier, Tier};

/// Milliseconds that an inspection may take before its classes are assumed to declare nothing.
pub(super) const INSPECT_MS: u64 = 2_000;
/// Milliseconds that a worker may take to leave; replays after a kill get half of it.
pub(super) const LEAVE_MS: u64 = 10_000;
/// Replays that may die before a job is left to `retry_after`: a few more tries distinguish a cause outside of the job
/// from a `failed()` that kills its own process.
pub(super) const REPLAYS: u32 = 4;

/// Progress of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Running jobs may finish until then (milliseconds).
    Draining {
        until: u64,
    },
    /// Killed jobs are replayed until then (milliseconds).
    Killing {
        until: u64,
    },
    Over,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Schedule {
    pub(super) config: Config,
    /// Run statistics of each class.
    pub history: History,
    pub(super) hints: BTreeMap<String, Hints>,
    /// Limits that classes declare, until they are inspected again.
    pub(super) limits: BTreeMap<String, LimitHint>,
    /// Names used by jobs that are not classes.
    pub(super) missing: BTreeSet<String>,
    /// Classes that end PHP when they are loaded.
    pub(super) unloadable: BTreeSet<String>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) workers: Workers,
    pub(super) waiting: PerTier<Waiting>,
    pub(super) waiting_bytes: usize,
    /// Limits of classes and queues.
    pub(super) gates: Gates,
    /// Held-back jobs kept of a queue when others of it were last given back; by position of the queue.
    pub(super) kept_back: BTreeMap<usize, usize>,
    /// Fair shares of the calls for jobs, where queues have weights.
    pub(super) asked: Option<Shares>,
    /// Jobs of unknown classes that wait for the pool.
    pub(super) unknown: BTreeMap<String, BTreeSet<JobId>>,
    /// Unknown classes of which a lane tries one job, and that job.
    pub(super) probes: BTreeMap<String, JobId>,
    pub(super) inspecting: BTreeMap<String, (u64, Vec<JobId>)>,
    pub(super) replays: VecDeque<JobId>,
    pub(super) backoff: PerTier<Backoff>,
    /// Per tier, processes in a row that ended before they were ready, and the cause of the last.
    pub(super) unready: PerTier<Option<(u32, Cause)>>,
    pub(super) next_worker: WorkerId,
    pub(super) generation: u64,
    /// Pooled workers from before a reload are being replaced, one by one.
    pub(super) rolling: bool,
    pub(super) phase: Phase,
    /// Pooled and isolated processes run on after the stop.
    pub(super) handing_over: bool,
    /// Maintenance mode.
    pub(super) down: bool,
    pub(super) paused: BTreeSet<String>,
    /// When the app's signals were last known (milliseconds).
    pub(super) checked: Option<u64>,
    /// Time of the last event (milliseconds).
    pub(super) seen: u64,
    /// The signals check under way: since when (milliseconds), and which worker is asked.
    pub(super) checking: Option<(u64, WorkerId)>,
    pub(super) admitted: u64,
    pub(super) settled: u64,
    /// The current window of 50 ms, and the jobs that lanes finished in it and in the one before.
    pub(super) pace: (u64, usize, usize),
    /// Classes of which jobs have run, and whether one has printed output.
    pub(super) printing: BTreeMap<String, bool>,
    /// Pacing of native pop.
    pub(super) looks: Looks,
    /// Popped jobs with known hints, to be delivered to the workers that hold them.
    pub(super) popped: Vec<(WorkerId, JobId)>,
    /// State of sleep.
    pub(super) rest: Rest,
}

impl Schedule {
    /// An empty schedule. `history` is that of an earlier one.
    pub fn new(config: Config, history: History) -> Self {
        Self {
            workers: Workers::new(&config),
            gates: Gates::new(&config, &BTreeMap::new()),
            kept_back: BTreeMap::new(),
            asked: Shares::new(&config),
            history,
            hints: BTreeMap::new(),
            limits: BTreeMap::new(),
            missing: BTreeSet::new(),
            unloadable: BTreeSet::new(),
            jobs: BTreeMap::new(),
            waiting: PerTier::of(|_| Waiting::new(&config)),
            waiting_bytes: 0,
            unknown: BTreeMap::new(),
            probes: BTreeMap::new(),
            inspecting: BTreeMap::new(),
            replays: VecDeque::new(),
            backoff: Default::default(),
            unready: Default::default(),
            next_worker: 1,
            generation: 0,
            rolling: false,
            phase: Phase::Running,
            handing_over: false,
            down: false,
            paused: BTreeSet::new(),
            checked: None,
            seen: 0,
            checking: None,
            admitted: 0,
            settled: 0,
            pace: (0, 0, 0),
            printing: BTreeMap::new(),
            looks: Looks::default(),
            popped: Vec::new(),
            rest: Rest::default(),
            config,
        }
    }

    /// Takes in one event and appends the actions that follow.
    pub fn on(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        self.seen = now.ms;
        self.gates.refresh(now.ms);
        if self.phase == Phase::Over {
            // Jobs of a call still under way are given back; otherwise only the set of workers is kept up to date.
            match event {
                Event::Reserved(jobs) => self.reserved(now, jobs, out),
                Event::Gone { worker, .. } => drop(self.workers.remove(worker)),
                Event::Popped { worker, job } => self.popped(now, worker, job, out),
                _ => {}
            }
            return;
        }
        let stirs = !self.jobs.is_empty() || matches!(event, Event::Restart | Event::Reload | Event::Adopted(_));
        match event {
            Event::Reserved(jobs) => self.reserved(now, jobs, out),
            Event::Empty { settled } => self.empty(now, settled, out),
            Event::Popped { worker, job } => self.popped(now, worker, job, out),
            Event::PopFailed(worker) => self.pop_failed(worker),
            Event::Rung => self.rung(now),
            Event::Inspected(found) => self.inspected(now, found, out),
            Event::Ready { worker, done } => self.ready(now, worker, done, out),
            Event::Taken(worker) => self.taken(worker),
            Event::Printed(job) => self.printed(job, out),
            Event::Next { worker, done, job } => self.next(now, worker, done, job, out),
            Event::Recalled { worker, jobs } => self.recalled(now, worker, &jobs, out),
            Event::Deleted { worker, failed } => {
                let job = self.workers.get(worker).and_then(Worker::job);
                if let Some(job) = job.and_then(|id| self.jobs.get_mut(&id)) {
                    job.deleted = true;
                    job.failing = failed;
                }
            }
            Event::Stopping { worker, status, done } => self.stopping(now, worker, status, done, out),
            Event::Died { worker, fatal, done } => {
                self.workers.change(worker, |worker| worker.last_words = Some((fatal, done)));
            }
            Event::Gone { worker, cause, unread } => self.gone(now, worker, cause, unread, out),
            Event::Verified { job, ours } => self.verified(now, job, ours, out),
            Event::LeaseLost(job) => self.lease_lost(now, job, out),
            Event::MemoryOver { worker, used, limit } => self.memory_over(now, worker, used, limit, out),
            Event::State { down, paused } => self.signals(now, down, paused, out),
            Event::Cancel { job, order } => self.cancel(now, job, order, out),
            Event::Requeue { job, place } => self.requeue(now, job, place, out),
            Event::Lift(class) => self.lift(now, &class),
            Event::Recycle(worker) => self.recycle(now, worker, out),
            Event::Shared { name, call, grant } => self.shared(now, &name, call, grant),
            Event::Narrowed => self.narrowed(now, out),
            Event::Restart => self.restart(now, out),
            Event::Adopted(all) => all.into_iter().for_each(|one| self.adopted(now, one)),
            Event::Unsent(worker) => self.unsent(now, worker, out),
            Event::HandOver => self.hand_over(now, out),
            Event::Reload => self.reload(now, out),
            Event::Drain => self.drain(now, out),
            Event::Booted => self.booted(now, out),
            Event::BootFailed => self.boot_failed(now, out),
            Event::Moved => self.moved(now, out),
            Event::Renewed => self.renewed(now, out),
            Event::Sighted(within) => self.sighted(now, within, out),
            Event::Wake => self.wake(now, out),
            Event::PoolExpected(within) => self.expect_pooled(now, within),
            Event::Tick => {}
        }
        self.note_activity(now, stirs);
        self.watch(now, out);
        self.plan(now, out);
    }

    fn ready(&mut self, now: Now, id: WorkerId, done: Option<Done>, out: &mut Vec<Action>) {
        if let Some(done) = done {
            self.finish(now, id, done, out);
        }
        let config = &self.config;
        let (generation, rolling) = (self.generation, self.rolling);
        let Some(worker) = self.workers.get(id) else { return };
        if worker.killed.is_some() || worker.state == WorkerState::Leaving {
            return;
        }
        if worker.has_job() {
            // A worker that asks while it has a job has lost track; nothing it reports can be relied on.
            let cause = Cause::Protocol("a request for a second job".to_owned());
            self.kill_worker(id, cause, out);
            return;
        }
        let spent = worker.parting
            || worker.spent
            || config.worker_max_jobs > 0 && worker.jobs >= config.worker_max_jobs
            || config.worker_max_ms > 0 && now.ms - worker.born >= config.worker_max_ms;
        let looked = matches!(worker.state, WorkerState::Popping { job: None, .. }).then(|| worker.clone());
        let reason = if worker.generation < generation && !(rolling && worker.tier == Tier::Pooled) {
            Some(StopReason::Restart)
        } else if spent && worker.tier != Tier::Isolated {
            Some(StopReason::Recycle)
        } else {
            None
        };
        // An isolated process whose job was given back meanwhile has no purpose.
        let reason = reason.or((worker.tier == Tier::Isolated && worker.bound.is_none()).then_some(StopReason::Idle));
        if worker.state == WorkerState::Starting {
            self.unready[worker.tier] = None;
            self.proves();
        }
        self.workers.change(id, |worker| {
            worker.since = now.ms;
            worker.state = WorkerState::Idle;
            worker.failed = false;
        });
        if let Some(worker) = looked {
            self.looked(now, id, &worker, &Cause::Vanished, out);
            self.found_nothing(now, &worker, out);
        }
        // It asks for a job instead of claiming one: jobs ahead of it came too late to be seen.
        self.recall_one(id, out);
        if let Some(reason) = reason {
            self.stop_worker(now, id, reason, out);
        }
    }

    fn stopping(&mut self, now: Now, id: WorkerId, status: i32, done: Option<Done>, out: &mut Vec<Action>) {
        let runs_on = self.workers.change(id, |worker| {
            // Status 0 is a planned stop and 12 the memory limit, both between jobs. Any other is Laravel's alarm,
            // within a job.
            worker.timed_out = status != 0 && status != 12;
            worker.ending = true;
            match &mut worker.state {
                // It will not read a job sent meanwhile; its end settles that, and gets a short deadline.
                WorkerState::Busy { deadline, .. } if done.is_none() => {
                    let end = now.ms + LEAVE_MS;
                    *deadline = Some(deadline.map_or(end, |deadline| deadline.min(end)));
                    true
                }
                _ => false,
            }
        });
        if runs_on != Some(false) {
            return;
        }
        if let Some(done) = done {
            self.finish(now, id, done, out);
        }
        let Some(worker) = self.workers.get(id).cloned() else { return };
        self.looked(now, id, &worker, &Cause::Exit(status), out);
        // A worker that leaves before its first job would do so again.
        if worker.state != WorkerState::Leaving && worker.jobs == 0 {
            self.backoff[worker.tier].died(now.ms);
        }
        let bound = self.workers.change(id, |worker| worker.leave(now.ms)).flatten();
        self.recall_one(id, out);
        if let Some(job) = bound {
            self.wait_again(now, job, out);
        }
    }

    pub(super) fn kill_worker(&mut self, id: WorkerId, cause: Cause, out: &mut Vec<Action>) {
        if self.workers.get(id).is_some_and(|worker| worker.killed.is_none()) {
            self.workers.change(id, |worker| worker.killed = Some(cause.clone()));
            out.push(Action::Kill { worker: id, cause });
        }
    }

    pub(super) fn stop_worker(&mut self, now: Now, id: WorkerId, reason: StopReason, out: &mut Vec<Action>) {
        if self.workers.get(id).is_some_and(|worker| worker.killed.is_none()) {
            let bound = self.workers.change(id, |worker| worker.leave(now.ms)).flatten();
            out.push(Action::Stop { worker: id, reason });
            if let Some(job) = bound {
                self.wait_again(now, job, out);
            }
        }
    }

    pub(super) fn set_stage(&mut self, now: Now, id: JobId, stage: Stage) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.stage = stage;
            job.since = now.ms;
        }
    }
}
