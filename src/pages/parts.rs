//! Parts shared by several pages.

use std::fmt::Write as _;

use kqueue_control::{Figures, Job, JobState, Paused, Series};
use maud::{Markup, html};

use crate::chart::{Axis, Chart, Kind, Say, Values, table};
use crate::format::{bytes, class, known_span, known_time, number, rate, short, span, time};
use crate::marks::{self, Mark};
use crate::view::Page;
use crate::{Moment, Window};

/// A state, as a pill.
pub fn pill(state: &str) -> Markup {
    html! { span class=(format!("pill {}", known_state(state))) { (short(state, 24)) } }
}

/// The stylesheet class for a state of an app, job or worker.
fn known_state(state: &str) -> &'static str {
    match state {
        "running" | "done" => "good",
        "degraded" | "failed" | "lost" | "down" => "bad",
        "paused" | "maintenance" | "released" | "left" | "draining" => "warn",
        "starting" | "stopping" | "busy" => "busy",
        _ => "quiet",
    }
}

/// A pause, as a pill, with who made it and when it ends: `paused by alice until 14:00:00`.
pub fn paused(by: Option<&Paused>, moment: &Moment) -> Markup {
    html! {
        (pill("paused"))
        @if let Some(paused) = by {
            " "
            span.of {
                (pauser(paused))
                @if let Some(until) = paused.until { " until " (time(until.saturating_mul(1000), moment)) }
                @if paused.every && paused.by == "operator" { ", with all queues" }
            }
        }
    }
}

fn pauser(paused: &Paused) -> String {
    match (paused.by.as_str(), paused.user.as_deref().unwrap_or_default()) {
        ("operator", "") => "by an operator".to_owned(),
        ("operator", user) => format!("by {}", short(user, 60)),
        ("app", _) => "by the app (queue:pause)".to_owned(),
        ("horizon", _) => "by Horizon".to_owned(),
        // A newer runtime may name others.
        _ => String::new(),
    }
}

/// A tier's name.
pub fn tier(tier: &str) -> Markup {
    html! { span.tier { (short(tier, 20)) } }
}

/// The name of a job's state.
pub fn job_state(state: Option<JobState>) -> &'static str {
    state.map_or("unknown", JobState::as_str)
}

/// The list of what is missing on a page.
pub fn lacks(page: &Page<'_>) -> Markup {
    html! {
        @if !page.answers.lacks.is_empty() {
            ul.lacks aria-label="Missing on this page" { @for lack in &page.answers.lacks { li { "Missing: " (lack) } } }
        }
    }
}

/// The heading of a section.
pub fn heading(id: &str, text: &str, more: Markup) -> Markup {
    html! { div.heading { h2 id=(id) { (text) } (more) } }
}

