//! What a service tells systemd about itself: ready, what it does, and that it lives. The watchdog is fed only while
//! every vital loop has come round lately, so that it tells of them and not of a timer.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long a loop may take to come round where there is no watchdog to say so.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells systemd that the service is ready.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What `systemctl status` shows.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Tells systemd that the service is about to end.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Without systemd there is nobody to tell, which is no fault.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("sd_notify: {error}");
    }
}

/// How many times a loop has come round, asked when it matters.
#[derive(Debug)]
struct Loop {
    name: &'static str,
    rounds: u64,
    since: Instant,
}

/// The vital loops, and the watchdog that is fed while all of them live.
#[derive(Debug)]
pub struct Watchdog {
    loops: Vec<Loop>,
    patience: Duration,
    is_asked_for: bool,
}

impl Watchdog {
    /// For loops of these names. They are looked at as often as [`Watchdog::period`] says.
    pub fn new(names: &[&'static str]) -> Self {
        let asked = sd_notify::watchdog_enabled();
        Self::with(names, asked)
    }

    fn with(names: &[&'static str], asked: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            loops: names.iter().map(|name| Loop { name, rounds: 0, since: now }).collect(),
            patience: asked.map_or(PATIENCE, |limit| limit / 2),
            is_asked_for: asked.is_some(),
        }
    }

    /// How often [`Watchdog::look`] is to be called.
    pub fn period(&self) -> Duration {
        self.patience / 2
    }

    /// Takes the number of rounds of each loop, in the order of their names, and feeds the watchdog if all have come
    /// round lately. Returns the one that has not.
    pub fn look(&mut self, rounds: &[u64]) -> Option<&'static str> {
        let stuck = self.stuck(rounds, Instant::now());
        if stuck.is_none() && self.is_asked_for {
            tell(&[NotifyState::Watchdog]);
        }
        stuck
    }

    fn stuck(&mut self, rounds: &[u64], now: Instant) -> Option<&'static str> {
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
        let mut watchdog = Watchdog::with(&["a", "b"], Some(Duration::from_secs(20)));
        assert_eq!(watchdog.period(), Duration::from_secs(5));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.stuck(&[1, 1], after(5)), None);
        assert_eq!(watchdog.stuck(&[2, 1], after(10)), None);
        assert_eq!(watchdog.stuck(&[3, 1], after(15)), Some("b"));
        assert_eq!(watchdog.stuck(&[4, 2], after(20)), None);
    }
}
