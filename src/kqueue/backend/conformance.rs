//! Conformance suite of all backends, run against real servers and files.
//!
//! The cases use a backend only through its trait, and expect what its capabilities promise; a [`Fixture`] plays the
//! app that pushes jobs, and the other workers. Behaviour of a single backend is tested beside its fixture.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    BackendError, Capabilities, Encoded, QueueBackend, QueueSize, Receipt, Reservation, Reserved, Wait, epoch_seconds,
};

mod database;
mod database_only;
mod database_wires;
mod laravel;
mod least;
mod listing;
mod payloads;
mod ports;
mod redis;
mod redis_cluster;
mod redis_nodes;
mod redis_only;
mod redis_refusals;
mod redis_sentinel;
mod redis_servers;
mod redis_tls;
mod settings;
mod shared;
mod sqlite;
mod sqlite_only;
mod sqs;
mod sqs_only;
mod waiting;

use listing::{lists_few_bytes_of_large_jobs, lists_jobs_without_taking_any, says_how_long_the_oldest_waits};
pub(super) use payloads::{NO_TIMEOUTS, TIMEOUTS};
use payloads::{
    brings_few_large_jobs_at_once, carries_large_payloads, keeps_bytes, sets_broken_messages_aside,
    sets_impossible_timeouts_aside,
};
use shared::keeps_what_hosts_share;
use waiting::{
    an_ended_wait_loses_no_job, survives_an_outage, waits_no_longer_than_told, wakes_on_push, wakes_when_a_job_is_due,
};

/// `retry_after` of all backends under test, in seconds.
const LEASE: i64 = 90;

/// One backend's server or file, and the app that pushes to it.
trait Fixture: Sized {
    type Backend: QueueBackend;

    async fn start() -> Self;
    /// Starts with a server that no other test uses.
    async fn start_private() -> Self {
        Self::start().await
    }
    /// Makes further instances, each with connections of its own, on any thread.
    fn maker(&self) -> impl Fn() -> Self::Backend + Send + Clone + 'static;
    async fn push(&self, queue: &str, payload: &[u8]);
    /// `due` is in epoch seconds.
    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64);
    /// Payloads of the jobs that are not reserved, in order.
    async fn peek(&self, queue: &str) -> Vec<Vec<u8>>;
    /// Lets the job's lease expire, and updates its receipt.
    async fn expire(&self, job: &mut Reservation);
    /// Attempts as PHP will see them.
    fn attempts(job: &Reservation) -> i64;
    async fn go_away(&mut self);
    async fn come_back(&mut self);

    fn backend(&self) -> Self::Backend {
        self.maker()()
    }
}

/// Runs the cases for one fixture.
macro_rules! suite {
    ($fixture:ty) => {
        $crate::backend::conformance::suite!($fixture:
            keeps_order_over_batches, drains_queues_in_order, makes_delayed_jobs_due,
            brings_expired_jobs_back, renewal_keeps_a_job, a_stolen_job_is_not_ours,
            unreserving_undoes_a_reservation, requeuing_puts_a_job_elsewhere, reserves_each_job_once, sets_broken_messages_aside, sets_impossible_timeouts_aside, brings_few_large_jobs_at_once,
            keeps_bytes, carries_large_payloads, counts_sizes, wakes_on_push, wakes_when_a_job_is_due,
            waits_no_longer_than_told, an_ended_wait_loses_no_job, receipts_outlive_their_backend, survives_an_outage, refuses_names_of_parts, takes_nothing_for_nothing,
            lists_jobs_without_taking_any, lists_few_bytes_of_large_jobs, says_how_long_the_oldest_waits, keeps_what_hosts_share);
    };
    ($fixture:ty: $($case:ident),*) => {
        $(#[tokio::test]
        async fn $case() {
            $crate::backend::conformance::$case::<$fixture>().await
        })*
    };
}
use suite;

/// Waits until `done` is true.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn job(name: &str) -> Vec<u8> {
    format!(
        r#"{{"uuid":"{name}","displayName":"App\\Jobs\\Work","job":"Illuminate\\Queue\\CallQueuedHandler@call","maxTries":null,"data":{{"commandName":"App\\Jobs\\Work","command":"O:13:\"App\\Jobs\\Work\":0:{{}}"}},"id":"{name}","attempts":0}}"#
    )
    .into_bytes()
}

fn queues(names: &[&str]) -> Vec<String> {
    names.iter().map(|&n| n.to_owned()).collect()
}

fn payloads(jobs: &[Reservation]) -> Vec<Vec<u8>> {
    jobs.iter().map(|j| j.payload.to_vec()).collect()
}

