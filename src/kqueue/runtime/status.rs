//! The runtime's status: for the service manager and its watchdog, and for requests on the control socket.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::Runtime;
use super::held::epoch_ms;
use super::queue::sizes::{self, Count};
use crate::workers::WorkerProcess;
use kqueue_config::{KEYS, Reader};
use kqueue_control::{Process, RunningJob, Snapshot, State, TierLoad, WaitingJob};
use kqueue_core::routing::Tier;
use kqueue_core::schedule::Standing;
use kqueue_system::harmless;
use kqueue_system::proc::cpu_usec;
use kqueue_system::processes::{Family, memory_kb};
use kqueue_system::systemd::health::is_listening;

/// Maximum number of waiting jobs listed for each tier.
const WAITING: usize = 50;
/// Maximum number of listed running jobs of each tier, and of listed processes.
const RUNNING: usize = 500;
/// Maximum bytes of a name in a reply.
pub(super) const NAME: usize = 200;
/// Maximum bytes of a reason.
const REASON: usize = 400;

impl Runtime {
    /// Sends the notifications to the service manager that are due.
    pub(super) fn look_after_health(&mut self) {
        if !is_listening() {
            return;
        }
        let now = Instant::now();
        if self.service.health.is_status_due(now) {
            self.queue.count(now, &self.app.queues);
            let mut outline = self.outline();
            outline.conclude();
            // Reason and rate change without an event.
            let moves = outline.reason.is_some() || outline.rate > 0.0;
            self.service.health.status(now, outline.status, moves);
        }
        let waits = matches!(self.schedule.standing(), Standing::Draining(_) | Standing::Killing(_));
        self.service.health.extend_stop(now, waits);
        self.service.health.starts_without_queue(now);
        self.service.health.feed_watchdog(now, self.queue.calls_under_way());
    }

    /// Whether jobs are taken on, and why not.
    fn state(&self) -> State {
        match self.schedule.standing() {
            Standing::Draining(_) => State::Draining,
            Standing::Killing(_) | Standing::Over => State::Stopping,
            Standing::Running if !self.queue.has_answered() && self.queue.silence().is_none() => State::Starting,
            Standing::Running if self.schedule.is_down() => State::Maintenance,
            Standing::Running if self.schedule.open_queues(&self.app.queues).is_empty() => State::Paused,
            Standing::Running => State::Running,
        }
    }

    /// The most important reason why jobs do not run as they should, in one line.
    fn trouble(&self, counts: &BTreeMap<String, Count>) -> Option<String> {
        let trouble = self
            .service
            .health
            .dead()
            .map(str::to_owned)
            .or_else(|| sizes::partial_fault(counts))
            .or_else(|| self.processes.templates.fault().map(|how| format!("the template process failed: {how}")))
            .or_else(|| {
                let (tier, cause) = self.schedule.unready()?;
                Some(format!("{} processes do not start: {cause}", tier.name()))
            })
            .or_else(|| {
                let silent = silent(&self.app.connection, self.queue.silence()?);
                Some(self.queue.error().map_or_else(|| silent.clone(), |error| format!("{silent}: {error}")))
            })
            .or_else(|| Some(silent("the coordinator", self.processes.manager_lost()?)))
            .or_else(|| sizes::fault(counts))
            .or_else(|| self.queue.unshared())
            .or_else(|| {
                let fault = self.service.app.fault()?;
                Some(format!(
                    "queue:restart, queue:pause and down are not noticed: cannot read the app's cache: {fault}"
                ))
            })?;
        Some(harmless::line(&trouble, REASON))
    }

    /// The snapshot without lists of jobs and processes.
    pub(super) fn outline(&self) -> Snapshot {
        let queues = self.app.queues.iter().map(|name| self.queue.queue(name, self.service.pauses.of(name)));
        Snapshot {
            at: self.now().epoch,
            state: self.state(),
            reason: self.trouble(self.queue.counts()),
            connection: self.app.connection.clone(),
            asleep: self.schedule.asleep_since(),
            silent: self.queue.silence().map(|silence| silence.as_secs_f64()),
            queues: queues.collect(),
            paused_classes: self.paused_classes(),
            pool: self.service.overrides.pool().cloned(),
            remedy: self.service.duties.remedy(),
            running: self.schedule.running_count(),
            held: self.schedule.job_count(),
            failed_hour: self.recorder.failed_hour(),
            rate: self.service.observer.rate(self.now().ms),
            ..self.service.observer.about().clone()
        }
    }

