//! Jobs cancelled by operators.

use super::*;
use crate::schedule::Cancel;

impl Shop {
    fn cancel(&mut self, job: JobId) {
        self.feed(Event::Cancel { job, order: Cancel { by: "alice".to_owned(), delete: false } });
    }

    fn kinds_of(&self, class: &str) -> Vec<JobKind> {
        self.starts.iter().filter(|start| start.class == class).map(|start| start.kind).collect()
    }
}

#[test]
fn one_that_waits_fails_at_once_and_never_runs() {
    let mut shop = Shop::open(Config { pool_size: 1, pool_max_size: 1, ..config() });
    let pooled = Hints { estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() };
    shop.push(1, Task { hints: pooled, ..task("Long", 5_000) });
    shop.push(1, Task { hints: pooled, ..task("Waits", 5_000) });
    shop.until(2_000);
    let waits = *shop.tasks.iter().find(|(_, task)| task.class == "Waits").unwrap().0;
    shop.cancel(waits);
    // A second cancellation has no effect.
    shop.cancel(waits);
    shop.until(2_100);
    assert_eq!(shop.kinds_of("Waits"), [JobKind::Cancel]);
    assert!(shop.ends.iter().any(|(job, outcome, _)| *job == waits && *outcome == Outcome::Failed), "{:?}", shop.ends);
    assert_eq!(shop.schedule.how_cancelled(waits), (false, false), "it is forgotten");
}

#[test]
fn one_that_runs_has_a_grace_period_and_its_class_is_not_blamed() {
    let mut shop = Shop::open(config());
    shop.push(1, task("Runs", u64::MAX));
    shop.until(2_000);
    let (job, at) = (*shop.tasks.keys().next().unwrap(), shop.now);
    shop.cancel(job);
    shop.until(at + config().grace_ms - 1);
    assert!(shop.kills.is_empty(), "it may end by itself");
    shop.until(at + config().grace_ms + 200);
    assert_eq!(shop.kills.last().map(|(_, cause)| cause.clone()), Some(Cause::Cancelled("alice".to_owned())));
    assert_eq!(shop.kinds_of("Runs"), [JobKind::Run, JobKind::Cancel]);
    assert_eq!(shop.schedule.history.summary("Runs").map_or(0, |summary| summary.crashes), 0);
}

#[test]
fn one_that_ends_by_itself_has_ended() {
    let mut shop = Shop::open(config());
    shop.push(1, task("Runs", 3_000));
    shop.until(2_000);
    let job = *shop.tasks.keys().next().unwrap();
    shop.cancel(job);
    shop.until(10_000);
    assert!(shop.kills.is_empty());
    assert_eq!(shop.ends.iter().map(|(_, outcome, _)| *outcome).collect::<Vec<_>>(), [Outcome::Done]);
}