fn jobs(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|n| job(n)).collect()
}

/// One call that does not wait.
async fn reserve(backend: &impl QueueBackend, names: &[&str], max: usize) -> Reserved {
    let found = backend.next_batch(&queues(names), max, &Wait::none()).await.unwrap();
    assert!(found.jobs.len() <= max.min(backend.capabilities().max_batch));
    found
}

/// Calls until it has `max` jobs, or all.
async fn take(backend: &impl QueueBackend, names: &[&str], max: usize) -> Vec<Reservation> {
    let mut all = Vec::new();
    loop {
        let found = reserve(backend, names, max - all.len()).await;
        assert_eq!(found.set_aside, []);
        let more = found.jobs.len() == backend.capabilities().max_batch;
        all.extend(found.jobs);
        if !more || all.len() >= max {
            return all;
        }
    }
}

/// Compares sizes, if the backend counts them exactly.
async fn assert_sizes(b: &impl QueueBackend, names: &[&str], expected: &[QueueSize]) {
    let sizes = b.sizes(&queues(names)).await.unwrap();
    assert_eq!(sizes.len(), expected.len());
    if b.capabilities().exact_sizes {
        assert_eq!(sizes, expected);
    }
}

/// Compares payloads, in order where the backend keeps one.
fn assert_payloads(b: &impl QueueBackend, jobs: &[Reservation], expected: &[Vec<u8>]) {
    let (mut got, mut expected) = (payloads(jobs), expected.to_vec());
    if !b.capabilities().ordered {
        got.sort();
        expected.sort();
    }
    assert_eq!(got, expected);
}

async fn keeps_order_over_batches<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let names: Vec<String> = (0..25).map(|n| format!("j{n}")).collect();
    for name in &names {
        f.push("default", &job(name)).await;
    }
    let mut got = Vec::new();
    for max in [1, 7, 10, 10] {
        got.extend(take(&b, &["default"], max).await);
    }
    let expected: Vec<_> = names.iter().map(|n| job(n)).collect();
    assert_payloads(&b, &got, &expected);
    assert!(got.iter().all(|j| j.queue == "default" && F::attempts(j) == 1));

    assert_eq!(b.delete(&got).await.unwrap(), vec![true; 25]);
    assert_eq!(b.delete(&got[..2]).await.unwrap(), [false, false]);
    assert_sizes(&b, &["default"], &[QueueSize::default()]).await;
}

async fn drains_queues_in_order<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    f.push("low", &job("l1")).await;
    f.push("high", &job("h1")).await;
    f.push("low", &job("l2")).await;
    f.push("high", &job("h2")).await;
    let order = ["high", "none", "low"];
    let queues_of = |jobs: &[Reservation]| jobs.iter().map(|job| job.queue.clone()).collect::<Vec<_>>();
    let first = take(&b, &order, 1).await;
    assert_eq!(queues_of(&first), ["high"]);
    let mut rest = take(&b, &order, 10).await;
    assert_eq!(queues_of(&rest), ["high", "low", "low"]);
    if b.capabilities().ordered {
        assert_eq!((payloads(&first), payloads(&rest)), (jobs(&["h1"]), jobs(&["h2", "l1", "l2"])));
    }
    // Jobs of several queues are settled in one call.
    assert_eq!(b.unreserve(&rest).await.unwrap(), [true; 3]);
    let again = take(&b, &order, 10).await;
    if b.capabilities().ordered {
        assert_eq!(payloads(&again), payloads(&rest));
    }
    rest = again;
    assert_eq!(b.renew(&mut rest).await.unwrap(), [true; 3]);
    assert_eq!(b.delete(&rest).await.unwrap(), [true; 3]);
}

async fn makes_delayed_jobs_due<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let now = epoch_seconds();
    f.push_delayed("default", &job("later"), now + 3600).await;
    f.push_delayed("default", &job("due"), now).await;
    f.push_delayed("default", &job("overdue"), now - 5).await;
    let mut got = payloads(&take(&b, &["default"], 10).await);
    got.sort();
    assert_eq!(got, jobs(&["due", "overdue"]));
    assert_sizes(&b, &["default"], &[QueueSize { pending: 0, delayed: 1, reserved: 2 }]).await;
}

