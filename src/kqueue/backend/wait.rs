//! How long a call for jobs may wait for them, and how whoever made it ends the wait.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Reserved;

/// Of one call of [`super::QueueBackend::next_batch`].
#[derive(Clone, Debug, Default)]
pub struct Wait {
    limit: Duration,
    end: Rc<Notify>,
}

impl Wait {
    /// Jobs that are there now, or none.
    pub fn none() -> Self {
        Self::default()
    }

    /// At most this long.
    pub fn up_to(limit: Duration) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Ends the wait. The call returns as soon as it can without losing a job: with none, or with those that it was
    /// about to bring.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// How long it may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether it is ended within this time, which passes if it is not.
    pub(super) async fn ends_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.end.notified()).await.is_ok()
    }

    /// Runs `look`, which looks for jobs up to a limit and reserves none, where there is to be a wait at all, and
    /// `reserve` after it. If the wait is ended meanwhile, `look` is dropped and nothing is reserved.
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
