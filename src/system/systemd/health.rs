//! Notifications to systemd about this service: ready, status, watchdog.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long a loop may take for one round if there is no watchdog.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether there is a service manager to notify.
pub fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// The service is ready; also ends a reload of its settings.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The status that `systemctl status` shows.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The service is stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The settings are being reloaded. [`ready`] ends that.
pub fn reloading() {
    // Without a clock there is no valid notification; a manager that waits for it reports that.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The start or stop in progress takes at most this long from now.
pub fn extend(time: Duration) {
    tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))]);
}

/// Without systemd this does nothing, which is no error.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("sd_notify: {error}");
    }
}

/// The watchdog of our unit. It must be notified twice per timeout, only while everything vital is alive.
#[derive(Debug)]
pub struct Watchdog {
    /// Half of the timeout; `None` without a watchdog.
    period: Option<Duration>,
    next: Option<Instant>,
}

impl Watchdog {
    /// Reads the timeout from the environment that systemd sets.
    pub fn new() -> Self {
        let period = sd_notify::watchdog_enabled().filter(|_| is_listening()).map(|limit| limit / 2);
        let period = period.filter(|period| !period.is_zero());
        Self { period, next: period.map(|_| Instant::now()) }
    }

    /// When the next notification is due.
    pub fn wake(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a notification is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|at| at <= now)
    }

    /// Notifies the watchdog that everything is alive.
    pub fn feed(&mut self, now: Instant) {
        if let Some(period) = self.period {
            tell(&[NotifyState::Watchdog]);
            self.next = Some(now + period);
        }
    }

    /// Stops the notifications because something vital is stuck, so that systemd restarts us.
    pub fn starve(&mut self) {
        self.next = None;
    }

    /// How often the vital loops should be checked.
    pub fn period(&self) -> Duration {
        self.patience() / 2
    }

    fn patience(&self) -> Duration {
        self.period.unwrap_or(PATIENCE)
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}

/// The round counter of a loop at the last check that found it changed.
#[derive(Debug)]
struct Loop {
    name: &'static str,
    rounds: u64,
    since: Instant,
}

/// The vital loops, each of which must keep making rounds.
#[derive(Debug)]
pub struct Loops {
    loops: Vec<Loop>,
    patience: Duration,
}

impl Loops {
    /// Loops of these names, to be checked at every [`Watchdog::period`].
    pub fn new(names: &[&'static str], watchdog: &Watchdog) -> Self {
        let now = Instant::now();
        let loops = names.iter().map(|name| Loop { name, rounds: 0, since: now }).collect();
        Self { loops, patience: watchdog.patience() }
    }

    /// Takes the round counter of each loop, in the order of their names. Returns a loop that has made no round lately.
    pub fn stuck(&mut self, rounds: &[u64], now: Instant) -> Option<&'static str> {
        for (one, rounds) in self.loops.iter_mut().zip(rounds) {
            if one.rounds != *rounds {
                (one.rounds, one.since) = (*rounds, now);
            }
        }
        let patience = self.patience;
        self.loops.iter().find(|one| now.duration_since(one.since) >= patience).map(|one| one.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_come_round_is_found() {
        let watchdog = Watchdog { period: Some(Duration::from_secs(10)), next: None };
        assert_eq!(watchdog.period(), Duration::from_secs(5));
        let mut loops = Loops::new(&["a", "b"], &watchdog);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(loops.stuck(&[1, 1], after(5)), None);
        assert_eq!(loops.stuck(&[2, 1], after(10)), None);
        assert_eq!(loops.stuck(&[3, 1], after(15)), Some("b"));
        assert_eq!(loops.stuck(&[4, 2], after(20)), None);
    }

    #[test]
    fn a_watchdog_is_fed_when_it_is_due_and_no_more_once_something_is_dead() {
        let now = Instant::now();
        let mut watchdog = Watchdog { period: Some(Duration::from_secs(10)), next: Some(now) };
        assert!(watchdog.is_due(now));
        watchdog.feed(now);
        assert!(!watchdog.is_due(now + Duration::from_secs(9)) && watchdog.is_due(now + Duration::from_secs(10)));
        watchdog.starve();
        assert!(watchdog.wake().is_none() && !watchdog.is_due(now + Duration::from_secs(99)));
        // Without a watchdog nothing is due.
        let mut none = Watchdog { period: None, next: None };
        none.feed(now);
        assert!(none.wake().is_none());
    }
}
