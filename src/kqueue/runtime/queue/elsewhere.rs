//! The app has its queues elsewhere by now: another backend takes the place of this one, once all is settled here.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::fetch::Fetch;
use super::sizes::Backlog;
use super::{QueueEvent, QueueSide};
use crate::backend::QueueBackend;

/// What a server may take to take jobs back that nobody will ask it for again. Then they come back by themselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// The backend that comes next.
pub struct Next {
    backend: Rc<dyn QueueBackend>,
    /// When what could not be given back is given up.
    until: Instant,
}

impl QueueSide {
    /// Laravel's name of the driver.
    pub fn driver(&self) -> &'static str {
        self.backend.driver()
    }

    /// Works this one from the moment on in which nothing is under way; [`QueueEvent::Elsewhere`] says when.
    pub fn move_to(&mut self, backend: Rc<dyn QueueBackend>) {
        self.next = Some(Next { backend, until: Instant::now() + PATIENCE });
        self.look_again();
    }

    /// When what cannot be settled here is given up.
    pub(super) fn moving_wake(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| next.until.max(Instant::now() + Duration::from_millis(50)))
    }

    /// Whether jobs are on their way to where they come from next.
    pub fn is_moving(&self) -> bool {
        self.next.is_some()
    }

    /// Moves, if nothing is under way.
    pub fn move_when_settled(&mut self) {
        let Some(next) = &self.next else { return };
        if next.until <= Instant::now() && self.returns.sending.is_none() && !self.returns.pending.is_empty() {
            let jobs = std::mem::take(&mut self.returns.pending);
            tracing::warn!("{} jobs could not be given back to where the app had its queues before", jobs.len());
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
