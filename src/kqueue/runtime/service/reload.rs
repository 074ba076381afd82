//! New settings for a runtime that works.

use std::fmt;
use std::rc::Rc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::runtime::Runtime;
use crate::runtime::service::health;
use crate::runtime::start::{Description, schedule_config};
use kqueue_config::{self as config, KEYS, Key, Loaded, Reader, Settings, Surroundings};
use kqueue_core::schedule::Event;

/// Reads the settings again, from where they were read at the start.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Loaded>>;

/// What a reload needs to know of the start.
pub struct Reload {
    /// Reads the settings again.
    pub reread: Reread,
    /// As they were read last, without what the app says.
    pub loaded: Loaded,
    /// What the app says.
    pub app: Map<String, Value>,
    /// The connection's own queue, which is worked where the settings name none.
    pub own_queue: String,
    /// Whether PHP can ring an alarm.
    pub signals: bool,
}

/// What new settings have brought.
struct Taken {
    /// The keys that have changed, with their values.
    changed: Vec<String>,
    /// PHP processes are given other arguments by them.
    restarts: bool,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("own_queue", &self.own_queue).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Takes new settings, and replaces every PHP process: pooled workers one by one. Settings that cannot work
    /// change nothing at all.
    pub fn reload(&mut self) {
        if self.schedule.is_stopping() {
            tracing::info!("SIGHUP: not while stopping");
            return;
        }
        // Before it has said that it is ready, a service manager expects no reload.
        let ready = self.queue.fetch.has_answered();
        if ready {
            health::reloading();
        }
        match (self.reload.reread)().and_then(|loaded| self.accept(loaded)) {
            Ok(changed) => {
                let told = if changed.is_empty() { "no setting has changed".to_owned() } else { changed.join(", ") };
                tracing::info!("SIGHUP: {told}; replacing every PHP process after its current job");
                self.replace_template();
                self.tell(Event::Reload);
            }
            Err(error) => {
                tracing::error!("SIGHUP: the settings are as before, for the new ones cannot work: {error:#}")
            }
        }
        if ready {
            self.notify(&[sd_notify::NotifyState::Ready]);
        }
    }

    /// Works by new settings from now on, as far as that is possible. Says which have changed.
    fn accept(&mut self, loaded: Loaded) -> anyhow::Result<Vec<String>> {
        let whole = with_app(&loaded, &self.reload.app)?;
        let (settings, late) = self.settings.reloaded(&whole.settings);
        let Taken { changed, .. } = self.work_by(settings)?;
        self.warn_of_late("SIGHUP", &late);
        self.reload.loaded = loaded;
        Ok(changed)
    }

    /// A template has booted the app, as it is by now: its own settings may be other ones.
    pub fn app_says(&mut self, app: Option<&RawValue>) {
        let Some(Ok(said)) = app.map(|app| serde_json::from_str::<Description>(app.get())) else { return };
        self.service.duties.found(said.horizon);
        if said.settings == self.reload.app {
            return;
        }
        let from = config::Origin::App;
        let taken = with_app(&self.reload.loaded, &said.settings).and_then(|whole| {
            let (settings, late) = self.settings.reloaded(&whole.settings);
            self.warn_of_late(&from.to_string(), &late);
            self.work_by(settings)
        });
        match taken {
            Ok(Taken { changed, restarts }) => {
                if !changed.is_empty() {
                    tracing::info!("{from}: {}", changed.join(", "));
                }
                if restarts {
                    // Pooled workers that this template was quicker than have been started with the old arguments.
                    self.tell(Event::Restart);
                }
            }
            Err(error) => tracing::error!("{from}: the settings are as before: {error:#}"),
        }
        self.reload.app = said.settings;
    }

    /// Works by these settings from now on.
    fn work_by(&mut self, settings: Settings) -> anyhow::Result<Taken> {
        let queues =
            if settings.queues.is_empty() { vec![self.reload.own_queue.clone()] } else { settings.queues.clone() };
        self.queue.backend.check_queues(&queues)?;
        let changed = KEYS.iter().filter(|key| key.differs(&self.settings, &settings));
        let changed = changed.map(|key| format!("{} = {}", key.name, key.show(&settings))).collect();
        self.settings = Rc::new(settings);
        self.app.queues = queues;
        let restarts = self.processes.recipe.configure(self.settings.clone());
        self.schedule.configure(schedule_config(&self.settings, self.reload.signals));
        self.arm_renewal();
        // A wait under way is one for the queues of before.
        self.queue.fetch.look_again();
        Ok(Taken { changed, restarts })
    }

    /// Warns of keys whose new values do not count yet.
    fn warn_of_late(&self, from: &str, late: &[&Key]) {
        let workers_read_file = self.processes.workers_read_file();
        let (own, late): (Vec<&Key>, Vec<&Key>) =
            late.iter().partition(|key| workers_read_file && key.is_read_by(Reader::Worker));
        if let Some(names) = names(&late) {
            tracing::warn!("{from}: {names} will count after a restart");
        }
        if let Some(names) = names(&own) {
            tracing::warn!("{from}: {names} will count after a restart; pooled workers read it anew when they start");
        }
    }
}

fn names(keys: &[&Key]) -> Option<String> {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The settings with what the app says; what does not count of that is told.
pub fn with_app(loaded: &Loaded, said: &Map<String, Value>) -> anyhow::Result<Loaded> {
    let (whole, refused) = config::with_app(loaded, said, &Surroundings::read()?);
    for line in refused {
        tracing::warn!("{line}");
    }
    Ok(whole)
}
