//! What the service manager is told: how things are, and that everything vital is alive.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use kqueue_system::harmless;

/// Between two STATUS= notifications.
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// A call to the queue that takes longer will not come back. Each has its own deadline, well below this.
const STUCK: Duration = Duration::from_secs(120);
/// While jobs run on a drain, more time is asked for each `.0`, and for `.1`.
const EXTENSION: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
/// Bytes of a reason.
const REASON: usize = 500;
/// What is asked for once all that is left is to end.
const FAREWELL: Duration = Duration::from_secs(20);

/// A service manager to tell, and what it has been told.
#[derive(Debug)]
pub struct Health {
    /// There is somebody who listens.
    told_to: bool,
    status: String,
    /// When the status is next looked at, if anything has happened.
    look: Option<Instant>,
    looked: Option<Instant>,
    /// Half of the time after which the watchdog takes us for dead.
    period: Option<Duration>,
    ping: Option<Instant>,
    extend: Option<Instant>,
    /// Tasks that have to be there, with their names.
    vital: Vec<(&'static str, JoinHandle<()>)>,
    /// What is dead.
    dead: Option<String>,
}

impl Health {
    /// By what the service manager has put into the environment.
    pub fn new() -> Self {
        let told_to = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let period = sd_notify::watchdog_enabled().filter(|_| told_to).map(|limit| limit / 2);
        Self {
            told_to,
            status: String::new(),
            look: None,
            looked: None,
            period: period.filter(|period| !period.is_zero()),
            ping: None,
            extend: None,
            vital: Vec::new(),
            dead: None,
        }
    }

    /// Without this task nothing goes on.
    pub fn needs(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.vital.push((name, task));
    }

    /// Whether a service manager has started us, and listens.
    pub fn is_watched(&self) -> bool {
        self.told_to
    }

    /// What is dead, of that without which nothing goes on.
    pub fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
    }

    /// When to look after it again.
    pub fn wake(&self) -> Option<Instant> {
        [self.look, self.ping, self.extend].into_iter().flatten().min()
    }
}

/// Tells the service manager that settings are being read anew. `READY` says that it is done.
pub fn reloading() {
    // Without a clock there is nothing to say; a manager that waits for it will say so.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Tells the service manager why we end: it shows that for as long as we are not there to be asked.
pub fn failed(app: &str, error: &anyhow::Error) {
    let line = harmless::line(&format!("{app}: {error:#}"), REASON);
    let _ = sd_notify::notify(&[NotifyState::Status(&line)]);
}

fn microseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Sends a notification. Without a service manager there is nobody to notify.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

impl Health {
    /// The runtime works: the queue has answered, or the settings have been read anew.
    pub fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    /// The runtime stops.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// The last notification: what is left takes at most so long.
    pub fn farewell(&self) {
        notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(microseconds(FAREWELL))]);
    }

    /// Whether the status is to be made up now.
    pub fn is_status_due(&mut self, now: Instant) -> bool {
        if let Some(next) = self.looked.map(|at| at + STATUS_PERIOD).filter(|at| now < *at) {
            self.look = Some(next);
            return false;
        }
        self.looked = Some(now);
        true
    }

    /// Notifies of the status, if it has changed. `moves`: whether it changes by itself.
    pub fn status(&mut self, now: Instant, status: String, moves: bool) {
        self.look = moves.then(|| now + STATUS_PERIOD);
        if status != self.status {
            notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// While jobs run on after a stop, the service manager is to wait: up to our own limit, `stop_timeout`.
    pub fn extend_stop(&mut self, now: Instant, waits: bool) {
        if !waits {
            self.extend = None;
        } else if self.extend.is_none_or(|at| at <= now) {
            notify(&[NotifyState::ExtendTimeoutUsec(microseconds(EXTENSION.1))]);
            self.extend = Some(now + EXTENSION.0);
        }
    }

    /// Notifies the watchdog, as long as all is alive that has to be. That this runs at all says that the main loop is.
    pub fn watchdog(&mut self, now: Instant, calls: impl Iterator<Item = (&'static str, Instant)>) {
        let Some(period) = self.period.filter(|_| self.dead.is_none() && self.ping.is_none_or(|at| at <= now)) else {
            return;
        };
        let tasks = self.vital.iter().map(|(name, task)| (*name, task.is_finished()));
        self.dead = dead(tasks, calls.map(|(name, since)| (name, since.elapsed())));
        if let Some(dead) = &self.dead {
            tracing::error!("{dead}: no more watchdog notifications are sent, so that systemd restarts this process");
            self.ping = None;
        } else {
            notify(&[NotifyState::Watchdog]);
            self.ping = Some(now + period);
        }
    }
}

/// The first of these tasks that has ended, or of these calls that will not come back.
fn dead(
    mut tasks: impl Iterator<Item = (&'static str, bool)>,
    mut calls: impl Iterator<Item = (&'static str, Duration)>,
) -> Option<String> {
    let ended = tasks.find(|(_, ended)| *ended).map(|(name, _)| format!("{name} has ended"));
    ended.or_else(|| {
        let (name, _) = calls.find(|(_, age)| *age > STUCK)?;
        Some(format!("the call to {name} has not come back within {} s", STUCK.as_secs()))
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
        assert_eq!(stuck.as_deref(), Some("the call to renew leases has not come back within 120 s"));
    }
}
