//! What the coordinator knows: who is connected, and which units are watched for whom. All of it is bounded, and all
//! of it can be read back from systemd but for the ends that nobody has asked for yet, which are kept a while.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use super::bucket::Bucket;
use super::host::Host;
use super::policy::Caps;
use super::story;
use crate::harmless;
use crate::log::message_id;
use crate::systemd::SystemdError;
use crate::wire::coordinator::{Notice, Unit, UnitEnd, frame};

/// Connections of one app.
const PER_APP: usize = 16;
/// Units watched for one app.
const WATCHED: usize = 1024;
/// Ends that are kept for those who ask later.
const RECENT: usize = 1024;
/// Apps that are remembered.
const APPS: usize = 1024;

/// One connection of a runtime.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The app that is at its other end.
    pub(super) app: String,
    /// What is to be sent.
    pub(super) outbox: mpsc::Sender<Vec<u8>>,
    /// Told when the connection is to end.
    pub(super) cut: Rc<Notify>,
}

impl Link {
    /// Sends, or ends the connection when the other side does not read: it asks anew when it comes back.
    pub(super) fn send(&self, frame: Vec<u8>) {
        if self.outbox.try_send(frame).is_err() {
            self.cut.notify_one();
        }
    }
}

/// A unit whose end somebody waits for.
#[derive(Debug)]
struct Watched {
    app: String,
    unit: Unit,
    /// Connections that are told.
    listeners: BTreeSet<u64>,
}

/// What is known about an app that was ever connected.
#[derive(Debug)]
struct App {
    connections: usize,
    lines: Bucket,
}

/// See the module.
pub(super) struct Coordinator {
    pub(super) host: Rc<dyn Host>,
    caps: fn(&str) -> Result<Caps, String>,
    links: RefCell<BTreeMap<u64, Link>>,
    watched: RefCell<BTreeMap<String, Watched>>,
    recent: RefCell<VecDeque<(String, UnitEnd)>>,
    apps: RefCell<BTreeMap<String, App>>,
    refusals: RefCell<Bucket>,
    /// Processes that are on their way into a scope.
    pub(super) placing: RefCell<BTreeSet<i32>>,
    next_link: Cell<u64>,
    rounds: Cell<u64>,
}

impl Coordinator {
    pub(super) fn new(host: Rc<dyn Host>, caps: fn(&str) -> Result<Caps, String>) -> Rc<Self> {
        Rc::new(Self {
            host,
            caps,
            links: RefCell::default(),
            watched: RefCell::default(),
            recent: RefCell::default(),
            apps: RefCell::default(),
            refusals: RefCell::new(Bucket::new(20, 1, Instant::now())),
            placing: RefCell::default(),
            next_link: Cell::new(1),
            rounds: Cell::new(0),
        })
    }

    /// Watches every unit of every app that is there. Returns how many.
    pub(super) async fn adopt(self: &Rc<Self>) -> Result<usize, SystemdError> {
        let units = self.host.list(&["kqueue-worker@*.service", "kqueue-*-*.scope"]).await?;
        let mut adopted = 0;
        for (name, _) in units {
            if let Some((app, unit)) = Unit::parse(&name) {
                adopted += usize::from(self.watch(app, &unit, None));
            }
        }
        Ok(adopted)
    }

    pub(super) fn caps(&self, app: &str) -> Result<Caps, String> {
        (self.caps)(app)
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self) -> String {
        format!("{} connections, {} units", self.links.borrow().len(), self.watched.borrow().len())
    }

    /// The accepting loop has come round.
    pub(super) fn round(&self) {
        self.rounds.set(self.rounds.get() + 1);
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds.get()
    }

    /// Connections there are.
    pub(super) fn connections(&self) -> usize {
        self.links.borrow().len()
    }

    /// A connection has begun. None when the app has too many.
    pub(super) fn connect(&self, link: Link) -> Option<u64> {
        let mut apps = self.apps.borrow_mut();
        if apps.len() >= APPS {
            apps.retain(|_, app| app.connections > 0);
        }
        let lines = || Bucket::new(500, 100, Instant::now());
        let app = apps.entry(link.app.clone()).or_insert_with(|| App { connections: 0, lines: lines() });
        if app.connections >= PER_APP {
            return None;
        }
        app.connections += 1;
        let number = self.next_link.replace(self.next_link.get() + 1);
        self.links.borrow_mut().insert(number, link);
        Some(number)
    }

    /// A connection has ended. What it watched stays watched: its runtime comes back, or its end is logged.
    pub(super) fn disconnect(&self, number: u64) {
        let Some(link) = self.links.borrow_mut().remove(&number) else { return };
        if let Some(app) = self.apps.borrow_mut().get_mut(&link.app) {
            app.connections = app.connections.saturating_sub(1);
        }
        for watched in self.watched.borrow_mut().values_mut() {
            watched.listeners.remove(&number);
        }
    }

