//! Moves to another backend when the app's queues have moved, once all jobs of this one are settled.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::fetch::Fetch;
use super::sizes::Backlog;
use super::{QueueEvent, QueueSide};
use crate::backend::QueueBackend;

/// Timeout for giving jobs back to a server that the app has left. After that they come back when their leases expire.
const PATIENCE: Duration = Duration::from_secs(5);

/// The next backend.
pub struct Next {
    backend: Rc<dyn QueueBackend>,
    /// When jobs that could not be given back are abandoned.
    until: Instant,
}

impl QueueSide {
    /// Laravel's name of the driver.
    pub fn driver(&self) -> &'static str {
        self.backend.driver()
    }

    /// Moves to this backend as soon as no call is under way; [`QueueEvent::Elsewhere`] reports it.
    pub fn move_to(&mut self, backend: Rc<dyn QueueBackend>) {
        self.next = Some(Next { backend, until: Instant::now() + PATIENCE });
        self.look_again();
    }

    /// When jobs that cannot be settled here are abandoned.
    pub(super) fn moving_wake(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| next.until.max(Instant::now() + Duration::from_millis(50)))
    }

    /// Whether a move is pending.
    pub fn is_moving(&self) -> bool {
        self.next.is_some()
    }

    /// Moves, if no call is under way.
    pub fn move_when_settled(&mut self) {
        let Some(next) = &self.next else { return };
        if next.until <= Instant::now() && self.returns.sending.is_none() && !self.returns.pending.is_empty() {
            let jobs = std::mem::take(&mut self.returns.pending);
            tracing::warn!("{} jobs could not be given back to the app's former queues", jobs.len());
            self.events.push_back(QueueEvent::Returned(jobs.into_iter().map(|one| one.job).collect()));
        }
        if !self.is_settled() || self.leases.renewing.is_some() {
            return;
        }
        if let Some(next) = self.next.take() {
            self.backend = next.backend;
            self.fetch = Fetch::default();
            self.returns = Default::default();
            self.backlog = Backlog::new(!self.backend.capabilities().exact_sizes);
            self.leases.arm(self.backend.lease());
            self.events.push_back(QueueEvent::Elsewhere);
        }
    }
}
