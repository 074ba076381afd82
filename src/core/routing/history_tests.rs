//! How history is recorded, forgotten and stored.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::routing::{DURATIONS, FORGIVING_RUNS, FORGIVING_SECS, MIN_RUNS, OVERRUN_RUNS, PEAKS, Tier};

const LIMITS: Limits = Limits {
    inline_max: Duration::from_secs(1),
    pooled_max: Duration::from_secs(30),
    pooled_memory_mb: 128,
    default_tier: None,
};
const DAY: u64 = FORGIVING_SECS;

fn runs(history: &mut History, class: &str, ms: u32, count: usize) {
    for _ in 0..count {
        history.record_success(class, ms, None, 0);
    }
}

fn tier(history: &mut History, class: &str) -> Tier {
    history.route(class, &Hints::default(), None, &LIMITS).tier
}

#[test]
fn every_change_makes_another_revision_and_questions_make_none() {
    let mut history = History::new();
    let empty = history.revision();
    runs(&mut history, "A", 10, DURATIONS);
    let taught = history.revision();
    assert_ne!(taught, empty);
    tier(&mut history, "A");
    let placed = history.revision();
    assert_ne!(placed, taught, "its place is kept as well");
    tier(&mut history, "A");
    history.summary("A");
    assert_eq!(history.revision(), placed);
    history.record_failure("A", 1);
    assert_ne!(history.revision(), placed);
    for now in 0..2 {
        history.record_crash("A", now);
    }
    let quarantined = history.revision();
    assert!(history.lift("A"));
    assert_ne!(history.revision(), quarantined);
}

#[test]
fn a_placed_class_moves_only_past_the_margin() {
    let mut history = History::new();
    for (ms, expected) in [
        // Not placed yet: the bound itself.
        (1_000, Tier::Inline),
        (1_100, Tier::Inline),
        (1_101, Tier::Pooled),
        (1_000, Tier::Pooled),
        (901, Tier::Pooled),
        (900, Tier::Inline),
        (33_001, Tier::Isolated),
        (27_001, Tier::Isolated),
        (27_000, Tier::Pooled),
        (33_000, Tier::Pooled),
        (33_001, Tier::Isolated),
        (900, Tier::Inline),
    ] {
        runs(&mut history, "A", ms, DURATIONS);
        assert_eq!(tier(&mut history, "A"), expected, "{ms}");
        assert_eq!(tier(&mut history, "A"), expected, "{ms}: a route alone moves nothing");
    }
}

#[test]
fn a_rare_slow_run_moves_nothing_a_frequent_one_does() {
    let mut history = History::new();
    runs(&mut history, "A", 50, DURATIONS - 3);
    runs(&mut history, "A", 20_000, 3);
    assert_eq!(tier(&mut history, "A"), Tier::Inline);
    runs(&mut history, "A", 20_000, 1);
    assert_eq!(tier(&mut history, "A"), Tier::Pooled);
}

#[test]
fn failures_are_counted_and_not_timed() {
    let mut history = History::new();
    for _ in 0..10 {
        history.record_failure("A", 7);
    }
    let summary = history.summary("A").unwrap();
    assert_eq!((summary.failures, summary.runs, summary.count), (10, 0, 0));
    assert_eq!((summary.p50, summary.p90, summary.last_used), (Duration::ZERO, Duration::ZERO, 7));
    let route = history.route("A", &Hints::default(), None, &LIMITS);
    assert_eq!(route.why, Why::Nothing);
}

#[test]
fn a_summary_tells_the_figures() {
    let mut history = History::new();
    for ms in 1..=10 {
        history.record_success("A", ms * 10, Some(ms * 100), u64::from(ms));
    }
    assert_eq!(
        history.summary("A").unwrap(),
        Summary {
            runs: 10,
            failures: 0,
            crashes: 0,
            count: 10,
            p50: Duration::from_millis(50),
            p90: Duration::from_millis(90),
            peak_kb: Some(1000),
            quarantined: false,
            last_used: 10,
        }
    );
    assert_eq!(history.summary("B"), None);
    runs(&mut history, "B", 5, 1);
    let names: Vec<&str> = history.summaries().map(|(name, _)| name).collect();
    assert_eq!(names, ["B", "A"]);
}

