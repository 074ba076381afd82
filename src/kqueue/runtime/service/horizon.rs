//! The duties of Horizon's master, where the app's queue is Horizon's and no master runs.
//!
//! A PHP process that runs no job performs them through Horizon's own classes: it trims the indexes, keeps the records
//! of a master and a supervisor, watches the waits, and receives Horizon's commands. It gets a status report every few
//! seconds. Nothing waits for it: if it dies or hangs, it is replaced after a delay, and jobs run on.

use std::time::{Duration, Instant};

use serde::Deserialize;

use kqueue_core::backoff::Backoff;
use kqueue_core::schedule::{Cause, WorkerId};
use kqueue_core::wire::HorizonAsk;

/// Its worker id, which the schedule never assigns.
pub const DUTIES: WorkerId = 1 << 40;
/// Interval between two rounds. Horizon takes a master for dead after 14 s.
const ROUND: Duration = Duration::from_secs(3);
/// Timeout of a round, which may send notifications.
const PATIENCE: Duration = Duration::from_secs(120);
/// Minimum and maximum delay before a restart, if it keeps ending without a round.
const DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The command that ends a pause.
const CONTINUE: &str = "php artisan horizon:continue";

/// The app's description of its Horizon.
#[derive(Clone, Debug, Deserialize)]
pub struct Horizon {
    /// The contract that this version of Horizon lacks for it, if any.
    lacks: Option<String>,
}

/// The next step for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Start,
    /// Kill it: it has not answered in time.
    Kill,
    /// Have it exit: it is not wanted any more.
    LetGo,
    /// Send it a status report.
    Report,
}

/// State of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Absent,
    /// Started, and not connected yet.
    Starting,
    Connected,
}

/// State of the process, and of Horizon's pause.
#[derive(Debug)]
pub struct Duties {
    /// Whether there are duties.
    due: bool,
    /// When it is started, or gets the next report.
    next: Option<Instant>,
    /// When it was started, or when the report was sent that it has not answered.
    since: Option<Instant>,
    /// It has sent its first message.
    greeted: bool,
    /// It was told to exit.
    leaves: bool,
    failures: Backoff,
    fault: Option<String>,
    /// Horizon is paused.
    held: bool,
}

impl Duties {
    pub fn new(horizon: Option<Horizon>) -> Self {
        let mut duties = Self {
            due: false,
            next: None,
            since: None,
            greeted: false,
            leaves: false,
            failures: Backoff::after_one(DELAYS.0, DELAYS.1),
            fault: None,
            held: false,
        };
        duties.found(horizon);
        duties
    }

    /// Applies the app's description, after it has booted.
    pub fn found(&mut self, horizon: Option<Horizon>) {
        let due = match &horizon {
            Some(Horizon { lacks: Some(lacks) }) => {
                tracing::warn!(
                    "Horizon: this version has no {lacks}: its indexes are not trimmed, its records not kept"
                );
                false
            }
            horizon => horizon.is_some(),
        };
        if due && !self.due {
            self.next = Some(Instant::now());
        }
        self.due = due;
    }

    /// Whether there are duties.
    pub fn is_due(&self) -> bool {
        self.due
    }

    pub fn wake(&self) -> Option<Instant> {
        let late = self.since.map(|since| since + PATIENCE);
        [self.next, late].into_iter().flatten().min()
    }

    /// The step to take now. `wanted`: whether the process may run, if there are duties.
    pub fn step(&mut self, now: Instant, seen: Seen, wanted: bool, boot_timeout: Duration) -> Option<Step> {
        let wanted = wanted && self.due;
        let is_due = |next: Option<Instant>| next.is_some_and(|at| at <= now);
        if seen == Seen::Absent {
            if !wanted {
                self.next = self.next.map(|_| now + ROUND);
            } else if self.next.is_none_or(|at| at <= now) {
                // It gets a report after its first message.
                (self.since, self.next, self.greeted) = (Some(now), None, false);
                return Some(Step::Start);
            }
            return None;
        }
        let limit = if seen == Seen::Connected { PATIENCE } else { boot_timeout };
        if self.since.is_some_and(|since| now >= since + limit) {
            self.since = None;
            tracing::warn!("Horizon: killing its process, which has not answered for {} s", limit.as_secs());
            Some(Step::Kill)
        } else if !wanted {
            self.next = None;
            Some(Step::LetGo)
        } else if seen == Seen::Connected && is_due(self.next) {
            (self.since, self.next) = (Some(now), None);
            Some(Step::Report)
        } else {
            None
        }
    }

