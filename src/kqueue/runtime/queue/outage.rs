//! Tracks outages of the queue: since when, why, and whether they are final.

use std::time::{Duration, Instant};

use super::RETRY;
use crate::backend::BackendError;
use kqueue_core::backoff::Backoff;
use kqueue_system::harmless;
use kqueue_system::systemd::health::is_listening;

/// Maximum bytes of a server's error text in a log line.
const MAX_ERROR: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Outage {
    /// The queue has answered at least once.
    answered: bool,
    /// With `--stop-when-empty`, the runtime does not wait for an outage to end.
    is_not_awaited: bool,
    backoff: Backoff,
    since: Option<Instant>,
    /// Error of the last failed call.
    error: Option<String>,
    logged: Logged,
}

/// What was logged of this outage, whose failures may alternate between the kinds.
#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    refused: bool,
    silent: bool,
}

/// Whether a failure before the first reply is final. Under a service manager, which restarts us unattended, a refusal
/// is an outage: the server that refuses us may be at fault.
pub fn is_final(error: &BackendError) -> bool {
    match error {
        BackendError::Settings(_) => true,
        BackendError::Refused { .. } => !is_listening(),
        BackendError::Unavailable { .. } | BackendError::NoTable { .. } => false,
    }
}

impl Outage {
    pub fn new(is_not_awaited: bool) -> Self {
        Self {
            answered: false,
            is_not_awaited,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            since: None,
            error: None,
            logged: Logged::default(),
        }
    }

    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether an outage ends the runtime.
    pub fn is_not_awaited(&self) -> bool {
        self.is_not_awaited
    }

    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// How long the outage has lasted.
    pub fn silence(&self) -> Option<Duration> {
        self.since.map(|at| at.elapsed())
    }

    /// Whether the settings can never work. After the first reply they can: then a refusal is an outage.
    pub fn is_unusable(&self, error: &BackendError) -> bool {
        !self.answered && is_final(error)
    }

    /// Notes a reply. True for the first one.
    pub fn answered(&mut self) -> bool {
        if self.since.is_some() {
            tracing::info!("the queue answers again");
        }
        self.backoff.succeeded();
        (self.since, self.error, self.logged) = (None, None, Logged::default());
        !std::mem::replace(&mut self.answered, true)
    }

    /// Notes that the call made at `since` is overdue. True where an outage begins.
    pub fn silent(&mut self, since: Instant) -> bool {
        if !std::mem::replace(&mut self.logged.silent, true) {
            let age = since.elapsed().as_secs();
            tracing::error!("the queue does not answer: no reply for {age} s; waiting for it, running jobs continue");
        }
        let begins = self.since.is_none();
        self.since = self.since.or(Some(since));
        begins
    }

    /// Whether the lack of a reply was logged.
    pub fn is_logged(&self) -> bool {
        self.logged.silent
    }

    /// Notes that the call made at `since` has failed. Returns the delay before the next one.
    pub fn failed(&mut self, error: &BackendError, since: Option<Instant>) -> Duration {
        let (what, logged) = match error {
            BackendError::Settings(_) | BackendError::Refused { .. } => {
                ("the queue refuses requests", &mut self.logged.refused)
            }
            BackendError::Unavailable { .. } | BackendError::NoTable { .. } => {
                ("the queue does not answer", &mut self.logged.silent)
            }
        };
        if !std::mem::replace(logged, true) {
            let error = harmless::line(&error.to_string(), MAX_ERROR);
            tracing::error!("{what}: {error}; retrying, running jobs continue");
        }
        self.since = self.since.or(since);
        self.error = Some(error.to_string());
        self.backoff.failed()
    }
}
