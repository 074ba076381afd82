//! Decisions that follow from the state: which job runs next, and what has taken too long.

use super::ahead::PATIENCE_MS;
use super::job::{Job, Stage};
use super::machine::{INSPECT_MS, Phase, Schedule};
use super::worker::{Worker, WorkerState};
use super::{Action, Cause, Inspection, JobId, JobKind, Now, StopReason, WorkerId};
use crate::payload::Hints;
use crate::routing::Tier;

/// Milliseconds for which the app's signals count as fresh when a job is to start.
const FRESH_MS: u64 = 20;
/// Milliseconds that a worker may take to answer a signals check.
const ANSWER_MS: u64 = 1_000;
/// Milliseconds for which no worker is asked again after none has answered.
const SILENCE_MS: u64 = 2_000;
/// Timeout of a replay in milliseconds.
const REPLAY_MS: u64 = 60_000;

impl Schedule {
    /// Hands out jobs, starts processes that are needed, ends the schedule when it is done.
    pub(super) fn plan(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.phase == Phase::Over {
            return;
        }
        self.doze(now, out);
        self.give_back_held(now, out);
        self.roll(now, out);
        self.replay(now, out);
        let serving = self.phase == Phase::Running && !self.down;
        if !serving && self.waiting.iter().any(|waiting| !waiting.is_empty()) {
            self.give_back(now, |_| true, out);
        }
        let known = self.phase == Phase::Running && !self.is_waking() && self.knows_signals(now, out);
        if serving && known {
            self.hand_out_bound(now, out);
            self.hand_out(now, Tier::Inline, out);
            self.hand_out(now, Tier::Pooled, out);
            self.probe(now, out);
            self.send_ahead(now, out);
        }
        // A process takes time to start, and gets its job only once the signals are fresh.
        if serving && self.checked.is_some() && !self.is_waking() {
            self.isolate(now, out);
        }
        self.ask_others(now, out);
        self.pop(now, serving && known, out);
        self.size_lanes(now, out);
        self.size_pool(now, out);
        let enough = self.config.max_jobs > 0 && self.admitted >= self.config.max_jobs;
        if self.is_stopping() && self.may_leave() || self.jobs.is_empty() && enough {
            self.over(now, out);
        }
    }

    /// Whether the app's signals (maintenance, pauses) are fresh enough to start a job. If not, an idle worker is asked
    /// first: Laravel checks them before every job.
    fn knows_signals(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        if let Some((since, asked)) = self.checking {
            let up = |worker: &Worker| worker.killed.is_none() && worker.state != WorkerState::Leaving;
            if now.ms >= since + ANSWER_MS {
                self.workers.change(asked, |worker| worker.mute = true);
                self.checking = None;
            } else if !self.workers.get(asked).is_some_and(up) {
                self.checking = None;
            }
        }
        let age = self.checked.map_or(u64::MAX, |at| now.ms.saturating_sub(at));
        let wanted = !self.inspecting.is_empty()
            || self.waiting.iter().any(|waiting| waiting.first(&self.gates).is_some())
            || self.workers.counts(Tier::Isolated).bound > 0
            || self.may_look(now.ms);
        let due = if wanted { FRESH_MS } else { self.look_ms() };
        if age < due {
            return true;
        }
        if self.checking.is_some() {
            return false;
        }
        match (self.someone_to_ask(), self.an_idle_worker()) {
            (Some(worker), _) => {
                self.checking = Some((now.ms, worker));
                out.push(Action::Check(worker));
                false
            }
            // No idle worker has answered. That must not block all jobs for ever.
            (None, Some(_)) => {
                self.checked = Some(now.ms + SILENCE_MS);
                for id in self.workers.ids(|worker| worker.mute) {
                    self.workers.change(id, |worker| worker.mute = false);
                }
                true
            }
            // Without an idle worker no job could be delivered either.
            (None, None) => false,
        }
    }

    /// An idle worker that has not just failed to answer.
    fn someone_to_ask(&self) -> Option<WorkerId> {
        let mut idle = Tier::ALL.into_iter().flat_map(|tier| self.workers.idle(tier)).map(|(_, id)| *id);
        idle.find(|id| self.workers.get(*id).is_some_and(|worker| !worker.mute))
    }

    /// Milliseconds between checks of the signals while there is nothing to do.
    fn look_ms(&self) -> u64 {
        if self.down || !self.paused.is_empty() { 500 } else { 2_000 }
    }

    /// Delivers to ready isolated processes the jobs that they were started for.
    fn hand_out_bound(&mut self, now: Now, out: &mut Vec<Action>) {
        let idle: Vec<_> = self.workers.idle(Tier::Isolated).iter().map(|(_, id)| *id).collect();
        for id in idle {
            if let Some(job) = self.workers.change(id, |worker| worker.bound.take()).flatten() {
                self.deliver(now, id, job, out);
            }
        }
    }

