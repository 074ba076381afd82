//! Jobs of others behind many of one, where those of a queue take turns: looks for them beside the calls that take what comes
//! next, at one queue after the other, and takes no more than a small part of the server's time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Answer, QueueSide};
use crate::backend::{BackendError, Others, Reserved};

/// Between two looks: while there is more to be looked at, and when all was seen.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// A look that took longer is followed by a longer pause: this many times as long.
const SHARE: u32 = 5;
/// After which a queue that was looked through is so from its head again: what was passed over may be taken by now.
const AGAIN: Duration = Duration::from_secs(30);
/// What a look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Jobs that one look takes at the most.
const MOST: usize = 32;

/// How far looks have come.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// By queue: where, and since when all was seen.
    at: BTreeMap<String, (u64, Option<Instant>)>,
    /// The queue that comes next.
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
    /// Looks, if that is due, for jobs of those of whom few are known, by the value of `by`. `room`: how many may be taken.
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

    /// There is nothing to look for.
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
            // That the queue does not answer is said by those calls that do not come beside others.
            Err(error) => tracing::debug!(queue, "no look behind the head: {error}"),
        }
        self.behind.next = Some(Instant::now() + pause.max(since.elapsed() * SHARE));
    }
}
