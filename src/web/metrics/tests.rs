use std::sync::Arc;

use kqueue_control::{Metrics, MetricsRow, Process, Queue, Sizes, Snapshot, State, TierLoad};

use super::encode::{AppTold, Host};
use super::*;
use crate::apps::Known;

/// An app that reports everything, with the worst names, and one that has failed.
fn host(classes: usize) -> Host {
    let row = |number: usize| {
        let mut row = MetricsRow {
            class: format!("App\\Jobs\\\"A{number}\"\n"),
            queue: "default".to_owned(),
            tier: "pooled".to_owned(),
            ..MetricsRow::default()
        };
        for (outcome, count) in [("done", 7), ("failed", 1)] {
            row.figures.outcomes.insert(outcome.to_owned(), count);
        }
        [1, 3, 900, 10_000_000].into_iter().for_each(|ms| {
            row.figures.wait.record(ms);
            row.figures.duration.record(ms);
        });
        row.figures.memory_peak = Some(1 << 25);
        row
    };
    let counts = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 2)).collect();
    let counted = Metrics {
        rows: (0..classes).map(row).collect(),
        started: counts(&["pooled"]),
        ended: [("pooled".to_owned(), counts(&["oom", "recycled"]))].into(),
        orders: counts(&["start", "scope"]),
        outages: 1,
        resident: Some(1 << 23),
        ..Metrics::default()
    };
    let snapshot = Snapshot {
        state: State::Running,
        queues: vec![Queue {
            name: "default".to_owned(),
            sizes: Some(Sizes { pending: 3, ..Sizes::default() }),
            ..Queue::default()
        }],
        tiers: vec![TierLoad { tier: "pooled".to_owned(), running: 1, ..TierLoad::default() }],
        workers: vec![Process {
            tier: "pooled".to_owned(),
            state: "busy".to_owned(),
            memory_kb: Some(4),
            ..Process::default()
        }],
        ..Snapshot::default()
    };
    let told =
        AppTold { app: "shop".to_owned(), known: Known::Told(Arc::new(snapshot), "/s".into()), counted: Some(counted) };
    let down = AppTold { app: "blog".to_owned(), known: Known::Stopped(true, "failed".to_owned()), counted: None };
    Host(vec![told, down])
}

#[test]
fn names_are_escaped_and_buckets_add_up() {
    let text = written(host(1), true).unwrap();
    let class = r#"class="App\\Jobs\\\"A0\" ""#;
    assert!(
        text.contains(&format!(
            "kqueue_jobs_total{{app=\"shop\",{class},queue=\"default\",tier=\"pooled\",outcome=\"failed\"}} 1"
        )),
        "{text}"
    );
    for line in [
        format!("kqueue_job_duration_seconds_bucket{{le=\"0.004\",app=\"shop\",{class},tier=\"pooled\"}} 2"),
        format!("kqueue_job_duration_seconds_bucket{{le=\"1.024\",app=\"shop\",{class},tier=\"pooled\"}} 3"),
        format!("kqueue_job_duration_seconds_bucket{{le=\"+Inf\",app=\"shop\",{class},tier=\"pooled\"}} 4"),
        "kqueue_up{app=\"blog\"} 0".to_owned(),
        "kqueue_down{app=\"blog\"} 1".to_owned(),
        "kqueue_oom_kills_total{app=\"shop\"} 2".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_older_format_names_a_counter_by_its_samples() {
    let text = written(host(1), false).unwrap();
    assert!(
        text.contains("# HELP kqueue_jobs_total Attempts") && text.contains("# TYPE kqueue_jobs_total counter"),
        "{text}"
    );
    assert!(text.contains("# TYPE kqueue_up gauge") && !text.contains("# EOF"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(text.contains(&format!("# TYPE {family} ")) && text.contains(&format!("# HELP {family} ")), "{name}");
    }
}

/// Grafana's dashboard and Prometheus's alert rules use only metrics that exist.
#[test]
fn what_grafana_and_the_rules_ask_for_is_there() {
    let text = written(host(1), false).unwrap();
    let known: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in ["grafana/kqueue.json", "prometheus/kqueue.rules.yml"] {
        let path = format!("{}/../../packaging/{file}", env!("CARGO_MANIFEST_DIR"));
        let asked = std::fs::read_to_string(&path).unwrap();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let names: Vec<&str> = asked.split(|c| !is_part(c)).filter(|word| word.starts_with("kqueue_")).collect();
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            assert!(known.contains(&name), "{file} asks for {name}");
        }
    }
}

#[test]
fn a_thousand_classes_are_written_at_once() {
    let text = written(host(1_000), false).unwrap();
    assert!(text.len() < 8 << 20, "{}", text.len());
}
