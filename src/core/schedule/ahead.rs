//! Jobs sent ahead: a busy lane has its next few quick jobs at hand, so that it need not ask and wait.
//!
//! A job sent ahead does not belong to the lane yet. The lane claims it by reading its *ticket*, from a pipe that the
//! runtime can read as well: the one that reads the ticket has the job. So when a job takes longer than usual, the jobs
//! sent ahead behind it are *recalled*, and go to another lane: none waits behind it.

use super::job::Stage;
use super::machine::Schedule;
use super::worker::{Worker, WorkerState};
use super::{Action, Cause, Done, JobId, JobKind, Now, WorkerId};
use crate::routing::{MAX_CLASSES, Tier};

/// Maximum of jobs ahead of one lane.
pub(super) const DEPTH: usize = 8;
/// Maximum 90th percentile of the duration of a quick class, in milliseconds.
const QUICK_MS: u128 = 5;
/// Minimum of recorded runs of a quick class.
const RUNS: usize = 8;
/// Milliseconds that a job may run before the jobs ahead of its lane are recalled.
pub(super) const PATIENCE_MS: u64 = 20;

impl Schedule {
    /// Whether jobs of a class are expected to take next to no time, and to print nothing: the output of a lane that
    /// goes on by itself cannot be attributed to one of its jobs.
    fn is_quick(&self, class: &str) -> bool {
        if self.printing.get(class) != Some(&false) {
            return false;
        }
        let Some(known) = self.history.summary(class) else { return false };
        known.count >= RUNS && known.p90.as_millis() <= QUICK_MS
    }

    /// A job has printed something.
    pub(super) fn printed(&mut self, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (class, stage) = (job.class.clone(), job.stage.clone());
        self.now_known(&class, true);
        if let Stage::Running(worker) = stage {
            self.recall_one(worker, out);
        }
    }

    /// Records whether jobs of a class print. By the end of a job its output has been reported.
    pub(super) fn now_known(&mut self, class: &str, prints: bool) {
        if let Some(printing) = self.printing.get_mut(class) {
            *printing |= prints;
        } else if self.printing.len() < MAX_CLASSES {
            // A class for which there is no room is not sent ahead.
            self.printing.insert(class.to_owned(), prints);
        }
    }

    /// Whether jobs of a class are known to print; true also for one for which a full table has no room.
    pub fn prints(&self, class: &str) -> bool {
        self.printing.get(class).copied().unwrap_or(self.printing.len() >= MAX_CLASSES)
    }

    /// Whether a worker is to acknowledge this job: only then can others be sent ahead behind it.
    pub(super) fn wants_receipt(&self, tier: Tier, id: JobId) -> bool {
        tier == Tier::Inline
            && self.waiting[Tier::Inline].first(&self.gates).is_some()
            && self.jobs.get(&id).is_some_and(|job| job.kind == JobKind::Run && self.is_quick(&job.class))
    }

    pub(super) fn taken(&mut self, id: WorkerId) {
        self.workers.change(id, |worker| worker.taken = worker.is_busy());
    }

    /// Sends waiting jobs ahead, to the lanes with the fewest jobs ahead.
    pub(super) fn send_ahead(&mut self, now: Now, out: &mut Vec<Action>) {
        let (generation, most) = (self.generation, self.config.worker_max_jobs);
        while let Some((id, _)) = self.waiting[Tier::Inline].first(&self.gates) {
            let fits = |worker: &Worker| {
                let jobs = worker.jobs + 1 + worker.ahead.len() as u32;
                let stays = worker.generation == generation && !worker.spent;
                stays && (most == 0 || jobs < most) && now.ms < worker.since + PATIENCE_MS
            };
            let lane = self.workers.open().find(|(_, worker)| fits(worker));
            let Some((lane, current)) = lane.and_then(|(lane, worker)| Some((lane, worker.job()?))) else { return };
            let quick = |id: JobId| self.jobs.get(&id).is_some_and(|job| self.is_quick(&job.class));
            if !quick(current) || !quick(id) {
                return;
            }
            self.waiting[Tier::Inline].pop(&self.gates);
            self.passes(id);
            if let Some(job) = self.jobs.get_mut(&id) {
                self.waiting_bytes -= job.bytes;
                job.stage = Stage::Ahead;
                job.since = now.ms;
            }
            self.workers.change(lane, |worker| worker.ahead.push_back(id));
            out.push(Action::Ahead { worker: lane, job: id });
        }
    }

    /// A worker has claimed a job that was sent ahead.
    pub(super) fn next(&mut self, now: Now, id: WorkerId, done: Done, job: JobId, out: &mut Vec<Action>) {
        self.finish(now, id, done, out);
        let Some(worker) = self.workers.get(id) else { return };
        if worker.state != WorkerState::Idle || !worker.ahead.contains(&job) {
            self.kill_worker(id, Cause::Protocol("a claim to a job that was not sent to it".to_owned()), out);
            return;
        }
        self.workers.change(id, |worker| worker.ahead.retain(|ahead| *ahead != job));
        self.begin(now, id, job);
        self.workers.change(id, |worker| worker.taken = true);
    }

    /// Jobs sent ahead are back, as they were recalled or could not be sent.
    pub(super) fn recalled(&mut self, now: Now, id: WorkerId, jobs: &[JobId], out: &mut Vec<Action>) {
        let back = self.workers.change(id, |worker| {
            worker.refused = true;
            let back: Vec<JobId> = worker.ahead.iter().copied().filter(|ahead| jobs.contains(ahead)).collect();
            worker.ahead.retain(|ahead| !jobs.contains(ahead));
            back
        });
        for job in back.unwrap_or_default() {
            self.wait_again(now, job, out);
        }
    }

    /// Recalls the jobs ahead of a worker.
    pub(super) fn recall_one(&mut self, id: WorkerId, out: &mut Vec<Action>) {
        if self.workers.get(id).is_some_and(can_recall) {
            // Once: a job that does not come back has been claimed, and `Next` is under way.
            self.workers.change(id, |worker| worker.recalled = true);
            out.push(Action::Recall(id));
        }
    }

    /// Recalls the jobs ahead of every worker.
    pub(super) fn recall_all(&mut self, out: &mut Vec<Action>) {
        for id in self.workers.ids(can_recall) {
            self.recall_one(id, out);
        }
    }
}

/// Whether jobs are ahead of a worker that have not been recalled.
pub(super) fn can_recall(worker: &Worker) -> bool {
    !worker.ahead.is_empty() && !worker.recalled && worker.killed.is_none()
}
