//! Sleep: when an app falls asleep, and how it wakes.

use super::*;

const IDLE: u64 = 60_000;

fn sleepy() -> Config {
    Config { idle_ms: Some(IDLE), ..config() }
}

/// A job for a lane.
fn quick() -> Task {
    Task { hints: Hints { isolated: Some(false), ..Hints::default() }, ..task("Quick", 5) }
}

/// A shop that has run a job and sleeps.
fn asleep() -> Shop {
    let mut shop = Shop::open(sleepy());
    shop.push(1, quick());
    shop.until(2 * IDLE);
    assert!(shop.schedule.is_asleep());
    shop
}

fn nobody(shop: &Shop) -> bool {
    Tier::ALL.into_iter().all(|tier| shop.live(tier) == 0)
}

#[test]
fn an_app_without_a_job_sleeps_and_nothing_wakes_it_but_a_job() {
    let mut shop = Shop::open(sleepy());
    shop.push(1, task("Slow", 2_000));
    shop.until(IDLE + 2_900);
    assert!(!nobody(&shop) && shop.sleeps.is_empty(), "it is not time yet");
    shop.until(IDLE + 4_000);
    assert!(nobody(&shop) && shop.sleeps.len() == 1);
    assert_eq!(shop.schedule.asleep_since(), Some(shop.sleeps[0] / 1000));
    assert_eq!(shop.schedule.next_wake(), None, "nothing is looked after");
    let launched = shop.launches.len();
    for event in [Event::Rung, Event::Empty { settled: 1 }, Event::Tick, Event::Restart, Event::Reload] {
        shop.feed(event);
    }
    shop.until(10 * IDLE);
    assert!(shop.schedule.is_asleep() && shop.launches.len() == launched);
    // Wakes with one lane only: the job's class is known.
    shop.push(1, quick());
    shop.until(12 * IDLE);
    assert!(shop.sleeps.len() == 2 && shop.ends.len() == 2, "{:?}", shop.sleeps);
}

#[test]
fn a_job_that_wakes_starts_when_its_process_is_there() {
    let mut shop = asleep();
    let now = shop.now;
    shop.push(1, quick());
    assert!(!shop.schedule.is_asleep() && shop.schedule.is_waking());
    shop.until(now + BOOT + 10);
    let late = shop.starts[1].at - now;
    assert!(late <= BOOT + 2, "started after {late} ms");
    // It was an inline job: no pooled worker is booted for it.
    assert_eq!((shop.live(Tier::Inline), shop.live(Tier::Pooled)), (1, 0));
}

#[test]
fn a_delayed_job_within_sight_keeps_it_awake() {
    let mut shop = Shop::open(sleepy());
    shop.sight = Some(IDLE);
    shop.until(IDLE + 30_000);
    assert!(shop.sleeps.is_empty());
    shop.sight = Some(IDLE + 1);
    shop.until(4 * IDLE);
    assert_eq!(shop.sleeps.len(), 1, "one that is far off does not");
    // Where no sight can be determined, the look is repeated.
    let mut shop = Shop::open(sleepy());
    shop.sight = Some(0);
    shop.until(3 * IDLE);
    assert!(shop.sleeps.is_empty());
}

#[test]
fn what_does_not_boot_gives_its_jobs_back_and_takes_none_until_something_does() {
    let mut shop = asleep();
    shop.broken = true;
    shop.push(3, quick());
    shop.until(shop.now + 10_000);
    assert_eq!((shop.queue.len(), shop.schedule.job_count(), shop.starts.len()), (3, 0, 1));
    assert!(!shop.schedule.is_asleep(), "it is not well");
    assert!(shop.launches.len() < 20, "it is tried again and again, more and more seldom");
    shop.broken = false;
    shop.at(shop.now + 1, Event::Booted);
    shop.until(shop.now + 60_000);
    assert_eq!(shop.ends.len(), 4);
}

