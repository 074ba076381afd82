//! New settings for a runtime that works.

use std::fmt;
use std::rc::Rc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::runtime::Runtime;
use crate::runtime::service::health;
use crate::runtime::start::{Description, schedule_config};
use kqueue_config::{self as config, KEYS, Loaded, Merged, Settings, Surroundings};
use kqueue_core::schedule::Event;

/// Keys by which things are made once, at the start. PHP is among them because what it can do (fork, ring an
/// alarm) is asked once.
const AT_START: &[&str] = &[
    "path",
    "user",
    "group",
    "php",
    "php_args",
    "connection",
    "launcher",
    "start",
    "pop",
    "ack",
    "state_dir",
    "runtime_dir",
];

/// Reads the settings again, from where they were read at the start.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Loaded>>;

/// What a reload needs to know of the start.
pub struct Reload {
    /// Reads the settings again.
    pub reread: Reread,
    /// As they were written at the start.
    pub written: Merged,
    /// As they were read last, without what the app says.
    pub loaded: Loaded,
    /// What the app says.
    pub app: Map<String, Value>,
    /// The connection's own queue, which is worked where the settings name none.
    pub own_queue: String,
    /// Whether PHP can ring an alarm.
    pub signals: bool,
    /// The last settings have changed the arguments of PHP processes.
    pub rearmed: bool,
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
        let (settings, late) = take_over(&self.settings, &whole.settings);
        let changed = self.work_by(settings)?;
        let late: Vec<_> = late.into_iter().chain(self.other_owner(&loaded.merged)).collect();
        if !late.is_empty() {
            tracing::warn!("SIGHUP: {} will count after a restart", late.join(", "));
        }
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
        self.reload.rearmed = false;
        let taken = with_app(&self.reload.loaded, &said.settings).and_then(|whole| {
            let (settings, late) = take_over(&self.settings, &whole.settings);
            if !late.is_empty() {
                tracing::warn!("{from}: {} will count after a restart", late.join(", "));
            }
            self.work_by(settings)
        });
        match taken {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => tracing::info!("{from}: {}", changed.join(", ")),
            Err(error) => tracing::error!("{from}: the settings are as before: {error:#}"),
        }
        self.reload.app = said.settings;
        if self.reload.rearmed {
            // Pooled workers that this template was quicker than have been started with the old arguments.
            self.tell(Event::Restart);
        }
    }

    /// Works by these settings from now on. Says which have changed.
    fn work_by(&mut self, settings: Settings) -> anyhow::Result<Vec<String>> {
        let queues =
            if settings.queues.is_empty() { vec![self.reload.own_queue.clone()] } else { settings.queues.clone() };
        crate::backend::check_queues(&queues)?;
        let changed = differences(&self.settings, &settings).map(|name| {
            let key = kqueue_config::key(name).map(|key| key.show(&settings).to_string()).unwrap_or_default();
            format!("{name} = {key}")
        });
        let changed = changed.collect();
        self.settings = Rc::new(settings);
        self.app.queues = queues;
        self.reload.rearmed = self.processes.recipe.configure(self.settings.clone());
        self.schedule.configure(schedule_config(&self.settings, self.reload.signals));
        self.arm_renewal();
        // A wait under way is one for the queues of before.
        self.queue.fetch.look_again();
        Ok(changed)
    }

    /// Keys that only units read.
    fn other_owner(&self, now: &Merged) -> Vec<&'static str> {
        let before = &self.reload.written;
        let user = (before.user() != now.user()).then_some("user");
        let group = (before.group() != now.group()).then_some("group");
        user.into_iter().chain(group).collect()
    }
}

/// The settings with what the app says; what does not count of that is told.
pub fn with_app(loaded: &Loaded, said: &Map<String, Value>) -> anyhow::Result<Loaded> {
    let (whole, refused) = config::with_app(loaded, said, &Surroundings::read()?);
    for line in refused {
        tracing::warn!("{line}");
    }
    Ok(whole)
}

/// New settings in which what was made at the start is as it was, and the names of keys that are held back so.
fn take_over(old: &Settings, new: &Settings) -> (Settings, Vec<&'static str>) {
    let late = differences(old, new).filter(|name| AT_START.contains(name)).collect();
    let old = old.clone();
    let settings = Settings {
        app: old.app,
        path: old.path,
        php: old.php,
        php_args: old.php_args,
        connection: old.connection,
        launcher: old.launcher,
        start: old.start,
        pop: old.pop,
        ack: old.ack,
        state_dir: old.state_dir,
        runtime_dir: old.runtime_dir,
        stop_when_empty: old.stop_when_empty,
        max_jobs: old.max_jobs,
        max_time: old.max_time,
        ..new.clone()
    };
    (settings, late)
}

/// Names of the keys that have another value.
fn differences(old: &Settings, new: &Settings) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |key| key.show(old) != key.show(new)).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::settings;

    #[test]
    fn what_was_made_at_the_start_stays() {
        let app = tempfile::tempdir().unwrap();
        std::fs::write(app.path().join("artisan"), "").unwrap();
        let old = settings(app.path(), &[]);
        let (same, late) = take_over(&old, &settings(app.path(), &[]));
        assert_eq!((same, late.len()), (old.clone(), 0));
        let other = [("tries", "4"), ("pop", "strict"), ("pool_size", "3"), ("connection", "other"), ("queues", "a,b")];
        let (taken, late) = take_over(&old, &settings(app.path(), &other));
        assert_eq!(late, ["connection", "pop"]);
        assert_eq!((&taken.connection, taken.pop), (&old.connection, old.pop));
        assert_eq!((taken.work.tries, taken.tiers.pool_size, taken.queues.len()), (4, 3, 2));
        let changed: Vec<_> = differences(&old, &taken).collect();
        assert!(["tries", "pool_size", "queues"].iter().all(|key| changed.contains(key)), "{changed:?}");
        assert!(!changed.contains(&"pop"));
    }

    #[test]
    fn keys_that_are_held_back_are_keys() {
        assert!(AT_START.iter().all(|name| kqueue_config::key(name).is_some()));
    }
}
