//! Shares of the calls to the service manager: work for one app makes a bounded number of concurrent calls, so that the
//! other apps always find free turns.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    static SHARE: Arc<Semaphore>;
}

/// Maximum number of concurrent calls of one share: a quarter of all, so that three apps that use all of theirs leave
/// the fourth its own.
const CALLS: usize = 3;

/// The share of one app.
#[derive(Clone, Debug)]
pub struct Share(Arc<Semaphore>);

impl Default for Share {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CALLS)))
    }
}

impl Share {
    /// Runs work whose calls count against this share.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        SHARE.scope(Arc::clone(&self.0), work).await
    }
}

/// Acquires a turn of the current task's share; `None` outside of all shares, where none is needed.
pub(super) async fn turn() -> Option<OwnedSemaphorePermit> {
    let share = SHARE.try_with(Arc::clone).ok()?;
    share.acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_share_that_is_used_up_leaves_the_others_theirs() {
        let (flood, other) = (Share::default(), Share::default());
        let held: Vec<_> = (0..CALLS).map(|_| flood.of(turn()).now_or_never().flatten()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(flood.of(turn()).now_or_never().is_none());
        assert!(other.of(turn()).now_or_never().flatten().is_some());
        assert!(turn().now_or_never().is_some_and(|turn| turn.is_none()));
        drop(held);
        assert!(flood.of(turn()).now_or_never().flatten().is_some());
    }
}
