//! One job: its timeline from the dispatch over all attempts, and why it ran in its tier.

use kqueue_control::{Happening, Job, JobState};
use kqueue_system::harmless;
use maud::{Markup, html};

use crate::acts;
use crate::format::{self, class, known_bytes, known_span, known_time, short, span, text};
use crate::marks;
use crate::parts::{elapsed, empty, heading, job_state, pill, ran, tag_link, tier};
use crate::view::Page;

/// Maximum attempts shown, the last ones.
const ATTEMPTS: usize = 100;
/// Maximum events shown.
const EVENTS: usize = 100;
/// Maximum bytes shown of a payload.
const PAYLOAD: usize = 256 << 10;

pub fn body(page: &Page<'_>) -> (u16, String, Markup) {
    let timeline = &page.answers.timeline;
    let uuid = short(page.query.get("id").unwrap_or_default(), 100);
    let Some(last) = timeline.attempts.last() else {
        let body = html! {
            section.card.trouble aria-labelledby="job" {
                h1 #job { "No such job" }
                p { "There is no record of " code { (uuid) } ". Ended jobs are kept for a limited time." }
            }
        };
        return (404, "No such job".to_owned(), body);
    };
    let attempts = timeline.attempts.get(timeline.attempts.len().saturating_sub(ATTEMPTS)..).unwrap_or_default();
    let body = html! {
        section aria-labelledby="job" {
            div #job-head data-live {
                h1 #job { (class(&last.class)) " " (pill(job_state(last.state))) }
                (facts(page, last, &uuid))
                @if let Some(state @ (JobState::Waiting | JobState::Delayed | JobState::Running)) = last.state {
                    (acts::of_waiting(page, &uuid, state))
                }
                @if last.state == Some(JobState::Failed) {
                    (acts::button(page, "retry", "Retry", &[("id", &uuid)], None))
                    (acts::button(page, "forget", "Forget", &[("id", &uuid)], None))
                }
                @if let Some(cause) = &last.cause { div.concern.bad { p { strong { "Cause: " } (text(cause)) } } }
            }
        }
        section aria-labelledby="timeline" {
            (heading("timeline", "Timeline", html! {}))
            div #job-timeline data-live { (lanes(page, attempts)) (steps(page, attempts, &timeline.events)) }
        }
        section aria-labelledby="printed" {
            (heading("printed", "Output", html! {}))
            @match &timeline.journal {
                Some(command) => pre tabindex="0" { code { (short(command, 1_000)) } },
                None => (empty("The runtime does not log to the journal: the output of jobs is in its own output.")),
            }
        }
        @if let Some(payload) = &timeline.payload {
            section aria-labelledby="payload" {
                (heading("payload", "Payload", html! {}))
                details #payload-text { summary { "Show the payload" } pre tabindex="0" { code { (shown(payload)) } } }
            }
        }
    };
    (200, last.class.clone(), body)
}

/// A payload, indented if it is JSON.
fn shown(payload: &str) -> String {
    let bounded = payload.get(..payload.floor_char_boundary(PAYLOAD)).unwrap_or_default();
    let value: Option<serde_json::Value> = serde_json::from_str(bounded).ok();
    let apart = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    harmless::block(apart.as_deref().unwrap_or(bounded))
}

fn facts(page: &Page<'_>, job: &Job, uuid: &str) -> Markup {
    html! {
        dl.facts {
            div { dt { "Job" } dd { code { (uuid) } } }
            div { dt { "Class" } dd { (page.class(&job.class)) } }
            div { dt { "Queue" } dd { (page.queue(&job.queue)) } }
            @if !job.tags.is_empty() { div { dt { "Tags" } dd { @for tag in job.tags.iter().take(20) { (tag_link(page, tag)) " " } } } }
            @if let Some(known) = &job.tier {
                div { dt { "Tier" } dd { (tier(known)) @if let Some(why) = &job.why { " because: " (short(why, 200)) } } }
            }
            div { dt { "Queued" } dd { (known_time(job.queued, page.moment)) } }
            @if job.due.is_some() { div { dt { "Due" } dd { (known_time(job.due, page.moment)) } } }
            @if let Some(timeout) = job.timeout {
                div { dt { "Timeout" } dd { @if timeout == 0 { "no limit" } @else { (span(timeout.saturating_mul(1000))) } } }
            }
        }
    }
}

