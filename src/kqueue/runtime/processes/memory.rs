//! Watches what running jobs use, where no cgroup does.

use std::time::{Duration, Instant};

use crate::runtime::Runtime;
use crate::runtime::input::Input;
use kqueue_core::schedule::{Event, JobId, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_system::processes::{Family, memory_kb};

/// How often, while jobs run.
pub const PERIOD: Duration = Duration::from_millis(250);
/// MB above PHP's own limit, which is to strike first: its error has a stack trace.
const HEADROOM: u32 = 16;

/// What the process of a job uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    worker: WorkerId,
    job: JobId,
    pid: i32,
    kb: u64,
}

impl Runtime {
    /// What a process has before it begins a job that is held to a limit: a look later on would count what the
    /// job has already taken as its own.
    pub fn weigh(&mut self, id: WorkerId, job: JobId) {
        let Some(worker) = self.processes.workers.get_mut(&id).filter(|worker| worker.unit.is_none()) else { return };
        let Some(pid) = worker.pid else { return };
        if worker.mode == Mode::Isolated || self.schedule.max_memory_mb(job).is_some() {
            worker.baseline_kb = Some(memory_kb(pid, &Family::now()));
        }
    }

    /// Finds out what each job uses, beside the runtime's own work: these are many small files.
    pub fn watch_memory(&mut self) {
        // The kernel watches what is in a unit.
        let busy = self.processes.workers.iter().filter(|(_, worker)| worker.unit.is_none() && worker.job.is_some());
        let busy: Vec<_> = busy.map(|(id, worker)| (*id, worker.job, worker.pid)).collect();
        self.timers.memory = (!busy.is_empty()).then(|| Instant::now() + PERIOD);
        let known = busy.into_iter().filter_map(|(worker, job, pid)| Some((worker, job?, pid?)));
        let mut usages: Vec<_> = known.map(|(worker, job, pid)| Usage { worker, job, pid, kb: 0 }).collect();
        if usages.is_empty() || std::mem::replace(&mut self.processes.weighing, true) {
            return;
        }
        let inputs = self.inputs.clone();
        tokio::task::spawn_local(async move {
            let look = tokio::task::spawn_blocking(move || {
                let family = Family::now();
                usages.iter_mut().for_each(|usage| usage.kb = memory_kb(usage.pid, &family));
                usages
            });
            let _ = inputs.send(Input::Weighed(look.await.unwrap_or_default())).await;
        });
    }

    /// Compares each job's memory with its limit: what its process tree has grown by since it began,
    /// and for lanes and pooled workers what it has in all.
    pub fn weighed(&mut self, usages: Vec<Usage>) {
        self.processes.weighing = false;
        let settings = &self.settings;
        let mut over = Vec::new();
        for Usage { worker: id, job, pid, kb: used } in usages {
            let same = self.processes.workers.get_mut(&id);
            let Some(worker) = same.filter(|worker| (worker.job, worker.pid) == (Some(job), Some(pid))) else {
                continue;
            };
            let grown = used.saturating_sub(*worker.baseline_kb.get_or_insert(used));
            let isolated = worker.mode == Mode::Isolated;
            let declared = self.schedule.max_memory_mb(job).or(isolated.then_some(settings.isolated_memory_max));
            let mb = |kb: u64| u32::try_from(kb / 1024).unwrap_or(u32::MAX);
            if let Some(limit) = declared.filter(|limit| mb(grown) > limit + HEADROOM) {
                over.push((id, mb(grown), limit));
            } else if !isolated && mb(used) > settings.worker_memory_max {
                over.push((id, mb(used), settings.worker_memory_max));
            }
        }
        for (worker, used, limit) in over {
            self.tell(Event::MemoryOver { worker, used, limit });
        }
    }
}
