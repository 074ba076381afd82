//! State and quotas of one app: its share of the coordinator's resources.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::bucket::Bucket;
use kqueue_core::wire::coordinator::{UnitEnd, Verb};
use kqueue_system::systemd::share::Share;

/// Maximum number of connections of one app: the runtime has one, and its predecessor's may not have ended yet.
pub(super) const CONNECTIONS: usize = 4;
/// Maximum number of requests of one app under way.
pub(super) const IN_FLIGHT: usize = 64;
/// Number of unit ends kept for a later [`Verb::Watch`].
const RECENT: usize = 256;

/// The state of one app.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    /// Number of open connections.
    pub(super) connections: Cell<usize>,
    /// Bytes queued in the outboxes of all its connections.
    pub(super) unread: Rc<Cell<usize>>,
    /// Its share of the calls to systemd.
    pub(super) share: Share,
    /// Permits for requests under way.
    pub(super) turns: Arc<Semaphore>,
    /// Permit for the one list under way.
    pub(super) listing: Semaphore,
    /// Whether a task waits for its runtime to be stopped.
    pub(super) is_kept: Cell<bool>,
    /// Whether its units are being ended.
    pub(super) is_ending: Cell<bool>,
    arrivals: RefCell<Bucket>,
    requests: RefCell<Bucket>,
    lines: RefCell<Bucket>,
    recent: RefCell<VecDeque<(String, UnitEnd)>>,
}

impl App {
    pub(super) fn new(name: &str) -> Self {
        let now = Instant::now();
        Self {
            name: name.to_owned(),
            connections: Cell::new(0),
            unread: Rc::default(),
            share: Share::default(),
            turns: Arc::new(Semaphore::new(IN_FLIGHT)),
            listing: Semaphore::new(1),
            is_kept: Cell::new(false),
            is_ending: Cell::new(false),
            arrivals: RefCell::new(Bucket::new(32, 8, now)),
            requests: RefCell::new(Bucket::new(6000, 2000, now)),
            lines: RefCell::new(Bucket::new(500, 100, now)),
            recent: RefCell::default(),
        }
    }

    /// Whether another connection may be identified now.
    pub(super) fn may_arrive(&self) -> bool {
        self.arrivals.borrow_mut().take(Instant::now()).is_some()
    }

    /// Charges the price of a request; returns how long the next one has to wait.
    pub(super) fn pay(&self, verb: &Verb) -> Duration {
        self.requests.borrow_mut().spend(price(verb), Instant::now())
    }

    /// Whether a line about this app may be logged now. First logs the number of dropped lines, if any.
    pub(super) fn may_write(&self) -> bool {
        let taken = self.lines.borrow_mut().take(Instant::now());
        if let Some(dropped @ 1..) = taken {
            tracing::warn!(kqueue_app = self.name, "{}: {dropped} log lines dropped by the rate limit", self.name);
        }
        taken.is_some()
    }

    /// The end of a unit, if it is among the recent ones.
    pub(super) fn end_of(&self, unit: &str) -> Option<UnitEnd> {
        self.recent.borrow().iter().find(|(of, _)| of == unit).map(|(_, end)| end.clone())
    }

    /// Stores the end of a unit.
    pub(super) fn note_end(&self, unit: &str, end: UnitEnd) {
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((unit.to_owned(), end));
    }

    /// Drops the stored end of a unit whose name is used again.
    pub(super) fn forget_end(&self, unit: &str) {
        self.recent.borrow_mut().retain(|(of, _)| of != unit);
    }
}

/// The price of a request in tokens: roughly the calls to systemd that it may cause, until its units have ended.
fn price(verb: &Verb) -> u32 {
    match verb {
        Verb::Tell { .. } => 2,
        Verb::Kill { .. } | Verb::Purpose => 4,
        Verb::Scope { .. } => 16,
        // Includes the start of a program.
        Verb::Start { .. } => 100,
        Verb::Watch { units } => 1 + 4 * u32::try_from(units.len()).unwrap_or(u32::MAX / 16),
        Verb::List => 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_core::wire::coordinator::{MAX_WATCH, Unit};

    #[test]
    fn every_verb_has_its_price() {
        let watch = Verb::Watch { units: vec![Unit::Worker(1); MAX_WATCH] };
        assert!(price(&watch) > price(&Verb::List));
        let app = App::new("shop");
        // Thirty lists at once, then ten per second.
        let waits: Vec<bool> = (0..31).map(|_| app.pay(&Verb::List) > Duration::ZERO).collect();
        assert_eq!(waits.iter().filter(|waits| **waits).count(), 1);
        // Lines for the journal are charged to the same bucket.
        let tell = Verb::Tell { message: String::new(), priority: 3, fields: Default::default() };
        assert!(app.pay(&tell) > Duration::ZERO);
    }

    #[test]
    fn ends_are_kept_for_a_while() {
        let app = App::new("shop");
        for n in 0..RECENT + 1 {
            app.note_end(&format!("u{n}"), UnitEnd::default());
        }
        assert!(app.end_of("u0").is_none() && app.end_of("u1").is_some());
        app.forget_end("u1");
        assert!(app.end_of("u1").is_none());
    }
}
