//! Limits shared between hosts.

use super::*;
use crate::arbiter::Claim;
use crate::schedule::{Limit, Rate};

fn inline(class: &'static str, ms: u64) -> Task {
    Task { hints: Hints { isolated: Some(false), ..Hints::default() }, ..task(class, ms) }
}

fn shared(limit: Limit) -> Config {
    let class_limits = [("One".to_owned(), limit)].into();
    Config { class_limits, class_shared: ["One".to_owned()].into(), ..config() }
}

fn at_once(most: usize) -> Limit {
    Limit { max_concurrent: Some(most), rate: None }
}

impl Shop {
    /// A request of another host.
    fn another(&mut self, limit: Limit, used: usize, want: usize) -> usize {
        let kept = self.shared.entry("class:One".to_owned()).or_default();
        kept.ask(self.now, "another", &Claim { limit, used, want, ..Claim::default() }).starts
    }
}

#[test]
fn what_another_host_has_is_left_to_it_and_all_else_flows() {
    let mut shop = Shop::open(shared(at_once(2)));
    assert_eq!(shop.another(at_once(2), 0, 1), 1);
    shop.push(5, inline("One", 400));
    shop.push(50, inline("Other", 5));
    shop.until(4_000);
    assert_eq!(shop.starts_of("One").len(), 5, "{:?}", shop.starts_of("One"));
    assert!(shop.starts_of("One").windows(2).all(|pair| pair[1] >= pair[0] + 400), "one at a time");
    // Its next job takes the place of the last at once.
    assert!(shop.done("One") < 1_000 + 5 * 410 + 200, "done at {}", shop.done("One"));
    assert!(shop.done("Other") < 2_500);
    // Unused starts soon go to another host.
    assert_eq!(shop.another(at_once(2), 1, 9), 1);
}

#[test]
fn while_nobody_answers_none_starts() {
    let mut shop = Shop::open(shared(at_once(2)));
    shop.push(4, inline("One", 2_000));
    shop.until(1_500);
    assert_eq!(shop.starts_of("One").len(), 2);
    assert!(!shop.schedule.is_unheard());
    shop.unheard = true;
    shop.push(20, inline("Other", 5));
    shop.until(20_000);
    assert_eq!((shop.starts_of("One").len(), shop.starts_of("Other").len()), (2, 20));
    assert!(shop.schedule.is_unheard());
    shop.unheard = false;
    shop.until(30_000);
    assert_eq!((shop.ends.len(), shop.schedule.is_unheard()), (24, false));
}

#[test]
fn a_rate_is_asked_for_start_by_start() {
    let limit = Limit { max_concurrent: None, rate: Some(Rate { jobs: 2, per_ms: 1_000, burst: 2 }) };
    let mut shop = Shop::open(shared(limit));
    assert_eq!(shop.another(limit, 0, 1), 1);
    shop.push(6, inline("One", 5));
    shop.until(10_000);
    let starts = shop.starts_of("One");
    assert!(starts[1] >= 1_400 && starts[5] >= 3_400 && starts[5] < 5_000, "{starts:?}");
}

#[test]
fn what_runs_elsewhere_after_a_restart_counts_there() {
    let mut shop = Shop::open(shared(at_once(1)));
    shop.push(1, inline("One", 100_000));
    shop.until(50_000);
    // The lease has been renewed.
    assert_eq!(shop.another(at_once(1), 0, 1), 0);
}