/// A drawing of the attempts over time: the wait and the run of each.
fn lanes(page: &Page<'_>, attempts: &[Job]) -> Markup {
    let from = attempts.iter().filter_map(|job| job.queued.into_iter().chain(job.started).min()).min();
    let to = attempts.iter().filter_map(|job| end(page, job)).max();
    let Some((from, to)) = from.zip(to).filter(|(from, to)| to > from) else { return html! {} };
    let x = |at: u64| at.saturating_sub(from) as f64 * 1000.0 / (to - from) as f64;
    html! {
        figure.lanes {
            figcaption { "From " (format::time(from, page.moment)) " on, " (span(to - from)) }
            svg role="img" aria-label=(format!("{} attempts over {}", attempts.len(), span(to - from))) viewBox=(format!("0 0 1000 {}", attempts.len() * 14)) preserveAspectRatio="none" {
                @for (number, job) in attempts.iter().enumerate() {
                    @let y = number * 14 + 2;
                    @if let Some((started, ended)) = job.started.zip(end(page, job)) {
                        @let waited = job.wait_ms.unwrap_or_default().min(started.saturating_sub(from));
                        rect.waited x=(x(started - waited)) y=(y) width=((x(started) - x(started - waited)).max(0.0)) height="10" { title { "waited " (span(waited)) } }
                        rect class=(format!("ran {}", job_state(job.state))) x=(x(started)) y=(y) width=((x(ended) - x(started)).max(3.0)) height="10" {
                            title { "attempt " (job.attempt) ": " (job_state(job.state)) " after " (span(ended.saturating_sub(started))) }
                        }
                    }
                }
            }
        }
    }
}

fn end(page: &Page<'_>, job: &Job) -> Option<u64> {
    job.ended.or_else(|| job.started.map(|_| page.moment.now))
}

/// An entry of the timeline.
enum Step<'a> {
    Attempt(&'a Job),
    Event(&'a Happening),
}

fn steps(page: &Page<'_>, attempts: &[Job], events: &[Happening]) -> Markup {
    let of_job = attempts.iter().map(|job| (job.started.or(job.queued).unwrap_or(u64::MAX), Step::Attempt(job)));
    let of_event = events.iter().take(EVENTS).map(|event| (event.at, Step::Event(event)));
    let mut all: Vec<_> = of_job.chain(of_event).collect();
    all.sort_by_key(|(at, _)| *at);
    let queued = attempts.first().and_then(|job| job.queued);
    html! {
        ol.timeline {
            @if queued.is_some() { li { div.when { (known_time(queued, page.moment)) } div.what { "queued" } } }
            @for (_, step) in &all {
                @match step { Step::Attempt(job) => (attempt(page, job)), Step::Event(event) => {
                    li { div.when { (format::time(event.at, page.moment)) } div.what { (marks::kind(&event.kind)) " " (text(&event.text)) } }
                } }
            }
        }
    }
}

fn attempt(page: &Page<'_>, job: &Job) -> Markup {
    let state = job_state(job.state);
    html! {
        li class=(state) {
            div.when { (known_time(job.started.or(job.queued), page.moment)) }
            div.what {
                p {
                    @match job.state {
                        Some(JobState::Waiting | JobState::Delayed) => strong { (state) },
                        _ => strong { "attempt " (job.attempt) },
                    }
                    " " (pill(state))
                    @if let Some(known) = &job.tier { " " (tier(known)) }
                    @if let Some(worker) = job.worker { span.of { " worker " (worker) } }
                }
                @if job.state == Some(JobState::Running) { p { (elapsed(ran(job, page.moment), job.timeout)) } }
                @else if job.started.is_some() {
                    dl.inline {
                        div { dt { "waited" } dd { (known_span(job.wait_ms)) } } div { dt { "took" } dd { (known_span(job.ms)) } }
                        div { dt { "memory" } dd { (known_bytes(job.memory_peak)) } }
                        div { dt { "CPU" } dd { (known_span(job.cpu_usec.map(|usec| usec / 1000))) } }
                        @if job.ended.is_some() { div { dt { "ended" } dd { (known_time(job.ended, page.moment)) } } }
                    }
                }
                @if let Some(why) = &job.why { p.of { "in this tier because: " (short(why, 200)) } }
                @if let Some(cause) = &job.cause { p.cause { (text(cause)) } }
            }
        }
    }
}
