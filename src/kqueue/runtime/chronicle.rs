//! Records events other than jobs (processes, deploys, reloads, outages, pauses), and counts them for metrics.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kqueue_control::{Happening, Metrics, VERSION};
use kqueue_core::alerts::Depth;
use kqueue_core::schedule::{Cause, StopReason, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_system::proc::Status;

use super::Runtime;
use super::held::epoch_ms;
use crate::history::{Grade, Id, Sample};
use crate::workers::WorkerProcess;

/// Intervals between two samples of the queue sizes: while jobs run or wait, and while none does.
const LOOKS: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));

/// The interval is at least this many times the duration of the last sample.
const SHARE: u32 = 50;

/// Counters of the runtime, and events that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// Processes requested, by tier.
    started: BTreeMap<&'static str, u64>,
    /// Processes ended, by tier and by kind of end.
    ended: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Number of queue outages.
    outages: u64,
    /// Ids of the open events, by key.
    open: HashMap<String, Id>,
    /// When the queue sizes are sampled next.
    look: Option<Instant>,
    /// Duration of the last sample.
    took: Rc<Cell<Duration>>,
    /// Jobs settled by the time of the last sample.
    settled: u64,
}

impl Runtime {
    /// Records an event of the runtime or the app.
    pub(super) fn happened(&mut self, kind: &str, text: String) {
        self.recorder.happened(happening(kind, text), Grade::Notable);
    }

    /// Records the begin of a lasting event, unless one of this key is open.
    pub(super) fn began(&mut self, key: &str, kind: &str, text: String) {
        if !self.chronicle.open.contains_key(key) {
            let id = self.recorder.happened(happening(kind, text), Grade::Lasting);
            self.chronicle.open.insert(key.to_owned(), id);
        }
    }

    /// Records the end of the open event of this key.
    pub(super) fn over(&mut self, key: &str) {
        if let Some(id) = self.chronicle.open.remove(key) {
            self.recorder.over(id);
        }
    }

    /// Keys of the open events that start with `prefix`.
    pub(super) fn open_events(&self, prefix: &str) -> impl Iterator<Item = String> {
        self.chronicle.open.keys().filter(move |name| name.starts_with(prefix)).cloned().collect::<Vec<_>>().into_iter()
    }

    /// Records an outage of the queue.
    pub(super) fn queue_is_silent(&mut self, why: String) {
        self.chronicle.outages += 1;
        self.began("queue", "outage", why);
    }

    /// Records changes of the app's signals: maintenance mode and paused queues.
    pub(super) fn note_signals(&mut self, down: bool, paused: &[String]) {
        match down {
            true => self.began("down", "pause", "maintenance mode: no job is started".to_owned()),
            false => self.over("down"),
        }
        let name = |queue: &str| format!("paused {queue}");
        let before: Vec<String> = self.schedule.paused().map(str::to_owned).collect();
        for queue in before.iter().filter(|queue| !paused.contains(queue)) {
            self.over(&name(queue));
        }
        for queue in paused {
            self.began(&name(queue), "pause", format!("queue {queue} is paused"));
        }
    }

    /// Counts a requested process.
    pub(super) fn launched(&mut self, mode: Mode) {
        *self.chronicle.started.entry(tier(mode)).or_default() += 1;
    }

    /// Records the start of a pooled worker. Lanes and processes for a single job come and go all the time, and are
    /// recorded only when they end abnormally.
    pub(super) fn greeted(&mut self, id: WorkerId) {
        let Some(worker) = self.processes.workers.get(&id).filter(|worker| worker.mode == Mode::Pooled) else {
            return;
        };
        let event = of_worker(id, worker.mode, format!("{} worker {id} started", worker.mode), None);
        self.recorder.happened(event, Grade::Routine);
    }

