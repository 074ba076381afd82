//! History on a real file, intact and broken in several ways.

mod figures;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kqueue_control::{EventsFilter, Happening, JobState, Jobs, JobsFilter, StatsFilter};
use kqueue_core::routing::{Route, Tier, Why};
use kqueue_core::schedule::Outcome;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::task::LocalSet;

use super::recorder::epoch_ms;
use super::*;

fn on_a_loop(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

fn attempt(uuid: &str, class: &str, outcome: Outcome) -> Attempt {
    let now = epoch_ms();
    Attempt {
        uuid: uuid.to_owned(),
        class: class.to_owned(),
        queue: "default".to_owned(),
        tags: vec!["User:1".to_owned(), "b".to_owned()],
        outcome,
        well: outcome == Outcome::Done,
        attempt: 1,
        tier: Tier::Inline,
        route: Some(Route { tier: Tier::Pooled, why: Why::Timeout(30), known: true }),
        worker: Some(7),
        queued: now - 500,
        ready: now - 400,
        started: Some(now - 100),
        ended: now,
        ms: 100,
        memory_peak: Some(2 << 20),
        cpu_usec: Some(900),
        timeout: 60,
        cause: (outcome != Outcome::Done).then(|| "out of paper".to_owned()),
    }
}

async fn all(recorder: &Recorder, filter: JobsFilter) -> Jobs {
    recorder.jobs(JobsFilter { limit: 500, ..filter }).await
}

fn uuids(jobs: &Jobs) -> Vec<&str> {
    jobs.jobs.iter().map(|job| job.uuid.as_str()).collect()
}

/// Runs SQL on the file from outside of the recorder.
async fn sql(directory: &Path, sql: &str) {
    let mut connection = SqliteConnectOptions::new().filename(directory.join(FILE)).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

async fn count(directory: &Path, what: &str) -> i64 {
    let mut connection = SqliteConnectOptions::new().filename(directory.join(FILE)).connect().await.unwrap();
    let sql = format!("SELECT COUNT(*) FROM {what}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
}

#[test]
fn what_is_recorded_outlives_the_runtime() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(100));
        recorder.attempt(attempt("a", "App\\Jobs\\A", Outcome::Released));
        recorder.attempt(attempt("b", "App\\Jobs\\B", Outcome::Failed));
        // It is found before and after it is written, each time once.
        let before = all(&recorder, JobsFilter::default()).await;
        assert!(recorder.write().await);
        recorder.attempt(attempt("a", "App\\Jobs\\A", Outcome::Done));
        let after = all(&recorder, JobsFilter::default()).await;
        assert_eq!((uuids(&before), uuids(&after)), (vec!["b", "a"], vec!["a", "b", "a"]));
        assert_eq!(after.jobs[1], before.jobs[0]);
        recorder.close().await;
    });
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(100));
        let told = all(&recorder, JobsFilter::default()).await;
        assert_eq!(uuids(&told), ["a", "b", "a"]);
        let job = &told.jobs[0];
        assert_eq!((job.state, job.attempt, job.wait_ms, job.ms), (Some(JobState::Done), 1, Some(300), Some(100)));
        assert_eq!(
            (job.memory_peak, job.cpu_usec, job.timeout, job.worker),
            (Some(2 << 20), Some(900), Some(60), Some(7))
        );
        assert_eq!(job.why.as_deref(), Some("timeout 30 s (meant for pooled)"));
        assert_eq!((job.tags.len(), job.tier.as_deref()), (2, Some("inline")));
        let (attempts, _, lacks) = recorder.job("a".to_owned()).await;
        let states: Vec<_> = attempts.iter().filter_map(|job| job.state).collect();
        assert_eq!((states, lacks.len()), (vec![JobState::Released, JobState::Done], 0));
        // The file is read in the background.
        let begun = std::time::Instant::now();
        while recorder.failed_hour() != 1 {
            assert!(begun.elapsed().as_secs() < 30, "nobody has counted the failures of before");
            tokio::task::yield_now().await;
        }
        let stats = recorder.stats(StatsFilter::default(), Vec::new()).await;
        assert_eq!((stats.total.runs(), stats.classes[0].class.as_str()), (3, "App\\Jobs\\A"));
        assert_eq!(stats.classes[0].tier.as_deref(), Some("inline"));
    });
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(FILE), 0o600);
}