async fn brings_expired_jobs_back<F: Fixture>() {
    let f = F::start().await;
    let (b, other) = (f.backend(), f.backend());
    f.push("default", &job("a")).await;
    let mut first = take(&b, &["default"], 1).await;
    assert!(take(&other, &["default"], 1).await.is_empty());
    f.expire(&mut first[0]).await;
    let again = take(&other, &["default"], 10).await;
    assert_eq!(again.len(), 1);
    assert_eq!(F::attempts(&again[0]), 2);
    assert_eq!(b.lease(), Some(Duration::from_secs(90)));
    assert!(b.capabilities().max_lease.is_none_or(|longest| Some(longest) >= b.lease()));
}

async fn renewal_keeps_a_job<F: Fixture>() {
    let f = F::start().await;
    let (b, other) = (f.backend(), f.backend());
    for name in ["a", "b"] {
        f.push("default", &job(name)).await;
    }
    let mut mine = take(&b, &["default"], 2).await;
    if b.capabilities().revives {
        f.expire(&mut mine[0]).await;
        f.expire(&mut mine[1]).await;
    }
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true, true]);
    assert!(take(&other, &["default"], 2).await.is_empty());
    // A renewal that does not change the lease's end succeeds, too.
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true, true]);
    assert_eq!(b.delete(&mine).await.unwrap(), [true, true]);
    assert_eq!(b.renew(&mut mine).await.unwrap(), [false, false]);
    if !b.capabilities().revives {
        f.push("default", &job("c")).await;
        let mut late = take(&b, &["default"], 1).await;
        f.expire(&mut late[0]).await;
        assert_eq!(b.renew(&mut late).await.unwrap(), [false]);
    }
}

async fn a_stolen_job_is_not_ours<F: Fixture>() {
    let f = F::start().await;
    let (b, thief) = (f.backend(), f.backend());
    for name in ["a", "b"] {
        f.push("default", &job(name)).await;
    }
    let mut mine = take(&b, &["default"], 2).await;
    f.expire(&mut mine[0]).await;
    let stolen = take(&thief, &["default"], 2).await;
    assert_eq!(stolen.len(), 1);
    assert_eq!(b.renew(&mut mine).await.unwrap(), [false, true]);
    assert_eq!(b.unreserve(&mine[..1]).await.unwrap(), [false]);
    assert_eq!(b.delete(&mine).await.unwrap(), [false, true]);
    // None of this affected the thief's job, or created another one.
    assert_eq!(thief.delete(&stolen).await.unwrap(), [true]);
    assert_sizes(&b, &["default"], &[QueueSize::default()]).await;
}

async fn unreserving_undoes_a_reservation<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    for name in ["a", "b", "c", "d"] {
        f.push("default", &job(name)).await;
    }
    let mine = take(&b, &["default"], 3).await;
    f.push("default", &job("e")).await;
    assert_eq!(b.unreserve(&mine).await.unwrap(), [true; 3]);
    assert_eq!(b.unreserve(&mine).await.unwrap(), [false; 3]);
    let Capabilities { ordered, unreserve, .. } = b.capabilities();
    if ordered && unreserve {
        assert_eq!(f.peek("default").await, jobs(&["a", "b", "c", "d", "e"]));
    }
    let again = take(&b, &["default"], 10).await;
    assert_payloads(&b, &again, &jobs(&["a", "b", "c", "d", "e"]));
    let counted = again.iter().filter(|j| F::attempts(j) > 1).count();
    assert_eq!(counted, if unreserve { 0 } else { 3 });
}

async fn requeuing_puts_a_job_elsewhere<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    for name in ["a", "b", "c"] {
        f.push("default", &job(name)).await;
    }
    let mine = take(&b, &["default"], 2).await;
    f.push("other", &job("x")).await;
    if b.unmovable(&queues(&["default"]), "other").is_some() {
        // Even where it is not supported, no job is lost.
        assert_eq!(b.requeue(&mine, "other").await.unwrap(), [true; 2]);
        assert_eq!(take(&b, &["default"], 10).await.len(), 3);
        return;
    }
    assert_eq!(b.requeue(&mine, "other").await.unwrap(), [true; 2]);
    // A second call no longer holds them.
    assert_eq!(b.requeue(&mine, "default").await.unwrap(), [false; 2]);
    assert_eq!(b.unreserve(&mine).await.unwrap(), [false; 2]);
    assert_eq!(f.peek("default").await, jobs(&["c"]));
    let mut there = take(&b, &["other"], 10).await;
    assert_eq!(there.iter().filter(|job| F::attempts(job) == 1).count(), 3);
    let mut names = payloads(&there);
    names.sort();
    assert_eq!(names, jobs(&["a", "b", "x"]));
    assert_eq!(b.renew(&mut there).await.unwrap(), [true; 3]);
    assert_eq!(b.delete(&there).await.unwrap(), [true; 3]);
    assert_sizes(&b, &["other"], &[QueueSize { pending: 0, delayed: 0, reserved: 0 }]).await;
}

