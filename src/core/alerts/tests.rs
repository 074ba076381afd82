use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Now {
    Now { ms: 1_000_000 + seconds * 1000, epoch: 1_700_000_000 + seconds }
}

fn all() -> Watch {
    let often = |times, seconds: u64| Some(Often { times, span: seconds * 1000 });
    Watch {
        wait: Some(60_000),
        waits: [("slow".to_owned(), 600_000)].into(),
        growth: Some(100),
        failures: often(5, 60),
        oom: often(1, 3600),
        crashes: often(3, 60),
        degraded: Some(30_000),
        coordinator: Some(30_000),
    }
}

fn queue(name: &str, jobs: u64, seconds: Option<u64>) -> Figures {
    let depth = Depth { jobs, oldest: seconds.map(|seconds| seconds * 1000) };
    Figures { up: true, queues: [(name.to_owned(), Some(depth))].into(), ..Figures::default() }
}

fn told(changes: &[Change]) -> Vec<(bool, Kind)> {
    changes.iter().map(|change| (change.begun, change.episode.kind)).collect()
}

#[test]
fn a_wait_begins_once_and_ends_when_all_was_well_for_a_while() {
    let (mut alerts, watch) = (Alerts::default(), all());
    assert!(alerts.look(at(0), &watch, &queue("mail", 5, Some(60))).is_empty());
    let begun = alerts.look(at(1), &watch, &queue("mail", 5, Some(61)));
    assert_eq!(begun[0].text, "queue mail: a job has waited for 61 s, longer than 60 s");
    assert!(alerts.look(at(2), &watch, &queue("mail", 5, Some(62))).is_empty());
    // Values that oscillate around the limit are one episode.
    assert!(alerts.look(at(40), &watch, &queue("mail", 5, Some(3))).is_empty());
    assert!(alerts.look(at(50), &watch, &queue("mail", 5, Some(90))).is_empty());
    assert!(alerts.look(at(109), &watch, &queue("mail", 5, Some(3))).is_empty());
    let over = alerts.look(at(110), &watch, &queue("mail", 5, Some(3)));
    assert_eq!(over[0].text, "over after 109 s: queue mail: a job has waited for 61 s, longer than 60 s");
    // A queue's own limit applies to that queue only.
    assert!(alerts.look(at(120), &watch, &queue("slow", 5, Some(599))).is_empty());
    assert_eq!(told(&alerts.look(at(130), &watch, &queue("slow", 5, Some(601)))), [(true, Kind::Wait)]);
}

#[test]
fn what_nobody_knows_changes_nothing() {
    let (mut alerts, watch) = (Alerts::default(), all());
    alerts.look(at(0), &watch, &queue("mail", 5, Some(90)));
    let dark = Figures { queues: [("mail".to_owned(), None)].into(), ..Figures::default() };
    assert!(alerts.look(at(900), &watch, &dark).is_empty());
    assert!(alerts.look(at(900), &watch, &queue("mail", 5, None)).is_empty());
    // Episodes of a queue that is no longer worked, and of an alert that is no longer configured, end.
    assert_eq!(told(&alerts.look(at(901), &watch, &queue("other", 0, None))), [(false, Kind::Wait)]);
    alerts.look(at(902), &watch, &queue("mail", 5, Some(90)));
    let over = alerts.look(at(903), &Watch::default(), &queue("mail", 5, Some(90)));
    assert!(over[0].text.starts_with("no longer watched after 1 s: "), "{over:?}");
}

#[test]
fn a_backlog_that_grows_is_told_from_one_that_is_large() {
    let (mut alerts, watch) = (Alerts::default(), all());
    assert!(alerts.look(at(0), &watch, &queue("mail", 5_000, Some(1))).is_empty());
    assert!(alerts.look(at(300), &watch, &queue("mail", 5_100, Some(1))).is_empty());
    let begun = alerts.look(at(400), &watch, &queue("mail", 5_101, Some(1)));
    assert_eq!(begun[0].text, "queue mail has grown by 101 jobs to 5101 within 10 minutes");
    // A restart neither ends the episode nor begins another.
    let mut alerts = Alerts::new(alerts.open().cloned().collect());
    assert!(alerts.look(at(410), &watch, &queue("mail", 5_200, Some(1))).is_empty());
    assert!(alerts.look(at(420), &watch, &queue("mail", 5_400, Some(1))).is_empty());
    assert_eq!(told(&alerts.look(at(430), &watch, &queue("mail", 5_050, Some(1)))), [(false, Kind::BacklogGrowth)]);
    // A queue that stays at its new size no longer grows.
    let mut alerts = Alerts::default();
    alerts.look(at(0), &watch, &queue("mail", 0, None));
    assert_eq!(told(&alerts.look(at(10), &watch, &queue("mail", 500, Some(1)))), [(true, Kind::BacklogGrowth)]);
    assert!(alerts.look(at(300), &watch, &queue("mail", 500, Some(1))).is_empty());
    assert_eq!(told(&alerts.look(at(640), &watch, &queue("mail", 500, Some(1)))), [(false, Kind::BacklogGrowth)]);
}

