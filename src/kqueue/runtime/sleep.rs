//! Sleep: carries out the schedule's decisions to end PHP and to start it again, and compares the app with its former
//! description after waking.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::Runtime;
use super::app::Description;
use super::service::app_signals::Restart;
use super::service::release::Release;
use super::start::connection_settings;
use crate::backend;
use kqueue_core::schedule::Event;

/// Interval between two checks of the app's files while it sleeps.
const LOOK: Duration = Duration::from_secs(5);

/// State of the app, to be compared when it wakes.
#[derive(Debug, Default)]
pub(super) struct Nap {
    /// The release when it was last booted anew.
    pub release: Release,
    /// Its code or settings differ from those booted last.
    changed: bool,
    /// When the app's files are checked next, while it sleeps.
    look: Option<Instant>,
    /// The release at the last check, once known.
    seen: Rc<RefCell<Option<Release>>>,
}

impl Nap {
    /// `release`: as read before the app was first booted.
    pub fn new(release: Release) -> Self {
        Self { release, ..Self::default() }
    }
}

impl Runtime {
    /// Checks whether the app will be needed soon.
    pub(super) fn look_ahead(&mut self) {
        // Horizon's records are kept by a PHP process, so the app must stay awake.
        if self.settings.horizon && self.service.duties.is_due() {
            self.tell(Event::Sighted(Some(0)));
        } else {
            self.queue.look_ahead(&self.app.queues);
        }
    }

    /// Ends the template. The schedule has the other processes stop.
    pub(super) fn fall_asleep(&mut self) {
        let idle = self.settings.idle_after.unwrap_or_default();
        tracing::info!("no job for {} s: asleep until the next job", idle.as_secs_f64());
        self.processes.sleep();
        *self.nap.seen.borrow_mut() = None;
        let now = Instant::now();
        self.nap.look = Some(now + LOOK.min(idle));
        self.give_back_soon(now);
    }

    /// Starts the template, which describes the app anew. Not needed where nothing is forked and the app's files are
    /// unchanged.
    pub(super) fn wake_up(&mut self) {
        tracing::info!("awake");
        self.nap.look = None;
        let release = Release::read(&self.settings.path);
        self.nap.changed |= release != self.nap.release;
        self.nap.release = release;
        self.service.app.woke(self.now().epoch);
        if !self.processes.wake_up(self.nap.changed) {
            self.tell(Event::Booted);
        }
    }

    /// Has a sleeping app boot anew when it wakes, since it has changed. True if it sleeps.
    pub(super) fn is_asleep(&mut self) -> bool {
        let asleep = self.schedule.asleep_since().is_some();
        self.nap.changed |= asleep;
        asleep
    }

    /// When the app's files are checked next.
    pub(super) fn nap_wake(&self) -> Option<Instant> {
        self.nap.look
    }

    /// Wakes an app whose files have changed while it slept: its queues may have moved.
    pub(super) fn look_at_release(&mut self, now: Instant) {
        if self.nap.look.is_none_or(|at| now < at) {
            return;
        }
        self.nap.look = Some(now + LOOK);
        if self.nap.seen.take().is_some_and(|seen| seen != self.nap.release) {
            tracing::info!("the app has changed while it slept");
            return self.tell(Event::Wake);
        }
        let (path, seen) = (self.settings.path.clone(), self.nap.seen.clone());
        tokio::task::spawn_local(async move {
            *seen.borrow_mut() = tokio::task::spawn_blocking(move || Release::read(&path)).await.ok();
        });
    }

    /// A template has booted and is known to the processes. `app`: its description of the app; `None` where it stopped
    /// early.
    pub(super) fn template_booted(&mut self, app: Option<&RawValue>) {
        if self.schedule.is_waking() {
            let said = app.and_then(|app| serde_json::from_str::<Description>(app.get()).ok());
            if let Some(said) = said
                && self.has_moved(said)
            {
                return;
            }
        }
        // A template that must not be forked is followed by another one, or by none.
        if self.processes.can_start() && !self.queue.is_moving() {
            self.is_as_kept();
        }
    }

    /// The queue has moved to the app's new connection.
    pub(super) fn is_elsewhere(&mut self) {
        if self.processes.can_start() {
            self.is_as_kept();
        }
    }

    /// Reports the app as booted, and as renewed if it has changed.
    fn is_as_kept(&mut self) {
        if std::mem::take(&mut self.nap.changed) {
            self.tell(Event::Renewed);
        }
        self.tell(Event::Booted);
    }

    /// Compares the app's queue connection with the current one. True if they differ; then a move to the new one, or
    /// the end, has begun.
    fn has_moved(&mut self, said: Description) -> bool {
        let app = &mut self.app;
        if (&said.connection, &said.queue, &said.backend) == (&app.connection, &app.own_queue, &app.backend) {
            return false;
        }
        tracing::info!("the app's queue has moved to connection {}, queue {}", said.connection, said.queue);
        let opened = connection_settings(&said.backend, &self.settings.app)
            .and_then(|settings| Ok(backend::open(settings, self.settings.pop)?));
        let opened = match opened {
            Ok(opened) if opened.driver() == self.queue.driver() => opened,
            Ok(_) if self.is_restarted() => {
                self.tell(Event::HandOver);
                return true;
            }
            Ok(opened) => {
                let driver = opened.driver();
                self.fail(anyhow::anyhow!("the app's queue now has the driver {driver}: restart kqueue"));
                return true;
            }
            Err(error) => {
                self.fail(error.context(format!("queue connection '{}'", said.connection)));
                return true;
            }
        };
        app.ack = said.is_plain() && app.may_ack;
        (app.connection, app.own_queue, app.backend) = (said.connection, said.queue, said.backend);
        if self.settings.queues.is_empty() {
            app.queues = vec![app.own_queue.clone()];
        }
        self.configure_schedule();
        self.tell(Event::Moved);
        self.queue.move_to(Rc::from(opened));
        true
    }

    /// Handles the app's restart signal. If all processes were booted after it was given, only the declarations of
    /// classes are requested anew.
    pub(super) fn restart_signal(&mut self, restart: Restart) {
        match restart {
            Restart::None => {}
            Restart::Now => self.restart_all("queue:restart"),
            Restart::Slept => {
                tracing::info!("queue:restart while the app slept: its processes run the current code already");
                self.tell(Event::Renewed);
            }
        }
    }
}
