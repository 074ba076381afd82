//! What the runtime tells of itself on its control socket.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;

use crate::control::{Ask, Failure, Process, RunningJob, Snapshot, State, TierLoad, VERSION, WaitingJob};
use crate::runtime::Runtime;
use crate::runtime::held::record::Record;
use crate::runtime::queue::backlog;
use crate::workers::Worker;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::Outcome;
use kqueue_system::harmless;

/// Failures that are remembered.
const FAILURES: usize = 20;
/// Waiting jobs of a tier that are told one by one.
const WAITING: usize = 50;
/// Running jobs of a tier, and processes, that are told one by one.
const RUNNING: usize = 500;
/// Bytes of a name, or of a cause, that are told.
const NAME: usize = 200;
const CAUSE: usize = 500;

/// What is remembered for those who ask.
#[derive(Debug)]
pub struct Observer {
    /// Those who ask.
    pub asks: mpsc::Receiver<Ask>,
    about: Snapshot,
    failures: VecDeque<Failure>,
    pub pace: Pace,
}

impl Observer {
    /// `about` is what stays as it is for as long as the runtime lives.
    pub fn new(asks: mpsc::Receiver<Ask>, about: Snapshot) -> Self {
        Self { asks, about, failures: VecDeque::new(), pace: Pace::default() }
    }

    /// What stays as it is.
    pub fn about(&self) -> &Snapshot {
        &self.about
    }
}

/// What is known of an app before it has booted.
pub fn starting(app: &str) -> Snapshot {
    let now = epoch();
    Snapshot {
        version: VERSION,
        app: app.to_owned(),
        state: State::Starting,
        status: format!("{app}: starting"),
        pid: std::process::id(),
        since: now,
        at: now,
        ..Snapshot::default()
    }
}

fn epoch() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How many jobs ended in each of the last seconds.
#[derive(Debug, Default)]
pub struct Pace {
    /// Second and jobs, the latest last.
    ended: VecDeque<(u64, u32)>,
}

impl Pace {
    /// Seconds that are looked at, without the current one.
    const SPAN: u64 = 10;

    pub fn count(&mut self, ms: u64) {
        let second = ms / 1000;
        match self.ended.back_mut() {
            Some((last, jobs)) if *last == second => *jobs = jobs.saturating_add(1),
            _ => self.ended.push_back((second, 1)),
        }
        while self.ended.len() as u64 > Self::SPAN + 1 {
            self.ended.pop_front();
        }
    }

    /// Jobs per second.
    pub fn rate(&self, ms: u64) -> f64 {
        let from = (ms / 1000).saturating_sub(Self::SPAN);
        let jobs: u64 = self.ended.iter().filter(|(at, _)| *at >= from).map(|(_, jobs)| u64::from(*jobs)).sum();
        // The current second has only begun, and a runtime that has just started has not lived for all of them.
        jobs as f64 * 1000.0 / (ms.saturating_sub(from * 1000)).max(1000) as f64
    }
}

impl Runtime {
    /// A job has left.
    pub fn note_end(&mut self, record: &Record, tier: Tier, outcome: Outcome, cause: Option<&str>) {
        self.service.observer.pace.count(self.now().ms);
        let well = matches!(outcome, Outcome::Done | Outcome::Released) && cause.is_none();
        if well {
            return;
        }
        self.service.observer.failures.truncate(FAILURES - 1);
        self.service.observer.failures.push_front(Failure {
            at: self.now().epoch,
            uuid: harmless::line(&record.uuid, NAME),
            class: harmless::line(&record.class, NAME),
            queue: harmless::line(&record.reservation.queue, NAME),
            tier: tier.name().to_owned(),
            outcome: outcome.as_str().to_owned(),
            attempt: record.attempt,
            cause: cause.map(|cause| harmless::line(cause, CAUSE)),
        });
    }

