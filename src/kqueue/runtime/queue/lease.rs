//! Lease renewal of held jobs, and verification of a reservation before its job is replayed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Answer, QueueEvent, QueueSide, RETRY};
use crate::backend::{BackendError, Receipt, Reservation};
use kqueue_core::backoff::Backoff;
use kqueue_core::schedule::JobId;

/// Leases are renewed after this fraction (1/n) of their time.
const RENEWALS_PER_LEASE: u32 = 3;
/// Minimum time between two renewals.
const LEAST: Duration = Duration::from_millis(300);

/// When leases are renewed.
#[derive(Debug)]
pub struct Leases {
    /// Whether leases are renewed.
    enabled: bool,
    due: Option<Instant>,
    /// When the call under way was made.
    pub renewing: Option<Instant>,
}

impl Leases {
    pub fn new(enabled: bool) -> Self {
        Self { enabled, due: None, renewing: None }
    }

    pub fn configure(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Schedules the next renewal for a lease of this length.
    pub fn arm(&mut self, lease: Option<Duration>) {
        let lease = lease.filter(|_| self.enabled);
        self.due = lease.map(|lease| Instant::now() + (lease / RENEWALS_PER_LEASE).max(LEAST));
    }

    pub fn wake(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a renewal is due. True once, until armed again.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|at| *at <= now).is_some()
    }
}

impl QueueSide {
    /// Renews the leases of these jobs, unless a renewal is under way.
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
            // After a renewal, a job to be given back is found by its new receipt only.
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

    /// Checks whether a job whose process died is still reserved by us. Repeated until the queue answers.
    pub fn verify(&self, job: JobId, reservation: Reservation) {
        self.call(move |backend| async move {
            let mut reservation = [reservation];
            let mut backoff = Backoff::new(RETRY.0, RETRY.1);
            loop {
                match backend.renew(&mut reservation).await {
                    // A refusal does not say whether the job is ours either.
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
