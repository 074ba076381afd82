//! How a job is settled after its run or its process has ended.

use super::job::Stage;
use super::machine::{REPLAYS, Schedule};
use super::worker::WorkerState;
use super::{Action, Cause, Done, Finished, JobId, JobKind, Now, Outcome, Reason, WorkerId};
use crate::routing::Tier;

impl Schedule {
    /// A worker has reported how its job ended.
    pub(super) fn finish(&mut self, now: Now, id: WorkerId, done: Done, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(id) else { return };
        let Some(job_id) = worker.job() else { return };
        let (ms, timed_out, worked) = (now.ms - worker.since, worker.timed_out, worker.tier);
        self.workers.change(id, |worker| {
            worker.jobs = worker.jobs.saturating_add(1);
            worker.state = WorkerState::Idle;
            worker.since = now.ms;
            worker.taken = false;
        });
        self.backoff[worked].worked();
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let ended = outcome(job.kind, &done);
        let replays = self.config.replay || job.cancel.is_some();
        if timed_out && ended.is_none() && job.kind == JobKind::Run && replays && job.popped.is_none() {
            // Laravel has ended its process and left the job reserved. It is released at once instead of after
            // `retry_after`.
            (job.kind, job.cause) = match &job.cancel {
                Some(order) => (JobKind::Cancel, Some(Cause::Cancelled(order.by.clone()))),
                None => (JobKind::Release, Some(Cause::Timeout(ms))),
            };
            let class = job.class.clone();
            self.overran(now, &class, ms);
            self.learnt(now, &class);
            self.set_stage(now, job_id, Stage::Verifying);
            out.push(Action::Verify(job_id));
            return;
        }
        let tier = job.tier;
        let outcome = ended.unwrap_or(Outcome::Left);
        let cause = job.cause.clone().map(Reason::from).or(done.error.map(Reason::Laravel));
        let cause = cause.or(timed_out.then_some(Cause::Timeout(ms).into()));
        if job.kind == JobKind::Run {
            let class = job.class.clone();
            self.now_known(&class, false);
            if timed_out {
                self.overran(now, &class, ms);
            } else if cause.is_some() {
                self.history.record_failure(&class, now.epoch);
            } else if outcome == Outcome::Done {
                self.history.record_success(
                    &class,
                    ms.min(u32::MAX.into()) as u32,
                    Some(done.peak).filter(|kib| *kib > 0),
                    now.epoch,
                );
            }
            self.learnt(now, &class);
        }
        match worked {
            Tier::Inline => self.count_pace(now.ms),
            Tier::Pooled => self.pool_is_used(now),
            Tier::Isolated => {}
        }
        self.leave(job_id, tier, outcome, ms, cause, out);
    }