    /// Whether a line about this app may be written now. Says how many could not be, first.
    pub(super) fn may_write(&self, app: &str) -> bool {
        let taken = match self.apps.borrow_mut().get_mut(app) {
            Some(app) => app.lines.take(Instant::now()),
            None => Some(0),
        };
        if let Some(dropped @ 1..) = taken {
            tracing::warn!(kqueue_app = app, "{app}: {dropped} lines left out");
        }
        taken.is_some()
    }

    /// Somebody was turned away: one line, but not one for each of a flood.
    pub(super) fn turned_away(&self, who: &str, why: &str) {
        if let Some(dropped) = self.refusals.borrow_mut().take(Instant::now()) {
            let others = if dropped > 0 { format!(" (and {dropped} others since)") } else { String::new() };
            let (who, why) = (harmless::line(who, 200), harmless::line(why, 300));
            tracing::warn!(message_id = message_id::REFUSED, "turned away {who}: {why}{others}");
        }
    }

    pub(super) fn is_watched(&self, name: &str) -> bool {
        self.watched.borrow().contains_key(name)
    }

    /// Whether a unit of this name has ended lately.
    pub(super) fn has_ended(&self, name: &str) -> bool {
        self.recent.borrow().iter().any(|(of, _)| of == name)
    }

    /// The units of an app that are watched.
    pub(super) fn count(&self, app: &str) -> usize {
        self.watched.borrow().values().filter(|watched| watched.app == app).count()
    }

    pub(super) fn is_full(&self, app: &str) -> bool {
        self.count(app) >= WATCHED
    }

    /// Notes that a unit is about to be made for a connection. [`Coordinator::follow`] or
    /// [`Coordinator::forget`] comes next.
    pub(super) fn expect(&self, app: &str, unit: &Unit, listener: u64) {
        let name = unit.name(app);
        // A worker's number is used again, and its last end is not its next.
        self.recent.borrow_mut().retain(|(of, _)| *of != name);
        let watched = Watched { app: app.to_owned(), unit: unit.clone(), listeners: [listener].into() };
        self.watched.borrow_mut().insert(name, watched);
    }

    /// A unit that was expected has not come to be.
    pub(super) fn forget(&self, name: &str) {
        self.watched.borrow_mut().remove(name);
    }

    /// Waits for the end of a unit that is watched, and tells it.
    pub(super) fn follow(self: &Rc<Self>, name: String) {
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let end = this.host.ended(&name).await;
            this.tell_end(&name, end);
        });
    }

    /// Has the end of a unit told to a connection, at once where it is known already. Returns whether it was new to us
    /// and is watched from now on.
    pub(super) fn watch(self: &Rc<Self>, app: &str, unit: &Unit, listener: Option<u64>) -> bool {
        let name = unit.name(app);
        if let Some(watched) = self.watched.borrow_mut().get_mut(&name) {
            watched.listeners.extend(listener);
            return false;
        }
        let known = self.recent.borrow().iter().find(|(of, _)| *of == name).map(|(_, end)| end.clone());
        if let (Some(end), Some(listener)) = (known, listener) {
            self.notify([listener], unit, &end);
            return false;
        }
        let listeners = listener.into_iter().collect();
        let watched = Watched { app: app.to_owned(), unit: unit.clone(), listeners };
        self.watched.borrow_mut().insert(name.clone(), watched);
        self.follow(name);
        true
    }

    fn tell_end(&self, name: &str, end: UnitEnd) {
        let Some(watched) = self.watched.borrow_mut().remove(name) else { return };
        let app = watched.app.as_str();
        let words = story::end(&end);
        match end.result.as_str() {
            "" => tracing::debug!(kqueue_app = app, "{name}: {words}"),
            "success" if self.may_write(app) => tracing::info!(kqueue_app = app, "{name}: {words}"),
            "success" => {}
            // Never left out: an app cannot break so often that this is a flood, as each takes a process.
            result => {
                let id = (result == "watchdog").then_some(message_id::HUNG);
                tracing::warn!(message_id = id, kqueue_app = app, kqueue_cause = %end, "{name}: {words}");
            }
        }
        self.notify(watched.listeners, &watched.unit, &end);
        if !end.result.is_empty() {
            let mut recent = self.recent.borrow_mut();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back((name.to_owned(), end));
        }
    }

    fn notify(&self, listeners: impl IntoIterator<Item = u64>, unit: &Unit, end: &UnitEnd) {
        let notice = frame(&Notice::Ended { unit: unit.clone(), end: end.clone() });
        let links = self.links.borrow();
        for link in listeners.into_iter().filter_map(|number| links.get(&number)) {
            link.send(notice.clone());
        }
    }
}
