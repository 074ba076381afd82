//! The one task that receives systemd's signals. It dispatches them and never makes a call itself: a stream that is not
//! read blocks the whole connection, replies to calls included.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use zbus::message::{Message, Type};
use zbus::zvariant::{ObjectPath, Value};
use zbus::{Connection, MatchRule, MessageStream};

use super::bus::ManagerProxy;
use super::error::SystemdError;
use super::jobs::Jobs;
use super::names;

/// systemd's name on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Capacity of each stream of signals: a busy host sends them in bursts.
const QUEUED: usize = 1024;
/// Interval at which the task counts a round, signals or not.
const ROUND: Duration = Duration::from_secs(1);

/// Receivers of the signals.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Waiters for jobs.
    pub(super) jobs: Jobs,
    /// Waiters for units, by the unit's object path.
    watches: RefCell<BTreeMap<String, Rc<Happened>>>,
    /// systemd's unique name on the bus. Any client can send us a signal, so the sender is checked.
    owner: RefCell<String>,
    rounds: Cell<u64>,
    closed: Cell<bool>,
    lost: Notify,
}

/// Changes of one unit, as the signals report them.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// Notified when the unit may have ended, and when a job of it is done.
    pub(super) changed: Notify,
    /// Whether a job of it was done since this was last taken.
    pub(super) was_ordered: Cell<bool>,
}

/// Registers a waiter for a unit until dropped.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    signals: &'a Signals,
    path: String,
    happened: Rc<Happened>,
}

impl std::ops::Deref for Watch<'_> {
    type Target = Happened;

    fn deref(&self) -> &Happened {
        &self.happened
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.signals.watches.borrow_mut().remove(&self.path);
    }
}

impl Signals {
    pub(super) fn watch(&self, unit: &str) -> Watch<'_> {
        let path = names::unit_path(unit);
        let happened = Rc::clone(self.watches.borrow_mut().entry(path.clone()).or_default());
        Watch { signals: self, path, happened }
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds.get()
    }

    /// Returns once the connection to the bus is closed.
    pub(super) async fn lost(&self) {
        let lost = self.lost.notified();
        if !self.closed.get() {
            lost.await;
        }
    }

    fn wake_all(&self) {
        self.watches.borrow().values().for_each(|watch| watch.changed.notify_one());
    }

    /// Handles one signal. `Some(true)` if we have to subscribe again.
    fn hear(&self, message: &Message) -> Option<bool> {
        let header = message.header();
        let (member, body) = (header.member()?, message.body());
        if member == "NameOwnerChanged" {
            // Only the bus itself can send from this name.
            let (name, _, owner): (&str, &str, &str) = body.deserialize().ok()?;
            if header.sender()?.as_str() != "org.freedesktop.DBus" || name != SYSTEMD {
                return None;
            }
            owner.clone_into(&mut self.owner.borrow_mut());
            return Some(!owner.is_empty());
        }
        if header.sender()?.as_str() != *self.owner.borrow() {
            return None;
        }
        match member.as_str() {
            "JobRemoved" => {
                let (_, job, unit, result): (u32, ObjectPath<'_>, &str, &str) = body.deserialize().ok()?;
                self.jobs.done(&job, result);
                if let Some(watch) = self.watches.borrow().get(&names::unit_path(unit)).filter(|_| result == "done") {
                    watch.was_ordered.set(true);
                    watch.changed.notify_one();
                }
            }
            "PropertiesChanged" => {
                let watches = self.watches.borrow();
                // Signals of every unit of the host arrive here: check the path before the body is decoded.
                let watch = watches.get(header.path()?.as_str())?;
                let (_, changed, _): (&str, HashMap<&str, Value<'_>>, Vec<&str>) = body.deserialize().ok()?;
                if let Some(Value::Str(state)) = changed.get("ActiveState")
                    && matches!(state.as_str(), "inactive" | "failed")
                {
                    watch.changed.notify_one();
                }
            }
            "Reloading" => return body.deserialize().ok().map(|started: bool| !started),
            _ => {}
        }
        None
    }
}

/// Adds the match rules, starts the task, and subscribes to systemd's signals.
pub(super) async fn start(bus: &Connection, manager: &ManagerProxy<'static>) -> Result<Rc<Signals>, SystemdError> {
    let rule = |interface: &'static str, member: &'static str| {
        MatchRule::builder().msg_type(Type::Signal).interface(interface)?.member(member)
    };
    let of_manager = |member| rule("org.freedesktop.systemd1.Manager", member)?.sender(SYSTEMD);
    let rules = [
        rule("org.freedesktop.DBus", "NameOwnerChanged")?.sender("org.freedesktop.DBus")?.add_arg(SYSTEMD)?,
        of_manager("JobRemoved")?,
        of_manager("Reloading")?,
        // One rule for all units, so that no signal is missed between a unit's creation and a rule of its own.
        rule("org.freedesktop.DBus.Properties", "PropertiesChanged")?
            .sender(SYSTEMD)?
            .path_namespace("/org/freedesktop/systemd1/unit")?
            .add_arg("org.freedesktop.systemd1.Unit")?,
    ];
    let mut streams = Vec::with_capacity(rules.len());
    for rule in rules {
        streams.push(MessageStream::for_match_rule(rule.build(), bus, Some(QUEUED)).await?);
    }
    let signals = Rc::new(Signals::default());
    let name = SYSTEMD.try_into().map_err(zbus::Error::from)?;
    let owner = zbus::fdo::DBusProxy::new(bus).await?.get_name_owner(name).await;
    owner.map_err(zbus::Error::from)?.as_str().clone_into(&mut signals.owner.borrow_mut());
    tokio::task::spawn_local(route(streams, Rc::clone(&signals), manager.clone()));
    subscribe(manager).await;
    Ok(signals)
}

async fn route(streams: Vec<MessageStream>, signals: Rc<Signals>, manager: ManagerProxy<'static>) {
    let mut all = futures_util::stream::select_all(streams);
    let mut round = tokio::time::interval(ROUND);
    loop {
        let heard = tokio::select! {
            heard = all.next() => heard,
            _ = round.tick() => {
                signals.rounds.set(signals.rounds.get() + 1);
                continue;
            }
        };
        let Some(Ok(message)) = heard else { break };
        if signals.hear(&message) == Some(true) {
            // systemd was reloaded or restarted: the waiters look up what they have missed.
            let (signals, manager) = (Rc::clone(&signals), manager.clone());
            tokio::task::spawn_local(async move {
                subscribe(&manager).await;
                signals.wake_all();
            });
        }
    }
    signals.closed.set(true);
    signals.lost.notify_waiters();
    signals.wake_all();
}

/// Asks systemd to send signals about units. An existing subscription is an error that is only logged.
async fn subscribe(manager: &ManagerProxy<'static>) {
    if let Err(error) = manager.subscribe().await {
        tracing::debug!("Subscribe: {error}");
    }
}
