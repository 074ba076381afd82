//! Memory that was needed and is no longer: where there is nothing to do, it is given back.

use std::time::{Duration, Instant};

use super::Runtime;
use kqueue_core::schedule::JobId;
use kqueue_system::unchecked;

/// For how long there was nothing to do.
const QUIET: Duration = Duration::from_secs(10);

/// Time in which the processes of an app that falls asleep have ended.
const SETTLED: Duration = Duration::from_secs(2);

/// What the last jobs have left behind.
#[derive(Debug, Default)]
pub(super) struct Slack {
    /// The number that the next job got, at the last look.
    next: JobId,
    /// When it is given back.
    due: Option<Instant>,
}

impl Runtime {
    /// Gives back what jobs have left behind, once for the last of them. Called now and then.
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

    /// Gives back what falling asleep leaves behind, once that is done.
    pub(super) fn give_back_soon(&mut self, now: Instant) {
        self.slack.due = Some(now + SETTLED);
    }

    /// When that is looked at next, if not before.
    pub(super) fn slack_wake(&self) -> Option<Instant> {
        self.slack.due
    }
}
