//! Takeover from the runtime before this one, and handover to the next.
//!
//! Where processes are units of a service manager they outlive the runtime. A new runtime *adopts* those that it finds,
//! with the jobs that they run. One that is restarted *hands over*: it finishes the jobs that would end with it, gives
//! back waiting ones, and leaves the rest running.

use super::machine::{Phase, Schedule};
use super::worker::{Worker, WorkerState};
use super::{Action, JobKind, JobSpec, Now, Outcome, WorkerId};
use crate::routing::Tier;
use crate::schedule::job::Stage;

/// A process started by an earlier runtime.
#[derive(Debug)]
pub struct Adopted {
    /// Its number.
    pub worker: WorkerId,
    /// Its tier.
    pub tier: Tier,
    /// The job it has.
    pub job: Option<AdoptedJob>,
}

/// A job delivered by an earlier runtime.
#[derive(Debug)]
pub struct AdoptedJob {
    /// The job.
    pub spec: JobSpec,
    /// Its kind when it was delivered.
    pub kind: JobKind,
    /// Milliseconds since it was delivered.
    pub ran_ms: u64,
}

impl Schedule {
    /// Adopts a process. Its settings may be outdated, so it is replaced as after a reload.
    pub(super) fn adopted(&mut self, now: Now, Adopted { worker: id, tier, job }: Adopted) {
        self.next_worker = self.next_worker.max(id + 1);
        self.generation = self.generation.max(1);
        self.rolling = true;
        let mut worker = Worker::new(tier, now.ms, 0, None);
        if self.config.native {
            // It may have been sent to look, and be about to report what it found.
            worker.state = WorkerState::Popping { until: now.ms + self.config.boot_ms, job: None };
        }
        self.workers.insert(id, worker);
        if let Some(AdoptedJob { spec, kind, ran_ms }) = job {
            let began = now.ms.saturating_sub(ran_ms);
            let job_id = spec.id;
            let mut job = super::admit::job(spec, now.ms);
            job.kind = kind;
            job.popped = self.config.native.then_some(id);
            self.admitted += 1;
            self.jobs.insert(job_id, job);
            let pass = self.pass(job_id);
            if let Some(job) = self.jobs.get_mut(&job_id) {
                job.pass = pass;
            }
            self.passes(job_id);
            self.begin(Now { ms: began, ..now }, id, job_id);
        }
    }

    /// An adopted process never got its job: the earlier runtime ended before sending it.
    pub(super) fn unsent(&mut self, now: Now, id: WorkerId, out: &mut Vec<Action>) {
        if let Some(job) = self.workers.get(id).and_then(Worker::job) {
            let native = self.config.native;
            self.workers.change(id, |worker| {
                worker.since = now.ms;
                worker.state = match native {
                    true => WorkerState::Popping { until: now.ms + self.config.boot_ms, job: None },
                    false => WorkerState::Starting,
                };
            });
            if native {
                // The worker still holds it, and is about to report it again.
                self.leave(job, Tier::Pooled, Outcome::Left, 0, None, out);
            } else {
                self.wait_again(now, job, out);
            }
        }
    }

    /// Stops, and leaves pooled and isolated jobs running for the next runtime.
    pub(super) fn hand_over(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.phase == Phase::Running {
            self.handing_over = true;
            self.drain(now, out);
        }
    }

    /// Whether no job is left that would end with this runtime.
    pub(super) fn may_leave(&self) -> bool {
        let looks = self.workers.iter().any(|(id, worker)| worker.is_popping() && !self.is_left(id));
        !looks
            && self.jobs.values().all(|job| match job.stage {
                Stage::Running(worker) => {
                    self.handing_over && self.workers.get(worker).is_some_and(|worker| worker.tier != Tier::Inline)
                }
                _ => false,
            })
    }

    /// Whether a process is to be left running when the runtime stops.
    pub fn is_left(&self, id: WorkerId) -> bool {
        self.handing_over
            && self.workers.get(id).is_some_and(|worker| worker.tier != Tier::Inline && worker.killed.is_none())
    }
}
