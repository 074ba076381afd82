//! Native pop: workers that pop jobs by themselves.

use super::*;

fn native() -> Config {
    Config { native: true, ..config() }
}

#[test]
fn one_worker_looks_and_once_a_second_at_rest() {
    let mut shop = Shop::open(native());
    shop.until(20_000);
    let before = shop.looks.len();
    shop.until(80_000);
    let looks = shop.looks.len() - before;
    assert!((55..=62).contains(&looks), "{looks} looks in a minute");
    assert_eq!(shop.live(Tier::Inline), 0);
    assert_eq!(shop.live(Tier::Pooled), config().pool_min_idle);
}

#[test]
fn a_look_that_finds_a_job_is_followed_at_once() {
    let mut shop = Shop::open(native());
    shop.push(40, task("Slow", 3_000));
    shop.until(20_000);
    assert_eq!(shop.ends.len(), 40);
    // The ten usual workers are there as soon as they have booted, the maximum of twenty after a second.
    let starts = shop.starts_of("Slow");
    assert!(starts.iter().filter(|at| **at < 3_500).count() >= 10, "{starts:?}");
    assert!(shop.done("Slow") < 12_000, "done at {}", shop.done("Slow"));
    assert!(shop.launches.len() <= config().pool_max_size, "{} processes", shop.launches.len());
}

#[test]
fn a_handful_of_quick_jobs_boots_nobody() {
    let mut shop = Shop::open(native());
    let before = shop.launches.len();
    shop.push(20, task("Quick", 3));
    shop.until(3_000);
    assert_eq!((shop.ends.len(), shop.launches.len()), (20, before));
    shop.push(2_000, task("Quick", 3));
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 2_020);
    assert!(shop.launches.len() > before, "a flood of them does");
}

#[test]
fn whoever_rings_is_not_kept_waiting() {
    let mut shop = Shop::open(native());
    shop.until(60_000);
    shop.push(1, task("Quick", 5));
    shop.feed(Event::Rung);
    shop.until(62_000);
    let late = shop.starts[0].at - 60_000;
    assert!(late <= 4, "started after {late} ms");
}

#[test]
fn a_queue_that_does_not_answer_is_asked_ever_more_rarely() {
    let mut shop = Shop::open(native());
    shop.until(10_000);
    shop.broken = true;
    let before = shop.looks.len();
    shop.until(130_000);
    let looks = shop.looks.len() - before;
    assert!((20..45).contains(&looks), "{looks} looks in two minutes");
    shop.broken = false;
    shop.push(1, task("Quick", 5));
    shop.until(136_000);
    assert_eq!(shop.ends.len(), 1);
}

#[test]
fn a_job_that_is_to_run_isolated_has_the_process_to_itself() {
    let mut shop = Shop::open(native());
    let hints = Hints { isolated: Some(true), ..Hints::default() };
    shop.push(1, Task { hints, ..task("Alone", 50) });
    shop.until(5_000);
    let worker = shop.starts[0].worker;
    assert!(shop.stops.contains(&(worker, StopReason::Recycle)), "{:?}", shop.stops);
    assert_eq!((shop.ends.len(), shop.ends[0].1), (1, Outcome::Done));
}

#[test]
fn a_job_that_may_take_long_costs_no_process() {
    let mut shop = Shop::open(native());
    let hints = Hints { estimated_duration: Some(Duration::from_secs(600)), ..Hints::default() };
    shop.push(5, Task { hints, ..task("Long", 50) });
    shop.until(5_000);
    assert_eq!((shop.ends.len(), shop.stops.len()), (5, 0));
}

#[test]
fn what_dies_with_its_process_is_left_to_the_queue() {
    let mut shop = Shop::open(native());
    shop.push(1, task("Slow", 60_000));
    shop.until(5_000);
    let worker = shop.starts[0].worker;
    shop.feed(Event::Gone { worker, cause: Cause::Signal(9), unread: false });
    assert_eq!((shop.ends.len(), shop.ends[0].1), (1, Outcome::Left));
}

#[test]
fn a_job_that_nobody_was_sent_for_ends_its_process() {
    let mut shop = Shop::open(native());
    shop.push(1, task("Slow", 60_000));
    shop.until(5_000);
    let worker = shop.starts[0].worker;
    let job = shop.reserve_one(task("Odd", 5));
    shop.feed(Event::Popped { worker, job });
    shop.until(5_100);
    assert!(matches!(&shop.kills[..], [(killed, Cause::Protocol(_))] if *killed == worker));
    assert!(shop.ends.iter().all(|(_, outcome, _)| *outcome == Outcome::Left) && shop.ends.len() == 2);
}

#[test]
fn a_drain_waits_for_whoever_looks() {
    let mut shop = Shop::open(native());
    shop.push(1, task("Slow", 2_000));
    shop.until(1_500);
    shop.feed(Event::Drain);
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 1);
    assert!(shop.exited.is_some_and(|at| at < 4_200), "{:?}", shop.exited);
}

#[test]
fn whoever_leaves_after_its_job_is_replaced_meanwhile() {
    let mut shop = Shop::open(Config { pool_min_idle: 1, ..native() });
    let hints = Hints { isolated: Some(true), ..Hints::default() };
    shop.push(3, Task { hints, ..task("Alone", 60) });
    shop.until(5_000);
    assert_eq!(shop.ends.len(), 3);
    let starts = shop.starts_of("Alone");
    // The replacement is half booted when the job ends.
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] < 60 + BOOT), "{starts:?}");
}
