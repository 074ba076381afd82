//! Removal of finished jobs from the queue, and return of jobs that PHP has not read.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::{Answer, QueueEvent, QueueSide, RETRY};
use crate::backend::{BackendError, Reservation};
use kqueue_core::backoff::Backoff;
use kqueue_core::schedule::JobId;

/// Finished jobs to be removed.
#[derive(Debug)]
pub struct Removals {
    pending: Vec<(JobId, Reservation)>,
    /// When the call under way was made.
    pub sending: Option<Instant>,
    retry: Option<Instant>,
    backoff: Backoff,
}

/// A job to be given back.
#[derive(Clone, Debug)]
pub struct Return {
    pub job: JobId,
    pub reservation: Reservation,
    /// Sequence number of an operator's order to move it to the front, else 0: the greatest number goes first.
    pub front: u64,
    /// The queue to move it to, if it is another one.
    pub to: Option<String>,
}

/// Jobs to be given back.
#[derive(Debug)]
pub struct Returns {
    pub pending: Vec<Return>,
    /// When the call under way was made.
    pub sending: Option<Instant>,
    pub retry: Option<Instant>,
    backoff: Backoff,
}

impl Default for Removals {
    fn default() -> Self {
        Self { pending: Vec::new(), sending: None, retry: None, backoff: Backoff::new(RETRY.0, RETRY.1) }
    }
}

impl Default for Returns {
    fn default() -> Self {
        Self { pending: Vec::new(), sending: None, retry: None, backoff: Backoff::new(RETRY.0, RETRY.1) }
    }
}

impl Removals {
    fn wake(&self) -> Option<Instant> {
        self.retry.filter(|_| !self.pending.is_empty() && self.sending.is_none())
    }
}

impl Returns {
    fn wake(&self) -> Option<Instant> {
        self.retry.filter(|_| !self.pending.is_empty() && self.sending.is_none())
    }
}

impl QueueSide {
    /// Queues finished jobs for the next removal.
    pub fn remove(&mut self, jobs: impl IntoIterator<Item = (JobId, Reservation)>) {
        self.removals.pending.extend(jobs);
    }

    /// Queues jobs that PHP has not read for the next return.
    pub fn give_back(&mut self, jobs: impl IntoIterator<Item = Return>) {
        self.returns.pending.extend(jobs);
    }

    /// Makes the calls that are due: removals, returns, and the move to another backend.
    pub fn settle(&mut self) {
        self.send_removals();
        self.send_returns();
        self.move_when_settled();
    }

    /// Whether nothing is left to be removed or given back, and no call under way may still bring a job.
    pub fn is_settled(&self) -> bool {
        !self.is_removing()
            && self.shares.under_way == 0
            && self.returns.sending.is_none()
            && self.fetch.is_idle()
            && self.unsettled() == 0
    }

    /// Whether finished jobs are still to be removed, or being removed.
    pub fn is_removing(&self) -> bool {
        self.removals.sending.is_some() || !self.removals.pending.is_empty()
    }

    /// Jobs that are still to be removed or given back.
    pub fn unsettled(&self) -> usize {
        self.removals.pending.len() + self.returns.pending.len()
    }

    /// When a failed removal or return is repeated.
    pub fn settling_wake(&self) -> Option<Instant> {
        let due = [self.removals.wake(), self.returns.wake()].into_iter().flatten().min()?;
        // One that is due and waits for another call is polled.
        Some(due.max(Instant::now() + Duration::from_millis(10)))
    }

    fn send_removals(&mut self) {
        let Removals { pending, sending, retry, .. } = &mut self.removals;
        if sending.is_some() || pending.is_empty() || retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        *sending = Some(Instant::now());
        let jobs = std::mem::take(pending);
        self.call(|backend| async move {
            let (ids, reservations): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            let result = backend.delete(&reservations).await;
            Answer::Removed { jobs: ids.into_iter().zip(reservations).collect(), result }
        });
    }

    pub(super) fn removed(&mut self, jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError>) {
        self.removals.sending = None;
        let Ok(ours) = result else {
            // Finished jobs must not run again: they stay at the head of the next batch.
            self.removals.pending.splice(..0, jobs);
            self.removals.retry = Some(Instant::now() + self.removals.backoff.failed());
            return;
        };
        // A call without a reply may have removed them.
        let retried = self.removals.retry.take().is_some();
        self.removals.backoff.succeeded();
        let lost = ours.iter().filter(|ours| !**ours).count();
        if lost > 0 && !retried {
            tracing::warn!(
                "{lost} finished jobs were no longer reserved: their leases had expired, or the queue was cleared"
            );
        }
        self.events.push_back(QueueEvent::Removed(jobs.into_iter().map(|(id, _)| id).collect()));
    }

    fn send_returns(&mut self) {
        // A renewal under way changes receipts, and a call under way may bring jobs that belong behind these: all go
        // back together, in order.
        let busy = self.returns.sending.is_some()
            || self.leases.renewing.is_some()
            || (self.fetch.brings_jobs() && self.backend.capabilities().ordered);
        let retries = [self.fetch.wake(), self.returns.retry];
        let is_due = retries.into_iter().flatten().all(|at| at <= Instant::now());
        if busy || !is_due || self.returns.pending.is_empty() {
            return;
        }
        self.returns.sending = Some(Instant::now());
        let all = std::mem::take(&mut self.returns.pending);
        // One call for each destination: a failed call is repeated as a whole.
        let to = all.first().and_then(|first| first.to.clone());
        let (mut jobs, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.to == to);
        self.returns.pending = others;
        // In the order in which they were reserved.
        jobs.sort_unstable_by_key(|one| (Reverse(one.front), one.job));
        self.call(|backend| async move {
            let reservations: Vec<_> = jobs.iter().map(|one| one.reservation.clone()).collect();
            let result = match &to {
                Some(to) => backend.requeue(&reservations, to).await,
                None => backend.unreserve(&reservations).await,
            };
            Answer::Returned { jobs, result }
        });
    }

    pub(super) fn returned(&mut self, jobs: Vec<Return>, result: Result<Vec<bool>, BackendError>) {
        self.returns.sending = None;
        if result.is_err() {
            self.returns.pending.extend(jobs);
            self.returns.retry = Some(Instant::now() + self.returns.backoff.failed());
            return;
        }
        self.returns.retry = None;
        self.returns.backoff.succeeded();
        if self.backend.capabilities().unreserve {
            tracing::debug!("{} jobs are back in their queues", jobs.len());
        } else {
            tracing::info!("{} jobs are back in their queues, each with an attempt counted", jobs.len());
        }
        self.events.push_back(QueueEvent::Returned(jobs.into_iter().map(|one| one.job).collect()));
    }
}
