//! A share of the calls to the service manager: what is done on behalf of one app makes so many calls at once and no
//! more, however much of it there is, so that the others always find turns free.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    static SHARE: Arc<Semaphore>;
}

/// Calls that one share may have under way at once. A quarter of all: three apps that ask for all they can get leave
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
    /// Does some work whose calls count against this share.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        SHARE.scope(Arc::clone(&self.0), work).await
    }
}

/// A turn of the share that the present work belongs to; none is needed outside of all shares.
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