#[test]
fn an_overrun_moves_a_class_up_at_once_and_is_forgotten() {
    let mut history = History::new();
    runs(&mut history, "A", 50, DURATIONS);
    assert_eq!(tier(&mut history, "A"), Tier::Inline);
    history.record_overrun("A", 1_001, 0);
    let route = history.route("A", &Hints::default(), None, &LIMITS);
    assert_eq!(route.tier, Tier::Pooled);
    assert_eq!(route.why, Why::Overrun { took: Duration::from_millis(1_001) });
    // The same run, which still runs.
    history.record_overrun("A", 30_001, 0);
    assert_eq!(tier(&mut history, "A"), Tier::Isolated);
    history.record_overrun("A", 1_500, 0);
    assert_eq!(tier(&mut history, "A"), Tier::Isolated, "the longest counts");
    // That run succeeds, and further runs are short.
    history.record_success("A", 40_000, None, 0);
    for _ in 0..OVERRUN_RUNS {
        assert_eq!(tier(&mut history, "A"), Tier::Isolated);
        runs(&mut history, "A", 50, 1);
    }
    assert_eq!(tier(&mut history, "A"), Tier::Inline);
}

#[test]
fn an_overrun_of_a_class_never_seen_counts() {
    let mut history = History::new();
    history.record_overrun("SendEmail", 2_000, 0);
    let route = history.route("SendEmail", &Hints::default(), None, &LIMITS);
    assert_eq!((route.tier, route.known), (Tier::Pooled, true));
    // A tier from durations above that of the overrun stays in force.
    runs(&mut history, "SendEmail", 60_000, MIN_RUNS);
    assert_eq!(tier(&mut history, "SendEmail"), Tier::Isolated);
}

#[test]
fn two_crashes_quarantine_and_an_operator_lifts() {
    let mut history = History::new();
    assert!(!history.record_crash("A", 0));
    assert_eq!(tier(&mut history, "A"), Tier::Pooled);
    assert!(history.record_crash("A", DAY));
    assert!(!history.record_crash("A", DAY), "only the crash that quarantines says so");
    let hints = Hints { isolated: Some(false), ..Hints::default() };
    let route = history.route("A", &hints, None, &LIMITS);
    assert_eq!((route.tier, route.why), (Tier::Isolated, Why::Quarantined { crashes: 2 }));
    assert_eq!(history.quarantined(), [("A", 2)]);
    assert_eq!(history.summary("A").unwrap().crashes, 3);
    assert!(history.lift("A"));
    assert!(!history.lift("A"));
    assert!(!history.lift("B"));
    assert!(history.quarantined().is_empty());
    assert!(!history.record_crash("A", DAY), "a lifted class starts from none");
}

#[test]
fn a_crash_is_forgiven_after_a_day_or_enough_successes() {
    let mut history = History::new();
    history.record_crash("A", 0);
    assert!(!history.record_crash("A", DAY + 1));
    for _ in 0..FORGIVING_RUNS {
        history.record_success("A", 50, None, DAY + 1);
    }
    assert!(!history.record_crash("A", DAY + 1));
    for _ in 1..FORGIVING_RUNS {
        history.record_success("A", 50, None, DAY + 1);
    }
    assert!(history.record_crash("A", DAY + 1), "one success short");
}

#[test]
fn a_quarantine_outlasts_successes_but_not_a_day_without_a_crash() {
    let mut history = History::new();
    history.record_crash("A", 0);
    history.record_crash("A", 100);
    for _ in 0..100 {
        history.record_success("A", 50, None, DAY + 100);
    }
    assert_eq!(history.quarantined().len(), 1);
    history.record_success("A", 50, None, DAY + 101);
    assert!(history.quarantined().is_empty());
    assert_eq!(tier(&mut history, "A"), Tier::Inline);
}

#[test]
fn the_class_used_longest_ago_is_forgotten() {
    let mut history = History::new();
    history.record_crash("bad", 0);
    history.record_crash("bad", 0);
    for class in 1..MAX_CLASSES {
        history.record_success(&format!("C{class}"), 1, None, 0);
    }
    assert_eq!(history.len(), MAX_CLASSES);
    history.record_success("C1", 1, None, 0);
    history.record_failure("new", 0);
    assert_eq!(history.len(), MAX_CLASSES);
    assert!(history.get("C1").is_some());
    assert!(history.get("C2").is_none());
    assert!(history.get("bad").is_some(), "quarantine is not forgotten");
}