#[test]
fn what_cannot_be_written_is_seen_at_every_moment() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(1_000));
        recorder.limit_pages(60).await;
        (0..1_000).for_each(|n| recorder.attempt(attempt(&format!("{n:x>400}"), "A", Outcome::Done)));
        for _ in 0..10 {
            let (written, told) = tokio::join!(recorder.write(), all(&recorder, JobsFilter::default()));
            assert!(!written);
            assert_eq!(told.jobs.len(), 500);
        }
    });
}

#[test]
fn the_files_are_the_users_alone() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(100));
        recorder.attempt(attempt("a", "A", Outcome::Done));
        recorder.write().await;
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    });
}

#[test]
fn what_ended_well_pushes_out_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(50));
        for n in 0..5 {
            recorder.attempt(attempt(&format!("bad {n}"), "A", Outcome::Failed));
        }
        recorder.write().await;
        for round in 0..4 {
            for n in 0..40 {
                recorder.attempt(attempt(&format!("{round} {n}"), "A", Outcome::Done));
            }
            recorder.write().await;
        }
        let (bad, well) = (
            count(directory.path(), "jobs WHERE well = 0").await,
            count(directory.path(), "jobs WHERE well = 1").await,
        );
        assert_eq!((bad, well), (5, 50));
        let told = all(&recorder, JobsFilter { state: Some(JobState::Done), ..JobsFilter::default() }).await;
        assert_eq!((told.jobs.len(), told.jobs[0].uuid.as_str()), (50, "3 39"));
        // Attempts beyond the bound are never written.
        for n in 0..20_000 {
            recorder.attempt(attempt(&n.to_string(), "A", Outcome::Done));
        }
        let told = all(&recorder, JobsFilter { state: Some(JobState::Done), ..JobsFilter::default() }).await;
        assert_eq!(told.jobs[..50].iter().map(|job| job.uuid.as_str()).next(), Some("19999"));
        recorder.write().await;
        assert_eq!(count(directory.path(), "jobs WHERE well = 1").await, 50);
        // All of them are counted.
        let stats = recorder.stats(StatsFilter::default(), Vec::new()).await;
        assert_eq!(stats.total.outcomes["done"], 20_160);
        // Rows that are too old are removed with the next write.
        sql(directory.path(), "UPDATE jobs SET id = id - (40 * 86400000 << 20) WHERE well = 0").await;
        recorder.attempt(attempt("one more", "A", Outcome::Done));
        recorder.write().await;
        assert_eq!(count(directory.path(), "jobs WHERE well = 0").await, 0);
        // They no longer count towards the bound.
        for n in 0..50 {
            recorder.attempt(attempt(&format!("late {n}"), "A", Outcome::Failed));
        }
        recorder.write().await;
        assert_eq!(count(directory.path(), "jobs WHERE well = 0").await, 50);
    });
}

#[test]
fn filters_and_pages() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(1_000));
        for n in 0..30 {
            let class = if n % 3 == 0 { "App\\Jobs\\Mail" } else { "App\\Chained\\Email" };
            let outcome = if n % 10 == 0 { Outcome::Failed } else { Outcome::Done };
            let tags = vec![format!("order:{n}")];
            recorder.attempt(Attempt { tags, ..attempt(&format!("u{n}"), class, outcome) });
            if n == 15 {
                recorder.write().await;
            }
        }
        let of = |filter: JobsFilter| async { all(&recorder, filter).await.jobs.len() };
        let class = |class: &str| JobsFilter { class: Some(class.to_owned()), ..JobsFilter::default() };
        assert_eq!(of(class("App\\Jobs\\Mail")).await, 10);
        assert_eq!(of(class("Mail")).await, 10);
        assert_eq!(of(class("mail")).await, 0);
        assert_eq!(of(JobsFilter { state: Some(JobState::Failed), ..class("Email") }).await, 2);
        assert_eq!(of(JobsFilter { tag: Some("order:7".to_owned()), ..JobsFilter::default() }).await, 1);
        assert_eq!(of(JobsFilter { tag: Some("order".to_owned()), ..JobsFilter::default() }).await, 0);
        assert_eq!(of(JobsFilter { queue: Some("mail".to_owned()), ..JobsFilter::default() }).await, 0);
        for (text, found) in [("OUT OF", 3), ("u1", 11), ("chained", 20), ("default", 30), ("order:29", 1), ("x'y", 0)]
        {
            let filter = JobsFilter { text: Some(text.to_owned()), ..JobsFilter::default() };
            assert_eq!(of(filter).await, found, "{text}");
        }
        let now = epoch_ms() / 1000;
        assert_eq!(of(JobsFilter { since: Some(now + 10), ..JobsFilter::default() }).await, 0);
        assert_eq!(of(JobsFilter { since: Some(now - 60), until: Some(now + 10), ..JobsFilter::default() }).await, 30);
        assert_eq!(of(JobsFilter { until: Some(now - 60), ..JobsFilter::default() }).await, 0);

        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = recorder.jobs(JobsFilter { after, limit: 7, ..JobsFilter::default() }).await;
            seen.extend(page.jobs.into_iter().map(|job| job.uuid));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..30).rev().map(|n| format!("u{n}")).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_file_that_cannot_be_read_is_set_aside() {
    for damage in ["newer", "foreign", "no database", "truncated"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        on_a_loop(async {
            let recorder = Recorder::new(directory.path(), Some(100));
            (0..50).for_each(|n| recorder.attempt(attempt(&n.to_string(), "A", Outcome::Done)));
            recorder.close().await;
            match damage {
                "newer" => sql(directory.path(), "PRAGMA user_version = 99").await,
                "foreign" => sql(directory.path(), "DROP TABLE events").await,
                "no database" => fs::write(&path, "nonsense ".repeat(2_000)).unwrap(),
                _ => {
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, [&bytes[..4_096], &[0x55; 40_000]].concat()).unwrap();
                }
            }
            recorder.attempt(attempt("later", "A", Outcome::Done));
            assert!(recorder.write().await, "{damage}");
            assert_eq!(uuids(&all(&recorder, JobsFilter::default()).await), ["later"], "{damage}");
            recorder.close().await;
        });
        assert!(directory.path().join(format!("{FILE}.unreadable")).exists(), "{damage}");
    }
}