#[test]
fn what_does_not_boot_keeps_its_jobs_where_giving_back_costs_an_attempt() {
    let mut shop = Shop::open(Config { ahead: false, ..sleepy() });
    shop.until(2 * IDLE);
    shop.broken = true;
    shop.push(2, quick());
    shop.until(shop.now + 10_000);
    assert!(shop.schedule.job_count() > 0);
    shop.broken = false;
    shop.at(shop.now + 1, Event::Booted);
    shop.until(shop.now + 60_000);
    assert_eq!(shop.ends.len(), 2);
}

#[test]
fn an_app_that_has_moved_gives_back_what_was_reserved() {
    let mut shop = asleep();
    shop.push(1, quick());
    shop.feed_once(Event::Moved);
    assert_eq!((shop.queue.len(), shop.schedule.job_count()), (1, 0));
    assert_eq!(shop.schedule.wanted(shop.now()), 0, "not before it is elsewhere");
    shop.until(shop.now + 1_000);
    assert_eq!(shop.ends.len(), 2);
}

#[test]
fn a_deploy_while_it_slept_has_classes_asked_anew() {
    let mut shop = asleep();
    shop.push(1, task("App\\Jobs\\Quick", 5));
    let mut out = Vec::new();
    shop.schedule.on(shop.now(), Event::Renewed, &mut out);
    assert_eq!(out, [], "nobody is there to be asked");
    shop.schedule.on(shop.now(), Event::Booted, &mut out);
    assert!(out.contains(&Action::Inspect(vec!["App\\Jobs\\Quick".to_owned()])), "{out:?}");
}

#[test]
fn held_apps_and_settings_that_say_so_keep_it_awake() {
    for (down, paused) in [(true, vec![]), (false, vec!["default".to_owned()])] {
        let mut shop = asleep();
        shop.feed_once(Event::State { down, paused });
        assert!(!shop.schedule.is_asleep(), "somebody has to say when that ends");
    }
    let mut shop = asleep();
    shop.schedule.configure(config());
    shop.feed(Event::Tick);
    shop.until(shop.now + 1_000);
    assert_eq!((shop.live(Tier::Inline), shop.live(Tier::Pooled)), (1, 2));
    let mut shop = Shop::open(Config { native: true, ..sleepy() });
    shop.until(10 * IDLE);
    assert!(shop.sleeps.is_empty() && shop.live(Tier::Pooled) == 1, "nobody else can tell of its jobs");
}

#[test]
fn the_pool_is_kept_for_those_who_use_it() {
    let mut shop = Shop::open(sleepy());
    let pooled = Task {
        hints: Hints { estimated_duration: Some(Duration::from_secs(5)), ..Hints::default() },
        ..task("Report", 20)
    };
    for minute in 0..10 {
        shop.until(10_000 + minute * IDLE / 2);
        shop.push(1, quick());
    }
    assert_eq!((shop.live(Tier::Inline), shop.live(Tier::Pooled)), (1, 0), "none has run a pooled job for a while");
    let now = shop.now;
    shop.push(1, pooled);
    shop.until(now + 1_000);
    assert_eq!(shop.live(Tier::Pooled), 3, "the one that ran it, and as many as are kept");
    assert!(shop.starts_of("Report")[0] <= now + BOOT + 2);
}

#[test]
fn the_pool_is_back_before_its_usual_hour_and_gone_again_after_it() {
    let mut shop = Shop::open(sleepy());
    let awake = |until: u64, shop: &mut Shop| {
        while shop.now < until {
            shop.until(shop.now + IDLE / 2);
            shop.push(1, quick());
        }
        shop.live(Tier::Pooled)
    };
    assert_eq!(awake(5 * IDLE, &mut shop), 0);
    shop.feed(Event::PoolExpected(3 * IDLE));
    assert_eq!(awake(shop.now + 3 * IDLE, &mut shop), 2, "though no job came yet");
    assert_eq!(awake(shop.now + 3 * IDLE, &mut shop), 0, "none came");
    let mut shop = asleep();
    shop.feed(Event::PoolExpected(3 * IDLE));
    shop.until(shop.now + IDLE);
    assert!(shop.schedule.is_asleep() && nobody(&shop), "nobody is woken for that");
}
