//! Tests of each rule, each bound, and the precedence of the rules.

use super::*;
use crate::routing::{History, NameHint};

const LIMITS: Limits = Limits {
    inline_max: Duration::from_secs(1),
    pooled_max: Duration::from_secs(30),
    pooled_memory_mb: 128,
    default_tier: None,
};
const CLASS: &str = "App\\Jobs\\Sync";
const HEAVY: &str = "App\\Jobs\\ProcessVideo";
const LIGHT: &str = "App\\Jobs\\SendEmail";
const NONE: Hints = Hints {
    isolated: None,
    max_memory_mb: None,
    estimated_duration: None,
    priority: None,
    max_tasks: None,
    cpu_weight: None,
    io_weight: None,
    foreign: 0,
};

fn isolated(value: bool) -> Hints {
    Hints { isolated: Some(value), ..NONE }
}

fn estimate(ms: u64) -> Hints {
    Hints { estimated_duration: Some(Duration::from_millis(ms)), ..NONE }
}

fn memory(mb: u32) -> Hints {
    Hints { max_memory_mb: Some(mb), ..NONE }
}

/// The history of one class after successful `runs`, each with its milliseconds and memory peak in MB.
fn ran(runs: &[(u32, Option<u32>)]) -> ClassHistory {
    let mut history = History::new();
    for (ms, mb) in runs {
        history.record_success(CLASS, *ms, mb.map(|mb| mb * 1024), 0);
    }
    history.get(CLASS).cloned().unwrap_or_default()
}

fn crashed() -> ClassHistory {
    let mut history = History::new();
    history.record_crash(CLASS, 0);
    history.record_crash(CLASS, 0);
    history.get(CLASS).unwrap().clone()
}

#[test]
fn declarations_are_taken_at_their_inclusive_bounds() {
    use Tier::{Inline, Isolated, Pooled};
    for (hints, timeout, tier, known) in [
        (isolated(true), None, Isolated, true),
        (isolated(false), None, Inline, true),
        (estimate(0), None, Inline, true),
        (estimate(1_000), None, Inline, true),
        (estimate(1_001), None, Pooled, true),
        (estimate(30_000), None, Pooled, true),
        (estimate(30_001), None, Isolated, true),
        (memory(128), None, Pooled, false),
        (memory(129), None, Isolated, true),
        (NONE, Some(0), Pooled, false),
        (NONE, Some(1), Inline, true),
        (NONE, Some(2), Pooled, false),
        (NONE, Some(30), Pooled, false),
        (NONE, Some(31), Isolated, true),
        (NONE, None, Pooled, false),
    ] {
        let route = route(CLASS, &hints, timeout, None, &LIMITS);
        assert_eq!((route.tier, route.known), (tier, known), "{hints:?} {timeout:?}");
    }
}

#[test]
fn history_is_taken_at_its_inclusive_bounds() {
    for (ms, tier) in [(1_000, Tier::Inline), (1_001, Tier::Pooled), (30_000, Tier::Pooled), (30_001, Tier::Isolated)] {
        let history = ran(&[(ms, None); 3]);
        let route = route(CLASS, &NONE, None, Some(&history), &LIMITS);
        let p90 = Duration::from_millis(u64::from(ms));
        assert_eq!(route, Route { tier, why: Why::History { p90, runs: 3 }, known: true });
    }
    // Two runs are too few.
    let history = ran(&[(50, None); 2]);
    let route = route(CLASS, &NONE, None, Some(&history), &LIMITS);
    assert_eq!(route.why, Why::Nothing);
}

#[test]
fn memory_seen_is_taken_at_its_bounds() {
    for (peaks, tier) in [
        (&[128, 128, 128][..], Tier::Inline),
        (&[128, 129, 128], Tier::Isolated),
        // Peaks that differ by half of 128 MB stay inline, by more do not.
        (&[40, 104, 40], Tier::Inline),
        (&[40, 105, 40], Tier::Pooled),
    ] {
        let runs: Vec<_> = peaks.iter().map(|mb| (50, Some(*mb))).collect();
        let route = route(CLASS, &NONE, None, Some(&ran(&runs)), &LIMITS);
        assert_eq!(route.tier, tier, "{peaks:?}");
        assert!(route.known);
    }
    // Only the last eight peaks count.
    let mut runs = vec![(50, Some(600))];
    runs.extend([(50, Some(40)); 7]);
    assert_eq!(route(CLASS, &NONE, None, Some(&ran(&runs)), &LIMITS).why, Why::Peak { kb: 600 * 1024 });
    runs.push((50, Some(40)));
    assert_eq!(route(CLASS, &NONE, None, Some(&ran(&runs)), &LIMITS).tier, Tier::Inline);
}

