//! Listings of unreserved jobs. Pure.

use bytes::Bytes;

use kqueue_core::payload::Envelope;

/// Bytes of a payload that are read for a listing.
pub const CUT: usize = 16 << 10;
/// Jobs of one page at most.
pub const PAGE: usize = 200;
/// Number of jobs of a queue that can be listed: to get further, a server may have to skip all jobs before.
pub const DEEP: usize = 10_000;

/// Which jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Jobs that could run now, in the order in which they would be reserved.
    Waiting,
    /// Jobs that are not due yet, in the order of their due times where the queue keeps that order.
    Delayed,
}

/// An unreserved job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its payload, or the first [`CUT`] bytes of it.
    pub payload: Bytes,
    /// Size of the whole payload in bytes.
    pub bytes: usize,
    /// Attempts so far, where the queue counts them outside the payload.
    pub attempts: Option<u32>,
    /// Epoch seconds from which it is or was available, where the queue keeps that.
    pub available: Option<u64>,
}

impl Listed {
    /// The envelope in its payload, or in the first part of it; `None` if it is not a job.
    pub fn envelope(&self) -> Option<Envelope> {
        match self.payload.len() < self.bytes {
            true => Envelope::parse_head(&self.payload),
            false => Envelope::parse(&self.payload).ok(),
        }
    }

    /// Earliest time at which it can or could run: milliseconds since 1970.
    pub fn ready_at(&self) -> Option<u64> {
        let available = self.available.map(|seconds| seconds.saturating_mul(1000));
        available.or_else(|| {
            let envelope = self.envelope()?;
            // The time at which a tried job was released is not recorded.
            envelope.due_at().filter(|_| envelope.attempts.unwrap_or(0) == 0)
        })
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Jobs, in order.
    pub jobs: Vec<Listed>,
    /// Whether more jobs follow.
    pub more: bool,
}
