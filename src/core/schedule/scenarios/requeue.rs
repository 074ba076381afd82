//! Jobs moved by operators.

use super::*;
use crate::schedule::Place;

impl Shop {
    fn requeue(&mut self, job: JobId, place: Place) {
        self.feed(Event::Requeue { job, place });
    }

    fn id_of(&self, class: &str) -> JobId {
        *self.tasks.iter().find(|(_, task)| task.class == class).unwrap().0
    }

    fn order(&self) -> Vec<&str> {
        self.starts.iter().map(|start| start.class).collect()
    }
}

/// A pool of one worker, in which one job runs for 5 s while these wait, in this order.
fn shop(waiting: &[&'static str]) -> Shop {
    let mut shop = Shop::open(Config { pool_size: 1, pool_max_size: 1, ..config() });
    let pooled = Hints { estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() };
    for class in ["Runs"].iter().chain(waiting) {
        shop.push(1, Task { hints: pooled, ..task(class, 5_000) });
    }
    shop.until(2_000);
    shop
}

#[test]
fn what_was_put_in_front_last_comes_first() {
    let mut shop = shop(&["A", "B", "C", "D"]);
    let [b, d, runs] = ["B", "D", "Runs"].map(|class| shop.id_of(class));
    shop.requeue(b, Place::Front(1));
    shop.requeue(d, Place::Front(2));
    // A repeated move has no effect, and a running job is left alone.
    shop.requeue(d, Place::Front(2));
    shop.requeue(runs, Place::Front(3));
    shop.until(60_000);
    assert_eq!(shop.order(), ["Runs", "D", "B", "A", "C"]);
}

#[test]
fn what_one_act_puts_in_front_keeps_its_order() {
    let mut shop = shop(&["A", "B", "C"]);
    let [b, c] = ["B", "C"].map(|class| shop.id_of(class));
    shop.requeue(c, Place::Front(1));
    shop.requeue(b, Place::Front(1));
    shop.until(60_000);
    assert_eq!(shop.order(), ["Runs", "B", "C", "A"]);
}

#[test]
fn one_that_is_to_go_away_is_given_back_and_one_that_runs_stays() {
    let mut shop = shop(&["A", "B"]);
    let [a, runs] = ["A", "Runs"].map(|class| shop.id_of(class));
    shop.requeue(a, Place::Away);
    shop.requeue(a, Place::Away);
    shop.requeue(runs, Place::Away);
    shop.until(60_000);
    // It was given back to the front of its queue, and then reserved behind the waiting one.
    assert_eq!(shop.order(), ["Runs", "B", "A"]);
}
