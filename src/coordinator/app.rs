//! What one app has of the coordinator: its share of everything that others want too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::bucket::Bucket;
use kqueue_core::wire::coordinator::{UnitEnd, Verb};
use kqueue_system::systemd::share::Share;

/// Connections of one app: the runtime has one, and its predecessor's may not have ended yet.
pub(super) const CONNECTIONS: usize = 4;
/// Requests of one app that may be under way.
pub(super) const IN_FLIGHT: usize = 64;
/// Ends that are kept for those who ask later.
const RECENT: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    /// Connections there are.
    pub(super) connections: Cell<usize>,
    /// Bytes that its connections have still to be sent.
    pub(super) unread: Rc<Cell<usize>>,
    /// Its calls to systemd.
    pub(super) share: Share,
    /// Its requests under way.
    pub(super) turns: Arc<Semaphore>,
    /// Its lists under way: one.
    pub(super) listing: Semaphore,
    /// Whether somebody waits for its runtime to be stopped.
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

    /// Whether another connection may be looked at more closely.
    pub(super) fn may_arrive(&self) -> bool {
        self.arrivals.borrow_mut().take(Instant::now()).is_some()
    }

    /// Takes the price of a request, and tells how long the next one has to wait.
    pub(super) fn pay(&self, verb: &Verb) -> Duration {
        self.requests.borrow_mut().spend(price(verb), Instant::now())
    }

    /// Whether a line about this app may be written now. Says how many could not be, first.
    pub(super) fn may_write(&self) -> bool {
        let taken = self.lines.borrow_mut().take(Instant::now());
        if let Some(dropped @ 1..) = taken {
            tracing::warn!(kqueue_app = self.name, "{}: {dropped} lines left out", self.name);
        }
        taken.is_some()
    }

    /// How a unit ended, if it did lately.
    pub(super) fn end_of(&self, unit: &str) -> Option<UnitEnd> {
        self.recent.borrow().iter().find(|(of, _)| of == unit).map(|(_, end)| end.clone())
    }

    /// Keeps how a unit ended.
    pub(super) fn note_end(&self, unit: &str, end: UnitEnd) {
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((unit.to_owned(), end));
    }

    /// A worker's number is used again, and its last end is not its next.
    pub(super) fn forget_end(&self, unit: &str) {
        self.recent.borrow_mut().retain(|(of, _)| of != unit);
    }
}

/// What a request costs: about the calls to systemd that it may bring about, until the units that it is about are gone.
fn price(verb: &Verb) -> u32 {
    match verb {
        Verb::Tell { .. } => 2,
        Verb::Kill { .. } | Verb::Purpose => 4,
        Verb::Scope { .. } => 16,
        // A program is started, too.
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
        // Thirty lists at once, ten a second after that.
        let waits: Vec<bool> = (0..31).map(|_| app.pay(&Verb::List) > Duration::ZERO).collect();
        assert_eq!(waits.iter().filter(|waits| **waits).count(), 1);
        // Lines for the journal come out of the same.
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