    pub(super) fn gone(&mut self, now: Now, id: WorkerId, cause: Cause, unread: bool, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.remove(id) else { return };
        let tier = worker.tier;
        // A claimed job begins only after its claim is reported, so none of these has begun.
        for job in worker.bound.into_iter().chain(worker.ahead.iter().copied()) {
            self.wait_again(now, job, out);
        }
        let WorkerState::Busy { job: job_id, .. } = worker.state else {
            self.looked(now, id, &worker, worker.killed.as_ref().unwrap_or(&cause), out);
            if worker.state != WorkerState::Leaving && worker.killed != Some(Cause::Shutdown) {
                self.backoff[tier].died(now.ms);
                if worker.state == WorkerState::Starting {
                    self.never_ready(tier, worker.killed.unwrap_or(cause));
                    self.give_up(now, out);
                }
            }
            return;
        };
        let popped = self.jobs.get(&job_id).is_some_and(|job| job.popped.is_some());
        if unread && !worker.taken && !popped {
            // PHP never read the job: nothing has happened to it.
            if !worker.ending {
                self.backoff[tier].died(now.ms);
            }
            self.wait_again(now, job_id, out);
            return;
        }
        let ms = now.ms - worker.since;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let tier = job.tier;
        let (said, told) = match worker.last_words {
            Some((Some(fatal), done)) => (Some(Cause::Fatal(fatal)), done),
            Some((None, done)) => (None, done),
            None => {
                let unfinished = job.failing;
                (worker.timed_out.then_some(Cause::Timeout(ms)), Done { unfinished, ..Done::default() })
            }
        };
        let cause = worker.killed.or(said).unwrap_or(cause);
        let deleted = told.deleted || job.deleted;
        let failing = told.unfinished || (job.failing && !told.failed);
        job.failing = failing && self.config.replay;
        let failed = told.failed || failing;
        if let Some(outcome) = outcome(job.kind, &Done { deleted, failed, ..told.clone() }).filter(|_| !job.failing) {
            // It died after Laravel had settled the job: there is nothing to replay. The job's own exception says more
            // than the later death of its process.
            self.leave(job_id, tier, outcome, ms, told.error.map(Reason::Laravel).or(Some(cause.into())), out);
            return;
        }
        let removed = job.failing && deleted;
        let class = job.class.clone();
        let (mut timed_out, mut crashed) = (false, false);
        match (job.kind, &cause) {
            (JobKind::Run, _) if job.cancel.is_some() && !job.failing => job.turn_to_cancel(),
            (JobKind::Run, Cause::Timeout(_)) => {
                job.kind = JobKind::Timeout;
                timed_out = true;
            }
            (JobKind::Run, Cause::Shutdown | Cause::Orphaned) => job.kind = JobKind::Crash,
            (JobKind::Run, _) => {
                job.kind = JobKind::Crash;
                crashed = true;
            }
            _ => job.replays += 1,
        }
        if job.cause.is_none() {
            job.cause = Some(cause.clone());
        }
        // A popped job has gone back with its process, or comes back by itself: no other process can settle it.
        let always = matches!(job.kind, JobKind::Timeout | JobKind::Cancel);
        let replay = !popped && (always || self.config.replay) && job.replays < REPLAYS;
        if timed_out {
            self.overran(now, &class, ms);
        }
        if crashed && self.history.record_crash(&class, now.epoch) {
            out.push(Action::Quarantined(class.clone()));
            self.heavier(now, &class);
        }
        if replay && removed {
            // It is deleted: no other worker can have it.
            self.set_stage(now, job_id, Stage::Replaying);
            self.replays.push_back(job_id);
        } else if replay {
            self.set_stage(now, job_id, Stage::Verifying);
            out.push(Action::Verify(job_id));
        } else {
            let outcome = if removed { Outcome::Failed } else { Outcome::Left };
            self.leave(job_id, tier, outcome, ms, Some(cause.into()), out);
        }
    }

    /// A job of a class exceeded a time bound.
    pub(super) fn overran(&mut self, now: Now, class: &str, ms: u64) {
        self.history.record_overrun(class, ms.min(u32::MAX.into()) as u32, now.epoch);
        self.heavier(now, class);
    }

    /// A job has left: counts it as settled, and reports its outcome.
    pub(super) fn leave(
        &mut self,
        id: JobId,
        tier: Tier,
        outcome: Outcome,
        ms: u64,
        cause: Option<Reason>,
        out: &mut Vec<Action>,
    ) {
        self.passed_by(id, false);
        if let Some(job) = self.jobs.remove(&id) {
            if self.probes.get(&job.class) == Some(&id) {
                self.probes.remove(&job.class);
            }
            self.settled += 1;
            out.push(Action::Finished(Finished {
                job: id,
                tier,
                route: job.route,
                outcome,
                kind: job.kind,
                ms,
                cause,
            }));
        }
    }
}

/// The outcome by Laravel's report; `None` if the job stays reserved.
fn outcome(kind: JobKind, done: &Done) -> Option<Outcome> {
    match (done.failed, done.released, done.deleted) {
        (true, _, _) => Some(Outcome::Failed),
        (_, true, _) => Some(Outcome::Released),
        (_, _, true) if kind == JobKind::Timeout => Some(Outcome::Failed),
        (_, _, true) => Some(Outcome::Done),
        _ => None,
    }
}
