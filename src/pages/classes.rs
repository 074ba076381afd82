//! The table of classes: run times, failures and memory.

use std::cmp::Reverse;
use std::collections::HashSet;

use kqueue_control::{ClassFigures, Paused};
use maud::{Markup, html};

use crate::format::{bytes, known_bytes, known_span, number, percent, short, span};
use crate::parts::{empty, failed, heading, paused, scrolling, tier, windows};
use crate::view::Page;

/// Maximum classes listed.
const MOST: usize = 1_000;
/// Sortable columns: the value of `sort` in the query, and the heading.
const COLUMNS: &[(&str, &str)] = &[
    ("name", "Class"),
    ("runs", "Jobs"),
    ("failed", "Failed"),
    ("wait", "p95 wait"),
    ("p50", "p50"),
    ("p95", "p95"),
    ("p99", "p99"),
    ("memory", "Peak memory"),
    ("cpu", "CPU"),
    ("tier", "Tier and reason"),
];

pub fn body(page: &Page<'_>) -> Markup {
    let asked = page.query.get("sort").unwrap_or("runs");
    let sort = COLUMNS.iter().map(|(word, _)| *word).find(|word| *word == asked).unwrap_or("runs");
    html! {
        section aria-labelledby="classes" {
            div.heading { h1 #classes { "Classes" } (windows(page, "classes", &[("sort", sort)])) }
            div #class-pauses data-live { (unlisted(page)) }
            div #class-list data-live {
                @if page.answers.stats.classes.is_empty() { (empty("No job has ended in this time range.")) }
                @else { (scrolling("Classes", table(page, sort))) }
            }
        }
    }
}

/// Who has paused a class; `None` if it is not paused.
pub fn pause_of<'a>(page: &Page<'a>, class: &str) -> Option<&'a Paused> {
    let mut all = page.answers.snapshot.paused_classes.iter();
    all.find(|paused| paused.class == class).map(|paused| &paused.paused_by)
}

/// The paused classes that are not in the table, as no job of theirs has ended in the time range.
fn unlisted(page: &Page<'_>) -> Markup {
    let listed: HashSet<&str> = page.answers.stats.classes.iter().map(|class| class.class.as_str()).collect();
    let all = page.answers.snapshot.paused_classes.iter().filter(|paused| !listed.contains(paused.class.as_str()));
    let all: Vec<_> = all.take(MOST).collect();
    html! {
        @if !all.is_empty() {
            ul.plainlist aria-label="Paused classes without jobs in this time range" {
                @for held in all { li { (page.class(&held.class)) " " (paused(Some(&held.paused_by), page.moment)) } }
            }
        }
    }
}

fn sorted<'a>(classes: &'a [ClassFigures], sort: &str) -> Vec<&'a ClassFigures> {
    let mut all: Vec<&ClassFigures> = classes.iter().collect();
    let quantile = |class: &ClassFigures, share| class.figures.duration.quantile(share);
    match sort {
        "name" => all.sort_by(|one, other| one.class.cmp(&other.class)),
        "tier" => {
            all.sort_by(|one, other| (&one.tier, &one.why, &one.class).cmp(&(&other.tier, &other.why, &other.class)))
        }
        "failed" => all.sort_by_cached_key(|class| Reverse(failed(&class.figures))),
        "wait" => all.sort_by_cached_key(|class| Reverse(class.figures.wait.quantile(0.95))),
        "p50" => all.sort_by_cached_key(|class| Reverse(quantile(class, 0.5))),
        "p95" => all.sort_by_cached_key(|class| Reverse(quantile(class, 0.95))),
        "p99" => all.sort_by_cached_key(|class| Reverse(quantile(class, 0.99))),
        "memory" => all.sort_by_cached_key(|class| Reverse(class.figures.memory_peak)),
        "cpu" => all.sort_by_cached_key(|class| Reverse(class.figures.cpu_usec)),
        _ => all.sort_by_cached_key(|class| Reverse(class.figures.runs())),
    }
    all
}

fn table(page: &Page<'_>, sort: &str) -> Markup {
    let link =
        |word: &str| page.mount.link("classes", &[("sort", word), ("span", page.span()), ("end", &page.window.end())]);
    let order = |word: &str| if matches!(word, "name" | "tier") { "ascending" } else { "descending" };
    html! {
        table {
            caption.sr { "Classes of the jobs that ended, sorted by " (sort) }
            thead {
                tr {
                    @for (word, name) in COLUMNS {
                        th scope="col" class=[(!matches!(*word, "name" | "tier")).then_some("num")] aria-sort=[(*word == sort).then(|| order(word))] {
                            a.sort href=(link(word)) { (name) }
                        }
                    }
                }
            }
            tbody { @for class in sorted(&page.answers.stats.classes, sort).into_iter().take(MOST) { (row(page, class)) } }
        }
    }
}

fn row(page: &Page<'_>, class: &ClassFigures) -> Markup {
    let ClassFigures { class: name, tier: known, why, memory_limit, figures } = class;
    let took = |share| known_span(figures.duration.quantile(share));
    let bad = failed(figures);
    html! {
        tr {
            th scope="row" { (page.class(name)) @if let Some(pause) = pause_of(page, name) { " " (paused(Some(pause), page.moment)) } }
            td.num { (number(figures.runs())) }
            td.num class=[(bad > 0).then_some("bad")] { (number(bad)) @if bad > 0 { span.of { " " (percent(bad, figures.runs())) } } }
            td.num { (known_span(figures.wait.quantile(0.95))) }
            td.num { (took(0.5)) } td.num { (took(0.95)) } td.num { (took(0.99)) }
            td.num { (known_bytes(figures.memory_peak)) @if let (Some(_), Some(limit)) = (figures.memory_peak, memory_limit) { span.of { " of " (bytes(*limit)) } } }
            td.num { (span(figures.cpu_usec / 1000)) }
            td.why { @if let Some(known) = known { (tier(known)) } @if let Some(why) = why { span.of { " " (short(why, 120)) } } }
        }
    }
}

/// The figures of one class or queue, as a row of tiles.
pub fn tiles(page: &Page<'_>, figures: &kqueue_control::Figures) -> Markup {
    let took = |share| known_span(figures.duration.quantile(share));
    let bad = failed(figures);
    html! {
        dl.tiles #tiles data-live {
            div { dt { "Jobs" } dd { (number(figures.runs())) } dd.sub { "in " (page.window.word) } }
            div { dt { "p50" } dd { (took(0.5)) } dd.sub { "waited " (known_span(figures.wait.quantile(0.5))) } }
            div { dt { "p95" } dd { (took(0.95)) } dd.sub { "waited " (known_span(figures.wait.quantile(0.95))) } }
            div { dt { "p99" } dd { (took(0.99)) } dd.sub { "waited " (known_span(figures.wait.quantile(0.99))) } }
            div { dt { "Peak memory" } dd { (known_bytes(figures.memory_peak)) } dd.sub { "CPU " (span(figures.cpu_usec / 1000)) } }
            div class=[(bad > 0).then_some("bad")] { dt { "Failed" } dd { (number(bad)) } dd.sub { (percent(bad, figures.runs())) } }
        }
    }
}

/// A section of classes, those with the most runs first, for the page of a queue.
pub fn section(page: &Page<'_>) -> Markup {
    html! {
        section aria-labelledby="classes" {
            (heading("classes", "Classes in this queue", html! {}))
            div #class-list data-live {
                @if page.answers.stats.classes.is_empty() { (empty("No job has ended in this time range.")) }
                @else { (scrolling("Classes", table(page, "runs"))) }
            }
        }
    }
}