    /// Notes whether it was told to exit, so that its end is no fault.
    pub fn let_go(&mut self, told: bool) {
        self.leaves = told;
    }

    /// The process has ended, or could not be started.
    pub fn gone(&mut self, cause: &Cause) {
        match cause {
            _ if std::mem::take(&mut self.leaves) => {}
            Cause::Exit(0) => {}
            Cause::Exit(code) => self.failed(&format!("its process exited with status {code}")),
            cause => self.failed(&cause.to_string()),
        }
        (self.since, self.next) = (None, Some(Instant::now() + self.failures.failed()));
    }

    fn failed(&mut self, why: &str) {
        // An error that it has reported itself says more than its exit status.
        if self.fault.is_none() {
            tracing::warn!("Horizon: its indexes and records are not maintained: {why}; retrying");
            self.fault = Some(why.to_owned());
        }
    }

    /// The process has finished a round, or forwards a request to Horizon, which is returned.
    pub fn reported(&mut self, ask: Option<HorizonAsk>, error: Option<String>) -> Option<HorizonAsk> {
        if let Some(error) = error {
            self.failed(&error);
            return None;
        }
        if ask.is_none() {
            self.since = None;
            if std::mem::replace(&mut self.greeted, true) {
                self.round_done();
            } else {
                self.next = Some(Instant::now());
            }
        }
        ask
    }

    fn round_done(&mut self) {
        self.failures.succeeded();
        self.next = Some(Instant::now() + ROUND);
        if self.fault.take().is_some() {
            tracing::info!("Horizon: its indexes and records are maintained again");
        }
    }

    /// Sends the next report at once, so that Horizon's records show the effect of a request.
    pub fn report_now(&mut self) {
        self.next = Some(Instant::now());
    }

    /// Whether Horizon is paused.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Pauses or continues Horizon. True if that is a change.
    pub fn hold(&mut self, held: bool) -> bool {
        if std::mem::replace(&mut self.held, held) == held {
            return false;
        }
        match held {
            true => tracing::info!("horizon:pause: no further job is started until horizon:continue"),
            false => tracing::info!("Horizon: resumed"),
        }
        true
    }

    /// The command that continues Horizon, while it is paused.
    pub fn remedy(&self) -> Option<String> {
        self.held.then(|| CONTINUE.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_process_is_started_told_and_killed_when_it_is_silent() {
        let mut duties = Duties::new(Some(Horizon { lacks: None }));
        let (now, boot) = (Instant::now(), Duration::from_secs(60));
        assert_eq!(duties.step(now, Seen::Absent, false, boot), None);
        assert!(duties.wake().is_some_and(|at| at >= now + ROUND), "nobody spins where it is not wanted");
        duties.report_now();
        let now = Instant::now();
        assert_eq!(duties.step(now, Seen::Absent, true, boot), Some(Step::Start));
        assert_eq!(duties.step(now, Seen::Starting, true, boot), None);
        assert_eq!(duties.reported(None, None), None);
        let now = Instant::now();
        assert_eq!(duties.step(now, Seen::Connected, true, boot), Some(Step::Report));
        assert_eq!(duties.step(now + PATIENCE / 2, Seen::Connected, true, boot), None);
        assert_eq!(duties.step(now + PATIENCE, Seen::Connected, true, boot), Some(Step::Kill));
        duties.gone(&Cause::Signal(9));
        assert!(duties.fault.is_some() && duties.failures.failures() == 1);
        // A process that hangs while booting has less time.
        assert_eq!(duties.step(Instant::now(), Seen::Absent, true, boot), Some(Step::Start));
        assert_eq!(duties.step(Instant::now() + boot, Seen::Starting, true, boot), Some(Step::Kill));
        // A round proves that it works.
        (duties.greeted, duties.since) = (true, None);
        duties.reported(None, None);
        assert!(duties.fault.is_none() && duties.failures.failures() == 0);
        assert_eq!(duties.step(Instant::now(), Seen::Connected, false, boot), Some(Step::LetGo));
        duties.let_go(true);
        duties.gone(&Cause::Signal(15));
        assert!(duties.fault.is_none());
    }

    #[test]
    fn without_horizon_there_is_nothing_to_do() {
        for nothing in [None, Some(Horizon { lacks: Some("Some\\Contract".to_owned()) })] {
            assert_eq!(Duties::new(nothing).wake(), None);
        }
    }
}
