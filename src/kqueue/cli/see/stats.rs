//! `kqueue stats`: how jobs fared, by class and by queue.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::jobs::Of;
use super::{Target, Which, as_json, print_json, print_text, span};
use crate::cli::Failed;
use crate::cli::show::{Mood, Style, Table, count, memory, moment, span_ms};
use kqueue_control::{Figures, Request, Stats, StatsFilter};
use kqueue_core::histogram::Histogram;
use kqueue_system::harmless;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Classes that are listed on a terminal.
const LISTED: usize = 50;

#[derive(Debug, Args)]
pub(in crate::cli) struct Ask {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    of: Of,
    /// Start of the period: 30min, 24h, 7d, or a time such as 14:00 or "2026-11-30 14:00"; by default, 24h
    #[arg(long, value_name = span::TIME, value_parser = span::parse)]
    since: Option<u64>,
    /// End of the period
    #[arg(long, value_name = span::TIME, value_parser = span::parse)]
    until: Option<u64>,
    /// List all classes, however many there are
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(asked: Ask) -> Result<ExitCode, Failed> {
    let here = super::surroundings()?;
    let filter = StatsFilter {
        class: asked.of.class,
        queue: asked.of.queue,
        since: Some(asked.since.unwrap_or_else(|| span::ago(DAY))),
        until: asked.until,
    };
    let stats: Stats =
        super::wait(async { Target::find(&asked.which.request(), &here).await?.ask(&Request::Stats(filter)).await })??;
    if asked.json {
        return print_json(&with_percentiles(&stats));
    }
    let style = Style::of_stdout();
    let listed = if asked.all || !style.columns { usize::MAX } else { LISTED };
    print_text(&text(&stats, listed, style), &stats.lacks)
}

/// The answer, each part with `wait_ms` and `duration_ms` in place of the counts that they are worked out from.
fn with_percentiles(stats: &Stats) -> Value {
    let mut json = as_json(stats);
    let mut put = |path: String, figures: &Figures| {
        let Some(object) = json.pointer_mut(&path).and_then(Value::as_object_mut) else { return };
        object.remove("wait");
        object.remove("duration");
        object.insert("runs".to_owned(), figures.runs().into());
        object.insert("wait_ms".to_owned(), percentiles(&figures.wait));
        object.insert("duration_ms".to_owned(), percentiles(&figures.duration));
    };
    put("/total".to_owned(), &stats.total);
    stats.classes.iter().enumerate().for_each(|(at, class)| put(format!("/classes/{at}"), &class.figures));
    stats.queues.iter().enumerate().for_each(|(at, queue)| put(format!("/queues/{at}"), &queue.figures));
    json
}

fn percentiles(of: &Histogram) -> Value {
    let most = (of.count() > 0).then(|| of.max());
    json!({"p50": of.quantile(0.5), "p95": of.quantile(0.95), "p99": of.quantile(0.99), "max": most})
}

fn text(stats: &Stats, listed: usize, style: Style) -> String {
    let Stats { total, classes, queues, since, until, .. } = stats;
    let runs = total.runs();
    let mut text = String::new();
    if style.columns {
        text += &format!("{} from {} to {}", count(runs, "run"), moment(*since), moment(*until));
        let outcomes = outcomes(total);
        text += &if outcomes.is_empty() { "\n".to_owned() } else { format!(": {outcomes}\n") };
    }
    let mut table = Table::new(CLASSES);
    for class in classes.iter().take(listed) {
        let why = class.why.clone().unwrap_or_default();
        table.row(row(&class.class, &class.figures, class.memory_limit, class.tier.clone().unwrap_or_default(), why));
    }
    if !table.is_empty() {
        text += &format!("{}{}", gap(&text), table.show(style));
    }
    if classes.len() > listed {
        let more = format!("  {listed} of {} classes; --all lists them", classes.len());
        text += &(style.mood(Mood::Quiet, &more) + "\n");
    }
    let mut table = Table::new(QUEUES);
    for queue in queues {
        table.row(row(&queue.queue, &queue.figures, None, String::new(), String::new()));
    }
    if !table.is_empty() {
        text += &format!("{}{}", gap(&text), table.show(style));
    }
    text
}

/// What stands between two parts.
fn gap(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "\n" }
}

fn outcomes(figures: &Figures) -> String {
    let told = figures.outcomes.iter().map(|(outcome, jobs)| format!("{jobs} {}", harmless::line(outcome, 20)));
    told.collect::<Vec<_>>().join(", ")
}

const CLASSES: &[&str] = &heads("CLASS", ">LIMIT", "TIER", "WHY");
const QUEUES: &[&str] = &heads("QUEUE", "", "", "");