/// Wraps a table so that it scrolls by itself on a narrow page, also by keyboard.
pub fn scrolling(label: &str, table: Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// The text of a section without content.
pub fn empty(words: &str) -> Markup {
    html! { p.empty { (words) } }
}

/// The navigation for the time range of a page.
pub fn windows(page: &Page<'_>, path: &str, more: &[(&str, &str)]) -> Markup {
    let link = |span: &str, end: &str| {
        let usual = if span == "1h" { "" } else { span };
        page.mount.link(path, &[more, &[("span", usual), ("end", end)]].concat())
    };
    let Window { word, .. } = page.window;
    let later = page.window.moved(true, page.moment);
    html! {
        nav.windows aria-label="Time range" {
            ul.choice {
                @for each in Window::words() {
                    li { a href=(link(each, &page.window.end())) aria-current=[(each == word).then_some("true")] { (each) } }
                }
            }
            ul.choice {
                li { a href=(link(word, &page.window.moved(false, page.moment))) { "earlier" } }
                @if !page.window.is_now {
                    li { a href=(link(word, &later)) { "later" } }
                    li { a href=(link(word, "")) { "now" } }
                }
            }
            form method="get" action=(page.mount.page(path)) {
                @for (name, value) in more { input type="hidden" name=(name) value=(value); }
                input type="hidden" name="span" value=(word);
                label { "up to" input type="datetime-local" name="end" value=(page.window.end_field(page.moment)); }
                button { "Go" }
            }
        }
    }
}

/// The count of a point as a rate per minute.
pub fn per_minute(count: u64, series: &Series) -> f64 {
    count as f64 * 60.0 / series.step.max(1) as f64
}

fn outcome(series: &Series, name: &'static str, outcomes: &'static [&'static str]) -> Values {
    Values::of(name, name, series, |point| {
        let count = outcomes.iter().filter_map(|outcome| point.figures.outcomes.get(*outcome)).sum();
        Some(per_minute(count, series))
    })
}

/// Jobs ended per minute, by outcome.
pub fn throughput(series: &Series) -> Vec<Values> {
    vec![
        outcome(series, "done", &["done"]),
        outcome(series, "released", &["released", "left"]),
        outcome(series, "failed", &["failed", "lost"]),
    ]
}

/// All charts of a page, on one axis, with events marked.
pub struct Charts<'a> {
    pub axis: Axis,
    pub marks: Vec<Mark>,
    drawn: Vec<Markup>,
    kept: Vec<(Vec<Values>, Say)>,
    page: &'a Page<'a>,
}

impl<'a> Charts<'a> {
    /// `None` if there are no figures.
    pub fn of(page: &'a Page<'a>) -> Option<Self> {
        let axis = Axis::of(&page.answers.series)?;
        Some(Self { axis, marks: marks::marks(page, &axis), drawn: Vec::new(), kept: Vec::new(), page })
    }

    /// Adds a chart.
    #[must_use]
    pub fn with(mut self, title: &'static str, kind: Kind, all: Vec<Values>, say: Say) -> Self {
        let chart = Chart { title, kind, axis: self.axis, all: &all, say, marks: &self.marks };
        self.drawn.push(chart.render(self.page.moment));
        self.kept.push((all, say));
        self
    }

    /// Renders all charts, and their figures as a table.
    pub fn render(self) -> Markup {
        let kept: Vec<_> = self.kept.iter().map(|(all, say)| (all.as_slice(), *say)).collect();
        html! {
            div.charts { @for chart in &self.drawn { (chart) } }
            (marks::told(self.page, &self.axis))
            (table(&self.axis, &kept, self.page.moment))
        }
    }
}

/// Formats waits and durations, in milliseconds.
pub fn say_ms(value: f64) -> String {
    span(value.round() as u64)
}

/// Formats a rate of jobs per minute.
pub fn say_rate(value: f64) -> String {
    format!("{}/min", rate(value))
}

/// Formats a number.
pub fn say_number(value: f64) -> String {
    if value.fract() > 0.0 && value < 10.0 { format!("{value:.1}") } else { number(value.round() as u64) }
}

/// Formats a size in bytes.
pub fn say_bytes(value: f64) -> String {
    bytes(value as u64)
}

/// How many of these jobs failed permanently.
pub fn failed(figures: &Figures) -> u64 {
    figures.outcomes.get("failed").copied().unwrap_or_default()
}

/// Outcomes as text: `120 done, 3 released, 1 failed`.
pub fn outcomes(figures: &Figures) -> String {
    let mut said = String::new();
    for (outcome, count) in figures.outcomes.iter().filter(|(_, count)| **count > 0).take(6) {
        let comma = if said.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(said, "{comma}{} {}", number(*count), short(outcome, 20));
    }
    if said.is_empty() { "none".to_owned() } else { said }
}

/// The kind of a list of jobs, which determines its columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    Queued,
    Running,
    Ended,
}

impl Columns {
    fn of(jobs: &[Job]) -> Self {
        let all = |states: &[JobState]| jobs.iter().all(|job| job.state.is_some_and(|state| states.contains(&state)));
        match () {
            () if all(&[JobState::Waiting, JobState::Delayed]) => Columns::Queued,
            () if all(&[JobState::Running]) => Columns::Running,
            () => Columns::Ended,
        }
    }

