//! Weights of queues, and turns of tenants.

use super::*;

fn inline(ms: u64) -> Task {
    Task { hints: Hints { isolated: Some(false), ..Hints::default() }, ..task("Job", ms) }
}

fn weighted(weights: &[(&str, u32)]) -> Config {
    Config {
        queues: weights.iter().map(|(name, _)| (*name).to_owned()).collect(),
        queue_weights: weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect(),
        max_concurrent: crate::routing::PerTier::new(2, 20, 5),
        ..config()
    }
}

impl Shop {
    /// Of the first jobs that ended, the number per queue.
    fn ended(&self, first: usize) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (job, ..) in self.ends.iter().take(first) {
            *counts.entry(self.tasks[job].queue).or_default() += 1;
        }
        counts
    }
}

#[test]
fn each_queue_gets_its_share_however_much_there_is_of_another() {
    let mut shop = Shop::open(weighted(&[("high", 5), ("default", 2), ("low", 1)]));
    for queue in ["low", "default", "high"] {
        shop.queue.extend(std::iter::repeat_n(Task { queue, ..inline(20) }, 2_000));
    }
    shop.push(0, inline(1));
    shop.until(120_000);
    assert_eq!(shop.ends.len(), 6_000);
    for first in [400, 800, 1_600] {
        let ended = shop.ended(first);
        for (queue, weight) in [("high", 5), ("default", 2), ("low", 1)] {
            let due = first * weight / 8;
            assert!(ended[queue].abs_diff(due) <= 8 * 8, "{queue} has had {} of {first} and not {due}", ended[queue]);
        }
    }
}

#[test]
fn a_queue_without_work_saves_nothing_up() {
    let mut shop = Shop::open(weighted(&[("high", 1), ("low", 1)]));
    shop.push(500, Task { queue: "low", ..inline(20) });
    shop.until(4_000);
    let before = shop.ends.len();
    assert!(before > 100, "{before}");
    shop.push(500, Task { queue: "high", ..inline(20) });
    shop.until(5_000);
    let of_low = shop.ends[before..].iter().filter(|(job, ..)| shop.tasks[job].queue == "low").count();
    let all = shop.ends.len() - before;
    assert!(of_low * 10 > all * 3, "{of_low} of {all}");
}

#[test]
fn without_weights_the_order_is_strict() {
    let mut shop = Shop::open(Config { queue_weights: BTreeMap::new(), ..weighted(&[("high", 1), ("low", 1)]) });
    shop.queue.extend(std::iter::repeat_n(Task { queue: "low", ..inline(20) }, 300));
    shop.push(300, Task { queue: "high", ..inline(20) });
    shop.until(60_000);
    let high = shop.ends.iter().take(300).filter(|(job, ..)| shop.tasks[job].queue == "high").count();
    assert!(high > 280, "{high}");
}

#[test]
fn the_jobs_of_one_tenant_do_not_hold_up_anothers() {
    let mut shop = Shop::open(Config { max_concurrent: crate::routing::PerTier::new(1, 20, 5), ..config() });
    shop.push(200, Task { tenant: Some(1), ..inline(100) });
    shop.until(3_000);
    let (before, at) = (shop.ends.len(), shop.now);
    shop.push(1, Task { tenant: Some(2), ..inline(100) });
    shop.until(60_000);
    let place = shop.ends.iter().position(|(job, ..)| shop.tasks[job].tenant == Some(2)).unwrap();
    assert!(place <= before + 2, "{place} and {before}");
    let late = shop.ends[place].2 - at;
    // The running job, one more of the other tenant, and its own.
    assert!(late <= 3 * 100 + 20, "done after {late} ms");
    assert_eq!(shop.ends.len(), 201);
}

#[test]
fn tenants_take_turns_and_each_keeps_its_order() {
    let mut shop = Shop::open(Config { max_concurrent: crate::routing::PerTier::new(1, 20, 5), ..config() });
    for tenant in 1..=3 {
        shop.queue.extend(std::iter::repeat_n(Task { tenant: Some(tenant), ..inline(50) }, 10));
    }
    shop.push(0, inline(1));
    shop.until(30_000);
    let tenants: Vec<u64> = shop.ends.iter().map(|(job, ..)| shop.tasks[job].tenant.unwrap()).collect();
    // Except for the first few, which were there alone.
    for window in tenants[3..27].chunks(3) {
        let mut window = window.to_vec();
        window.sort_unstable();
        assert_eq!(window, [1, 2, 3], "{tenants:?}");
    }
    for tenant in 1..=3 {
        let own: Vec<JobId> =
            shop.ends.iter().map(|(job, ..)| *job).filter(|job| shop.tasks[job].tenant == Some(tenant)).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}