#[test]
fn a_file_that_was_deleted_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(100));
        recorder.attempt(attempt("first", "A", Outcome::Done));
        assert!(recorder.write().await);
        fs::remove_file(directory.path().join(FILE)).unwrap();
        recorder.attempt(attempt("second", "A", Outcome::Done));
        assert!(recorder.write().await);
        assert_eq!(uuids(&all(&recorder, JobsFilter::default()).await), ["second"]);
        assert_eq!(count(directory.path(), "jobs").await, 1);
    });
}

#[test]
fn where_nothing_can_be_written_it_is_kept_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::write(&state, "no directory").unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(&state, Some(100));
        for n in 0..300 {
            recorder.attempt(attempt(&n.to_string(), "A", Outcome::Done));
            if n % 100 == 0 {
                assert!(!recorder.write().await);
            }
        }
        let told = all(&recorder, JobsFilter::default()).await;
        assert_eq!((told.jobs.len(), told.lacks.len(), uuids(&told)[0]), (100, 1, "299"));
        let stats = recorder.stats(StatsFilter::default(), Vec::new()).await;
        assert_eq!((stats.total.runs(), stats.lacks.len()), (300, 1));
        fs::remove_file(&state).unwrap();
        assert!(recorder.write().await);
        let told = all(&recorder, JobsFilter::default()).await;
        assert_eq!((told.jobs.len(), told.lacks.len()), (100, 0));
        let stats = recorder.stats(StatsFilter::default(), Vec::new()).await;
        assert_eq!((stats.total.runs(), stats.lacks.len()), (300, 0));
        let rows = recorder.metrics();
        assert_eq!((rows.len(), rows[0].figures.runs()), (1, 300), "none is counted twice");
    });
}

#[test]
fn where_there_is_no_room_the_oldest_makes_some() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(100_000));
        recorder.limit_pages(60).await;
        for n in 0..4_000 {
            recorder.attempt(attempt(&format!("{n:0>60}"), "A", Outcome::Done));
            if n % 100 == 99 {
                assert!(recorder.write().await, "{n}");
            }
        }
        let bytes = fs::metadata(directory.path().join(FILE)).unwrap().len();
        assert!(bytes <= 60 * 4_096, "{bytes}");
        let told = all(&recorder, JobsFilter::default()).await;
        assert_eq!(told.jobs[0].uuid, format!("{:0>60}", 3_999));
        assert!(told.jobs.len() > 100);
        // What does not fit into the file stays in memory, and stops nothing.
        (0..4_000).for_each(|n| recorder.attempt(attempt(&format!("{n:x>60}"), "A", Outcome::Done)));
        assert!(!recorder.write().await);
        assert_eq!(all(&recorder, JobsFilter::default()).await.jobs[0].uuid, format!("{:x>60}", 3_999));
    });
}

