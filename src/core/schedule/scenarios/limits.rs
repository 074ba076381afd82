//! Limits of classes and queues.

use super::*;
use crate::schedule::{Defaults, Limit, Rate};

fn at_once(most: usize) -> Limit {
    Limit { max_concurrent: Some(most), rate: None }
}

fn rate(jobs: u32, per_ms: u64, burst: u32) -> Limit {
    Limit { max_concurrent: None, rate: Some(Rate { jobs, per_ms, burst }) }
}

fn of_class(name: &str, limit: Limit) -> Config {
    Config { class_limits: [(name.to_owned(), limit)].into(), ..config() }
}

fn of_queue(name: &str, limit: Limit) -> Config {
    let queues = vec![name.to_owned(), "default".to_owned()];
    Config { queues, queue_limits: [(name.to_owned(), limit)].into(), ..config() }
}

fn alone(class: &'static str, ms: u64) -> Task {
    Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task(class, ms) }
}

fn inline(class: &'static str, ms: u64) -> Task {
    Task { hints: Hints { isolated: Some(false), ..Hints::default() }, ..task(class, ms) }
}

impl Shop {
    /// Maximum of concurrent jobs of a class that take `ms` each.
    fn most_at_once(&self, class: &str, ms: u64) -> usize {
        let starts = self.starts_of(class);
        let at_once = |at: u64| starts.iter().filter(|start| (**start..**start + ms).contains(&at)).count();
        starts.iter().map(|at| at_once(*at)).max().unwrap_or(0)
    }
}

#[test]
fn one_at_a_time_and_others_flow_past() {
    for limited in [task("One", 500), inline("One", 500), alone("One", 500)] {
        let mut shop = Shop::open(of_class("One", at_once(1)));
        shop.push(10, limited);
        shop.push(200, inline("Other", 5));
        shop.until(30_000);
        assert_eq!(shop.ends.len(), 210);
        assert_eq!(shop.most_at_once("One", 500), 1);
        assert!(shop.done("Other") < 2_500, "others were done at {}", shop.done("Other"));
        assert!(shop.done("One") < 1_000 + 10 * (500 + BOOT + 50), "done at {}", shop.done("One"));
    }
}

