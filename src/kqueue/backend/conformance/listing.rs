//! Listings of unreserved jobs.

use super::{Fixture, QueueBackend, job, jobs, queues, take};
use crate::backend::listing::CUT;
use crate::backend::{Listed, Listing, epoch_seconds};

fn payloads(listed: &[Listed]) -> Vec<Vec<u8>> {
    listed.iter().map(|job| job.payload.to_vec()).collect()
}

pub(super) async fn lists_jobs_without_taking_any<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    if b.unlisted().is_some() {
        assert_eq!(b.list("default", Listing::Waiting, 0, 10).await.unwrap(), Default::default());
        assert_eq!(b.oldest(&queues(&["default"])).await.unwrap(), [None]);
        return;
    }
    let now = epoch_seconds();
    for name in ["a", "b", "c", "d"] {
        f.push("default", &job(name)).await;
    }
    f.push("other", &job("x")).await;
    f.push_delayed("default", &job("later"), now + 3_600).await;
    // Reserved jobs are not listed.
    let held = take(&b, &["default"], 1).await;

    let waiting = b.list("default", Listing::Waiting, 0, 10).await.unwrap();
    assert_eq!((payloads(&waiting.jobs), waiting.more), (jobs(&["b", "c", "d"]), false));
    assert!(
        waiting.jobs.iter().all(|listed| listed.bytes == listed.payload.len() && listed.attempts.unwrap_or(0) == 0)
    );
    let page = b.list("default", Listing::Waiting, 1, 1).await.unwrap();
    assert_eq!((payloads(&page.jobs), page.more), (jobs(&["c"]), true));
    let past = b.list("default", Listing::Waiting, 9, 5).await.unwrap();
    assert_eq!((past.jobs.len(), past.more), (0, false));
    assert_eq!(b.list("none", Listing::Waiting, 0, 5).await.unwrap(), Default::default());

    let delayed = b.list("default", Listing::Delayed, 0, 10).await.unwrap();
    assert_eq!((payloads(&delayed.jobs), delayed.more), (jobs(&["later"]), false));
    assert_eq!(delayed.jobs[0].available, Some((now + 3_600) as u64));
    assert_eq!(b.list("other", Listing::Delayed, 0, 5).await.unwrap(), Default::default());

    // Listing has not moved any job.
    assert_eq!(b.unreserve(&held).await.unwrap(), [true]);
    let again = take(&b, &["default"], 10).await;
    assert_eq!(again.len(), 4);
}

pub(super) async fn lists_few_bytes_of_large_jobs<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    if b.unlisted().is_some() {
        return;
    }
    let large = format!(r#"{{"uuid":"big","displayName":"App\\Big","job":"J","data":{{"x":"{}"}}}}"#, "é".repeat(CUT));
    for _ in 0..30 {
        f.push("default", large.as_bytes()).await;
    }
    let page = b.list("default", Listing::Waiting, 0, 30).await.unwrap();
    assert_eq!(page.jobs.len(), 30);
    for listed in &page.jobs {
        assert!(listed.payload.len() <= CUT, "{}", listed.payload.len());
        assert_eq!(listed.bytes, large.len());
        let head = listed.envelope().unwrap();
        assert_eq!((head.uuid.as_deref(), head.display_name.as_deref()), (Some("big"), Some("App\\Big")));
    }
}

pub(super) async fn says_how_long_the_oldest_waits<F: Fixture>() {
    let f = F::start().await;
    let b = f.backend();
    if b.unlisted().is_some() {
        return;
    }
    let names = queues(&["none", "default"]);
    assert_eq!(b.oldest(&names).await.unwrap(), [None, None]);
    let now = epoch_seconds();
    f.push_delayed("default", &job("later"), now + 3_600).await;
    assert_eq!(b.oldest(&names).await.unwrap(), [None, None]);
    let dispatched = format!(r#"{{"job":"J","createdAt":{now},"attempts":0}}"#);
    f.push("default", dispatched.as_bytes()).await;
    f.push("default", &job("next")).await;
    let oldest = b.oldest(&names).await.unwrap();
    let since = oldest[1].expect("one waits") / 1_000;
    assert!(oldest[0].is_none() && (now as u64..now as u64 + 60).contains(&since), "{oldest:?}, {now}");
}