#[test]
fn growth_moves_any_inline_job_but_one_that_asked_for_it() {
    let history = ran(&[(50, Some(10)), (50, Some(100)), (50, Some(10))]);
    let go = |hints: &Hints| route(CLASS, hints, None, Some(&history), &LIMITS);
    assert_eq!(go(&estimate(10)).why, Why::Growth { kb: 90 * 1024 });
    assert_eq!(go(&estimate(10)).tier, Tier::Pooled);
    assert_eq!(go(&isolated(false)).tier, Tier::Inline);
    assert_eq!(go(&estimate(60_000)).tier, Tier::Isolated);
}

#[test]
fn the_default_tier_is_for_jobs_that_declare_nothing() {
    let slow = ran(&[(50_000, None); 3]);
    for tier in Tier::ALL {
        let limits = Limits { default_tier: Some(tier), ..LIMITS };
        let go = |hints: &Hints, history: Option<&ClassHistory>| route(HEAVY, hints, Some(300), history, &limits);
        let default = Route { tier, why: Why::Default, known: true };
        assert_eq!(go(&NONE, None), default);
        assert_eq!(go(&NONE, Some(&slow)), default);
        assert_eq!(go(&memory(128), Some(&slow)), default);
        assert_eq!(go(&isolated(true), None).why, Why::Isolated(true));
        assert_eq!(go(&isolated(false), None).why, Why::Isolated(false));
        assert_eq!(go(&estimate(2_000), None).tier, Tier::Pooled);
        assert_eq!(go(&memory(129), None).tier, Tier::Isolated);
        // Quarantine and memory take precedence over the default tier.
        assert_eq!(go(&NONE, Some(&crashed())).tier, Tier::Isolated);
        assert_eq!(go(&NONE, Some(&ran(&[(50, Some(200)); 3]))).tier, Tier::Isolated);
        let grew = ran(&[(50, Some(10)), (50, Some(100)), (50, Some(10))]);
        assert_eq!(go(&NONE, Some(&grew)).tier, tier.max(Tier::Pooled));
    }
}

#[test]
fn names_speak_last_and_are_not_knowledge() {
    let go = |class: &str, timeout| route(class, &NONE, timeout, None, &LIMITS);
    let heavy = Route { tier: Tier::Isolated, why: Why::Name(NameHint("Process", "Video")), known: false };
    assert_eq!(go(HEAVY, None), heavy);
    assert_eq!(go(HEAVY, Some(20)), heavy);
    assert_eq!(go(HEAVY, Some(1)).why, Why::Timeout(1));
    assert_eq!(go(LIGHT, None).tier, Tier::Inline);
    assert!(!go(LIGHT, None).known);
    assert_eq!(go(LIGHT, Some(300)).tier, Tier::Isolated);
}

#[test]
fn each_rule_beats_those_after_it() {
    let fast = ran(&[(50, None); 3]);
    let hungry = ran(&[(50, Some(200)); 3]);
    let all = Hints {
        isolated: Some(false),
        max_memory_mb: Some(512),
        estimated_duration: Some(Duration::from_secs(12)),
        priority: None,
        ..Hints::default()
    };
    let undecided = Hints { isolated: None, ..all };
    for (hints, timeout, history, why) in [
        (all, Some(300), crashed(), Why::Quarantined { crashes: 2 }),
        (all, Some(300), hungry.clone(), Why::Isolated(false)),
        (undecided, Some(1), hungry.clone(), Why::MaxMemory(512)),
        (estimate(12), Some(1), hungry, Why::Peak { kb: 200 * 1024 }),
        (estimate(12_000), Some(300), fast.clone(), Why::Estimate(Duration::from_secs(12))),
        (NONE, Some(300), fast, Why::History { p90: Duration::from_millis(50), runs: 3 }),
        (NONE, Some(300), ClassHistory::default(), Why::Timeout(300)),
    ] {
        assert_eq!(route(HEAVY, &hints, timeout, Some(&history), &LIMITS).why, why);
    }
}

#[test]
fn extreme_limits_do_not_overflow() {
    let limits =
        Limits { inline_max: Duration::MAX, pooled_max: Duration::MAX, pooled_memory_mb: u32::MAX, default_tier: None };
    let mut history = History::new();
    for _ in 0..3 {
        history.record_success(CLASS, u32::MAX, Some(u32::MAX), u64::MAX);
    }
    for _ in 0..2 {
        assert_eq!(history.route(CLASS, &NONE, Some(u32::MAX), &limits).tier, Tier::Inline);
    }
}