    /// Names of the columns, and whether they hold numbers.
    fn names(self) -> &'static [(&'static str, bool)] {
        match self {
            Columns::Queued => &[("Queued", false), ("Due", false), ("Attempts", true)],
            Columns::Running => {
                &[("Tier", false), ("Started", false), ("Waited", true), ("Time", false), ("Attempt", true)]
            }
            Columns::Ended => &[
                ("Tier", false),
                ("Ended", false),
                ("Waited", true),
                ("Took", true),
                ("Memory", true),
                ("Attempt", true),
            ],
        }
    }
}

/// A table of jobs: ended, running, or waiting to start.
pub fn jobs_table(page: &Page<'_>, caption: &str, jobs: &[Job], most: usize) -> Markup {
    let columns = Columns::of(jobs);
    let table = html! {
        table.jobs {
            caption.sr { (caption) }
            thead {
                tr {
                    th scope="col" { "Job" } th scope="col" { "State" } th scope="col" { "Queue" }
                    @for (name, is_number) in columns.names() { th scope="col" class=[is_number.then_some("num")] { (name) } }
                }
            }
            tbody { @for job in jobs.iter().take(most) { (job_row(page, job, columns)) } }
        }
    };
    scrolling(caption, table)
}

fn job_row(page: &Page<'_>, job: &Job, columns: Columns) -> Markup {
    let known_tier = html! { td { @if let Some(known) = &job.tier { (tier(known)) } @else { "–" } } };
    let time = |ms| html! { td { (known_time(ms, page.moment)) } };
    html! {
        tr {
            th scope="row" {
                (page.job(&job.uuid, &job.class))
                @if !job.tags.is_empty() { span.tags { @for tag in job.tags.iter().take(6) { (tag_link(page, tag)) } } }
                @if let Some(cause) = &job.cause { span.cause { (short(cause, 240)) } }
            }
            td { (pill(job_state(job.state))) }
            td { (page.queue(&job.queue)) }
            @match columns {
                Columns::Queued => { (time(job.queued)) (time(job.due)) }
                Columns::Running => {
                    (known_tier) (time(job.started)) td.num { (known_span(job.wait_ms)) }
                    td.time { (elapsed(ran(job, page.moment), job.timeout)) }
                }
                Columns::Ended => {
                    (known_tier) (time(job.ended.or(job.started))) td.num { (known_span(job.wait_ms)) }
                    td.num { (known_span(job.ms)) } td.num { (crate::format::known_bytes(job.memory_peak)) }
                }
            }
            td.num { (job.attempt) }
        }
    }
}

/// A tag, linked to the jobs with it.
pub fn tag_link(page: &Page<'_>, tag: &str) -> Markup {
    html! { a.tag href=(page.mount.link("jobs", &[("tag", tag)])) { (short(tag, 60)) } }
}

/// A job's run time in milliseconds, against its timeout in seconds; 0 is without limit.
pub fn elapsed(ms: u64, timeout: Option<u64>) -> Markup {
    let limit = timeout.filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1000));
    html! {
        @if let Some(limit) = limit {
            progress value=(ms.min(limit)) max=(limit) aria-label=(format!("{} of {}", span(ms), span(limit))) {}
            span.of { (span(ms)) " of " (span(limit)) }
        } @else { span.of { (span(ms)) @if timeout == Some(0) { ", no limit" } } }
    }
}

/// A class as plain text in a heading.
pub fn class_heading(name: &str) -> Markup {
    html! { h1 { (class(name)) } }
}

/// A job's run time in milliseconds, up to now if it still runs.
pub fn ran(job: &Job, moment: &Moment) -> u64 {
    job.ms.or_else(|| job.started.map(|started| moment.now.saturating_sub(started))).unwrap_or_default()
}
