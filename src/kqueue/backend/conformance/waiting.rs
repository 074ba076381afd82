//! Cases of waiting calls, and of a server that goes down and comes back.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::{Fixture, job, jobs, payloads, queues, take};
use crate::backend::{BackendError, QueueBackend, Wait, epoch_seconds};

/// Waits for jobs.
async fn wait(b: &impl QueueBackend, names: &[&str], limit: Duration) -> Vec<Vec<u8>> {
    payloads(&b.next_batch(&queues(names), 5, &Wait::up_to(limit)).await.unwrap().jobs)
}

pub(super) async fn wakes_on_push<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let names = ["high", "default"];
    let mut delays = Vec::new();
    for n in 0..7 {
        let mut wait = pin!(wait(&b, &names, Duration::from_secs(30)));
        let early = tokio::time::timeout(Duration::from_millis(130), wait.as_mut()).await;
        assert!(early.is_err(), "there was nothing to wake for");
        f.push("default", &job(&n.to_string())).await;
        let pushed = Instant::now();
        assert_eq!(wait.await.len(), 1);
        delays.push(pushed.elapsed());
    }
    // SQLite is polled every 100 ms at the slowest. Polling once per second would take the rest of it, 870 ms.
    delays.sort();
    assert!(delays[3] < Duration::from_millis(400), "{delays:?}");
    // If there is a job, the call does not wait at all.
    f.push("default", &job("x")).await;
    assert_eq!(wait(&b, &names, Duration::from_secs(30)).await, jobs(&["x"]));
}

pub(super) async fn wakes_when_a_job_is_due<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    f.push("default", &job("held")).await;
    take(&b, &["default"], 1).await;
    let due = epoch_seconds() + 2;
    f.push_delayed("default", &job("a"), due).await;
    assert_eq!(wait(&b, &["default"], Duration::from_secs(30)).await, jobs(&["a"]));
    let now = epoch_seconds();
    assert!((due..due + 2).contains(&now), "due at {due}, awake at {now}");
}

pub(super) async fn waits_no_longer_than_told<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let mut mine = take(&b, &["default"], 1).await;
    let start = Instant::now();
    assert!(wait(&b, &["default"], Duration::from_millis(1200)).await.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(1200));
    assert!(wait(&b, &["default"], Duration::ZERO).await.is_empty());
    // An expired lease is work, too, though nothing was pushed.
    f.expire(&mut mine[0]).await;
    assert_eq!(wait(&b, &["default"], Duration::from_secs(3600)).await.len(), 1);
}

pub(super) async fn an_ended_wait_loses_no_job<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let names = queues(&["default"]);
    let hour = Duration::from_secs(3600);
    // Ends a wait before it has begun.
    let wait = Wait::up_to(hour);
    wait.end();
    assert!(b.next_batch(&names, 5, &wait).await.unwrap().is_empty());
    // Ends a wait while a push may or may not have been seen.
    let mut got = Vec::new();
    for n in 0..20 {
        let wait = Wait::up_to(hour);
        let mut call = pin!(b.next_batch(&names, 5, &wait));
        let early = tokio::time::timeout(Duration::from_millis(10), call.as_mut()).await;
        assert!(early.is_err(), "there was nothing to wake for");
        f.push("default", &job(&n.to_string())).await;
        let soon = tokio::time::timeout(Duration::from_micros(n * 100), call.as_mut()).await;
        let found = match soon {
            Ok(found) => found,
            Err(_) => {
                wait.end();
                tokio::time::timeout(Duration::from_secs(5), call).await.expect("it goes on waiting")
            }
        };
        got.extend(payloads(&found.unwrap().jobs));
        got.extend(payloads(&take(&b, &["default"], 5).await));
        assert_eq!(got.len() as u64, n + 1);
    }
}

pub(super) async fn survives_an_outage<F: Fixture>() {
    let mut f = F::start_private().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let held = take(&b, &["default"], 1).await;
    wait(&b, &["default"], Duration::from_millis(10)).await;

    f.go_away().await;
    let names = queues(&["default"]);
    for _ in 0..2 {
        let errors = [
            b.next_batch(&names, 1, &Wait::none()).await.err(),
            b.next_batch(&names, 1, &Wait::up_to(Duration::from_secs(5))).await.err(),
            b.sizes(&names).await.err(),
            b.delete(&held).await.err(),
            b.renew(&mut held.clone()).await.err(),
            b.unreserve(&held).await.err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(BackendError::Unavailable { .. })), "{error:?}");
        }
    }

    f.come_back().await;
    f.push("default", &job("b")).await;
    assert_eq!(wait(&b, &["default"], Duration::from_secs(30)).await, jobs(&["b"]));
    // A connection that only serves waits has to recover, too.
    wait(&b, &["default"], Duration::from_millis(20)).await;
}