/// Of the columns of [`row()`].
const fn heads(name: &'static str, limit: &'static str, tier: &'static str, why: &'static str) -> [&'static str; 17] {
    let [runs, done, released, failed, other] = [">RUNS", ">DONE", ">RELEASED", ">FAILED", ">OTHER"];
    let (wait, time, p95, p99) = (">WAIT P50", ">TIME P50", ">P95", ">P99");
    [name, runs, done, released, failed, other, wait, p95, p99, time, p95, p99, ">MEMORY", limit, ">CPU", tier, why]
}

fn row(name: &str, figures: &Figures, limit: Option<u64>, tier: String, why: String) -> [String; 17] {
    let of = |outcome: &str| figures.outcomes.get(outcome).copied().unwrap_or(0);
    let [done, released, failed] = ["done", "released", "failed"].map(of);
    let other = figures.runs().saturating_sub(done + released + failed);
    let at = |of: &Histogram, share: f64| of.quantile(share).map(span_ms).unwrap_or_default();
    let few = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    [
        name.to_owned(),
        figures.runs().to_string(),
        few(done),
        few(released),
        few(failed),
        few(other),
        at(&figures.wait, 0.5),
        at(&figures.wait, 0.95),
        at(&figures.wait, 0.99),
        at(&figures.duration, 0.5),
        at(&figures.duration, 0.95),
        at(&figures.duration, 0.99),
        figures.memory_peak.map(memory).unwrap_or_default(),
        limit.map(memory).unwrap_or_default(),
        if figures.cpu_usec == 0 { String::new() } else { span_ms(figures.cpu_usec / 1000) },
        tier,
        why,
    ]
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use kqueue_control::{ClassFigures, QueueFigures};

    fn stats() -> Stats {
        let mut figures = Figures { memory_peak: Some(90 << 20), cpu_usec: 4_000, ..Figures::default() };
        (0..100).for_each(|_| figures.wait.record(40));
        (0..98).for_each(|_| figures.duration.record(10));
        (0..2).for_each(|_| figures.duration.record(70_000));
        figures.outcomes = [("done".to_owned(), 97), ("failed".to_owned(), 2), ("lost".to_owned(), 1)].into();
        let class = |class: &str| ClassFigures {
            class: class.to_owned(),
            tier: Some("pooled".to_owned()),
            why: Some("nothing known".to_owned()),
            memory_limit: Some(512 << 20),
            figures: figures.clone(),
        };
        Stats {
            total: figures.clone(),
            classes: vec![class("App\\Jobs\\Sends\u{1b}[1m"), class("App\\Jobs\\Other")],
            queues: vec![QueueFigures { queue: "default".to_owned(), figures: figures.clone() }],
            ..Stats::default()
        }
    }

    /// What is printed as JSON.
    pub fn printed() -> Value {
        with_percentiles(&Stats { lacks: vec!["x".to_owned()], ..stats() })
    }

    #[test]
    fn classes_and_queues() {
        let shown = text(&stats(), 1, Style { columns: true, ..Style::default() });
        assert!(shown.starts_with("100 runs from 1970-"), "{shown}");
        for part in [
            ": 97 done, 2 failed, 1 lost\n",
            "1 min 8 s",
            "90 MB  512 MB",
            "4 ms  pooled  nothing known",
            "1 of 2 classes; --all",
        ] {
            assert!(shown.contains(part), "no {part:?} in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let cells = text(&stats(), usize::MAX, Style::default());
        assert!(cells.starts_with("CLASS\tRUNS\t"), "{cells}");
        assert_eq!(cells.lines().filter(|line| line.starts_with("App\\")).count(), 2);
    }

    #[test]
    fn percentiles_stand_where_counts_were() {
        let json = with_percentiles(&stats());
        for part in ["/total", "/classes/0", "/queues/0"] {
            let of = |field: &str| json.pointer(&format!("{part}/{field}")).cloned();
            assert_eq!((of("runs"), of("duration_ms/max")), (Some(100.into()), Some(70_000.into())), "{part}");
            assert_eq!((of("wait"), of("wait_ms/p99")), (None, Some(40.into())), "{part}");
        }
        assert_eq!(percentiles(&Histogram::default())["max"], Value::Null);
    }

    #[test]
    fn fuzz_stats() {
        let whole = serde_json::to_vec(&stats()).unwrap();
        let style = Style { columns: true, ..Style::default() };
        kqueue_fuzz::fuzz("stats", &[&whole], |input| {
            let Ok(told) = serde_json::from_slice::<Stats>(input) else { return };
            let text = text(&told, 50, style);
            assert!(!text.contains(|c| kqueue_system::harmless::is_harmful(c) && c != '\n'), "{text:?}");
        });
    }
}
