//! The coordinator's state: the connections, and the watched units with their listeners. All of it is bounded, and can
//! be read back from systemd, except for the recent ends of units, which are kept for later requests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::sync::Notify;

use super::app::{self, App};
use super::host::Host;
use super::outbox::Outbox;
use super::policy::Caps;
use super::story;
use super::strangers::Strangers;
use kqueue_core::wire::coordinator::{Notice, Unit, UnitEnd, frame};
use kqueue_system::harmless;
use kqueue_system::log::message_id;
use kqueue_system::systemd::SystemdError;

/// Maximum number of watched units of one app.
const WATCHED: usize = 1536;
/// Number of apps from which unused ones are dropped.
const APPS: usize = 1024;

/// One connection of a runtime.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The app of the peer.
    pub(super) app: Rc<App>,
    /// Frames to be sent.
    pub(super) outbox: Rc<Outbox>,
    /// Notified when the connection has to be closed.
    pub(super) cut: Rc<Notify>,
}

impl Link {
    /// A connection of this app.
    pub(super) fn new(app: &Rc<App>) -> Self {
        let outbox = Rc::new(Outbox::new(Rc::clone(&app.unread)));
        Self { app: Rc::clone(app), outbox, cut: Rc::default() }
    }

    /// Queues a frame. If the peer does not read, closes the connection: it repeats its requests when it reconnects.
    pub(super) fn send(&self, frame: Vec<u8>) {
        if !self.outbox.push(frame) {
            self.cut.notify_one();
        }
    }
}

/// A unit whose end is awaited.
#[derive(Debug)]
struct Watched {
    app: Rc<App>,
    unit: Unit,
    /// Connections that get the notice.
    listeners: BTreeSet<u64>,
}

