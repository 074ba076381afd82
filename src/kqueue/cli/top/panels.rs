//! The rows of each panel. Pure.

use kqueue_control::{Found, Process, Snapshot, State};

use super::super::see::snapshot;
use super::super::show::{Mood, span};
use super::super::status::paused;
use super::grid::{Cell, Grid, Row};
use super::rates::{Rates, process};

/// Fraction of its timeout from which a job is late.
const LATE: f64 = 0.8;

fn size(kb: f64) -> String {
    format!("{:.0} MB", (kb / 1024.0).ceil())
}

fn per_second(rate: f64) -> String {
    format!("{rate:.1}")
}

/// All apps.
pub(super) fn apps(all: &[(String, Found)]) -> Grid {
    let rows = all.iter().map(|(app, found)| match found {
        Found::Told(value, _) => {
            let told = snapshot(value);
            let memory: u64 = told.workers.iter().filter_map(|worker| worker.memory_kb).sum();
            let cells = vec![
                Cell::text(app),
                Cell::text(told.state.as_str()),
                Cell::count(told.running as u64),
                Cell::count(told.waiting),
                Cell::maybe(told.oldest(), span),
                Cell::number(told.rate, per_second(told.rate)),
                Cell::count(told.failed_hour),
                Cell::count(told.workers.len() as u64),
                Cell::number(memory as f64, size(memory as f64)),
                Cell::text(told.reason.as_deref().unwrap_or_default()),
            ];
            Row { cells, mood: Some(Mood::of(&told)).filter(|mood| *mood != Mood::Good) }
        }
        other => {
            let (state, why, mood) = match other {
                Found::Stopped { failed: true, why } => ("failed", why.as_str(), Mood::Bad),
                Found::Stopped { why, .. } => ("stopped", why.as_str(), Mood::Quiet),
                Found::Dark { why, .. } => ("unknown", why.as_str(), Mood::Bad),
                Found::Nobody | Found::Told(..) => ("stopped", "", Mood::Quiet),
            };
            let mut cells = vec![Cell::text(app), Cell::text(state)];
            cells.extend((0..7).map(|_| Cell::maybe(None, |_| String::new())));
            cells.push(Cell::text(why));
            Row { cells, mood: Some(mood) }
        }
    });
    let heads =
        &["APP", "STATE", ">RUNNING", ">WAITING", ">OLDEST", ">JOBS/S", ">FAILED 1 H", ">PROCESSES", ">MEMORY", ""];
    Grid { title: "apps", heads, rows: rows.collect() }
}

pub(super) fn queues(told: &Snapshot, rates: &Rates) -> Grid {
    let rows = told.queues.iter().map(|queue| {
        let of = |of: fn(&kqueue_control::Sizes) -> u64| queue.sizes.as_ref().map(|sizes| of(sizes) as f64);
        let about = queue.sizes.is_some_and(|sizes| sizes.estimated);
        let number = |n: f64| if about { format!("~{n}") } else { n.to_string() };
        let remarks: Vec<String> = paused(queue, told.at).into_iter().chain(queue.error.clone()).collect();
        let cells = vec![
            Cell::text(&queue.name),
            Cell::maybe(of(|sizes| sizes.pending), number),
            Cell::maybe(of(|sizes| sizes.delayed), number),
            Cell::maybe(of(|sizes| sizes.reserved), number),
            Cell::maybe(queue.oldest, span),
            Cell::maybe(rates.of(&queue.name), per_second),
            Cell::text(remarks.join(", ")),
        ];
        let mood = if queue.error.is_some() { Some(Mood::Bad) } else { queue.paused.then_some(Mood::Uneasy) };
        Row { cells, mood }
    });
    let heads = &["QUEUE", ">PENDING", ">DELAYED", ">RESERVED", ">OLDEST", ">JOBS/S", ""];
    Grid { title: "queues", heads, rows: rows.collect() }
}

