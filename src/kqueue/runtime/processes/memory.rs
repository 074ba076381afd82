//! Watches the memory of running jobs that are in no cgroup of their own, and of all where the kernel limits no cgroup.

use std::time::{Duration, Instant};

use super::{Answer, ProcessEvent, Processes};
use crate::workers::WorkerProcess;
use kqueue_core::schedule::{JobId, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_system::proc::limits_memory;
use kqueue_system::processes::{Family, memory_kb};

/// Interval between two samples while jobs run.
const PERIOD: Duration = Duration::from_millis(250);
/// MB above PHP's own limit, which is to be reached first: its error has a stack trace.
const HEADROOM: u32 = 16;

/// When the next sample is due, and whether one is under way.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    pub due: Option<Instant>,
    under_way: bool,
    /// The kernel enforces the limits of units.
    enforced: bool,
}

impl MemoryWatch {
    pub fn new() -> Self {
        Self { due: None, under_way: false, enforced: limits_memory() }
    }

    /// Whether nothing else enforces the limits of this process.
    fn concerns(&self, worker: &WorkerProcess) -> bool {
        worker.unit.is_none() || !self.enforced
    }

    /// Schedules a sample, since a job runs.
    pub fn arm(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + PERIOD);
    }
}

/// Memory of the process tree of a job.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    worker: WorkerId,
    job: JobId,
    pid: i32,
    kb: u64,
}

impl Processes {
    /// Notes the memory of a process before it begins a job with a limit: a later sample would count memory that the
    /// job has already taken.
    pub(super) fn weigh(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| self.memory.concerns(worker)) else { return };
        let Some(pid) = worker.pid else { return };
        if worker.mode == Mode::Isolated || worker.memory_mb.is_some() {
            worker.baseline_kb = Some(memory_kb(pid, &Family::now()));
        }
    }

    /// Samples the memory of each job on another thread, since that reads many small files.
    pub(super) fn watch_memory(&mut self, now: Instant) {
        if self.memory.due.take_if(|at| *at <= now).is_none() {
            return;
        }
        let busy = self.workers.iter().filter(|(_, worker)| worker.job.is_some() && self.memory.concerns(worker));
        let busy: Vec<_> = busy.map(|(id, worker)| (*id, worker.job, worker.pid)).collect();
        if !busy.is_empty() {
            self.memory.arm();
        }
        let known = busy.into_iter().filter_map(|(worker, job, pid)| Some((worker, job?, pid?)));
        let mut usages: Vec<_> = known.map(|(worker, job, pid)| Usage { worker, job, pid, kb: 0 }).collect();
        if usages.is_empty() || std::mem::replace(&mut self.memory.under_way, true) {
            return;
        }
        let answer = self.answer.clone();
        tokio::task::spawn_local(async move {
            let look = tokio::task::spawn_blocking(move || {
                let family = Family::now();
                usages.iter_mut().for_each(|usage| usage.kb = memory_kb(usage.pid, &family));
                usages
            });
            let _ = answer.send(Answer::Weighed(look.await.unwrap_or_default())).await;
        });
    }

    /// Compares each job's memory with its limits: the growth of its process tree since the job began, and for lanes
    /// and pooled workers also the total.
    pub(super) fn weighed(&mut self, usages: Vec<Usage>) {
        self.memory.under_way = false;
        let settings = self.recipe.settings();
        for Usage { worker: id, job, pid, kb: used } in usages {
            let same = self.workers.get_mut(&id);
            let Some(worker) = same.filter(|worker| (worker.job, worker.pid) == (Some(job), Some(pid))) else {
                continue;
            };
            worker.seen_kb = worker.seen_kb.max(Some(used));
            let grown = mb(used.saturating_sub(*worker.baseline_kb.get_or_insert(used)));
            let isolated = worker.mode == Mode::Isolated;
            let declared = worker.memory_mb.or(isolated.then_some(settings.isolated_memory_max));
            let over = match declared.filter(|limit| grown > limit + HEADROOM) {
                Some(limit) => Some((grown, limit)),
                None => Some((mb(used), settings.worker_memory_max)).filter(|(used, most)| !isolated && used > most),
            };
            if let Some((used, limit)) = over {
                self.events.push_back(ProcessEvent::MemoryOver { worker: id, used, limit });
            }
        }
    }
}

fn mb(kb: u64) -> u32 {
    u32::try_from(kb / 1024).unwrap_or(u32::MAX)
}
