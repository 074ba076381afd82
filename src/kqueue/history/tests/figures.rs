//! Figures by class, by queue and over time.

use super::*;

#[test]
fn figures_are_the_same_in_memory_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(1_000));
        let begun = epoch_ms();
        for n in 0..300_u64 {
            let outcome = [Outcome::Done, Outcome::Failed, Outcome::Released][n as usize % 3];
            let one = attempt(&n.to_string(), ["A", "App\\B"][n as usize % 2], outcome);
            let queue = ["default", "mail"][n as usize / 7 % 2].to_owned();
            // In different minutes, so that several rows are summed up.
            let ended = begun - n % 5 * 60_000;
            recorder.attempt(Attempt { queue, ms: n * n, cpu_usec: Some(n), ended, ..one });
        }
        let filters = || {
            let of = |class: Option<&str>, queue: Option<&str>| StatsFilter {
                class: class.map(str::to_owned),
                queue: queue.map(str::to_owned),
                ..StatsFilter::default()
            };
            [of(None, None), of(Some("B"), None), of(None, Some("mail")), of(Some("A"), Some("default"))]
        };
        let hour = async || recorder.series(StatsFilter::default(), 60, true).await;
        let over_time = hour().await;
        assert_eq!(over_time.queues.values().map(|queue| queue.figures.runs()).sum::<u64>(), 300);
        for queue in over_time.queues.values() {
            assert_eq!((queue.runs.len(), queue.runs.iter().sum()), (over_time.points.len(), queue.figures.runs()));
        }
        let mut before = Vec::new();
        for filter in filters() {
            before.push(recorder.stats(filter, Vec::new()).await);
        }
        assert_eq!((before[0].total.runs(), before[0].classes.len(), before[0].queues.len()), (300, 2, 2));
        assert!(recorder.write().await);
        assert_eq!(hour().await, over_time);
        for (filter, before) in filters().into_iter().zip(before) {
            let after = recorder.stats(filter, Vec::new()).await;
            let both = [before, after].map(|stats| (stats.total, stats.classes, stats.queues));
            assert_eq!(both[0], both[1]);
        }
    });
}

#[test]
fn figures_over_time_have_no_gaps() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(10));
        let now = epoch_ms();
        for minutes in [0_u64, 1, 7, 59] {
            let ended = now - minutes * 60_000;
            for _ in 0..=minutes {
                recorder.attempt(Attempt { ended, ..attempt("u", "App\\A", Outcome::Done) });
            }
            if minutes == 1 {
                recorder.write().await;
            }
        }
        recorder.sized(Sample { queue: "default".to_owned(), backlog: 12, oldest: Some(40) });
        recorder.sized(Sample { queue: "mail".to_owned(), backlog: 3, oldest: None });
        for written in [false, true] {
            let hour = StatsFilter { since: Some(now / 1000 - 3_600), ..StatsFilter::default() };
            let series = recorder.series(hour.clone(), 60, false).await;
            assert!(series.points.windows(2).all(|pair| pair[1].at - pair[0].at == series.step), "{series:?}");
            let runs: u64 = series.points.iter().map(|point| point.figures.runs()).sum();
            assert_eq!(runs, 1 + 2 + 8 + 60, "{written}");
            let last = series.points.last().unwrap();
            assert_eq!((last.backlog, last.oldest), (Some(15), Some(40)), "{written}");
            assert!(series.points.iter().filter(|point| point.figures.runs() == 0).count() > 40);
            let day = StatsFilter { since: Some(now / 1000 - 86_000), ..StatsFilter::default() };
            let series = recorder.series(day, 24, false).await;
            assert_eq!((series.step, series.points.iter().map(|point| point.figures.runs()).sum::<u64>()), (3_600, 71));
            let mail = StatsFilter { queue: Some("mail".to_owned()), ..hour.clone() };
            let series = recorder.series(mail, 60, false).await;
            assert_eq!(series.points.last().map(|point| (point.backlog, point.figures.runs())), Some((Some(3), 0)));
            let class = StatsFilter { class: Some("A".to_owned()), ..hour.clone() };
            let stats = recorder.stats(class, Vec::new()).await;
            assert_eq!((stats.total.runs(), stats.total.duration.count()), (71, 71));
            let month = StatsFilter { since: Some(0), ..StatsFilter::default() };
            assert_eq!(recorder.stats(month, Vec::new()).await.total.runs(), 71);
            recorder.write().await;
        }
    });
}

#[test]
fn classes_without_number_are_counted_together() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(10));
        for n in 0..3_000 {
            recorder.attempt(attempt("u", &format!("Job{n}"), Outcome::Done));
        }
        let rows = recorder.metrics();
        assert_eq!(rows.iter().map(|row| row.figures.runs()).sum::<u64>(), 3_000);
        assert!(rows.len() <= 201, "{}", rows.len());
        assert!(rows.iter().any(|row| row.class == "other" && row.figures.runs() > 2_500));
        let stats = recorder.stats(StatsFilter::default(), Vec::new()).await;
        assert_eq!((stats.total.runs(), stats.classes.len()), (3_000, 1_000));
    });
}

#[test]
fn runs_of_pooled_classes_are_told_by_the_hour() {
    let directory = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let recorder = Recorder::new(directory.path(), Some(1_000));
        let hour = epoch_ms() / 3_600_000 * 3_600;
        let before = [1, 2, 3, 7].map(|days| hour - days * DAY);
        assert_eq!(recorder.pooled_runs(before).await, Some([0; 4]));
        let attempts =
            [(0, Tier::Pooled), (0, Tier::Pooled), (2, Tier::Pooled), (1, Tier::Inline), (3, Tier::Isolated)];
        for (day, tier) in attempts {
            let class = format!("Of{}", tier.name());
            let ended = (before[day] + 60) * 1_000;
            recorder.attempt(Attempt { tier, ended, ..attempt("u", &class, Outcome::Done) });
            // In the hour before, which is not asked for.
            let ended = (before[day] - 60) * 1_000;
            recorder.attempt(Attempt { tier, ended, ..attempt("u", &class, Outcome::Failed) });
        }
        assert!(recorder.write().await);
        assert_eq!(recorder.pooled_runs(before).await, Some([2, 0, 1, 0]));
        recorder.configure(None);
        assert_eq!(recorder.pooled_runs(before).await, None, "history is off");
    });
}