    /// Somebody asks. What takes time is asked beside the runtime's own work.
    pub fn answer_ask(&self, ask: Ask) {
        let mut snapshot = self.snapshot();
        // What the queues say is asked anew.
        snapshot.reason = self.trouble(&BTreeMap::new());
        let (backend, queues) = (self.queue.backend.clone(), self.app.queues.clone());
        tokio::task::spawn_local(async move {
            let pids: Vec<i32> = snapshot.workers.iter().filter_map(|worker| worker.pid).collect();
            // Many small files, where many processes are.
            let memory = tokio::task::spawn_blocking(move || {
                let family = kqueue_system::processes::Family::now();
                pids.into_iter().map(|pid| (pid, kqueue_system::processes::memory_kb(pid, &family))).collect()
            });
            let counts = backlog::count(&*backend, &queues).await;
            for queue in &mut snapshot.queues {
                if let Some(count) = counts.get(&queue.name) {
                    count.put(queue);
                }
            }
            let known = snapshot.reason.take();
            snapshot.reason = backlog::partial_fault(&counts).or(known).or_else(|| backlog::fault(&counts));
            snapshot.conclude();
            let memory: BTreeMap<i32, u64> = memory.await.unwrap_or_default();
            for worker in &mut snapshot.workers {
                worker.memory_kb = worker.pid.and_then(|pid| memory.get(&pid)).copied().filter(|kb| *kb > 0);
            }
            let _ = ask.send(snapshot);
        });
    }

    /// All that is known here and now.
    fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let workers = self.schedule.workers().take(RUNNING).map(|view| {
            let known = self.processes.workers.get(&view.id);
            Process {
                id: view.id,
                tier: view.tier.name().to_owned(),
                pid: known.and_then(|worker| worker.pid),
                unit: known.and_then(|worker| self.unit_of(worker)),
                state: view.state.to_owned(),
                seconds: seconds(now.ms.saturating_sub(view.since)),
                jobs: view.jobs,
                memory_kb: None,
            }
        });
        Snapshot {
            tiers: Tier::ALL.iter().map(|tier| self.load(*tier)).collect(),
            workers: workers.collect(),
            failures: self.service.observer.failures.iter().cloned().collect(),
            totals: self.held.tally().iter().map(|(outcome, jobs)| ((*outcome).to_owned(), *jobs)).collect(),
            ..self.outline()
        }
    }

    /// The systemd unit that a worker is in, where it has one of its own.
    fn unit_of(&self, worker: &Worker) -> Option<String> {
        worker.unit.as_ref().map(|unit| unit.name(&self.settings.app))
    }

    fn load(&self, tier: Tier) -> TierLoad {
        let now = self.now();
        let busy = || self.schedule.workers().filter(|view| view.tier == tier && view.job.is_some());
        let running = busy().take(RUNNING).filter_map(|view| {
            let record = self.held.get(view.job?)?;
            Some(RunningJob {
                uuid: harmless::line(&record.uuid, NAME),
                class: harmless::line(&record.class, NAME),
                queue: harmless::line(&record.reservation.queue, NAME),
                attempt: record.attempt,
                worker: view.id,
                seconds: now.ms.saturating_sub(view.since) as f64 / 1000.0,
            })
        });
        let (waiting, first) = self.schedule.first_waiting(now, tier, WAITING);
        let first = first.into_iter().filter_map(|(id, ms)| {
            let record = self.held.get(id)?;
            Some(WaitingJob {
                uuid: harmless::line(&record.uuid, NAME),
                class: harmless::line(&record.class, NAME),
                queue: harmless::line(&record.reservation.queue, NAME),
                seconds: ms as f64 / 1000.0,
            })
        });
        TierLoad {
            tier: tier.name().to_owned(),
            running: busy().count(),
            waiting,
            running_jobs: running.collect(),
            waiting_jobs: first.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.rate(50_000), 0.0);
        for ms in 0..3_000 {
            pace.count(100_000 + ms);
        }
        assert!((pace.rate(103_000) - 300.0).abs() < 1.0, "{}", pace.rate(103_000));
        assert!((pace.rate(110_500) - 286.0).abs() < 1.0, "{}", pace.rate(110_500));
        assert_eq!(pace.rate(120_000), 0.0);
        assert!(pace.ended.len() <= 11);
        // A runtime that is one second old has had no ten.
        let mut young = Pace::default();
        (0..50).for_each(|n| young.count(n * 20));
        assert!((young.rate(1_000) - 50.0).abs() < 0.1);
    }
}
