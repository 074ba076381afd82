//! Leases are renewed while jobs are held, and a reservation is verified before its job is replayed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Answer, QueueEvent, QueueSide, RETRY};
use crate::backend::{BackendError, Receipt, Reservation};
use kqueue_core::backoff::Backoff;
use kqueue_core::schedule::JobId;

/// Leases are renewed when this part of them is over.
const RENEWALS_PER_LEASE: u32 = 3;
/// They are not renewed more often.
const LEAST: Duration = Duration::from_millis(300);

/// When leases are renewed.
#[derive(Debug)]
pub struct Leases {
    /// Whether they are.
    enabled: bool,
    due: Option<Instant>,
    /// When the call was made that is under way.
    pub renewing: Option<Instant>,
}

impl Leases {
    pub fn new(enabled: bool) -> Self {
        Self { enabled, due: None, renewing: None }
    }

    pub fn configure(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Sets the next renewal, by how long a lease is.
    pub fn arm(&mut self, lease: Option<Duration>) {
        let lease = lease.filter(|_| self.enabled);
        self.due = lease.map(|lease| Instant::now() + (lease / RENEWALS_PER_LEASE).max(LEAST));
    }

    pub fn wake(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time. Once, until it is set again.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|at| *at <= now).is_some()
    }
}

impl QueueSide {
    /// Starts the leases of these jobs anew.
    pub fn renew(&mut self, jobs: Vec<(JobId, Reservation)>) {
        self.leases.arm(self.backend.lease());
        if self.leases.renewing.is_some() || jobs.is_empty() {
            return;
        }
        self.leases.renewing = Some(Instant::now());
        self.call(|backend| async move {
            let (ids, mut reservations): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            let result = backend.renew(&mut reservations).await;
            Answer::Renewed { jobs: ids.into_iter().zip(reservations).collect(), result }
        });
    }

    pub(super) fn renewed(&mut self, jobs: Vec<(JobId, Reservation)>, result: Result<Vec<bool>, BackendError>) {
        self.leases.renewing = None;
        let Ok(ours) = result else { return };
        let renewed = jobs.into_iter().zip(ours).map(|((id, reservation), ours)| (id, reservation.receipt, ours));
        let renewed: Vec<(JobId, Receipt, bool)> = renewed.collect();
        if !self.returns.pending.is_empty() {
            // What is to be given back is found by its new receipt alone.
            let receipts: HashMap<JobId, &Receipt> =
                renewed.iter().filter(|(.., ours)| *ours).map(|(id, receipt, _)| (*id, receipt)).collect();
            for one in &mut self.returns.pending {
                if let Some(receipt) = receipts.get(&one.job) {
                    one.reservation.receipt = (*receipt).clone();
                }
            }
        }
        self.events.push_back(QueueEvent::Renewed(renewed));
    }

    /// Finds out whether a job whose process died is still ours. Asked until the queue answers.
    pub fn verify(&self, job: JobId, reservation: Reservation) {
        self.call(move |backend| async move {
            let mut reservation = [reservation];
            let mut backoff = Backoff::new(RETRY.0, RETRY.1);
            loop {
                match backend.renew(&mut reservation).await {
                    // A refusal says nothing about the job either.
                    Err(_) => tokio::time::sleep(backoff.failed()).await,
                    Ok(ours) => {
                        let ours = ours.first().copied().unwrap_or(false);
                        let [Reservation { receipt, .. }] = reservation;
                        return Answer::Verified { job, receipt, ours };
                    }
                }
            }
        });
    }
}
