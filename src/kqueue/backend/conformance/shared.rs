//! Shared texts of hosts are changed only if the current one was seen (compare-and-swap).

use std::time::Duration;

use super::Fixture;
use crate::backend::{BackendError, QueueBackend, epoch};

pub(super) async fn keeps_what_hosts_share<F: Fixture>() {
    let f = F::start().await;
    let (one, other) = (f.backend(), f.backend());
    let (name, keep) = ("class:App\\Jobs\\O'Neil{x}\"`é:7", Duration::from_secs(60));
    let (kept, now) = match one.kept(name).await {
        // Some backends cannot store any.
        Err(BackendError::Settings(_)) => return,
        kept => kept.unwrap(),
    };
    assert_eq!(kept, None);
    assert!(Duration::from_millis(now).abs_diff(epoch()) < Duration::from_secs(600), "{now}");
    assert!(!one.keep(name, Some("{}"), "{\"a\":1}", keep).await.unwrap());
    assert!(one.keep(name, None, "{\"a\":1}", keep).await.unwrap());
    assert!(!other.keep(name, None, "{\"a\":2}", keep).await.unwrap());
    assert!(!other.keep(name, Some("{}"), "{\"a\":2}", keep).await.unwrap());
    assert!(other.keep(name, Some("{\"a\":1}"), "{\"a\":2}", keep).await.unwrap());
    assert!(!one.keep(name, Some("{\"a\":1}"), "{\"a\":3}", keep).await.unwrap());
    assert_eq!(one.kept(name).await.unwrap().0.as_deref(), Some("{\"a\":2}"));
    assert_eq!(one.kept("class:App\\Jobs\\Other").await.unwrap().0, None);
}
