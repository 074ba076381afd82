//! What a service tells systemd about itself: ready, what it does, and that it lives.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long a loop may take to come round where there is no watchdog to say so.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether there is a service manager to tell.
pub fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// The service is ready; also that settings have been read again.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What `systemctl status` shows.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The service is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Settings are being read again. [`ready`] says that it is done.
pub fn reloading() {
    // Without a clock there is nothing to say; a manager that waits for it will say so.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// What goes on, a start or a stop, takes at most so long from now.
pub fn extend(time: Duration) {
    tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))]);
}

/// Without systemd there is nobody to tell, which is no fault.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("sd_notify: {error}");
    }
}

/// The watchdog of our unit: to be fed twice in each of its limits, by whoever knows that all is alive that has to be.
#[derive(Debug)]
pub struct Watchdog {
    /// None where there is no watchdog.
    period: Option<Duration>,
    next: Option<Instant>,
}

impl Watchdog {
    /// By what systemd has put into the environment.
    pub fn new() -> Self {
        let period = sd_notify::watchdog_enabled().filter(|_| is_listening()).map(|limit| limit / 2);
        let period = period.filter(|period| !period.is_zero());
        Self { period, next: period.map(|_| Instant::now()) }
    }

    /// When it is to be fed next.
    pub fn wake(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it is to be fed.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|at| at <= now)
    }

    /// All is alive.
    pub fn feed(&mut self, now: Instant) {
        if let Some(period) = self.period {
            tell(&[NotifyState::Watchdog]);
            self.next = Some(now + period);
        }
    }

    /// Something is dead: it is fed no more, and systemd restarts us.
    pub fn starve(&mut self) {
        self.next = None;
    }

    /// How often what has to be alive is to be looked at.
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

/// How many times a loop has come round, asked when it matters.
#[derive(Debug)]
struct Loop {
    name: &'static str,
    rounds: u64,
    since: Instant,
}

/// The vital loops, of which each must come round.
#[derive(Debug)]
pub struct Loops {
    loops: Vec<Loop>,
    patience: Duration,
}

impl Loops {
    /// Of these names. They are looked at as often as [`Watchdog::period`] says.
    pub fn new(names: &[&'static str], watchdog: &Watchdog) -> Self {
        let now = Instant::now();
        let loops = names.iter().map(|name| Loop { name, rounds: 0, since: now }).collect();
        Self { loops, patience: watchdog.patience() }
    }

    /// Takes the number of rounds of each loop, in the order of their names. Returns one that has not come round lately.
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
        // Where there is none, nothing is due.
        let mut none = Watchdog { period: None, next: None };
        none.feed(now);
        assert!(none.wake().is_none());
    }
}