    /// Counts the end of a process, and records it unless it was planned and the process was not pooled.
    pub(super) fn departed(&mut self, id: WorkerId, worker: &WorkerProcess) {
        let how = how_it_ended(worker);
        *self.chronicle.ended.entry(tier(worker.mode)).or_default().entry(how).or_default() += 1;
        let planned = matches!(how, "recycled" | "left");
        if planned && worker.mode != Mode::Pooled {
            return;
        }
        let job = worker.job.or(worker.last.filter(|_| !planned));
        let uuid = job.and_then(|job| self.held.get(job)).map(|record| record.uuid.clone());
        let why = match (how, &worker.killed, worker.stopped) {
            ("recycled", ..) => "at its limit of jobs, time or memory, after a job run alone, or on request".to_owned(),
            ("left", _, Some(reason)) => reason.as_str().to_owned(),
            ("left", ..) => "exited by itself".to_owned(),
            ("killed", Some(cause), _) => format!("{cause}"),
            _ => worker.cause().to_string(),
        };
        let text = match why.starts_with("killed") {
            true => format!("{} worker {id} {why}", worker.mode),
            false => format!("{} worker {id} {how}: {why}", worker.mode),
        };
        let grade = if planned { Grade::Routine } else { Grade::Notable };
        self.recorder.happened(of_worker(id, worker.mode, text, uuid.filter(|_| !planned)), grade);
    }

    /// Samples the queue sizes when due: for the history and the alerts.
    pub(super) fn look_at_queues(&mut self, now: Instant) {
        let wanted = self.service.alerts.sizes();
        if !self.recorder.is_on() && wanted.is_none() || self.chronicle.look.is_some_and(|at| now < at) {
            return;
        }
        let moves = self.schedule.job_count() > 0 || self.schedule.settled() != self.chronicle.settled;
        self.chronicle.settled = self.schedule.settled();
        // Estimates change slowly and may cost money, so they are sampled seldom.
        let often = moves && self.queue.capabilities().exact_sizes;
        let pause = if often { LOOKS.0 } else { LOOKS.1 };
        let pause = wanted.map_or(pause, |wanted| wanted.min(pause));
        self.chronicle.look = Some(now + pause.max(self.chronicle.took.get() * SHARE));
        let (counting, looker) = (self.queue.count_now(&self.app.queues), self.queue.looker());
        let (recorder, queues) = (self.recorder.clone(), self.app.queues.clone());
        let (own, took) = (self.own_waiting(), self.chronicle.took.clone());
        let depths = self.service.alerts.depths.clone();
        tokio::task::spawn_local(async move {
            let (counts, oldest) = futures_util::future::join(counting, looker.oldest(&queues)).await;
            took.set(now.elapsed());
            let now = epoch_ms();
            for queue in queues {
                let pending = counts.get(&queue).and_then(super::queue::sizes::Count::pending);
                let Some(pending) = pending else {
                    depths.borrow_mut().insert(queue, None);
                    continue;
                };
                let (here, first) = own.get(&queue).copied().unwrap_or((0, None));
                let ready = [oldest.get(&queue).copied(), first].into_iter().flatten().min();
                let oldest = ready.map(|ready| now.saturating_sub(ready));
                let depth = Depth { jobs: pending + here, oldest };
                depths.borrow_mut().insert(queue.clone(), Some(depth));
                let oldest = oldest.map(|oldest| oldest / 1000);
                recorder.sized(Sample { queue, backlog: pending + here, oldest });
            }
        });
    }

    /// When the queue sizes are sampled next.
    pub(super) fn look_wake(&self) -> Option<Instant> {
        self.chronicle.look.filter(|_| self.recorder.is_on() || self.service.alerts.sizes().is_some())
    }

    /// Processes killed at their memory limit, and processes that crashed, since the start.
    pub(super) fn deaths(&self) -> (u64, u64) {
        let of = |how: &str| self.chronicle.ended.values().filter_map(|ended| ended.get(how)).sum();
        (of("oom"), of("crashed"))
    }

