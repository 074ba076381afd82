//! What the coordinator knows: who is connected, and which units are watched for whom. All of it is bounded, and all
//! of it can be read back from systemd but for the ends that nobody has asked for yet, which are kept a while.

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

/// Units watched for one app.
const WATCHED: usize = 1536;
/// Apps that are remembered.
const APPS: usize = 1024;

/// One connection of a runtime.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The app that is at its other end.
    pub(super) app: Rc<App>,
    /// What is to be sent.
    pub(super) outbox: Rc<Outbox>,
    /// Told when the connection is to end.
    pub(super) cut: Rc<Notify>,
}

impl Link {
    /// Of this app.
    pub(super) fn new(app: &Rc<App>) -> Self {
        let outbox = Rc::new(Outbox::new(Rc::clone(&app.unread)));
        Self { app: Rc::clone(app), outbox, cut: Rc::default() }
    }

    /// Sends, or ends the connection when the other side does not read: it asks anew when it comes back.
    pub(super) fn send(&self, frame: Vec<u8>) {
        if !self.outbox.push(frame) {
            self.cut.notify_one();
        }
    }
}

/// A unit whose end somebody waits for.
#[derive(Debug)]
struct Watched {
    app: Rc<App>,
    unit: Unit,
    /// Connections that are told.
    listeners: BTreeSet<u64>,
}

/// See the module.
pub(super) struct Coordinator {
    pub(super) host: Rc<dyn Host>,
    caps: fn(&str) -> Result<Caps, String>,
    links: RefCell<BTreeMap<u64, Link>>,
    watched: RefCell<BTreeMap<String, Watched>>,
    apps: RefCell<BTreeMap<String, Rc<App>>>,
    pub(super) strangers: Strangers,
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
            apps: RefCell::default(),
            strangers: Strangers::default(),
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

    /// What is known of an app. Its name is that of a unit of its own.
    pub(super) fn app(&self, name: &str) -> Rc<App> {
        let mut apps = self.apps.borrow_mut();
        if apps.len() >= APPS {
            // Those that have neither a connection nor a unit.
            apps.retain(|_, app| Rc::strong_count(app) > 1);
        }
        Rc::clone(apps.entry(name.to_owned()).or_insert_with(|| Rc::new(App::new(name))))
    }

    /// Connections there are.
    pub(super) fn connections(&self) -> usize {
        self.links.borrow().len()
    }

    pub(super) fn is_connected(&self, number: u64) -> bool {
        self.links.borrow().contains_key(&number)
    }

    /// A connection has begun. None when the app has too many.
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

    /// A connection has ended. What it watched stays watched: its runtime comes back, or its end is logged.
    pub(super) fn disconnect(&self, number: u64) {
        let Some(link) = self.links.borrow_mut().remove(&number) else { return };
        link.app.connections.set(link.app.connections.get().saturating_sub(1));
        for watched in self.watched.borrow_mut().values_mut() {
            watched.listeners.remove(&number);
        }
    }

    /// Ends the connections of an app.
    pub(super) fn cut(&self, app: &App) {
        self.links.borrow().values().filter(|link| link.app.name == app.name).for_each(|link| link.cut.notify_one());
    }

    /// One who is known was turned away.
    pub(super) fn turned_away(&self, app: &App, who: &str, why: &str) {
        if app.may_write() {
            let (who, why) = (harmless::line(who, 200), harmless::line(why, 300));
            tracing::warn!(message_id = message_id::REFUSED, kqueue_app = app.name, "turned away {who}: {why}");
        }
    }

    pub(super) fn is_watched(&self, name: &str) -> bool {
        self.watched.borrow().contains_key(name)
    }

    /// The units of an app that are watched, or those of one kind.
    pub(super) fn count(&self, app: &App, which: impl Fn(&Unit) -> bool) -> usize {
        self.watched.borrow().values().filter(|watched| watched.app.name == app.name && which(&watched.unit)).count()
    }

    pub(super) fn is_full(&self, app: &App) -> bool {
        self.count(app, |_| true) >= WATCHED
    }

    /// Notes that a unit is about to be made for a connection. [`Coordinator::follow`] or
    /// [`Coordinator::forget`] comes next.
    pub(super) fn expect(&self, app: &Rc<App>, unit: &Unit, listener: u64) {
        let name = unit.name(&app.name);
        app.forget_end(&name);
        let watched = Watched { app: Rc::clone(app), unit: unit.clone(), listeners: [listener].into() };
        self.watched.borrow_mut().insert(name, watched);
    }

    /// A unit that was expected has not come to be.
    pub(super) fn forget(&self, name: &str) {
        self.watched.borrow_mut().remove(name);
    }

    /// Waits for the end of a unit that is watched, and tells it.
    pub(super) fn follow(self: &Rc<Self>, app: &Rc<App>, name: String) {
        let (this, share) = (Rc::clone(self), app.share.clone());
        tokio::task::spawn_local(async move {
            let end = share.of(this.host.ended(&name)).await;
            this.tell_end(&name, end);
        });
    }

    /// Has the end of a unit told to a connection, at once where it is known already. Returns whether it was new to us
    /// and is watched from now on.
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
            // Never left out: an app cannot break so often that this is a flood, as each takes a process.
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