#[test]
fn a_map_full_of_quarantine_is_bounded_too() {
    let mut history = History::new();
    for class in 0..MAX_CLASSES + 10 {
        history.record_crash(&format!("C{class}"), 0);
        history.record_crash(&format!("C{class}"), 0);
    }
    assert_eq!(history.len(), MAX_CLASSES);
    assert!(history.get("C9").is_none());
    assert!(history.get("C10").is_some());
}

#[test]
fn names_are_bounded() {
    let mut history = History::new();
    let long = "é".repeat(1000);
    history.record_success(&long, 1, None, 0);
    let (name, _) = history.summaries().next().unwrap();
    assert_eq!(name.len(), 512);
    assert!(history.get(&long).is_some());
}

#[test]
fn other_versions_and_damage_are_refused_with_a_reason() {
    for json in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "{\"version\":1}",
        "{\"version\":1,\"classes\":7}",
        "{\"version\":1,\"classes\":[{}]}",
        "{\"version\":1,\"classes\":[{\"class\":\"A\",\"runs\":-1}]}",
    ] {
        assert!(matches!(History::from_json(json), Err(Unreadable::Damaged(_))), "{json}");
    }
    let newer = History::from_json("{\"version\":2,\"classes\":{\"new\":\"shape\"}}").unwrap_err();
    assert_eq!(newer, Unreadable::Version(2));
    assert_eq!(newer.to_string(), "the history has version 2, this kqueue reads version 1");
}

#[test]
fn what_a_file_holds_too_much_is_cut() {
    let numbers = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let json = format!(
        "{{\"version\":1,\"later\":[],\"classes\":[{{\"class\":\"A\",\"later\":1,\"durations_ms\":[{numbers}],\
        \"peaks_kb\":[{numbers}],\"recent_crashes\":[{numbers}],\"overrun_runs\":4294967295}}]}}"
    );
    let mut history = History::from_json(&json).unwrap();
    let summary = history.summary("A").unwrap();
    assert_eq!(summary.count, DURATIONS);
    assert_eq!(summary.p90, Duration::from_millis(96));
    assert_eq!(history.get("A").unwrap().growth_kb() as usize, PEAKS - 1);
    assert_eq!(history.get("A").unwrap().crashes(), 2);
    history.record_overrun("A", 1, 0);
}

/// One event of a class.
#[derive(Clone, Debug)]
enum Event {
    Success(u32, Option<u32>),
    Failure,
    Crash,
    Overrun(u32),
    Lift,
    Route,
}

fn events() -> impl Strategy<Value = Vec<(u8, Event, u64)>> {
    let event = prop_oneof![
        4 => (any::<u32>(), any::<Option<u32>>()).prop_map(|(ms, kb)| Event::Success(ms, kb)),
        2 => Just(Event::Failure),
        2 => Just(Event::Crash),
        1 => any::<u32>().prop_map(Event::Overrun),
        1 => Just(Event::Lift),
        2 => Just(Event::Route),
    ];
    prop::collection::vec((0..6_u8, event, any::<u64>()), 0..150)
}

proptest! {
    #[test]
    fn any_history_survives_being_stored(events in events()) {
        let mut history = History::new();
        for (class, event, now) in events {
            let class = format!("App\\Jobs\\C{class}");
            match event {
                Event::Success(ms, kb) => history.record_success(&class, ms, kb, now),
                Event::Failure => history.record_failure(&class, now),
                Event::Crash => { history.record_crash(&class, now); }
                Event::Overrun(ms) => history.record_overrun(&class, ms, now),
                Event::Lift => { history.lift(&class); }
                Event::Route => { history.route(&class, &Hints::default(), None, &LIMITS); }
            }
            prop_assert_eq!(history.classes.len(), history.order.len());
        }
        let json = history.to_json();
        let versioned = json.starts_with("{\"version\":1,");
        prop_assert!(versioned);
        let read = History::from_json(&json).unwrap();
        prop_assert_eq!(read.to_json(), json);
        for (name, entry) in &history.classes {
            prop_assert_eq!(read.get(name), Some(&entry.class));
        }
    }

    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte in 0..0x80_u8) {
        let mut history = History::new();
        history.record_success("A", 1, Some(2), 3);
        history.record_crash("A", 4);
        let mut json = history.to_json().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        let _ = History::from_json(&String::from_utf8(json).unwrap());
    }
}
