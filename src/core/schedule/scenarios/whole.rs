//! Jobs of all tiers from queue to end, and the end of an app.

use super::*;

#[test]
fn three_jobs_of_three_seconds_take_three_seconds() {
    let mut shop = Shop::open(config());
    shop.push(3, task("Slow", 3_000));
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 3);
    let took = shop.done("Slow") - 1_000;
    assert!(took < 3_000 + 2 * BOOT, "took {took}");
}

#[test]
fn a_job_starts_at_once_on_an_idle_system() {
    let mut shop = Shop::open(config());
    shop.until(60_000);
    shop.push(1, task("Quick", 5));
    shop.until(61_000);
    let late = shop.starts[0].at - 60_000;
    assert!(late <= 2, "started after {late} ms");
}

fn unknown_light_jobs_pass_unknown_heavy_ones(config: Config) {
    let mut shop = Shop::open(config);
    shop.push(50, task("Heavy", 5_000));
    shop.push(100, task("Light", 10));
    shop.until(200_000);
    assert_eq!(shop.ends.len(), 150);
    assert_eq!(shop.starts_of("Light").len(), 100);
    // The second wave starts when the first heavy jobs have ended.
    let second = shop.starts_of("Heavy")[0] + 5_000;
    assert!(shop.done("Light") < second, "light ones done at {}, second wave at {second}", shop.done("Light"));
}

#[test]
fn unknown_light_jobs_pass_unknown_heavy_ones_beside_a_pool_of_ten() {
    unknown_light_jobs_pass_unknown_heavy_ones(config());
}

#[test]
fn unknown_light_jobs_pass_unknown_heavy_ones_beside_a_pool_of_four() {
    unknown_light_jobs_pass_unknown_heavy_ones(Config { pool_size: 4, pool_max_size: 4, ..config() });
}

#[test]
fn a_heavy_isolated_job_never_delays_inline_ones() {
    let mut shop = Shop::open(config());
    shop.push(30, Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 20_000) });
    for n in 0..100 {
        shop.until(1_100 + n * 50);
        let light = Task { hints: Hints { isolated: Some(false), ..Hints::default() }, ..task("Light", 10) };
        shop.push(1, light);
    }
    shop.until(8_000);
    let starts = shop.starts_of("Light");
    assert_eq!(starts.len(), 100);
    for (n, start) in starts.iter().enumerate() {
        let late = start - (1_100 + n as u64 * 50);
        assert!(late <= 15, "job {n} waited for {late} ms");
    }
    assert_eq!(shop.starts_of("Report").len(), 5);
}

#[test]
fn a_full_tier_does_not_stop_the_others_until_too_many_wait() {
    let mut shop = Shop::open(Config { max_waiting: 40, ..config() });
    let alone = Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 100_000) };
    shop.push(20, alone.clone());
    shop.until(2_000);
    assert!(shop.queue.is_empty());
    assert!(shop.schedule.wanted(shop.now()) > 0);
    shop.push(100, alone);
    shop.until(3_000);
    assert_eq!(shop.schedule.waiting()[Tier::Isolated].len(), 40);
    assert_eq!(shop.schedule.wanted(shop.now()), 0);
}

#[test]
fn where_returning_a_job_counts_an_attempt_none_is_taken_that_would_wait_for_long() {
    let mut shop = Shop::open(Config { ahead: false, pool_size: 2, pool_max_size: 3, ..config() });
    // Of a class not yet known: they may be for any tier, and all turn out to be for the pool.
    let slow = Task {
        hints: Hints { estimated_duration: Some(Duration::from_secs(10)), ..Hints::default() },
        ..task("Slow", 60_000)
    };
    shop.push(30, slow);
    shop.until(20_000);
    let running = shop.starts_of("Slow").len();
    assert_eq!(running, 3);
    let waiting = shop.schedule.waiting()[Tier::Pooled].len();
    assert!(waiting <= config().max_concurrent[Tier::Inline].max(3), "{waiting} wait");
    assert_eq!(shop.schedule.wanted(shop.now()), 0);
    assert_eq!(shop.queue.len(), 30 - running - waiting);
}

#[test]
fn priority_orders_those_that_wait() {
    let mut shop = Shop::open(Config { pool_size: 1, pool_max_size: 1, pool_min_idle: 1, ..config() });
    let known = |class, priority| Task {
        hints: Hints { priority, estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() },
        ..task(class, 2_000)
    };
    shop.push(1, known("First", None));
    shop.push(1, known("Low", Some(-1)));
    shop.push(1, known("Plain", None));
    shop.push(1, known("High", Some(9)));
    shop.until(20_000);
    let order: Vec<_> = shop.starts.iter().map(|start| start.class).collect();
    assert_eq!(order, ["First", "High", "Plain", "Low"]);
}

