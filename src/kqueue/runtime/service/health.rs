//! Notifications to the service manager: status, reloads, extensions, watchdog.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use kqueue_system::harmless;
use kqueue_system::systemd::health::{self, Watchdog};

pub use kqueue_system::systemd::health::{ready, reloading, stopping};

/// Minimum time between two STATUS= notifications.
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// A call to the queue that takes longer counts as stuck. Each has its own deadline, well below this.
const STUCK: Duration = Duration::from_secs(120);
/// While jobs run during a drain, extensions are requested at intervals of `.0`, for `.1` each.
const EXTENSION: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
/// Maximum bytes of a reason.
const REASON: usize = 500;
/// Time after its first failure in which a start waits for the queue. With another start nothing would be gained.
const START: Duration = Duration::from_secs(15);
/// Extension requested once all jobs have left.
const FAREWELL: Duration = Duration::from_secs(20);

/// State of the notifications.
#[derive(Debug)]
pub struct Health {
    status: String,
    /// When the status is next checked without an event.
    look: Option<Instant>,
    looked: Option<Instant>,
    watchdog: Watchdog,
    extend: Option<Instant>,
    /// When the start no longer waits for the queue.
    start: Option<Instant>,
    /// Vital tasks, with their names.
    vital: Vec<(&'static str, JoinHandle<()>)>,
    /// The vital task or call that has failed.
    dead: Option<String>,
}

impl Health {
    /// As configured by the service manager's environment variables.
    pub fn new() -> Self {
        Self {
            status: String::new(),
            look: None,
            looked: None,
            watchdog: Watchdog::new(),
            extend: None,
            start: None,
            vital: Vec::new(),
            dead: None,
        }
    }

    /// Registers a vital task.
    pub fn needs(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.vital.push((name, task));
    }

    /// The vital task or call that has failed, if any.
    pub fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
    }

    /// When the next notification or check is due.
    pub fn wake(&self) -> Option<Instant> {
        [self.look, self.watchdog.wake(), self.extend, self.start].into_iter().flatten().min()
    }

    /// Whether the status is to be computed now.
    pub fn is_status_due(&mut self, now: Instant) -> bool {
        if let Some(next) = self.looked.map(|at| at + STATUS_PERIOD).filter(|at| now < *at) {
            self.look = Some(next);
            return false;
        }
        self.looked = Some(now);
        true
    }

    /// The queue does not answer at the start: READY waits for it, but not for long.
    pub fn waits_for_queue(&mut self, now: Instant) {
        self.start.get_or_insert(now + START);
    }

    /// Sends READY, if the start has waited for long enough.
    pub fn starts_without_queue(&mut self, now: Instant) {
        if self.start.take_if(|at| *at <= now).is_some() {
            ready();
        }
    }

    /// Sends the status, if it has changed. `moves`: whether it changes without an event.
    pub fn status(&mut self, now: Instant, status: String, moves: bool) {
        self.look = moves.then(|| now + STATUS_PERIOD);
        if status != self.status {
            health::status(&status);
            self.status = status;
        }
    }

    /// Extends the service manager's stop timeout while jobs run, up to our own limit, `stop_timeout`.
    pub fn extend_stop(&mut self, now: Instant, waits: bool) {
        if !waits {
            self.extend = None;
        } else if self.extend.is_none_or(|at| at <= now) {
            health::extend(EXTENSION.1);
            self.extend = Some(now + EXTENSION.0);
        }
    }

    /// Feeds the watchdog, as long as no vital task or call has failed. That this runs shows that the main loop does.
    pub fn feed_watchdog(&mut self, now: Instant, calls: impl Iterator<Item = (&'static str, Instant)>) {
        if !self.watchdog.is_due(now) {
            return;
        }
        let tasks = self.vital.iter().map(|(name, task)| (*name, task.is_finished()));
        self.dead = dead(tasks, calls.map(|(name, since)| (name, since.elapsed())));
        match &self.dead {
            None => self.watchdog.feed(now),
            Some(dead) => {
                tracing::error!(
                    "{dead}: no more watchdog notifications are sent, so that systemd restarts this process"
                );
                self.watchdog.starve();
            }
        }
    }
}

/// The last notification: the rest takes at most [`FAREWELL`].
pub fn farewell() {
    health::stopping();
    health::extend(FAREWELL);
}

/// Sends the error that ends us as status, which the service manager shows until the next start.
pub fn failed(app: &str, error: &anyhow::Error) {
    health::status(&harmless::line(&format!("{app}: {error:#}"), REASON));
}

/// The first of these tasks that has ended, or of these calls that is stuck.
fn dead(
    mut tasks: impl Iterator<Item = (&'static str, bool)>,
    mut calls: impl Iterator<Item = (&'static str, Duration)>,
) -> Option<String> {
    let ended = tasks.find(|(_, ended)| *ended).map(|(name, _)| format!("{name} has ended"));
    ended.or_else(|| {
        let (name, _) = calls.find(|(_, age)| *age > STUCK)?;
        Some(format!("the call to {name} has not returned within {} s", STUCK.as_secs()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dead_is_named() {
        let tasks = |ended| [("the worker socket", false), ("the control socket", ended)].into_iter();
        let calls = |age| [("reserve jobs", Duration::ZERO), ("renew leases", Duration::from_secs(age))].into_iter();
        assert_eq!(dead(tasks(false), calls(119)), None);
        assert_eq!(dead(tasks(true), calls(0)).as_deref(), Some("the control socket has ended"));
        let stuck = dead(tasks(false), calls(121));
        assert_eq!(stuck.as_deref(), Some("the call to renew leases has not returned within 120 s"));
    }
}
