//! Watches what running jobs use, where no cgroup does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::runtime::Runtime;
use kqueue_core::schedule::{Event, JobId, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_system::processes::{memory_kb, snapshot};

/// How often, while jobs run.
pub const PERIOD: Duration = Duration::from_millis(250);
/// MB above PHP's own limit, which is to strike first: its error has a stack trace.
const HEADROOM: u32 = 16;

impl Runtime {
    /// What a process has before it begins a job that is held to a limit: a look later on would count what the
    /// job has already taken as its own.
    pub fn weigh(&mut self, id: WorkerId, job: JobId) {
        let Some(worker) = self.processes.workers.get_mut(&id).filter(|worker| worker.unit.is_none()) else { return };
        let Some(pid) = worker.pid else { return };
        if worker.mode == Mode::Isolated {
            // New, and alone.
            worker.baseline_kb = Some(memory_kb(pid, &BTreeMap::new()));
        } else if self.schedule.max_memory_mb(job).is_some() {
            worker.baseline_kb = Some(memory_kb(pid, &snapshot()));
        }
    }

    /// Compares each job's memory with its limit: what its process tree has grown by since it began,
    /// and for lanes and pooled workers what it has in all.
    pub fn watch_memory(&mut self) {
        let settings = &self.settings;
        let parents = snapshot();
        let mut over = Vec::new();
        for (id, worker) in &mut self.processes.workers {
            let (Some(pid), Some(job)) = (worker.pid, worker.job) else { continue };
            // The kernel watches what is in a unit.
            if worker.unit.is_some() {
                continue;
            }
            let used = memory_kb(pid, &parents);
            let grown = used.saturating_sub(*worker.baseline_kb.get_or_insert(used));
            let isolated = worker.mode == Mode::Isolated;
            let declared = self.schedule.max_memory_mb(job).or(isolated.then_some(settings.isolated_memory_max));
            let mb = |kb: u64| u32::try_from(kb / 1024).unwrap_or(u32::MAX);
            if let Some(limit) = declared.filter(|limit| mb(grown) > limit + HEADROOM) {
                over.push((*id, mb(grown), limit));
            } else if !isolated && mb(used) > settings.worker_memory_max {
                over.push((*id, mb(used), settings.worker_memory_max));
            }
        }
        let busy = self.processes.workers.values().any(|worker| worker.job.is_some());
        self.timers.memory = busy.then(|| Instant::now() + PERIOD);
        for (worker, used, limit) in over {
            self.tell(Event::MemoryOver { worker, used, limit });
        }
    }
}
