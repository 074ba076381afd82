//! What is shown of jobs that nobody has reserved. Pure.

use bytes::Bytes;

use kqueue_core::payload::Envelope;

/// Bytes of a payload that are read to show it.
pub const CUT: usize = 16 << 10;
/// Jobs of one page.
pub const PAGE: usize = 200;
/// Jobs of a queue behind which none is listed: to get there, a server may have to go past all that are before.
pub const DEEP: usize = 10_000;

/// Which jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Those that could run now, in the order in which they would be reserved.
    Waiting,
    /// Those whose time has not come; in the order of their times where the queue keeps that order.
    Delayed,
}

/// A job that nobody has reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its payload, or the first [`CUT`] bytes of it.
    pub payload: Bytes,
    /// Bytes that it has.
    pub bytes: usize,
    /// Attempts that there have been, where the queue counts them beside the payload.
    pub attempts: Option<u32>,
    /// Epoch seconds from which it is or was available, where the queue keeps that.
    pub available: Option<u64>,
}

impl Listed {
    /// What its payload says, or the first part of it; nothing where it is no job.
    pub fn envelope(&self) -> Option<Envelope> {
        match self.payload.len() < self.bytes {
            true => Envelope::parse_head(&self.payload),
            false => Envelope::parse(&self.payload).ok(),
        }
    }

    /// When it could have run at the earliest: milliseconds since 1970.
    pub fn ready_at(&self) -> Option<u64> {
        let available = self.available.map(|seconds| seconds.saturating_mul(1000));
        available.or_else(|| {
            let envelope = self.envelope()?;
            // One that has been tried went back at a time that nobody has noted.
            envelope.due_at().filter(|_| envelope.attempts.unwrap_or(0) == 0)
        })
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Jobs, in order.
    pub jobs: Vec<Listed>,
    /// There are more behind them.
    pub more: bool,
}