/// The coordinator's state.
pub(super) struct Coordinator {
    pub(super) host: Rc<dyn Host>,
    caps: fn(&str) -> Result<Caps, String>,
    links: RefCell<BTreeMap<u64, Link>>,
    watched: RefCell<BTreeMap<String, Watched>>,
    apps: RefCell<BTreeMap<String, Rc<App>>>,
    pub(super) strangers: Strangers,
    /// Processes that are being moved into a scope.
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
            apps: RefCell::default(),
            strangers: Strangers::default(),
            placing: RefCell::default(),
            next_link: Cell::new(1),
            rounds: Cell::new(0),
        })
    }

    /// Watches every existing unit of every app. Returns how many were not watched before.
    pub(super) async fn adopt(self: &Rc<Self>) -> Result<usize, SystemdError> {
        let units = self.host.list(&["kqueue-worker@*.service", "kqueue-*-*.scope"]).await?;
        let mut adopted = 0;
        for (name, _) in units {
            if let Some((app, unit)) = Unit::parse(&name) {
                let app = self.app(app);
                adopted += usize::from(self.watch(&app, &unit, None));
                self.keep(&app);
            }
        }
        Ok(adopted)
    }

    pub(super) fn caps(&self, app: &str) -> Result<Caps, String> {
        (self.caps)(app)
    }

    /// The status line for `systemctl status`.
    pub(super) fn status(&self) -> String {
        format!("{} connections, {} units", self.links.borrow().len(), self.watched.borrow().len())
    }

    /// Counts an iteration of the accepting loop, for the watchdog.
    pub(super) fn round(&self) {
        self.rounds.set(self.rounds.get() + 1);
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds.get()
    }

    /// The state of an app, created if necessary. The name comes from a unit of the app.
    pub(super) fn app(&self, name: &str) -> Rc<App> {
        let mut apps = self.apps.borrow_mut();
        if apps.len() >= APPS {
            // Drops those without a connection, a watched unit or a task.
            apps.retain(|_, app| Rc::strong_count(app) > 1);
        }
        Rc::clone(apps.entry(name.to_owned()).or_insert_with(|| Rc::new(App::new(name))))
    }

    /// Number of connections.
    pub(super) fn connections(&self) -> usize {
        self.links.borrow().len()
    }

    pub(super) fn is_connected(&self, number: u64) -> bool {
        self.links.borrow().contains_key(&number)
    }

    /// Registers a connection and returns its number; `None` when the app has too many.
    pub(super) fn connect(self: &Rc<Self>, link: Link) -> Option<u64> {
        let app = Rc::clone(&link.app);
        if app.connections.get() >= app::CONNECTIONS {
            return None;
        }
        app.connections.set(app.connections.get() + 1);
        let number = self.next_link.replace(self.next_link.get() + 1);
        self.links.borrow_mut().insert(number, link);
        self.keep(&app);
        Some(number)
    }

    /// Removes a connection. Its units stay watched: the runtime reconnects, or their ends are logged.
    pub(super) fn disconnect(&self, number: u64) {
        let Some(link) = self.links.borrow_mut().remove(&number) else { return };
        link.app.connections.set(link.app.connections.get().saturating_sub(1));
        for watched in self.watched.borrow_mut().values_mut() {
            watched.listeners.remove(&number);
        }
    }

    /// Closes the connections of an app.
    pub(super) fn cut(&self, app: &App) {
        self.links.borrow().values().filter(|link| link.app.name == app.name).for_each(|link| link.cut.notify_one());
    }

    /// Logs a rejected connection of a known app.
    pub(super) fn turned_away(&self, app: &App, who: &str, why: &str) {
        if app.may_write() {
            let (who, why) = (harmless::line(who, 200), harmless::line(why, 300));
            tracing::warn!(message_id = message_id::REFUSED, kqueue_app = app.name, "refused {who}: {why}");
        }
    }

    pub(super) fn is_watched(&self, name: &str) -> bool {
        self.watched.borrow().contains_key(name)
    }

    /// Number of watched units of an app that satisfy `which`.
    pub(super) fn count(&self, app: &App, which: impl Fn(&Unit) -> bool) -> usize {
        self.watched.borrow().values().filter(|watched| watched.app.name == app.name && which(&watched.unit)).count()
    }

    pub(super) fn is_full(&self, app: &App) -> bool {
        self.count(app, |_| true) >= WATCHED
    }

    /// Registers a unit that is about to be created for a connection. Must be followed by [`Coordinator::follow`] or
    /// [`Coordinator::forget`].
    pub(super) fn expect(&self, app: &Rc<App>, unit: &Unit, listener: u64) {
        let name = unit.name(&app.name);
        app.forget_end(&name);
        let watched = Watched { app: Rc::clone(app), unit: unit.clone(), listeners: [listener].into() };
        self.watched.borrow_mut().insert(name, watched);
    }

    /// Removes an expected unit that was not created.
    pub(super) fn forget(&self, name: &str) {
        self.watched.borrow_mut().remove(name);
    }

    /// Starts a task that waits for the end of a watched unit, and logs and reports it.
    pub(super) fn follow(self: &Rc<Self>, app: &Rc<App>, name: String) {
        let (this, share) = (Rc::clone(self), app.share.clone());
        tokio::task::spawn_local(async move {
            let end = share.of(this.host.ended(&name)).await;
            this.tell_end(&name, end);
        });
    }

    /// Adds a connection as listener for the end of a unit. A stored end is reported at once. Returns whether the unit
    /// was
    /// not watched before and is from now on.
    pub(super) fn watch(self: &Rc<Self>, app: &Rc<App>, unit: &Unit, listener: Option<u64>) -> bool {
        let name = unit.name(&app.name);
        if let Some(watched) = self.watched.borrow_mut().get_mut(&name) {
            watched.listeners.extend(listener);
            return false;
        }
        if let (Some(end), Some(listener)) = (app.end_of(&name), listener) {
            self.notify([listener], unit, &end);
            return false;
        }
        let listeners = listener.into_iter().collect();
        let watched = Watched { app: Rc::clone(app), unit: unit.clone(), listeners };
        self.watched.borrow_mut().insert(name.clone(), watched);
        self.follow(app, name);
        true
    }

    fn tell_end(&self, name: &str, end: UnitEnd) {
        let Some(Watched { app, unit, listeners }) = self.watched.borrow_mut().remove(name) else { return };
        let words = story::end(&end);
        match end.result.as_str() {
            "" => tracing::debug!(kqueue_app = app.name, "{name}: {words}"),
            "success" if app.may_write() => tracing::info!(kqueue_app = app.name, "{name}: {words}"),
            "success" => {}
            // Not rate limited: each failure requires a process, which bounds their rate.
            result => {
                let id = (result == "watchdog").then_some(message_id::HUNG);
                tracing::warn!(message_id = id, kqueue_app = app.name, kqueue_cause = %end, "{name}: {words}");
            }
        }
        self.notify(listeners, &unit, &end);
        if !end.result.is_empty() {
            app.note_end(name, end);
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