#[test]
fn within_a_class_order_is_kept() {
    let mut shop = Shop::open(of_class("One", at_once(1)));
    shop.push(20, inline("One", 50));
    shop.until(30_000);
    let order: Vec<JobId> = shop.ends.iter().map(|(job, ..)| *job).collect();
    assert_eq!(order, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_leaves_its_class_to_others() {
    let mut shop = Shop::open(of_queue("mail", at_once(2)));
    shop.push(20, Task { queue: "mail", ..inline("Send", 300) });
    shop.push(20, inline("Send", 300));
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 40);
    let of_queue = |start: &&Start| shop.tasks.values().any(|task| task.class == start.class);
    assert!(shop.starts.iter().filter(of_queue).count() == 40);
    // Jobs of the other queue did not wait for the ten batches of two of the first.
    let others = shop.ends.iter().filter(|(job, ..)| shop.tasks[job].queue == "default").map(|(.., at)| *at).max();
    assert!(others < Some(3_000), "{others:?}");
    let mail = shop.ends.iter().filter(|(job, ..)| shop.tasks[job].queue == "mail").map(|(.., at)| *at).max();
    assert!((Some(1_000 + 3_000)..Some(6_000)).contains(&mail), "{mail:?}");
}

#[test]
fn a_rate_holds_and_nobody_is_late() {
    let mut shop = Shop::open(of_class("Call", rate(2, 1_000, 3)));
    shop.until(10_000);
    shop.push(13, inline("Call", 5));
    shop.push(1, inline("Other", 5));
    shop.until(60_000);
    let starts = shop.starts_of("Call");
    assert!(starts[2] <= 10_000 + 2 * BOOT, "{starts:?}");
    for (at, start) in starts.iter().enumerate().skip(3) {
        let due = 10_000 + (at as u64 - 2) * 500;
        assert!((due..due + 50).contains(start), "the {at}th started at {start} and not at {due}");
    }
    assert!(shop.done("Other") < 10_500);
}

#[test]
fn what_is_held_back_does_not_fill_the_room() {
    let queues = vec!["slow".to_owned(), "default".to_owned()];
    let mut config = Config { queues, max_waiting: 30, ..of_class("One", at_once(1)) };
    config.class_limits.insert("One".to_owned(), at_once(1));
    let mut shop = Shop::open(config);
    shop.push(500, Task { queue: "slow", ..inline("One", 1_000) });
    shop.until(3_000);
    let waiting: usize = shop.schedule.waiting().iter().map(|waiting| waiting.len()).sum();
    assert!(waiting <= 10, "{waiting} wait");
    let slow = ["slow".to_owned(), "default".to_owned()];
    assert_eq!(shop.schedule.open_queues(&slow), [&slow[1]]);
    assert!(shop.schedule.wanted(shop.now()) > 0, "others are still asked for");
    shop.until(600_000);
    assert_eq!((shop.ends.len(), shop.most_at_once("One", 1_000)), (500, 1));
}

#[test]
fn other_limits_count_at_once() {
    let mut shop = Shop::open(of_class("One", at_once(1)));
    shop.push(40, inline("One", 1_000));
    shop.until(2_500);
    assert_eq!(shop.schedule.running_count(), 1);
    shop.schedule.configure(of_class("One", at_once(4)));
    shop.feed(Event::Tick);
    shop.until(2_900);
    assert_eq!(shop.schedule.running_count(), 4);
    // Running jobs above a lower limit continue, and no other starts.
    shop.schedule.configure(of_class("One", at_once(2)));
    shop.feed(Event::Tick);
    let before = shop.starts.len();
    shop.until(2_950);
    assert_eq!(shop.starts.len(), before);
    shop.until(8_000);
    assert_eq!(shop.schedule.running_count(), 2);
    shop.schedule.configure(config());
    shop.feed(Event::Tick);
    shop.until(12_000);
    assert_eq!(shop.ends.len(), 40);
}

#[test]
fn what_runs_elsewhere_counts_after_a_restart() {
    let mut shop = Shop::open(of_class("One", at_once(2)));
    let spec = shop.reserve_one(alone("One", 5_000));
    let job = crate::schedule::AdoptedJob { spec, kind: JobKind::Run, ran_ms: 500 };
    let worker = 1_000;
    shop.tiers.insert(worker, Tier::Isolated);
    let adopted = crate::schedule::Adopted { worker, tier: Tier::Isolated, job: Some(job) };
    shop.feed(Event::Adopted(vec![adopted]));
    shop.push(5, inline("One", 1_000));
    shop.until(2_500);
    assert_eq!(shop.schedule.running_count(), 2);
    let done = Done { deleted: true, ..Done::default() };
    shop.feed(Event::Ready { worker, done: Some(done) });
    shop.until(3_100);
    assert_eq!(shop.schedule.running_count(), 2);
    shop.until(20_000);
    assert_eq!(shop.ends.len(), 6);
}

#[test]
fn a_queue_may_have_less_waiting() {
    let mut shop =
        Shop::open(Config { queue_waiting: [("mail".to_owned(), 4)].into(), ..of_queue("mail", at_once(1)) });
    shop.push(100, Task { queue: "mail", ..inline("Send", 1_000) });
    shop.until(3_000);
    let waiting: usize = shop.schedule.waiting().iter().map(|waiting| waiting.len()).sum();
    assert!(waiting <= 4, "{waiting} wait");
}

#[test]
fn a_class_may_have_a_tier_and_memory_of_its_own() {
    let here = Defaults { tier: Some(Tier::Isolated), ..Defaults::default() };
    let large = Defaults { memory_mb: Some(900), ..Defaults::default() };
    let class_defaults = [("Here".to_owned(), here), ("Large".to_owned(), large)].into();
    let mut shop = Shop::open(Config { class_defaults, ..config() });
    let long = Hints { estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() };
    for (class, hints) in [("Here", Hints::default()), ("Large", Hints::default()), ("Here", long), ("Other", long)] {
        shop.push(1, Task { hints, ..task(class, 10) });
    }
    shop.until(5_000);
    let tiers = |class: &str| {
        let of_class = shop.starts.iter().filter(|start| start.class == class);
        of_class.map(|start| shop.tiers[&start.worker]).collect::<Vec<_>>()
    };
    // The job's own declaration takes precedence.
    assert_eq!(tiers("Here").iter().filter(|tier| **tier == Tier::Isolated).count(), 1);
    assert_eq!((tiers("Large"), tiers("Other")), (vec![Tier::Isolated], vec![Tier::Pooled]));
}

/// What is said of the class takes precedence, value by value.
#[test]
fn a_queue_may_have_a_tier_memory_and_a_priority_of_its_own() {
    let queues = vec!["mail".to_owned(), "default".to_owned()];
    let alone = Defaults { tier: Some(Tier::Isolated), priority: Some(5), ..Defaults::default() };
    let beside = Defaults { tier: Some(Tier::Pooled), ..Defaults::default() };
    let large = Defaults { memory_mb: Some(900), ..Defaults::default() };
    let queue_defaults = [("mail".to_owned(), alone), ("default".to_owned(), large)].into();
    let class_defaults = [("Pooled".to_owned(), beside)].into();
    let mut shop = Shop::open(Config { queues, queue_defaults, class_defaults, ..config() });
    for (class, queue) in [("One", "mail"), ("Pooled", "mail"), ("Two", "default")] {
        shop.push(1, Task { queue, ..task(class, 10) });
    }
    shop.until(5_000);
    let tier = |class: &str| {
        let start = shop.starts.iter().find(|start| start.class == class);
        start.map(|start| shop.tiers[&start.worker])
    };
    assert_eq!(tier("One"), Some(Tier::Isolated));
    assert_eq!(tier("Pooled"), Some(Tier::Pooled));
    assert_eq!(tier("Two"), Some(Tier::Isolated), "it takes more memory than a pooled worker may");
    assert_eq!(shop.schedule.config.defaults("Pooled", "mail").priority, Some(5));
}

#[test]
fn a_class_that_is_held_starts_nothing_and_others_go_on() {
    for held in [task("One", 500), inline("One", 500), alone("One", 500)] {
        let mut shop = Shop::open(config());
        shop.push(3, held.clone());
        shop.until(1_005);
        shop.schedule.configure(of_class("One", at_once(0)));
        shop.feed(Event::Narrowed);
        shop.until(5_000);
        let started = shop.starts_of("One").len();
        shop.push(10, held.clone());
        shop.push(50, inline("Other", 5));
        shop.until(20_000);
        assert_eq!(shop.starts_of("One").len(), started, "{:?}", held.hints);
        assert!(shop.done("Other") < 6_000);
        shop.schedule.configure(config());
        shop.feed(Event::Narrowed);
        shop.until(40_000);
        assert_eq!(shop.ends.len(), 63);
    }
}

#[test]
fn a_class_may_have_a_priority_of_its_own() {
    let of = |class: &str, priority| (class.to_owned(), Defaults { priority: Some(priority), ..Defaults::default() });
    let class_defaults = [of("First", 3), of("Last", -3)].into();
    let mut shop = Shop::open(Config { pool_size: 1, pool_max_size: 1, class_defaults, ..config() });
    let long = |class, priority| Task {
        hints: Hints { estimated_duration: Some(Duration::from_secs(2)), priority, ..Hints::default() },
        ..task(class, 2_000)
    };
    shop.push(1, long("Runs", None));
    shop.until(1_000);
    for (class, priority) in [("Last", None), ("Other", None), ("First", None), ("Last", Some(5))] {
        shop.push(1, long(class, priority));
    }
    shop.until(30_000);
    let order: Vec<&str> = shop.starts.iter().map(|start| start.class).collect();
    assert_eq!(
        order,
        ["Runs", "Last", "First", "Other", "Last"],
        "what a job declares goes before what is said of its class"
    );
}

#[test]
fn a_class_may_have_a_timeout_of_its_own_and_so_may_a_queue() {
    let queues = vec!["mail".to_owned(), "default".to_owned()];
    let of = |name: &str, timeout| (name.to_owned(), Defaults { timeout: Some(timeout), ..Defaults::default() });
    let (class_defaults, queue_defaults) = ([of("Slow", 5)].into(), [of("mail", 2)].into());
    let mut config = Config { queues, class_defaults, queue_defaults, ..config() };
    (config.timeout_ms, config.grace_ms) = (1_000, 100);
    let mut shop = Shop::open(config);
    for (class, queue) in [("Slow", "mail"), ("Other", "mail"), ("Other", "default")] {
        shop.push(1, Task { queue, ms: u64::MAX, ..inline(class, 10) });
    }
    shop.until(20_000);
    let of = |kill: &(WorkerId, Cause)| match kill.1 {
        Cause::Timeout(ms) => ms,
        _ => 0,
    };
    let mut killed: Vec<u64> = shop.kills.iter().map(of).collect();
    killed.sort_unstable();
    assert_eq!(killed, [1_000, 2_000, 5_000]);
}

/// A declaration of a class takes precedence over the settings.
#[test]
fn what_a_class_declares_counts_for_each_of_its_values() {
    let declared = LimitHint { concurrent: Some(1), by: Some("tenant".to_owned()), ..LimitHint::default() };
    let mut shop = Shop::open(of_class("One", at_once(5)));
    shop.declared.insert("One", declared);
    for value in [1, 1, 1, 2, 2, 3] {
        shop.push(1, Task { key: Some(value), ..alone("One", 500) });
    }
    shop.push(1, alone("One", 500));
    shop.until(10_000);
    assert_eq!(shop.most_at_once("One", 500), 4);
    assert!(shop.done("One") < 1_000 + 3 * (550 + BOOT), "done at {}", shop.done("One"));
    assert!(shop.done("One") >= 1_000 + 3 * 500);
    assert_eq!(shop.ends.len(), 7);
}

#[test]
fn there_is_room_for_so_many_values_and_the_others_share_one_limit() {
    let by = [("One".to_owned(), "tenant".to_owned())].into();
    let mut shop = Shop::open(Config { class_by: by, ..of_class("One", at_once(1)) });
    for value in 1..=20 {
        shop.push(1, Task { key: Some(value), ..alone("One", 500) });
    }
    shop.until(1_300);
    let most = crate::schedule::gates::VALUES;
    assert_eq!(shop.starts_of("One").len(), most + 1);
    shop.until(20_000);
    assert_eq!(shop.ends.len(), 20);
    // Once their gates are not needed, there is room again.
    for value in 21..21 + most as u64 {
        shop.push(1, Task { key: Some(value), ..alone("One", 500) });
    }
    shop.until(20_300);
    assert_eq!(shop.schedule.running_count(), most);
}
