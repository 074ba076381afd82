//! Returns unused memory to the system when there is nothing to do.

use std::time::{Duration, Instant};

use super::Runtime;
use kqueue_core::schedule::JobId;
use kqueue_system::unchecked;

/// Idle time after which memory is returned.
const QUIET: Duration = Duration::from_secs(1);

/// Time in which the processes of an app that falls asleep end.
const SETTLED: Duration = Duration::from_secs(2);

/// When memory is to be returned.
#[derive(Debug, Default)]
pub(super) struct Slack {
    /// The next job's id at the last check.
    next: JobId,
    /// When memory is returned.
    due: Option<Instant>,
}

impl Runtime {
    /// Returns memory once no job has come for [`QUIET`] and none is held. Called on each timer.
    pub(super) fn give_back_memory(&mut self, now: Instant) {
        let next = self.held.next();
        let due = self.slack.due.is_some_and(|at| now >= at);
        if self.slack.next != next || due && !self.held.is_empty() {
            self.slack = Slack { next, due: Some(now + QUIET) };
        } else if due {
            self.slack.due = None;
            unchecked::give_memory_back();
            unchecked::unmap_code();
        }
    }

    /// Returns memory soon, after the app has fallen asleep.
    pub(super) fn give_back_soon(&mut self, now: Instant) {
        self.slack.due = Some(now + SETTLED);
    }

    /// When the next check is due.
    pub(super) fn slack_wake(&self) -> Option<Instant> {
        self.slack.due
    }
}
