//! Fairness between tenants within a queue: looks for jobs of other tenants behind many of one. Runs beside the calls
//! that take the next jobs, on one queue after the other, and takes a small part of the server's time only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Answer, QueueSide};
use crate::backend::{BackendError, Others, Reserved};

/// Interval between two looks: while there is more to see, and after the end of the queue was reached.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// The interval is at least this many times the duration of the last look.
const SHARE: u32 = 5;
/// After this time, a queue that was looked through is looked at from its head again: jobs passed over may be wanted by
/// now.
const AGAIN: Duration = Duration::from_secs(30);
/// Timeout of a look.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of jobs taken by one look.
const MOST: usize = 32;

/// Progress of the looks.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// By queue: position, and when its end was reached.
    at: BTreeMap<String, (u64, Option<Instant>)>,
    /// Index of the next queue.
    turn: usize,
    since: Option<Instant>,
    next: Option<Instant>,
}

impl Behind {
    /// When the next look is due.
    pub fn wake(&self) -> Option<Instant> {
        self.next.filter(|_| self.since.is_none())
    }
}

impl QueueSide {
    /// Looks, if due, for jobs of tenants of which few jobs are known; the payload value `by` identifies a tenant.
    /// `room`: how many jobs may be taken.
    pub fn look_behind(
        &mut self,
        now: Instant,
        queues: &[String],
        by: &str,
        known: impl FnOnce() -> BTreeMap<u64, usize>,
        room: usize,
    ) {
        let behind = &mut self.behind;
        let is_due = behind.since.is_none() && behind.next.is_none_or(|at| now >= at);
        let Some(queue) = queues.get(behind.turn % queues.len().max(1)).filter(|_| is_due && room > 0) else { return };
        behind.turn += 1;
        (behind.since, behind.next) = (Some(now), None);
        behind.at.retain(|name, _| queues.contains(name));
        let (at, through) = behind.at.entry(queue.clone()).or_default();
        if through.is_some_and(|since| now.saturating_duration_since(since) > AGAIN) {
            (*at, *through) = (0, None);
        }
        let others = Others { by: by.to_owned(), known: known(), at: *at, is_through: false, most: room.min(MOST) };
        let queue = queue.clone();
        self.call(|backend| async move {
            let late = || BackendError::Unavailable { target: queue.clone(), reason: "no answer".to_owned() };
            let looked = tokio::time::timeout(PATIENCE, backend.next_of_others(&queue, others)).await;
            let result = looked.unwrap_or_else(|_| Err(late()));
            Answer::Behind { queue, result }
        });
    }

    /// Cancels the next look.
    pub fn look_no_more(&mut self) {
        self.behind.next = None;
    }

    pub(super) fn looked_behind(&mut self, queue: &str, result: Result<(Reserved, Others), BackendError>) {
        let Some(since) = self.behind.since.take() else { return };
        let mut pause = PAUSE.1;
        match result {
            Ok((found, others)) => {
                if let Some((at, through)) = self.behind.at.get_mut(queue) {
                    *at = others.at;
                    *through = through.or(others.is_through.then(Instant::now));
                }
                if !others.is_through {
                    pause = PAUSE.0;
                }
                self.brought(found);
            }
            // Outages are reported by the regular calls.
            Err(error) => tracing::debug!(queue, "cannot read beyond the head of the queue: {error}"),
        }
        self.behind.next = Some(Instant::now() + pause.max(since.elapsed() * SHARE));
    }
}
