//! The page of one queue: its figures over time, the classes in it, and its waiting jobs.

use maud::{Markup, html};

use crate::chart::{Kind, Values};
use crate::classes::{self, tiles};
use crate::format::short;
use crate::jobs;
use crate::parts::{Charts, empty, heading, paused, say_ms, say_number, say_rate, throughput, windows};
use crate::view::Page;
use crate::{acts, broken};

pub fn body(page: &Page<'_>) -> Markup {
    let name = page.name();
    html! {
        section aria-labelledby="queue" {
            h1 #queue { "Queue " (short(name, 120)) }
            div #queue-state data-live { (state(page, name)) }
            div #queue-acts data-live { (acts::of_queue(page, name)) }
            (tiles(page, &page.answers.stats.total))
        }
        section aria-labelledby="over-time" {
            (heading("over-time", "Over time", windows(page, "queue", &[("name", name)])))
            div #charts data-live { (charts(page)) }
        }
        (classes::section(page))
        (jobs::section(page, "Waiting jobs", "No job is waiting in this queue.", &[("queue", name), ("state", "waiting")]))
        (broken::section(page, name))
    }
}

/// Who has paused the queue; empty if it is not paused.
fn state(page: &Page<'_>, name: &str) -> Markup {
    let known = page.answers.snapshot.queues.iter().find(|queue| queue.name == name && queue.paused);
    html! { @if let Some(queue) = known { (paused(queue.paused_by.as_ref(), page.moment)) } }
}

fn charts(page: &Page<'_>) -> Markup {
    let series = &page.answers.series;
    let Some(charts) = Charts::of(page) else { return empty("No figures for this time range yet.") };
    let backlog = Values::of("waiting", "backlog", series, |point| point.backlog.map(|jobs| jobs as f64));
    let wait = |name, class, share| {
        Values::of(name, class, series, move |point| point.figures.wait.quantile(share).map(|ms| ms as f64))
    };
    charts
        .with("Throughput", Kind::Bars, throughput(series), say_rate)
        .with("Backlog", Kind::Lines, vec![backlog], say_number)
        .with("Wait before start", Kind::Lines, vec![wait("p95", "high", 0.95), wait("p50", "middle", 0.5)], say_ms)
        .render()
}
