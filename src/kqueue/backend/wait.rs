//! The wait of a call for jobs: its limit, and its early end by the caller.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Reserved;

/// The wait of one call of [`super::QueueBackend::next_batch`].
#[derive(Clone, Debug, Default)]
pub struct Wait {
    limit: Duration,
    end: Rc<Notify>,
}

impl Wait {
    /// No wait: only jobs that are available now.
    pub fn none() -> Self {
        Self::default()
    }

    /// At most this long.
    pub fn up_to(limit: Duration) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Ends the wait. The call returns as soon as it can without losing a job: empty, or with jobs that it was already
    /// reserving.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// Longest duration of the wait.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Sleeps for this time, or until the wait is ended. `true` if it was ended.
    pub(super) async fn ends_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.end.notified()).await.is_ok()
    }

    /// Runs `look` unless the limit is zero, and then `reserve`. `look` waits for jobs up to the limit it is passed,
    /// and reserves none. If the wait is ended meanwhile, `look` is dropped and nothing is reserved.
    pub async fn first<E>(
        &self,
        look: impl AsyncFnOnce(Duration) -> Result<(), E>,
        reserve: impl Future<Output = Result<Reserved, E>>,
    ) -> Result<Reserved, E> {
        if !self.limit.is_zero() {
            tokio::select! {
                biased;
                () = self.end.notified() => return Ok(Reserved::default()),
                answer = look(self.limit) => answer?,
            }
        }
        reserve.await
    }
}
