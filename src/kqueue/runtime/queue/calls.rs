//! What is under way to the queue, and for how long: whether it answers, and whether it ever will.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Fetch, FetchState};
use crate::backend::{BackendError, Reservation};
use crate::runtime::Runtime;

/// A call for jobs that takes longer is not being answered.
const SILENCE: Duration = Duration::from_secs(5);

/// What this outage has logged: its failures may alternate between the kinds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logged {
    pub refused: bool,
    pub silent: bool,
}

/// Whether another try before the first answer would end the same way. A service manager starts us again when
/// nobody looks, and the server that refuses us may be the one that is wrong: there a refusal is an outage.
pub fn is_final(error: &BackendError) -> bool {
    match error {
        BackendError::Settings(_) => true,
        BackendError::Refused { .. } => std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()),
        BackendError::Unavailable { .. } => false,
    }
}

/// A reservation as far as it is needed to find it again: payloads may be large.
pub fn without_payload(reservation: &Reservation) -> Reservation {
    Reservation { queue: reservation.queue.clone(), payload: Bytes::new(), receipt: reservation.receipt.clone() }
}

impl Fetch {
    /// Whether the queue has ever answered.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// What the queue says instead of an answer.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// For how long the queue has not answered, if it should have.
    pub fn silent(&self) -> Option<Duration> {
        let call = self.since.filter(|_| self.state != FetchState::Idle).map(|at| at.elapsed());
        self.silent.map(|at| at.elapsed()).or(call.filter(|age| *age > SILENCE))
    }
}

impl Runtime {
    /// Calls that have not come back, and when they were made.
    pub fn calls_under_way(&self) -> impl Iterator<Item = (&'static str, Instant)> {
        let fetch = self.queue.fetch.since.filter(|_| self.queue.fetch.state != FetchState::Idle);
        let calls = [
            ("reserve jobs", fetch),
            ("renew leases", self.queue.fetch.renewing),
            ("give jobs back", self.queue.fetch.returning),
            ("remove finished jobs", self.queue.acks.sending),
        ];
        calls.into_iter().filter_map(|(name, since)| Some((name, since?)))
    }
}