    /// The idle worker of a tier that was busy last: its memory is the warmest.
    fn idle(&self, tier: Tier) -> Option<WorkerId> {
        self.workers.idle(tier).last().map(|(_, id)| *id)
    }

    /// An idle worker of a tier, if the tier may run one more job.
    fn free(&self, tier: Tier) -> Option<WorkerId> {
        self.idle(tier).filter(|_| self.running(tier) < self.config.max_concurrent[tier])
    }

    fn replay(&mut self, now: Now, out: &mut Vec<Action>) {
        // A job cancelled before it was reserved waits, like others, until the app's current settings are known.
        if self.is_waking() {
            return;
        }
        while let Some(job) = self.replays.front().copied() {
            let Some(worker) = self.free(Tier::Inline).or_else(|| self.free(Tier::Pooled)) else { return };
            self.replays.pop_front();
            self.deliver(now, worker, job, out);
        }
    }

    fn hand_out(&mut self, now: Now, tier: Tier, out: &mut Vec<Action>) {
        while self.waiting[tier].first(&self.gates).is_some() {
            // While lanes cannot be started at all, the pool stands in for them.
            let stand_in = tier == Tier::Inline && self.backoff[Tier::Inline].is_failing();
            let worker = self.free(tier).or_else(|| stand_in.then(|| self.free(Tier::Pooled)).flatten());
            let Some(worker) = worker else { return };
            let Some(job) = self.waiting[tier].pop(&self.gates) else { return };
            self.deliver_waiting(now, worker, job, out);
        }
    }

    /// While the pool is full, a lane tries one job of each unknown class. A short class is thus recognised and no
    /// longer waits behind long ones; a long one occupies only that one lane.
    fn probe(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.unknown.is_empty() || self.pool_has_room() {
            return;
        }
        while let Some(job) = self.next_probe() {
            let Some(worker) = self.free(Tier::Inline) else { return };
            if let Some(Job { class, turn, pass, .. }) = self.jobs.get(&job) {
                self.waiting[Tier::Pooled].remove(job, *turn, *pass);
                self.probes.insert(class.clone(), job);
            }
            self.deliver_waiting(now, worker, job, out);
        }
    }

    /// The next job to try, of a class without a probe under way.
    pub(super) fn next_probe(&self) -> Option<JobId> {
        self.unknown
            .iter()
            .filter(|(class, _)| !self.probes.contains_key(*class))
            .find_map(|(_, jobs)| jobs.iter().copied().find(|job| self.may_pass(*job)))
    }

    /// Starts a process for each isolated job that may start.
    fn isolate(&mut self, now: Now, out: &mut Vec<Action>) {
        let tier = Tier::Isolated;
        while self.live(tier) < self.config.max_concurrent[tier] && self.backoff[tier].wait(now.ms).is_none() {
            let Some(job) = self.waiting[tier].pop(&self.gates) else { return };
            self.passes(job);
            self.set_stage(now, job, Stage::Bound);
            if let Some(job) = self.jobs.get(&job) {
                self.waiting_bytes -= job.bytes;
            }
            self.launch(now, tier, Some(job), out);
        }
    }

    pub(super) fn launch(&mut self, now: Now, tier: Tier, job: Option<JobId>, out: &mut Vec<Action>) {
        let worker = self.next_worker;
        self.next_worker += 1;
        self.workers.insert(worker, Worker::new(tier, now.ms, self.generation, job));
        out.push(Action::Launch { worker, tier, job });
    }

    fn deliver_waiting(&mut self, now: Now, worker: WorkerId, id: JobId, out: &mut Vec<Action>) {
        if let Some(job) = self.jobs.get(&id) {
            self.waiting_bytes -= job.bytes;
            let class = job.class.clone();
            self.no_longer_unknown(&class, id);
        }
        self.passes(id);
        self.deliver(now, worker, id, out);
    }

    pub(super) fn deliver(&mut self, now: Now, worker_id: WorkerId, id: JobId, out: &mut Vec<Action>) {
        let Some(tier) = self.workers.get(worker_id).map(|worker| worker.tier) else { return };
        let receipt = self.wants_receipt(tier, id);
        if let Some((kind, cause)) = self.begin(now, worker_id, id) {
            out.push(Action::Deliver { worker: worker_id, job: id, kind, cause, receipt });
        }
    }