    /// Replies with a snapshot. Slow queries run beside the loop.
    pub(super) fn tell_snapshot(&self, answer: oneshot::Sender<Vec<u8>>) {
        let mut snapshot = self.snapshot();
        // The queues are counted anew.
        snapshot.reason = self.trouble(&BTreeMap::new());
        let (counting, estimated) = (self.queue.count_now(&self.app.queues), !self.queue.capabilities().exact_sizes);
        let (looker, queues, own) = (self.queue.looker(), self.app.queues.clone(), self.own_waiting());
        tokio::task::spawn_local(async move {
            let pids: Vec<i32> = snapshot.workers.iter().filter_map(|worker| worker.pid).collect();
            // Reads many small files if there are many processes.
            let memory = tokio::task::spawn_blocking(move || {
                let family = Family::now();
                let used = |pid| (memory_kb(pid, &family), cpu_usec(pid));
                pids.into_iter().map(|pid| (pid, used(pid))).collect()
            });
            let (counts, oldest) = futures_util::future::join(counting, looker.oldest(&queues)).await;
            let now = epoch_ms();
            for queue in &mut snapshot.queues {
                let here = own.get(&queue.name).and_then(|(_, first)| *first);
                let ready = [oldest.get(&queue.name).copied(), here].into_iter().flatten().min();
                queue.oldest = ready.map(|ready| now.saturating_sub(ready) as f64 / 1000.0);
                if let Some(count) = counts.get(&queue.name) {
                    count.put(queue, estimated);
                }
            }
            let known = snapshot.reason.take();
            snapshot.reason = sizes::partial_fault(&counts).or(known).or_else(|| sizes::fault(&counts));
            snapshot.conclude();
            let used: BTreeMap<i32, (u64, Option<u64>)> = memory.await.unwrap_or_default();
            let mut by_worker = BTreeMap::new();
            for worker in &mut snapshot.workers {
                if let Some((kb, cpu)) = worker.pid.and_then(|pid| used.get(&pid)) {
                    worker.cpu_usec = *cpu;
                    worker.memory_kb = Some(*kb).filter(|kb| *kb > 0);
                    // Processor time of a process that runs a single job is that of the job.
                    let alone = worker.tier == Tier::Isolated.name();
                    by_worker.insert(worker.id, (worker.memory_kb, cpu.filter(|_| alone)));
                }
            }
            for job in snapshot.tiers.iter_mut().flat_map(|tier| &mut tier.running_jobs) {
                (job.memory_kb, job.cpu_usec) = by_worker.get(&job.worker).copied().unwrap_or_default();
            }
            let _ = answer.send(serde_json::to_vec(&snapshot).unwrap_or_default());
        });
    }

    /// The snapshot from the runtime's own tables.
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
                ..Process::default()
            }
        });
        Snapshot {
            tiers: Tier::ALL.iter().map(|tier| self.load(*tier)).collect(),
            workers: workers.collect(),
            failures: self.service.observer.failures(),
            driver: self.queue.driver().to_owned(),
            retry_after: self.queue.looker().lease().map(|lease| lease.as_secs()),
            settings: self.settings_told(),
            totals: self.held.tally().iter().map(|(outcome, jobs)| ((*outcome).to_owned(), *jobs)).collect(),
            ..self.outline()
        }
    }

    /// The settings that a reload can change, except lists of names, arguments and paths.
    fn settings_told(&self) -> BTreeMap<String, Value> {
        let told =
            KEYS.iter().filter(|key| key.is_read_by(Reader::Live) && !matches!(key.metavar, "NAMES" | "ARGS" | "PATH"));
        told.map(|key| (key.name.to_owned(), key.show(&self.settings))).collect()
    }

    /// The systemd unit of a worker, if it has one of its own.
    fn unit_of(&self, worker: &WorkerProcess) -> Option<String> {
        worker.bounds.as_ref().or(worker.unit.as_ref()).map(|unit| unit.name(&self.settings.app))
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
                timeout: self.seconds_for(record),
                memory_kb: None,
                cpu_usec: None,
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

fn silent(what: &str, silence: Duration) -> String {
    format!("{what} has not answered for {} s", silence.as_secs())
}