#[test]
fn rates_count_in_a_window() {
    let (mut alerts, watch) = (Alerts::default(), all());
    let failed = |failed| Figures { up: true, failed, ..Figures::default() };
    assert!(alerts.look(at(0), &watch, &failed(4)).is_empty());
    assert!(alerts.look(at(61), &watch, &failed(8)).is_empty(), "four in a minute");
    let begun = alerts.look(at(62), &watch, &failed(9));
    assert_eq!(begun[0].text, "5 jobs failed within 60 s");
    // A restart resets the counts; the episode ends at the same time as without it.
    let mut alerts = Alerts::new(alerts.open().cloned().collect());
    assert!(alerts.look(at(70), &watch, &failed(0)).is_empty());
    assert_eq!(told(&alerts.look(at(122), &watch, &failed(0))), [(false, Kind::FailureRate)]);
    let oom = |oom, crashed| Figures { up: true, oom, crashed, ..Figures::default() };
    assert_eq!(told(&alerts.look(at(130), &watch, &oom(1, 3))), [(true, Kind::OomRate), (true, Kind::CrashRate)]);
    assert_eq!(told(&alerts.look(at(200), &watch, &oom(1, 3))), [(false, Kind::CrashRate)]);
    assert!(alerts.look(at(3729), &watch, &oom(1, 3)).is_empty());
    assert_eq!(told(&alerts.look(at(3800), &watch, &oom(1, 3))), [(false, Kind::OomRate)]);
}

#[test]
fn what_lasts_has_to_last() {
    let (mut alerts, watch) = (Alerts::default(), all());
    let degraded = Figures { up: true, degraded: Some("redis is away".to_owned()), ..Figures::default() };
    let well = Figures { up: true, ..Figures::default() };
    assert!(alerts.look(at(0), &watch, &degraded).is_empty());
    assert!(alerts.look(at(20), &watch, &well).is_empty());
    assert!(alerts.look(at(31), &watch, &degraded).is_empty(), "it was well between");
    let begun = alerts.look(at(62), &watch, &degraded);
    assert_eq!(begun[0].text, "degraded for 31 s: redis is away");
    let mut alerts = Alerts::new(alerts.open().cloned().collect());
    assert!(alerts.look(at(70), &watch, &degraded).is_empty());
    assert!(alerts.look(at(99), &watch, &well).is_empty());
    assert_eq!(told(&alerts.look(at(100), &watch, &well)), [(false, Kind::Degraded)]);
    let silent = Figures { coordinator: Some(31_000), ..Figures::default() };
    assert_eq!(told(&alerts.look(at(200), &watch, &silent)), [(true, Kind::CoordinatorGone)]);
    assert_eq!(told(&alerts.look(at(230), &watch, &well)), [(false, Kind::CoordinatorGone)]);
}

#[test]
fn down_is_over_once_the_runtime_works() {
    let said = "kqueue@shop.service does not run".to_owned();
    let down = Episode { kind: Kind::Down, queue: String::new(), since: at(0).epoch, seen: at(0).epoch, said, base: 0 };
    let mut alerts = Alerts::new(vec![down]);
    assert!(alerts.look(at(5), &Watch::default(), &Figures::default()).is_empty(), "it only starts");
    let over = alerts.look(at(6), &Watch::default(), &Figures { up: true, ..Figures::default() });
    assert_eq!(over[0].text, "over after 6 s: kqueue@shop.service does not run");
}

prop_compose! {
    fn looks()(
        step in 1u64..120, jobs in 0u64..400, oldest in proptest::option::of(0u64..200), known in any::<bool>(),
        failed in 0u64..9, crashed in 0u64..5, degraded in any::<bool>(), silent in proptest::option::of(0u64..90),
        restart in 0u8..12,
    ) -> (u64, Figures, bool) {
        let depth = Depth { jobs, oldest: oldest.map(|oldest| oldest * 1000) };
        let figures = Figures {
            up: true,
            queues: [("a".to_owned(), known.then_some(depth))].into(),
            failed, oom: 0, crashed,
            degraded: degraded.then(|| "x".to_owned()),
            coordinator: silent.map(|seconds| seconds * 1000),
        };
        (step, figures, restart == 0)
    }
}

proptest! {
    /// Each episode begins once and ends once; after a long enough time below all limits, none is open.
    #[test]
    fn episodes_do_not_overlap(looks in proptest::collection::vec(looks(), 1..120)) {
        let (mut alerts, watch, mut second) = (Alerts::default(), all(), 0);
        let (mut open, mut failed, mut crashed) = (BTreeSet::new(), 0, 0);
        for (step, mut figures, restart) in looks {
            second += step;
            if restart {
                let kept = serde_json::to_vec(&alerts.open().collect::<Vec<_>>()).unwrap();
                alerts = Alerts::new(serde_json::from_slice(&kept).unwrap());
                (failed, crashed) = (0, 0);
            }
            failed += figures.failed;
            crashed += figures.crashed;
            (figures.failed, figures.crashed) = (failed, crashed);
            for change in alerts.look(at(second), &watch, &figures) {
                let key = (change.episode.kind, change.episode.queue.clone());
                prop_assert!(if change.begun { open.insert(key) } else { open.remove(&key) }, "{change:?}");
                prop_assert!(!change.text.contains('\n'));
            }
            prop_assert_eq!(alerts.open().count(), open.len());
        }
        for _ in 0..80 {
            second += 60;
            let well = Figures { failed, crashed, ..queue("a", 0, None) };
            for change in alerts.look(at(second), &watch, &well) {
                prop_assert!(!change.begun, "{change:?}");
                open.remove(&(change.episode.kind, change.episode.queue.clone()));
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
    }
}
