//! Jobs sent ahead: a busy lane has its next few quick jobs at hand, so that it need not ask and wait.
//!
//! A job sent ahead is not the lane's yet. The lane claims it by reading its *ticket*, from a pipe out of which
//! the runtime can read as well: whoever reads the ticket has the job. So when a job takes longer than its
//! kind does, what was sent ahead behind it is *recalled*, and goes to another lane: nothing waits behind it.

use super::job::Stage;
use super::machine::Schedule;
use super::worker::{State, Worker};
use super::{Action, Cause, Done, JobId, JobKind, Now, WorkerId};
use crate::routing::{MAX_CLASSES, Tier};

/// Jobs ahead of one lane.
pub(super) const DEPTH: usize = 8;
/// Milliseconds that nine of ten jobs of a class take at most, if it is quick enough for this.
const QUICK_MS: u128 = 5;
/// Runs of a class before it can be called quick.
const RUNS: usize = 8;
/// Milliseconds after which what is ahead of a lane does not wait for it any longer.
pub(super) const PATIENCE_MS: u64 = 20;

impl Schedule {
    /// A class of which jobs are expected to take next to no time, and to print nothing: of what a lane prints
    /// that goes on by itself, nobody can tell which of its jobs printed it.
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

    /// A job has ended: that it printed something is known before.
    pub(super) fn now_known(&mut self, class: &str, prints: bool) {
        if let Some(printing) = self.printing.get_mut(class) {
            *printing |= prints;
        } else if self.printing.len() < MAX_CLASSES {
            // What there is no room for is not sent ahead.
            self.printing.insert(class.to_owned(), prints);
        }
    }

    /// Whether jobs of a class are known to print.
    pub fn prints(&self, class: &str) -> bool {
        self.printing.get(class) == Some(&true) || self.printing.len() >= MAX_CLASSES
    }

    /// Whether a worker is to say when it has read this job: only then can others be sent ahead behind it.
    pub(super) fn wants_receipt(&self, tier: Tier, id: JobId) -> bool {
        tier == Tier::Inline
            && self.waiting[Tier::Inline].first(&self.gates).is_some()
            && self.jobs.get(&id).is_some_and(|job| job.kind == JobKind::Run && self.is_quick(&job.class))
    }

    pub(super) fn taken(&mut self, id: WorkerId) {
        self.workers.change(id, |worker| worker.taken = worker.is_busy());
    }

    /// Sends ahead what waits, to the lanes that have least ahead of them.
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

    /// A worker has gone on to a job that was sent ahead.
    pub(super) fn next(&mut self, now: Now, id: WorkerId, done: Done, job: JobId, out: &mut Vec<Action>) {
        self.finish(now, id, done, out);
        let Some(worker) = self.workers.get(id) else { return };
        if worker.state != State::Idle || !worker.ahead.contains(&job) {
            self.kill_worker(id, Cause::Protocol("a claim to a job that is not its own".to_owned()), out);
            return;
        }
        self.workers.change(id, |worker| worker.ahead.retain(|ahead| *ahead != job));
        self.begin(now, id, job);
        self.workers.change(id, |worker| worker.taken = true);
    }

    /// What was sent ahead is ours again, whether it was recalled or could not be sent.
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

    /// Takes back what is ahead of a worker.
    pub(super) fn recall_one(&mut self, id: WorkerId, out: &mut Vec<Action>) {
        if self.workers.get(id).is_some_and(can_recall) {
            // Once: what does not come back has been claimed, and the worker is about to say so.
            self.workers.change(id, |worker| worker.recalled = true);
            out.push(Action::Recall(id));
        }
    }

    /// Takes back what is ahead of every worker.
    pub(super) fn recall_all(&mut self, out: &mut Vec<Action>) {
        for id in self.workers.ids(can_recall) {
            self.recall_one(id, out);
        }
    }
}

/// Whether something is ahead of a worker that has not been recalled.
pub(super) fn can_recall(worker: &Worker) -> bool {
    !worker.ahead.is_empty() && !worker.recalled && worker.killed.is_none()
}
