//! Reserved jobs in Redis: members of one sorted set for each queue.

use bytes::Bytes;

use crate::backend::receipt::{Receipt, ReceiptData};
use crate::backend::{BUDGET, Reservation};

/// Laravel's name of the driver.
pub(super) const DRIVER: &str = "redis";

/// The receipt of a job: the exact bytes of the member of `queues:NAME:reserved`, as the pop script stored it,
/// `attempts` already counted.
#[derive(Debug)]
pub(super) struct Member(Bytes);

impl ReceiptData for Member {
    fn driver(&self) -> &str {
        DRIVER
    }

    fn body(&self) -> Option<&Bytes> {
        Some(&self.0)
    }
}

impl Member {
    /// The member as a receipt.
    pub(super) fn receipt(reserved: Bytes) -> Receipt {
        Receipt::new(Self(reserved))
    }
}

/// The distinct queues of `jobs`, and for each job the index of its queue.
pub(super) fn by_queue<'a>(jobs: &[(usize, &'a Reservation)]) -> (Vec<&'a str>, Vec<usize>) {
    let mut queues: Vec<&str> = Vec::new();
    let indexes = jobs
        .iter()
        .map(|(_, job)| {
            queues.iter().position(|q| *q == job.queue).unwrap_or_else(|| {
                queues.push(&job.queue);
                queues.len() - 1
            })
        })
        .collect();
    (queues, indexes)
}

/// Splits `jobs` into parts of [`BUDGET`] bytes at most, or of one job.
pub(super) fn bounded(jobs: &[Reservation]) -> impl Iterator<Item = &[Reservation]> {
    let mut rest = jobs;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|job| {
            bytes += member(job).len();
            bytes <= BUDGET
        });
        let count = fits.count().max(1).min(rest.len());
        let (part, left) = rest.split_at(count);
        rest = left;
        (!part.is_empty()).then_some(part)
    })
}

/// The job's member of the reserved set. Empty, which no member is, for a job of another backend.
pub(super) fn member(job: &Reservation) -> &[u8] {
    job.receipt.read::<Member>().map_or(&[], |Member(reserved)| reserved)
}