#[test]
fn where_it_is_off_there_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), None);
        (0..3).for_each(|n| recorder.attempt(attempt(&n.to_string(), "A", Outcome::Failed)));
        recorder.happened(Happening::default(), Grade::Notable);
        let told = all(&recorder, JobsFilter::default()).await;
        assert_eq!((told.jobs.len(), told.lacks.as_slice()), (0, &["history is off (history = false)".to_owned()][..]));
        assert_eq!((recorder.failed_hour(), recorder.metrics()[0].figures.runs()), (3, 3));
        // Switched on and off while running.
        recorder.configure(Some(10));
        recorder.attempt(attempt("on", "A", Outcome::Done));
        assert!(recorder.write().await);
        recorder.configure(None);
        recorder.attempt(attempt("off", "A", Outcome::Done));
        recorder.close().await;
        assert_eq!(count(directory.path(), "jobs").await, 1);
    });
}

#[test]
fn events_have_ends() {
    let directory = tempfile::tempdir().unwrap();
    let event =
        |kind: &str, text: &str| Happening { kind: kind.to_owned(), text: text.to_owned(), ..Happening::default() };
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(10));
        let outage = recorder.happened(event("outage", "redis is gone"), Grade::Lasting);
        recorder.happened(event("outage", "never seen to end"), Grade::Lasting);
        recorder.write().await;
        recorder.over(outage);
        recorder.happened(Happening { job: Some("u".to_owned()), ..event("worker", "killed") }, Grade::Notable);
        for written in [false, true] {
            let told = recorder.events(EventsFilter::default()).await.events;
            let texts: Vec<_> = told.iter().map(|event| (event.text.as_str(), event.ended.is_some())).collect();
            assert_eq!(texts, [("killed", false), ("never seen to end", false), ("redis is gone", true)], "{written}");
            let (_, events, _) = recorder.job("u".to_owned()).await;
            assert_eq!(events.len(), 1, "{written}");
            recorder.write().await;
        }
        let one = recorder.events(EventsFilter { limit: 1, ..EventsFilter::default() }).await;
        assert!(one.events.len() == 1 && one.more);
        // What is not wanted takes no place of what is.
        let filter = EventsFilter { limit: 2, kinds: vec!["outage".to_owned()], ..EventsFilter::default() };
        let outages = recorder.events(filter.clone()).await;
        assert!(outages.events.iter().all(|event| event.kind == "outage") && outages.events.len() == 2);
        assert!(!outages.more);
        let now = epoch_ms() / 1000;
        assert_eq!(recorder.events(EventsFilter { until: Some(now), ..filter.clone() }).await.events.len(), 2);
        assert_eq!(recorder.events(EventsFilter { until: Some(now - 60), ..filter }).await.events.len(), 0);
        recorder.close().await;
    });
    // The next runtime marks it as over.
    let before = epoch_ms();
    while epoch_ms() == before {}
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(10));
        let told = recorder.events(EventsFilter::default()).await.events;
        assert!(told[1].ended.is_some_and(|ended| ended >= told[1].at), "{told:?}");
        assert!(told[0].ended.is_none());
    });
}

#[test]
fn whatever_is_asked_for_there_is_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(10));
        recorder.attempt(attempt("u", "A", Outcome::Done));
        let ends = [None, Some(0), Some(1), Some(epoch_ms() / 1000), Some(u64::MAX)];
        for (since, until) in ends.iter().flat_map(|since| ends.iter().map(move |until| (*since, *until))) {
            let filter = StatsFilter { since, until, ..StatsFilter::default() };
            for points in [0, 1, u32::MAX] {
                let series = recorder.series(filter.clone(), points, false).await;
                assert!(
                    (1..=2_001).contains(&series.points.len()),
                    "{since:?} {until:?} {points}: {}",
                    series.points.len()
                );
            }
            assert!(recorder.stats(filter, Vec::new()).await.lacks.is_empty());
            let filter = JobsFilter { since, until, after: since.map(|at| at.to_string()), ..JobsFilter::default() };
            assert!(recorder.jobs(filter).await.lacks.is_empty());
            assert!(
                recorder
                    .events(EventsFilter { since: since.unwrap_or(0), limit: u32::MAX, ..EventsFilter::default() })
                    .await
                    .lacks
                    .is_empty()
            );
        }
        let text =
            JobsFilter { text: Some("%_'\"\0\n".to_owned()), class: Some("%".to_owned()), ..JobsFilter::default() };
        assert_eq!(recorder.jobs(text).await.jobs.len(), 0);
    });
}
