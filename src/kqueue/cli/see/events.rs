//! `kqueue events`: what happened beside the jobs: starts, deploys, outages, and what became of workers.

use std::process::ExitCode;

use clap::Args;

use super::{Target, Which, as_json, print_json, print_text, span};
use crate::cli::Failed;
use crate::cli::show::{Style, Table, moment_ms, span_ms};
use kqueue_control::{EVENT_KINDS, EventsFilter, Happenings, Request};

/// Events of one answer, at the most.
const MOST: u32 = 500;

#[derive(Debug, Args)]
pub(in crate::cli) struct Ask {
    #[command(flatten)]
    which: Which,
    /// Only events since this time: 30min, 24h, 7d, or a time such as 14:00 or "2026-11-30 14:00"; by default, all
    /// that are kept
    #[arg(long, value_name = span::TIME, value_parser = span::parse)]
    since: Option<u64>,
    /// Only events until this time
    #[arg(long, value_name = span::TIME, value_parser = span::parse)]
    until: Option<u64>,
    /// Only events of these kinds: runtime, worker, deploy, reload, outage, pause, quarantine
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', hide_possible_values = true,
        value_parser = clap::builder::PossibleValuesParser::new(EVENT_KINDS))]
    kind: Vec<String>,
    /// List at most N events, the latest
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(asked: Ask) -> Result<ExitCode, Failed> {
    let here = super::surroundings()?;
    let Ask { until, kind, limit, .. } = asked;
    let filter = EventsFilter { since: asked.since.unwrap_or(0), until, kinds: kind.clone(), limit };
    let request = Request::Events(filter);
    let mut told: Happenings =
        super::wait(async { Target::find(&asked.which.request(), &here).await?.ask(&request).await })??;
    // A runtime of an older version does not select.
    let is_late = |at: u64| until.is_some_and(|until| at / 1000 > until);
    told.events.retain(|event| (kind.is_empty() || kind.contains(&event.kind)) && !is_late(event.at));
    if asked.json {
        return print_json(&as_json(&told));
    }
    print_text(&text(&told, Style::of_stdout()), &told.lacks)
}

fn text(told: &Happenings, style: Style) -> String {
    let mut table = Table::new(&["AT", "WHAT", "TIER", ">PROCESS", ">FOR", "", "JOB"]);
    for event in &told.events {
        table.row([
            moment_ms(event.at),
            event.kind.clone(),
            event.tier.clone().unwrap_or_default(),
            event.worker.map(|worker| worker.to_string()).unwrap_or_default(),
            event.ended.map(|ended| span_ms(ended.saturating_sub(event.at))).unwrap_or_default(),
            event.text.clone(),
            event.job.clone().unwrap_or_default(),
        ]);
    }
    match (table.is_empty(), style.columns) {
        (true, true) => "no events\n".to_owned(),
        (true, false) => String::new(),
        (false, true) if told.more => table.show(style) + "there are earlier events (--until, --kind, --limit)\n",
        _ => table.show(style),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_control::Happening;

    fn outage() -> Happening {
        Happening {
            at: 1_000_000,
            kind: "outage".to_owned(),
            text: "redis: \u{1b}[1mrefused".to_owned(),
            ended: Some(1_012_000),
            ..Happening::default()
        }
    }

    #[test]
    fn a_line_each() {
        let told = Happenings { events: vec![outage()], ..Happenings::default() };
        let shown = text(&told, Style { columns: true, ..Style::default() });
        assert!(shown.contains(".000  outage") && shown.contains("12 s  redis:  [1mrefused"), "{shown}");
        assert_eq!(text(&told, Style::default()).lines().count(), 2);
        let cut = Happenings { more: true, ..told };
        assert!(text(&cut, Style { columns: true, ..Style::default() }).ends_with("--limit)\n"));
        assert_eq!(text(&cut, Style::default()).lines().count(), 2);
        assert_eq!(text(&Happenings::default(), Style::default()), "");
    }

    #[test]
    fn fuzz_events() {
        let whole = serde_json::to_vec(&Happenings { events: vec![outage()], ..Happenings::default() }).unwrap();
        let style = Style { columns: true, ..Style::default() };
        kqueue_fuzz::fuzz("events", &[&whole], |input| {
            let Ok(told) = serde_json::from_slice::<Happenings>(input) else { return };
            let text = text(&told, style);
            assert!(!text.contains(|c| kqueue_system::harmless::is_harmful(c) && c != '\n'), "{text:?}");
        });
    }
}