async fn reserves_each_job_once<F: Fixture>() {
    const JOBS: usize = 1000;
    let f = F::start().await;
    for n in 0..JOBS {
        f.push("default", &job(&format!("j{n}"))).await;
    }
    // Estimated sizes do not show when the queue is empty.
    let (taken, start) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    // Uses threads, so that the two really race.
    let reservers: Vec<_> = (0..2)
        .map(|_| {
            let (make, taken) = (f.maker(), taken.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut mine = Vec::new();
                runtime.block_on(async {
                    let b = make();
                    while taken.load(Relaxed) < JOBS && start.elapsed() < Duration::from_secs(60) {
                        let got = take(&b, &["default"], 7).await;
                        assert!(b.delete(&got).await.unwrap().into_iter().all(|ours| ours));
                        taken.fetch_add(got.len(), Relaxed);
                        mine.extend(payloads(&got));
                    }
                });
                mine
            })
        })
        .collect();
    let all: Vec<_> = reservers.into_iter().flat_map(|r| r.join().unwrap()).collect();
    assert_eq!(all.len(), JOBS);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), JOBS);
}

async fn left(b: &impl QueueBackend) -> u64 {
    b.sizes(&queues(&["default"])).await.unwrap()[0].pending
}

async fn counts_sizes<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    for name in ["a", "b", "c"] {
        f.push("default", &job(name)).await;
    }
    f.push_delayed("default", &job("d"), epoch_seconds() + 100).await;
    take(&b, &["default"], 1).await;
    let size = QueueSize { pending: 2, delayed: 1, reserved: 1 };
    assert_sizes(&b, &["none", "default"], &[QueueSize::default(), size]).await;
}

/// A receipt that was stored identifies its job to any instance. One of another backend identifies none.
async fn receipts_outlive_their_backend<F: Fixture>() {
    let f = F::start().await;
    for name in ["a", "b"] {
        f.push("default", &job(name)).await;
    }
    let b = f.backend();
    let mut mine = take(&b, &["default"], 2).await;
    let other = f.backend();
    for job in &mut mine {
        let Encoded { driver, header, body } = job.receipt.encode();
        assert_eq!(driver, b.driver());
        let body = body.cloned().unwrap_or_default();
        let read = Receipt::decode(&other, driver, header, body.clone());
        // The former format, without a driver.
        let former = Receipt::decode(&other, "", header, body.clone());
        let foreign = Receipt::decode(&other, "another", header, body);
        assert_eq!((&read, read.attempts(), read.bytes()), (&job.receipt, job.receipt.attempts(), job.receipt.bytes()));
        assert_eq!(former, job.receipt);
        assert_ne!(foreign, job.receipt);
        let mut strangers = [Reservation { receipt: foreign, ..job.clone() }];
        assert_eq!(other.renew(&mut strangers).await.unwrap(), [false]);
        assert_eq!(other.unreserve(&strangers).await.unwrap(), [false]);
        assert_eq!(other.delete(&strangers).await.unwrap(), [false]);
        job.receipt = read;
    }
    assert_eq!(other.renew(&mut mine).await.unwrap(), [true, true]);
    assert_eq!(other.delete(&mine).await.unwrap(), [true, true]);
    assert!(Receipt::decode(&other, b.driver(), None, Bytes::new()).attempts().is_none());
}

async fn refuses_names_of_parts<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    for name in ["x:delayed", "x:reserved", "x:notify", ""] {
        let names = queues(&["default", name]);
        let error = b.next_batch(&names, 1, &Wait::none()).await.unwrap_err();
        assert!(matches!(&error, BackendError::Settings(why) if !why.contains('\n')));
        assert!(b.sizes(&names).await.is_err());
        assert!(b.next_batch(&names, 1, &Wait::up_to(Duration::from_secs(9))).await.is_err());
        assert!(b.check_queues(&names).is_err());
    }
}

async fn takes_nothing_for_nothing<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    assert!(take(&b, &["default"], 0).await.is_empty());
    assert!(take(&b, &[], 5).await.is_empty());
    assert!(b.renew(&mut []).await.unwrap().is_empty());
    assert!(b.unreserve(&[]).await.unwrap().is_empty());
    assert!(b.delete(&[]).await.unwrap().is_empty());
    assert!(b.sizes(&[]).await.unwrap().is_empty());
    assert_eq!(f.peek("default").await, jobs(&["a"]));
}