pub(super) fn tiers(told: &Snapshot, rates: &Rates) -> Grid {
    let rows = told.tiers.iter().map(|load| {
        let workers: Vec<&Process> = told.workers.iter().filter(|worker| worker.tier == load.tier).collect();
        let idle = workers.iter().filter(|worker| worker.state == "idle").count();
        let memory: u64 = workers.iter().filter_map(|worker| worker.memory_kb).sum();
        let cpu = workers.iter().filter_map(|worker| rates.of(&process(worker.id, worker.pid))).reduce(|a, b| a + b);
        Row::new(vec![
            Cell::text(&load.tier),
            Cell::count(load.running as u64),
            Cell::count(load.waiting as u64),
            Cell::count(workers.len() as u64),
            Cell::count(idle as u64),
            Cell::number(memory as f64, size(memory as f64)),
            Cell::maybe(cpu, percent),
        ])
    });
    let heads = &["TIER", ">RUNNING", ">WAITING", ">PROCESSES", ">IDLE", ">MEMORY", ">CPU"];
    Grid { title: "tiers", heads, rows: rows.collect() }
}

/// Processor time in microseconds per second, as a percentage.
fn percent(usec: f64) -> String {
    format!("{:.0} %", usec / 10_000.0)
}

pub(super) fn workers(told: &Snapshot, rates: &Rates) -> Grid {
    let jobs: std::collections::BTreeMap<u64, &str> = told
        .tiers
        .iter()
        .flat_map(|load| &load.running_jobs)
        .map(|job| (job.worker, super::super::see::short(&job.class)))
        .collect();
    let rows = told.workers.iter().map(|worker| {
        let cells = vec![
            Cell::count(worker.id),
            Cell::text(&worker.tier),
            Cell::text(&worker.state),
            Cell::number(worker.seconds, span(worker.seconds)),
            Cell::count(u64::from(worker.jobs)),
            Cell::maybe(worker.memory_kb.map(|kb| kb as f64), size),
            Cell::maybe(rates.of(&process(worker.id, worker.pid)), percent),
            Cell::maybe(worker.pid.map(f64::from), |pid| pid.to_string()),
            Cell::text(jobs.get(&worker.id).copied().unwrap_or_default()),
        ];
        Row { cells, mood: (worker.state == "idle").then_some(Mood::Quiet) }
    });
    let heads = &[">NO", "TIER", "STATE", ">FOR", ">JOBS", ">MEMORY", ">CPU", ">PID", "JOB"];
    Grid { title: "processes", heads, rows: rows.collect() }
}

pub(super) fn jobs(told: &Snapshot) -> Grid {
    let all = told.tiers.iter().flat_map(|load| load.running_jobs.iter().map(move |job| (&load.tier, job)));
    let rows = all.map(|(tier, job)| {
        let limit = Some(job.timeout).filter(|seconds| *seconds > 0).map(|seconds| seconds as f64);
        let share = limit.map(|limit| job.seconds / limit);
        let cells = vec![
            Cell::text(&job.class),
            Cell::text(tier),
            Cell::text(&job.queue),
            Cell::number(job.seconds, span(job.seconds)),
            Cell::maybe(limit, span),
            Cell::maybe(share, |share| format!("{:.0} %", share * 100.0)),
            Cell::count(u64::from(job.attempt)),
            Cell::count(job.worker),
            Cell::text(&job.uuid),
        ];
        let mood =
            share.filter(|share| *share >= LATE).map(|share| if share >= 1.0 { Mood::Bad } else { Mood::Uneasy });
        Row { cells, mood }
    });
    let heads = &["RUNNING JOB", "TIER", "QUEUE", ">FOR", ">OF", ">", ">ATTEMPT", ">PROCESS", "UUID"];
    Grid { title: "jobs", heads, rows: rows.collect() }
}

/// The mood of the headline.
pub(super) fn mood(told: &Snapshot) -> Mood {
    if told.state == State::Unknown { Mood::Quiet } else { Mood::of(told) }
}
