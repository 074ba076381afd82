//! Guarantees of a reload.

use super::*;
use crate::routing::PerTier;
use crate::schedule::Standing;

impl Shop {
    fn pool(&self, state: &str) -> Vec<WorkerId> {
        let pooled = self.schedule.workers().filter(|worker| worker.tier == Tier::Pooled && worker.state == state);
        pooled.map(|worker| worker.id).collect()
    }
}

fn five_idle() -> Shop {
    let mut shop = Shop::open(Config { pool_min_idle: 5, ..config() });
    shop.until(2_000);
    assert_eq!(shop.pool("idle").len(), 5);
    shop
}

#[test]
fn idle_pooled_workers_are_replaced_one_by_one() {
    let mut shop = five_idle();
    let before = shop.pool("idle");
    shop.feed(Event::Reload);
    for ms in 2_000..4_000 {
        shop.until(ms);
        assert!(shop.pool("idle").len() >= 4, "more than one is being replaced at {ms} ms");
    }
    let after = shop.pool("idle");
    assert_eq!(after.len(), 5);
    assert!(before.iter().all(|worker| !after.contains(worker)));
    let pooled = shop.stops.iter().filter(|(worker, _)| shop.tiers[worker] == Tier::Pooled);
    assert_eq!(pooled.clone().count(), 5);
    assert!(pooled.clone().all(|(_, reason)| *reason == StopReason::Restart));
    // Each stops only once the one before it has been replaced.
    let starts: Vec<_> = shop.launches.iter().filter(|(at, _)| *at >= 2_000).map(|(at, _)| *at).collect();
    assert!(starts.windows(2).filter(|pair| pair[1] - pair[0] >= BOOT).count() >= 4, "{starts:?}");
}

#[test]
fn a_restart_replaces_idle_ones_at_once_even_amid_a_reload() {
    for reload in [false, true] {
        let mut shop = five_idle();
        if reload {
            shop.feed(Event::Reload);
            shop.until(2_000 + BOOT + 10);
        }
        let at = shop.now;
        shop.feed(Event::Restart);
        assert!(shop.pool("idle").is_empty());
        // A worker that was booting has to leave first.
        shop.until(at + 2 * BOOT + 10);
        assert_eq!(shop.pool("idle").len(), 5);
    }
}

#[test]
fn a_pool_that_is_never_idle_is_replaced_all_the_same_and_drops_no_job() {
    let mut shop = Shop::open(Config { pool_size: 4, pool_max_size: 4, ..config() });
    let pooled = Hints { estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() };
    shop.push(200, Task { hints: pooled, ..task("Steady", 300) });
    shop.until(1_500);
    let before = shop.pool("busy");
    assert_eq!(before.len(), 4);
    shop.feed(Event::Reload);
    for ms in 1_500..4_000 {
        shop.until(ms);
        assert!(shop.pool("busy").len() + shop.pool("idle").len() >= 3, "the pool is not there at {ms} ms");
    }
    assert!(shop.schedule.workers().all(|worker| !before.contains(&worker.id)), "an old one is still there");
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 200);
    assert!(shop.ends.iter().all(|(_, outcome, _)| *outcome == Outcome::Done));
}

#[test]
fn a_reload_that_breaks_the_boot_costs_one_worker() {
    let mut shop = five_idle();
    shop.broken = true;
    shop.feed(Event::Reload);
    shop.until(300_000);
    assert_eq!(shop.pool("idle").len(), 4);
    // Once the app boots again, the others follow.
    shop.broken = false;
    let before = shop.pool("idle");
    shop.until(400_000);
    let after = shop.pool("idle");
    assert_eq!(after.len(), 5);
    assert!(before.iter().all(|worker| !after.contains(worker)));
}

#[test]
fn lanes_are_replaced_at_once() {
    let mut shop = five_idle();
    shop.feed(Event::Reload);
    shop.until(2_000 + BOOT + 5);
    let stopped = shop.stops.iter().filter(|(worker, _)| shop.tiers[worker] == Tier::Inline).count();
    assert_eq!((stopped, shop.live(Tier::Inline)), (1, 1));
}

#[test]
fn other_settings_count_from_the_next_event_on() {
    let mut shop = five_idle();
    shop.schedule.configure(Config { pool_min_idle: 1, max_concurrent: PerTier::new(100, 20, 2), ..config() });
    shop.feed(Event::Tick);
    shop.until(60_000);
    assert_eq!(shop.live(Tier::Pooled), 1);
    shop.push(5, Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 3_000) });
    shop.until(61_000);
    assert_eq!(shop.live(Tier::Isolated), 2);
    shop.schedule.configure(Config { pool_min_idle: 3, ..config() });
    shop.feed(Event::Reload);
    shop.until(62_000);
    assert_eq!(shop.live(Tier::Isolated), 5);
    assert_eq!(shop.pool("idle").len(), 3);
    shop.until(80_000);
    assert_eq!(shop.ends.len(), 5);
}

#[test]
fn who_looks_sees_what_waits_and_how_far_a_stop_is() {
    let mut shop = Shop::open(Config { max_concurrent: PerTier::new(100, 20, 1), ..config() });
    shop.push(4, Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 3_000) });
    shop.until(1_500);
    assert_eq!(shop.schedule.running_count(), 1);
    let (count, first) = shop.schedule.first_waiting(shop.now(), Tier::Isolated, 2);
    assert_eq!((count, first.len()), (3, 2));
    assert!(first.iter().all(|(id, ms)| [2, 3].contains(id) && (400..=500).contains(ms)), "{first:?}");
    assert_eq!(shop.schedule.standing(), Standing::Running);
    shop.feed(Event::Drain);
    assert_eq!(shop.schedule.standing(), Standing::Draining(1_500 + 30_000));
    assert_eq!(shop.schedule.first_waiting(shop.now(), Tier::Isolated, 2).0, 0);
}

#[test]
fn one_worker_is_replaced_after_its_job() {
    let mut shop = five_idle();
    let all = shop.pool("idle");
    shop.feed(Event::Recycle(all[0]));
    assert_eq!(shop.stops.last(), Some(&(all[0], StopReason::Recycle)));
    shop.push(5, task("Steady", 300));
    shop.until(2_000 + BOOT + 50);
    let busy = shop.pool("busy")[0];
    shop.feed(Event::Recycle(busy));
    assert_eq!(shop.pool("busy").iter().filter(|worker| **worker == busy).count(), 1, "its job is left alone");
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 5);
    assert!(shop.stops.contains(&(busy, StopReason::Recycle)));
    assert!(shop.pool("idle").len() >= 5, "others have taken their places");
}

#[test]
fn a_pool_that_is_made_smaller_lets_those_go_that_are_too_many_and_ends_no_job() {
    let mut shop = Shop::open(config());
    let pooled = Hints { estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() };
    shop.push(200, Task { hints: pooled, ..task("Steady", 300) });
    shop.until(2_500);
    assert!(shop.pool("busy").len() >= 8, "{:?}", shop.pool("busy"));
    let most = PerTier::new(100, 2, 5);
    shop.schedule.configure(Config { pool_size: 2, pool_max_size: 2, max_concurrent: most, ..config() });
    shop.feed(Event::Narrowed);
    shop.until(2_900);
    assert!(shop.pool("busy").len() + shop.pool("idle").len() <= 2, "{:?}", shop.pool("busy"));
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 200);
}
