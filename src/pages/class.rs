//! The page of one class: its figures over time, and its jobs.

use kqueue_control::ClassFigures;
use maud::{Markup, html};

use crate::acts;
use crate::chart::{Kind, Values};
use crate::classes::{pause_of, tiles};
use crate::format::{bytes, short};
use crate::jobs;
use crate::parts::{
    Charts, class_heading, empty, heading, paused, pill, say_bytes, say_ms, say_rate, throughput, tier, windows,
};
use crate::view::Page;

pub fn body(page: &Page<'_>) -> Markup {
    let name = page.name();
    let stats = &page.answers.stats;
    let known: Option<&ClassFigures> = stats.classes.iter().find(|class| class.class == name).or(stats.classes.first());
    let full = known.map_or(name, |class| class.class.as_str());
    let quarantined = page.answers.quarantine.classes.iter().find(|quarantined| quarantined.class == full);
    html! {
        section aria-labelledby="class" {
            div #class { (class_heading(full)) }
            div #class-state data-live { @if let Some(pause) = pause_of(page, full) { (paused(Some(pause), page.moment)) } }
            @if let Some((known, class)) = known.and_then(|class| Some((class.tier.as_ref()?, class))) {
                p.lead { "Runs " (tier(known)) @if let Some(why) = &class.why { ", because: " (short(why, 200)) } @if let Some(limit) = class.memory_limit { "; at most " (bytes(limit)) " of memory" } }
            }
            (tiles(page, &stats.total))
            @if let Some(quarantined) = quarantined {
                p.lead { (pill("quarantined")) " It has killed " (quarantined.crashes) " processes, and each of its jobs runs isolated." }
            }
            div #class-acts { (acts::of_class_page(page, full, quarantined.is_some())) }
        }
        section aria-labelledby="over-time" {
            (heading("over-time", "Over time", windows(page, "class", &[("name", name)])))
            div #charts data-live { (charts(page)) }
        }
        (jobs::section(page, "Jobs of this class", "No job of this class has ended in this time range.", &[("class", full)]))
    }
}

fn charts(page: &Page<'_>) -> Markup {
    let series = &page.answers.series;
    let Some(charts) = Charts::of(page) else { return empty("No figures for this time range yet.") };
    let took = |name, class, share| {
        Values::of(name, class, series, move |point| point.figures.duration.quantile(share).map(|ms| ms as f64))
    };
    let memory =
        Values::of("peak memory", "memory", series, |point| point.figures.memory_peak.map(|bytes| bytes as f64));
    charts
        .with(
            "Duration",
            Kind::Lines,
            vec![took("p99", "high", 0.99), took("p95", "upper", 0.95), took("p50", "middle", 0.5)],
            say_ms,
        )
        .with("Throughput", Kind::Bars, throughput(series), say_rate)
        .with("Peak memory", Kind::Lines, vec![memory], say_bytes)
        .render()
}