    /// Held jobs that do not run, by queue: their number, and the earliest time at which one of them could run
    /// (milliseconds since 1970).
    pub(super) fn own_waiting(&self) -> HashMap<String, (u64, Option<u64>)> {
        let running = self.running_jobs();
        let mut waiting = HashMap::<String, (u64, Option<u64>)>::new();
        for (_, record) in self.held.iter().filter(|(id, record)| !record.acked && !running.contains_key(id)) {
            let (jobs, first) = waiting.entry(record.reservation.queue.clone()).or_default();
            *jobs += 1;
            *first = Some(first.map_or(record.ready, |first| first.min(record.ready)));
        }
        waiting
    }

    /// Counters since the start.
    pub(super) fn metrics(&self) -> Metrics {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let status = Status::below(Path::new("/proc"), own);
        let resident = status.and_then(|status| status.numbers("VmRSS")?.first().map(|kb| kb << 10));
        let named = |counts: &BTreeMap<&'static str, u64>| -> BTreeMap<String, u64> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        Metrics {
            version: VERSION,
            since: self.service.observer.about().since,
            rows: self.recorder.metrics(),
            started: named(&self.chronicle.started),
            ended: self.chronicle.ended.iter().map(|(tier, how)| ((*tier).to_owned(), named(how))).collect(),
            orders: named(self.processes.orders()),
            outages: self.chronicle.outages,
            resident,
        }
    }
}

fn happening(kind: &str, text: String) -> Happening {
    Happening { kind: kind.to_owned(), text, ..Happening::default() }
}

fn of_worker(id: WorkerId, mode: Mode, text: String, job: Option<String>) -> Happening {
    let tier = mode.tier().map(|tier| tier.name().to_owned());
    Happening { tier, worker: Some(id), job, ..happening("worker", text) }
}

/// The tier whose jobs a process runs, or the kind of process.
fn tier(mode: Mode) -> &'static str {
    match (mode.tier(), mode) {
        (Some(tier), _) => tier.name(),
        (None, Mode::Horizon) => "horizon",
        (None, _) => "template",
    }
}

/// `recycled`, `killed`, `oom`, `crashed` or `left`.
fn how_it_ended(worker: &WorkerProcess) -> &'static str {
    match (worker.cause(), &worker.killed, worker.stopped) {
        (Cause::OutOfMemory { .. }, ..) => "oom",
        (_, Some(Cause::Shutdown), _) => "left",
        (_, Some(_), _) => "killed",
        (_, _, Some(StopReason::Recycle)) => "recycled",
        (_, _, Some(_)) | (Cause::Exit(0), ..) => "left",
        // Laravel's own memory limit: the worker exits between two jobs.
        (Cause::Exit(12), ..) if worker.job.is_none() => "recycled",
        _ => "crashed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Exit;

    #[test]
    fn how_processes_end() {
        let of = |exit: Exit, killed: Option<Cause>, stopped: Option<StopReason>, job: Option<u64>| {
            let worker =
                WorkerProcess { exit: Some(exit), killed, stopped, job, ..WorkerProcess::new(Mode::Pooled, false) };
            how_it_ended(&worker)
        };
        assert_eq!(of(Exit::Code(0), None, Some(StopReason::Recycle), None), "recycled");
        assert_eq!(of(Exit::Code(12), None, None, None), "recycled");
        assert_eq!(of(Exit::Code(0), None, Some(StopReason::Idle), None), "left");
        assert_eq!(of(Exit::Code(0), None, None, None), "left");
        assert_eq!(of(Exit::Signal(9), Some(Cause::Timeout(3)), None, Some(1)), "killed");
        assert_eq!(of(Exit::Signal(11), None, None, Some(1)), "crashed");
        assert_eq!(of(Exit::Code(255), None, None, Some(1)), "crashed");
        let oom = Cause::OutOfMemory { limit: 64, peak: None };
        let worker = WorkerProcess { unit_cause: Some(oom), ..WorkerProcess::new(Mode::Isolated, false) };
        assert_eq!(how_it_ended(&worker), "oom");
    }
}
