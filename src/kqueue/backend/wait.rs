//! How long a call for jobs may wait for them, and how whoever made it ends the wait.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

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

    /// Runs `work`, which looks for jobs up to a limit and reserves none, where there is to be a wait at all. False if
    /// the wait is ended meanwhile: then `work` is dropped.
    pub(super) async fn first<E>(&self, work: impl AsyncFnOnce(Duration) -> Result<(), E>) -> Result<bool, E> {
        if self.limit.is_zero() {
            return Ok(true);
        }
        tokio::select! {
            biased;
            () = self.end.notified() => Ok(false),
            answer = work(self.limit) => answer.map(|()| true),
        }
    }
}
