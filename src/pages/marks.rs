//! Events as marks on the charts.

use kqueue_control::Happening;
use maud::{Markup, html};

use crate::chart::Axis;
use crate::format::{short, time};
use crate::view::Page;

/// Maximum marks on a chart.
const MOST: usize = 60;
/// How many of them are listed below it.
const TOLD: usize = 12;

/// A mark.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// When it was over, if it lasted.
    pub ended: Option<u64>,
    /// Its class in the stylesheet.
    pub class: &'static str,
    /// Its text.
    pub said: String,
}

/// The stylesheet class of a kind of event.
pub fn class(kind: &str) -> &'static str {
    match kind {
        "runtime" => "runtime",
        "worker" => "worker",
        "deploy" => "deploy",
        "reload" => "reload",
        "outage" => "outage",
        "pause" => "pause",
        "quarantine" => "quarantine",
        _ => "other",
    }
}

/// Kinds of events that concern more than one process among many.
pub const LARGE: &[&str] = &["runtime", "deploy", "reload", "outage", "pause", "quarantine"];

fn is_large(event: &Happening) -> bool {
    class(&event.kind) != "worker"
}

fn within<'a>(page: &'a Page<'_>, axis: &Axis) -> impl Iterator<Item = &'a Happening> + use<'a> {
    let Axis { since, until, .. } = *axis;
    let events = page.answers.events.events.iter().filter(|event| is_large(event));
    events.filter(move |event| event.at < until && event.ended.unwrap_or(event.at) >= since).take(MOST)
}

/// The marks on the charts of a page.
pub fn marks(page: &Page<'_>, axis: &Axis) -> Vec<Mark> {
    let mark = |event: &Happening| {
        let class = class(&event.kind);
        // An outage or pause without an end lasts to the end of the chart.
        let open = matches!(class, "outage" | "pause").then_some(axis.until.min(page.moment.now));
        let said = format!("{}: {}", short(&event.kind, 20), short(&event.text, 200));
        Mark { at: event.at.max(axis.since), ended: event.ended.or(open), class, said }
    };
    within(page, axis).map(mark).collect()
}

/// The same as a list, below the charts.
pub fn told(page: &Page<'_>, axis: &Axis) -> Markup {
    let events: Vec<_> = within(page, axis).take(TOLD).collect();
    html! {
        @if !events.is_empty() {
            ol.marks aria-label="Events in this time range, latest first" {
                @for event in events {
                    li { (kind(&event.kind)) " " (time(event.at, page.moment)) " " span { (short(&event.text, 160)) } }
                }
            }
        }
    }
}

/// A kind, in its colour.
pub fn kind(kind: &str) -> Markup {
    html! { span class=(format!("kind {}", class(kind))) { (short(kind, 20)) } }
}
