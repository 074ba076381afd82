//! The overview of an app: backlog, running jobs, workers, failures and events.

use std::collections::BTreeMap;

use kqueue_control::{Figures, Job, Point, Process, Queue, RunningJob, Series, Snapshot};
use maud::{Markup, html};

use crate::acts;
use crate::chart::{Kind, Values, spark};
use crate::format::{self, bytes, known_bytes, known_span, number, percent, rate, seconds, short, text};
use crate::marks;
use crate::parts::{
    Charts, elapsed, empty, failed, heading, jobs_table, paused, per_minute, pill, ran, say_ms, say_number, say_rate,
    scrolling, throughput, tier, windows,
};
use crate::view::Page;

/// Maximum rows of a table.
const ROWS: usize = 200;
/// Processes shown without unfolding.
const WORKERS: usize = 10;
/// Maximum queues listed.
const QUEUES: usize = 100;
/// Maximum events, and failures, listed.
const EVENTS: usize = 8;
/// The setting that limits the memory of a process, in MB, by tier. An isolated job may have a limit of its own.
const MEMORY_LIMITS: &[(&str, &str)] = &[("inline", "worker_memory_max"), ("pooled", "worker_memory_max")];

pub fn body(page: &Page<'_>) -> Markup {
    html! {
        (tiles(page))
        section aria-labelledby="over-time" {
            (heading("over-time", "Over time", windows(page, "", &[])))
            div #charts data-live { (charts(page)) }
        }
        section aria-labelledby="queues" { (heading("queues", "Queues", html! {})) (acts::of_app(page)) div #queue-list data-live { (queues(page)) } }
        section aria-labelledby="running" { (heading("running", "Running jobs", html! {})) div #running-list data-live { (running(page)) } }
        section aria-labelledby="workers" { (heading("workers", "Workers", html! {})) (acts::of_pool(page)) div #worker-list data-live { (workers(page)) } }
        section aria-labelledby="failures" {
            (heading("failures", "Failures", html! { a.more href=(page.mount.link("jobs", &[("state", "failed")])) { "all failed jobs" } }))
            div #failure-list data-live { (failures(page)) }
        }
        section aria-labelledby="happened" {
            (heading("happened", "Events", html! { a.more href=(page.mount.page("events")) { "all events" } }))
            div #event-list data-live { (events(page)) }
        }
        (about(page))
    }
}

fn tiles(page: &Page<'_>) -> Markup {
    let snapshot = &page.answers.snapshot;
    let total = total(&page.answers.series);
    let oldest = oldest(snapshot);
    let lost = failed(&total);
    html! {
        dl.tiles #tiles data-live {
            div { dt { "Waiting" } dd { (number(snapshot.waiting)) } dd.sub { (number(snapshot.delayed)) " delayed" } }
            div { dt { "Oldest wait" } dd { @match oldest { Some(s) if snapshot.waiting > 0 => (seconds(s)), _ => "–" } }
                dd.sub { "p95 wait " (known_span(total.wait.quantile(0.95))) } }
            div { dt { "Running" } dd { (number(snapshot.running as u64)) } dd.sub { (number(snapshot.workers.len() as u64)) " processes" } }
            div { dt { "Per second" } dd { (rate(snapshot.rate)) } dd.sub { (number(total.runs())) " in " (page.window.word) } }
            div class=[(lost > 0).then_some("bad")] {
                dt { "Failed" } dd { (number(lost)) } dd.sub { (percent(lost, total.runs())) " in " (page.window.word) } }
        }
    }
}

/// The sum of all points.
fn total(series: &Series) -> Figures {
    let mut total = Figures::default();
    series.points.iter().for_each(|point| total.add(&point.figures));
    total
}

/// Seconds that the oldest ready job of all queues has waited.
pub fn oldest(snapshot: &Snapshot) -> Option<f64> {
    snapshot.queues.iter().filter_map(|queue| queue.oldest).max_by(f64::total_cmp)
}

fn charts(page: &Page<'_>) -> Markup {
    let series = &page.answers.series;
    let Some(charts) = Charts::of(page) else { return empty("No figures for this time range yet.") };
    let count = |name, class, of: fn(&Point) -> Option<u64>| {
        Values::of(name, class, series, move |point| of(point).map(|n| n as f64))
    };
    let wait = |name, class, share| {
        Values::of(name, class, series, move |point| point.figures.wait.quantile(share).map(|ms| ms as f64))
    };
    charts
        .with("Throughput", Kind::Bars, throughput(series), say_rate)
        .with("Backlog", Kind::Lines, vec![count("waiting", "backlog", |point| point.backlog)], say_number)
        .with("Wait before start", Kind::Lines, vec![wait("p95", "high", 0.95), wait("p50", "middle", 0.5)], say_ms)
        .render()
}

fn queues(page: &Page<'_>) -> Markup {
    let all = &page.answers.snapshot.queues;
    if all.is_empty() {
        return empty("No queues.");
    }
    let table = html! {
        table {
            caption.sr { "Queues, in the order in which they are worked" }
            thead {
                tr {
                    th scope="col" { "Queue" } th.num scope="col" { "Waiting" } th.num scope="col" { "Oldest wait" } th.num scope="col" { "Delayed" } th.num scope="col" { "Reserved" }
                    th.num scope="col" { "p50 wait" } th.num scope="col" { "p95 wait" } th.num scope="col" { "Jobs in " (page.window.word) }
                    th.num scope="col" { "Failed" } th scope="col" { "Throughput" }
                }
            }
            tbody { @for queue in all.iter().take(QUEUES) { (queue_row(page, queue)) } }
        }
    };
    scrolling("Queues", table)
}

fn queue_row(page: &Page<'_>, queue: &Queue) -> Markup {
    let series = &page.answers.series;
    let known = series.queues.get(&queue.name);
    let sizes = queue.sizes.unwrap_or_default();
    let about = if sizes.estimated { "~" } else { "" };
    let size = |jobs: u64| if queue.sizes.is_some() { format!("{about}{}", number(jobs)) } else { format::none() };
    let wait = |share| known_span(known.and_then(|known| known.figures.wait.quantile(share)));
    html! {
        tr {
            th scope="row" {
                (page.queue(&queue.name))
                @if queue.paused { " " (paused(queue.paused_by.as_ref(), page.moment)) }
                (acts::of_queue(page, &queue.name))
                @if let Some(error) = &queue.error { span.cause { (text(error)) } }
            }
            td.num { (size(sizes.pending)) } td.num { (queue.oldest.map_or_else(format::none, seconds)) } td.num { (size(sizes.delayed)) } td.num { (size(sizes.reserved)) }
            td.num { (wait(0.5)) } td.num { (wait(0.95)) }
            td.num { (known.map_or_else(format::none, |known| number(known.figures.runs()))) }
            td.num { (known.map_or_else(format::none, |known| number(failed(&known.figures)))) }
            td.spark {
                @if let Some(known) = known { (spark(&Values::each("jobs", "done", known.runs.iter().map(|runs| Some(per_minute(*runs, series)))))) }
            }
        }
    }
}

/// The running jobs: from the list, which has their timeouts, else from the snapshot.
fn running(page: &Page<'_>) -> Markup {
    let snapshot = &page.answers.snapshot;
    let listed = &page.answers.running.jobs;
    let known: Vec<&RunningJob> = snapshot.tiers.iter().flat_map(|tier| &tier.running_jobs).collect();
    if listed.is_empty() && known.is_empty() {
        return empty("No job is running.");
    }
    let row = |uuid: &str, class: &str, queue: &str, tier_of: &str, worker: Option<u64>, attempt: u32, time: Markup| {
        html! {
            tr {
                th scope="row" { (page.job(uuid, class)) } td { (page.queue(queue)) } td { (tier(tier_of)) }
                td.num { @match worker { Some(worker) => (worker), None => "–" } } td.num { (attempt) } td.time { (time) }
            }
        }
    };
    let of_job = |job: &Job| {
        let time = elapsed(ran(job, page.moment), job.timeout);
        row(&job.uuid, &job.class, &job.queue, job.tier.as_deref().unwrap_or("–"), job.worker, job.attempt, time)
    };
    let table = html! {
        table {
            caption.sr { "Running jobs, with their elapsed time and timeout" }
            thead {
                tr {
                    th scope="col" { "Job" } th scope="col" { "Queue" } th scope="col" { "Tier" } th.num scope="col" { "Worker" }
                    th.num scope="col" { "Attempt" } th scope="col" { "Time" }
                }
            }
            tbody {
                @if listed.is_empty() {
                    @for tier in &snapshot.tiers { @for job in tier.running_jobs.iter().take(ROWS) {
                        (row(&job.uuid, &job.class, &job.queue, &tier.tier, Some(job.worker), job.attempt, elapsed((job.seconds.max(0.0) * 1000.0) as u64, None)))
                    } }
                } @else { @for job in listed.iter().take(ROWS) { (of_job(job)) } }
            }
        }
    };
    scrolling("Running jobs", table)
}

fn workers(page: &Page<'_>) -> Markup {
    let snapshot = &page.answers.snapshot;
    if snapshot.workers.is_empty() {
        return empty("No process is running.");
    }
    let jobs: BTreeMap<u64, &RunningJob> =
        snapshot.tiers.iter().flat_map(|tier| &tier.running_jobs).map(|job| (job.worker, job)).collect();
    let memory: u64 = snapshot.workers.iter().filter_map(|worker| worker.memory_kb).fold(0, u64::saturating_add);
    // Busy processes first; idle ones may be folded.
    let mut all: Vec<&Process> = snapshot.workers.iter().take(ROWS).collect();
    all.sort_by_key(|worker| (worker.state == "idle", worker.id));
    let (shown, folded) = all.split_at(all.len().min(WORKERS));
    html! {
        (worker_table(page, shown, &jobs))
        @if !folded.is_empty() {
            details.folded #more-workers {
                summary { (folded.len()) " more" }
                (worker_table(page, folded, &jobs))
            }
        }
        p.note {
            (number(snapshot.workers.len() as u64)) " processes" @if memory > 0 { ", " (bytes(memory.saturating_mul(1024))) " of memory" }
            @if snapshot.workers.len() > ROWS { "; the first " (ROWS) " are listed" } "."
        }
    }
}

fn worker_table(page: &Page<'_>, workers: &[&Process], jobs: &BTreeMap<u64, &RunningJob>) -> Markup {
    let table = html! {
        table {
            caption.sr { "PHP processes, idle ones last" }
            thead {
                tr {
                    th.num scope="col" { "Worker" } th scope="col" { "Tier" } th scope="col" { "State" } th scope="col" { "Job" }
                    th.num scope="col" { "Memory" } th.num scope="col" { "Jobs" } th scope="col" { "Process" }
                }
            }
            tbody { @for worker in workers { (worker_row(page, worker, jobs.get(&worker.id).copied())) } }
        }
    };
    scrolling("Workers", table)
}

/// The memory that a process of a tier may use, in bytes.
fn memory_limit(page: &Page<'_>, tier: &str) -> Option<u64> {
    let (_, setting) = MEMORY_LIMITS.iter().find(|(known, _)| *known == tier)?;
    let mb = page.answers.snapshot.settings.get(*setting)?.as_u64()?;
    Some(mb.saturating_mul(1024 * 1024))
}

fn worker_row(page: &Page<'_>, worker: &Process, job: Option<&RunningJob>) -> Markup {
    let memory = worker.memory_kb.map(|kb| kb.saturating_mul(1024));
    html! {
        tr {
            th.num scope="row" { (worker.id) }
            td { (tier(&worker.tier)) }
            td { (pill(&worker.state)) " " span.of { (seconds(worker.seconds)) } }
            td { @if let Some(job) = job { (page.job(&job.uuid, &job.class)) } @else { "–" } }
            td.num { (known_bytes(memory)) @if let (Some(_), Some(limit)) = (memory, memory_limit(page, &worker.tier)) { span.of { " / " (bytes(limit)) } } }
            td.num { (number(worker.jobs.into())) }
            td.unit { @match (&worker.unit, worker.pid) { (Some(unit), _) => (short(unit, 80)), (None, Some(pid)) => { "pid " (pid) }, _ => "–" } }
        }
    }
}

fn failures(page: &Page<'_>) -> Markup {
    let listed = &page.answers.failed.jobs;
    if !listed.is_empty() {
        return jobs_table(page, "Failed jobs, latest first", listed, EVENTS);
    }
    let since = page.window.since;
    let told: Vec<_> =
        page.answers.snapshot.failures.iter().filter(|failure| failure.at >= since).take(EVENTS).collect();
    if told.is_empty() {
        return empty("No job has failed in this time range.");
    }
    html! {
        ul.plainlist {
            @for failure in told {
                li {
                    (format::time(failure.at.saturating_mul(1000), page.moment)) " " (pill(&failure.outcome)) " " (page.job(&failure.uuid, &failure.class))
                    @if let Some(cause) = &failure.cause { span.cause { (short(cause, 240)) } }
                }
            }
        }
    }
}

fn events(page: &Page<'_>) -> Markup {
    let until = page.window.until.saturating_mul(1000);
    let events = page.answers.events.events.iter().filter(|event| event.at <= until);
    let events: Vec<_> = events.take(EVENTS).collect();
    html! {
        @if events.is_empty() { (empty("No events in this time range.")) }
        @else {
            ol.marks {
                @for event in events {
                    li { (marks::kind(&event.kind)) " " (format::time(event.at, page.moment)) " " span { (short(&event.text, 200)) } }
                }
            }
        }
    }
}

/// Versions, connection, launcher and runtime of the app.
fn about(page: &Page<'_>) -> Markup {
    let Snapshot { laravel, php, connection, launcher, pid, since, .. } = &page.answers.snapshot;
    let total = total(&page.answers.series);
    html! {
        section.about aria-labelledby="about" {
            h2.sr #about { "About this app" }
            p {
                "Laravel " (short(laravel, 40)) ", PHP " (short(php, 40)) ", connection " (short(connection, 60)) ", launcher " (short(launcher, 40))
                ", runtime pid " (pid) " since " (format::time(since.saturating_mul(1000), page.moment)) ". In " (page.window.word) ": " (crate::parts::outcomes(&total)) "."
            }
        }
    }
}
