//! Payloads: bytes are kept, few large ones come at once, and messages that are not jobs are set aside.

use super::*;

/// Values of `timeout` that `pcntl_alarm(max($timeout, 0))` accepts, and those that it does not.
pub(in crate::backend) const TIMEOUTS: [&str; 13] = [
    "null",
    "8",
    "-5",
    "8.7",
    "true",
    "false",
    "\"8\"",
    "\" 8 \"",
    "\"8.5\"",
    "\"1e2\"",
    "\"\"",
    "\"-1e308\"",
    "9000000000000000000",
];
pub(in crate::backend) const NO_TIMEOUTS: [&str; 10] =
    ["\"abc\"", "\"8abc\"", "\"0x10\"", "\"1e308\"", "1e308", "1e19", "[]", "[1]", "{\"a\":1}", "99999999999999999999"];

pub(super) async fn sets_broken_messages_aside<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let broken: [&[u8]; 5] = [b"not JSON", br#"["job"]"#, br#"{"uuid":"x","attempts":0}"#, b"7", br#"{"job":["x"]}"#];
    f.push("default", &job("a")).await;
    for payload in broken {
        f.push("default", payload).await;
    }
    f.push("default", &job("b")).await;

    let found = reserve(&b, &["default"], 2).await;
    assert_payloads(&b, &found.jobs, &jobs(&["a", "b"]));
    assert_eq!(found.set_aside.len(), 5);
    for (aside, payload) in found.set_aside.iter().zip(broken) {
        assert_eq!((aside.queue.as_str(), aside.bytes), ("default", payload.len()));
        assert!(aside.now.contains(":broken"), "{}", aside.now);
        assert!(aside.why.starts_with("it is not "), "{}", aside.why);
    }
    assert_eq!(f.peek("default:broken").await, broken);
    assert_sizes(&b, &["default"], &[QueueSize { reserved: 2, ..QueueSize::default() }]).await;

    // Any number of them is set aside, in several bounded calls.
    for _ in 0..250 {
        f.push("default", b"{").await;
    }
    f.push("default", &job("c")).await;
    let mut aside = 0;
    let found = loop {
        let found = reserve(&b, &["default"], 10).await;
        aside += found.set_aside.len();
        if !found.jobs.is_empty() {
            break found;
        }
    };
    assert_eq!((payloads(&found.jobs), aside), (jobs(&["c"]), 250));
}

pub(super) async fn sets_impossible_timeouts_aside<F: Fixture>() {
    let f = F::start().await;
    for timeout in TIMEOUTS.iter().chain(&NO_TIMEOUTS) {
        f.push("a", format!(r#"{{"job":"x","attempts":0,"timeout":{timeout}}}"#).as_bytes()).await;
    }
    let (b, mut ran, mut aside) = (f.backend(), Vec::new(), 0);
    loop {
        let found = reserve(&b, &["a"], 64).await;
        if found.is_empty() {
            break;
        }
        ran.extend(payloads(&found.jobs));
        aside += found.set_aside.len();
    }
    assert_eq!(ran.len(), TIMEOUTS.len(), "{ran:?}");
    assert_eq!(aside, NO_TIMEOUTS.len());
    assert_eq!(f.peek("a:broken").await.len(), NO_TIMEOUTS.len());
}

pub(super) async fn brings_few_large_jobs_at_once<F: Fixture>() {
    let f = F::start().await;
    let pad = "x".repeat(9 << 20);
    for n in 0..5 {
        f.push("a", format!(r#"{{"job":"x","attempts":0,"n":{n},"pad":"{pad}"}}"#).as_bytes()).await;
    }
    f.push("b", &job("b")).await;
    let b = f.backend();
    let first = reserve(&b, &["a", "b"], 64).await.jobs;
    assert_eq!(first.len(), 2);
    assert!(b.unreserve(&first).await.unwrap().iter().all(|ours| *ours));
    for _ in 0..3 {
        assert_eq!(reserve(&b, &["a", "b"], 64).await.jobs.len(), 2);
    }
}

pub(super) async fn keeps_bytes<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let odd = r#"{"job":"A@b","attempts":0,"data":{"u":"grüße 日本 🎉","e":"\u00e9 \/ \"","l":[],"n":12345678901234567,"f":1.10}, "z" : null }"#;
    f.push("default", odd.as_bytes()).await;
    let got = take(&b, &["default"], 1).await;
    assert_eq!(got[0].payload, odd.as_bytes());
    assert_eq!(b.unreserve(&got).await.unwrap(), [true]);
    assert_eq!(f.peek("default").await, [odd.as_bytes()]);
}

pub(super) async fn carries_large_payloads<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    let large = format!(r#"{{"job":"A@b","attempts":0,"data":"{}"}}"#, "x".repeat(20 << 20));
    f.push("default", large.as_bytes()).await;
    f.push("default", &job("a")).await;
    let mut got = take(&b, &["default"], 1).await;
    assert!(got[0].payload == large.as_bytes());
    assert_eq!(b.renew(&mut got).await.unwrap(), [true]);
    assert_eq!(b.unreserve(&got).await.unwrap(), [true]);
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(take(&b, &["default"], 2).await);
    }
    assert_eq!(got[1].payload, job("a"));
    assert_eq!(b.delete(&got).await.unwrap(), [true, true]);
}
