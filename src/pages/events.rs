//! The page of events beside jobs.

use kqueue_control::EVENT_KINDS;
use maud::{Markup, html};

use crate::chart::Kind;
use crate::format::{self, short, span, text};
use crate::marks;
use crate::parts::{Charts, empty, say_rate, scrolling, throughput, tier, windows};
use crate::view::Page;

/// Maximum events listed.
const MOST: usize = 300;

pub fn body(page: &Page<'_>) -> Markup {
    let kind = page.query.get("kind").unwrap_or_default();
    let link =
        |kind: &str| page.mount.link("events", &[("kind", kind), ("span", page.span()), ("end", &page.window.end())]);
    html! {
        section aria-labelledby="events" {
            div.heading { h1 #events { "Events" } (windows(page, "events", &[("kind", kind)])) }
            nav.tabs aria-label="Kinds of events" {
                ul { @for each in std::iter::once("").chain(EVENT_KINDS) { li { a href=(link(each)) aria-current=[(each == kind).then_some("page")] { (if each.is_empty() { "all" } else { each }) } } } }
            }
            div #charts data-live { @if let Some(charts) = Charts::of(page) { (charts.with("Throughput", Kind::Bars, throughput(&page.answers.series), say_rate).render()) } }
            div #event-list data-live { (list(page, kind)) }
        }
    }
}

fn list(page: &Page<'_>, kind: &str) -> Markup {
    let until = page.window.until.saturating_mul(1000);
    let all =
        page.answers.events.events.iter().filter(|event| event.at <= until && (kind.is_empty() || event.kind == kind));
    let all: Vec<_> = all.take(MOST).collect();
    if all.is_empty() {
        return empty("No such events in this time range.");
    }
    let table = html! {
        table {
            caption.sr { "Events, latest first" }
            thead { tr { th scope="col" { "Time" } th scope="col" { "Kind" } th scope="col" { "Event" } th scope="col" { "Duration" } th scope="col" { "Subject" } } }
            tbody {
                @for event in all {
                    tr {
                        th scope="row" { (format::time(event.at, page.moment)) } td { (marks::kind(&event.kind)) } td.what { (text(&event.text)) }
                        td { @match event.ended { Some(ended) => (span(ended.saturating_sub(event.at))), None => "–" } }
                        td {
                            @if let Some(known) = &event.tier { (tier(known)) " " }
                            @if let Some(worker) = event.worker { "worker " (worker) " " }
                            @if let Some(job) = &event.job { a href=(page.mount.link("job", &[("id", job)])) { (short(job, 8)) } }
                        }
                    }
                }
            }
        }
    };
    html! {
        (scrolling("Events", table))
        @if page.answers.events.more { p.of { "There are earlier events: choose a kind, or an earlier time." } }
    }
}
