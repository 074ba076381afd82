//! Jobs that take longer than they should.

use super::*;

#[test]
fn a_lane_that_overruns_gets_another_beside_it_and_is_left_alone() {
    let mut shop = Shop::open(config());
    let inline = Hints { isolated: Some(false), ..Hints::default() };
    shop.push(1, Task { hints: inline, ..task("Liar", 10_000) });
    shop.until(2_300);
    assert_eq!(shop.live(Tier::Inline), 2);
    shop.push(1, Task { hints: inline, ..task("Quick", 5) });
    shop.until(2_310);
    assert_eq!(shop.starts_of("Quick").len(), 1);
    shop.until(30_000);
    assert_eq!(shop.ends.len(), 2);
    assert!(shop.kills.is_empty());
    assert_eq!(shop.live(Tier::Inline), 1);
}

#[test]
fn a_class_that_overruns_lanes_takes_its_waiting_jobs_to_the_pool() {
    let mut shop = Shop::open(config());
    // Its name suggests a short job.
    shop.push(40, task("App\\Mail\\Digest", 4_000));
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 40);
    let lanes = shop.starts.iter().filter(|start| shop.tiers[&start.worker] == Tier::Inline).count();
    assert!(lanes < 15, "{lanes} ran in lanes");
}

#[test]
fn a_job_past_its_timeout_is_killed_and_replayed_as_a_timeout() {
    let mut shop = Shop::open(config());
    shop.push(1, task("Stuck", u64::MAX));
    shop.until(65_990);
    assert!(shop.kills.is_empty());
    shop.until(80_000);
    assert_eq!(shop.kills.len(), 1);
    assert_eq!(shop.kills[0].1, Cause::Timeout(60_000));
    let kinds: Vec<_> = shop.starts.iter().map(|start| start.kind).collect();
    assert_eq!(kinds, [JobKind::Run, JobKind::Timeout]);
    assert_eq!(shop.ends[0].1, Outcome::Failed);
}