#[test]
fn a_job_of_an_earlier_queue_goes_before_all_that_wait_from_later_ones() {
    let queues = vec!["high".to_owned(), "default".to_owned()];
    let mut shop = Shop::open(Config { queues, pool_size: 1, pool_max_size: 1, pool_min_idle: 1, ..config() });
    let known = |class, priority| Task {
        hints: Hints { priority, estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() },
        ..task(class, 2_000)
    };
    shop.push(1, known("First", None));
    shop.push(2, known("Low", Some(9)));
    shop.until(500);
    shop.push(1, Task { queue: "high", ..known("Late", None) });
    shop.until(20_000);
    let order: Vec<_> = shop.starts.iter().map(|start| start.class).collect();
    assert_eq!(order, ["First", "Late", "Low", "Low"]);
}

#[test]
fn an_app_that_does_not_boot_is_tried_ever_less_often_and_nothing_is_reserved() {
    let mut shop = Shop::new(config());
    shop.broken = true;
    // The first processes boot.
    shop.until(100);
    let workers: Vec<_> = shop.schedule.workers().map(|worker| worker.id).collect();
    for worker in workers {
        shop.feed(Event::Gone { worker, cause: Cause::Exit(255), unread: false });
    }
    shop.until(120_000);
    assert_eq!(shop.schedule.wanted(shop.now()), 0);
    assert_eq!(shop.schedule.unready(), Some((Tier::Inline, &Cause::BootFailed("no".to_owned()))));
    let late = shop.launches.iter().filter(|(at, _)| *at > 60_000).count();
    assert!(late < 30, "{late} launches in a minute");
    // Once it boots again, everything is as before.
    shop.broken = false;
    shop.queue.push_back(task("Quick", 5));
    shop.until(160_000);
    assert_eq!(shop.ends.len(), 1);
    assert_eq!(shop.schedule.unready(), None);
}

#[test]
fn a_restart_replaces_every_worker_and_drops_no_job() {
    let mut shop = Shop::open(config());
    shop.push(6, task("Slow", 3_000));
    shop.push(3, Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 3_000) });
    // Some run, others are under way.
    shop.until(1_050);
    let before: Vec<_> = shop.schedule.workers().map(|worker| worker.id).collect();
    shop.feed(Event::Restart);
    shop.until(20_000);
    assert_eq!(shop.ends.len(), 9);
    assert!(shop.ends.iter().all(|(_, outcome, _)| *outcome == Outcome::Done));
    assert_eq!(shop.starts.len(), 9);
    assert!(shop.schedule.workers().all(|worker| !before.contains(&worker.id)), "an old one is still there");
}

#[test]
fn it_ends_after_exactly_so_many_jobs() {
    let mut shop = Shop::open(Config { max_jobs: 7, ..config() });
    shop.push(20, task("Quick", 5));
    shop.until(10_000);
    assert!(shop.exited.is_some());
    assert_eq!((shop.ends.len(), shop.queue.len()), (7, 13));
}

#[test]
fn it_ends_when_the_queue_is_empty() {
    let mut shop = Shop::new(Config { stop_when_empty: true, ..config() });
    shop.push(25, task("Quick", 5));
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 25);
    assert!(shop.exited.is_some_and(|at| at < 2_000));
}

#[test]
fn an_answer_from_before_a_job_was_settled_does_not_end_it() {
    let mut shop = Shop::new(Config { stop_when_empty: true, ..config() });
    let asked = shop.schedule.settled();
    shop.push(1, task("Quick", 5));
    while shop.ends.is_empty() {
        let ((at, _), event) = shop.agenda.pop_first().expect("it runs");
        shop.now = at;
        shop.feed_once(event);
    }
    shop.feed_once(Event::Empty { settled: asked });
    assert_eq!(shop.exited, None);
    let settled = shop.schedule.settled();
    shop.feed_once(Event::Empty { settled });
    assert!(shop.exited.is_some());
}

#[test]
fn idle_workers_retire() {
    let mut shop = Shop::open(config());
    let inline = Hints { isolated: Some(false), ..Hints::default() };
    shop.push(200, Task { hints: inline, ..task("Lane", 300) });
    shop.push(40, task("Slow", 3_000));
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 240);
    shop.until(120_000);
    assert_eq!((shop.live(Tier::Inline), shop.live(Tier::Pooled), shop.live(Tier::Isolated)), (1, 2, 0));
    assert!(shop.stops.iter().all(|(_, reason)| *reason == StopReason::Idle));
}

#[test]
fn in_maintenance_nothing_runs_and_afterwards_all_does() {
    let mut shop = Shop::open(config());
    shop.push(5, task("Slow", 3_000));
    shop.until(1_010);
    shop.feed(Event::State { down: true, paused: Vec::new() });
    let running = shop.starts.len();
    assert_eq!(shop.queue.len(), 5 - running);
    // The signals are asked for again and again; the answer here ends the maintenance mode.
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 5);
}