    /// Marks a worker as busy with a job, and sets its deadline. Returns the job's kind and its cause for `Deliver`.
    pub(super) fn begin(&mut self, now: Now, worker_id: WorkerId, id: JobId) -> Option<(JobKind, Option<Cause>)> {
        let (tier, job) = (self.workers.get(worker_id)?.tier, self.jobs.get_mut(&id)?);
        let timeout = match job.kind {
            JobKind::Run => self.config.timeout_of(job),
            // A replay runs the app's failed() hooks, whatever the timeout of the job itself.
            JobKind::Crash | JobKind::Timeout | JobKind::Release | JobKind::Cancel => REPLAY_MS,
        };
        let deadline = (timeout > 0).then(|| now.ms + timeout + self.config.grace_ms);
        // Cancelled while it was sent ahead, and claimed before it could be recalled.
        let cancelled = (job.kind == JobKind::Run && job.cancel.is_some()).then(|| now.ms + self.config.grace_ms);
        let deadline = deadline.into_iter().chain(cancelled).min();
        self.workers.change(worker_id, |worker| {
            worker.state = WorkerState::Busy { job: id, deadline, overrun: false };
            worker.since = now.ms;
            worker.taken = false;
            worker.recalled = false;
            worker.refused = false;
        });
        if job.kind == JobKind::Run {
            // Not always the tier that it was routed to.
            job.tier = tier;
        }
        job.stage = Stage::Running(worker_id);
        job.since = now.ms;
        let begun = (job.kind, job.cause.clone());
        if tier == Tier::Pooled {
            self.pool_is_used(now);
        }
        Some(begun)
    }

    /// Acts on deadlines that have passed: of workers, of inspections, of the phase.
    pub(super) fn watch(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.phase == Phase::Over {
            return;
        }
        let mut kills = Vec::new();
        let mut stops = Vec::new();
        let mut overruns = Vec::new();
        let mut recalls = Vec::new();
        let bound = self.config.limits.inline_max.as_millis() as u64;
        for id in self.workers.due(now.ms) {
            let Some(worker) = self.workers.get(id) else { continue };
            let age = now.ms.saturating_sub(worker.since);
            match worker.state {
                WorkerState::Starting => kills.push((id, Cause::Boot(self.config.boot_ms))),
                WorkerState::Leaving => kills.push((id, Cause::Shutdown)),
                WorkerState::Popping { .. } => kills.push((id, self.hangs(worker.since, now.ms))),
                WorkerState::Idle => stops.push(id),
                WorkerState::Busy { deadline: Some(deadline), job, .. } if now.ms >= deadline => {
                    let timeout = deadline.saturating_sub(worker.since).saturating_sub(self.config.grace_ms);
                    kills.push((id, self.cancelled(job).unwrap_or(Cause::Timeout(timeout))));
                }
                WorkerState::Busy { overrun, job, .. } => {
                    if !overrun && worker.tier == Tier::Inline && age > bound {
                        overruns.push((id, job, age));
                    }
                    if age >= PATIENCE_MS {
                        recalls.push(id);
                    }
                }
            }
        }
        for (id, cause) in kills {
            self.kill_worker(id, cause, out);
        }
        for id in recalls {
            self.recall_one(id, out);
        }
        for (id, _, _) in &overruns {
            self.workers.change(*id, Worker::overruns);
        }
        for id in stops {
            self.stop_worker(now, id, StopReason::Recycle, out);
        }
        for (_, id, ms) in overruns {
            if let Some(job) = self.jobs.get(&id).filter(|job| job.kind == JobKind::Run) {
                let class = job.class.clone();
                self.overran(now, &class, ms);
            }
        }
        let late: Vec<_> = self
            .inspecting
            .iter()
            .filter(|(_, (since, _))| now.ms >= since + INSPECT_MS && !self.is_waking())
            .map(|(class, _)| class.clone())
            .collect();
        if !late.is_empty() {
            let hints = late.into_iter().map(|class| (class, Hints::default())).collect();
            self.inspected(now, Inspection { hints, ..Inspection::default() }, out);
        }
        match self.phase {
            Phase::Draining { until } if now.ms >= until => self.kill(now, out),
            Phase::Killing { until } if now.ms >= until => self.over(now, out),
            _ => {}
        }
    }

    /// When to be called again with [`super::Event::Tick`], in milliseconds, if nothing else happens.
    pub fn next_wake(&self) -> Option<u64> {
        if self.phase == Phase::Over {
            return None;
        }
        let workers = Tier::ALL.into_iter().filter_map(|tier| self.retire_at(tier)).chain(self.workers.next_due());
        let inspections = self.inspecting.values().filter(|_| !self.is_waking()).map(|(since, _)| since + INSPECT_MS);
        let phase = match self.phase {
            Phase::Draining { until } | Phase::Killing { until } => Some(until),
            _ => None,
        };
        let limits = self.waiting.iter().filter_map(|waiting| waiting.opens_at(&self.gates));
        let starts = self.backoff.iter().filter_map(|backoff| backoff.wait(self.seen));
        let signals = match (self.phase, self.checking, self.checked) {
            (Phase::Running, Some((since, _)), _) => Some(since + ANSWER_MS),
            (Phase::Running, None, Some(at)) if self.an_idle_worker().is_some() => Some(at + self.look_ms()),
            _ => None,
        };
        let waits =
            self.pressure_at(self.seen).into_iter().chain(self.look_at(self.seen)).chain(self.kept_at(self.seen));
        let waits = waits.chain(self.rest_at(self.seen)).chain(self.ask_at());
        workers.chain(signals).chain(inspections).chain(phase).chain(starts).chain(waits).chain(limits).min()
    }
}
