//! Applies new settings to a running runtime: on SIGHUP, and when the app's own settings change.

use std::rc::Rc;

use serde_json::value::RawValue;

use super::Runtime;
use super::admit::keys;
use super::app::Description;
use super::service::health;
use super::service::settings::Proposal;
use super::start::{kept, schedule_config};
use kqueue_config::{KEYS, Key, Origin, Reader};
use kqueue_core::schedule::Event;

/// Effect of new settings.
struct Taken {
    /// The changed keys, with their values.
    changed: Vec<String>,
    /// The arguments of PHP processes have changed.
    restarts: bool,
}

impl Runtime {
    /// SIGHUP: applies new settings, and replaces every PHP process, pooled workers one by one. Settings that cannot
    /// work change nothing.
    pub(super) fn reload(&mut self) {
        if self.schedule.is_stopping() {
            tracing::info!("SIGHUP: ignored while stopping");
            return;
        }
        // A service manager does not expect a reload before the service is ready.
        let ready = self.queue.has_answered();
        if ready {
            health::reloading();
        }
        match self.source.read_again(&self.settings).and_then(|proposal| self.put_in_force("SIGHUP", proposal)) {
            Ok(Taken { changed, .. }) => {
                let told = if changed.is_empty() { "no setting has changed".to_owned() } else { changed.join(", ") };
                tracing::info!("SIGHUP: {told}; replacing every PHP process after its current job");
                self.happened("reload", format!("{told}; every PHP process is replaced"));
                self.replace_template();
                self.tell(Event::Reload);
            }
            Err(error) => {
                tracing::error!("SIGHUP: keeping the current settings: {error:#}")
            }
        }
        if ready {
            health::ready();
        }
    }

    /// A template has booted the app, whose own settings may have changed.
    pub(super) fn app_says(&mut self, app: Option<&RawValue>) {
        let Some(Ok(said)) = app.map(|app| serde_json::from_str::<Description>(app.get())) else { return };
        self.service.duties.found(said.horizon);
        let Some(proposal) = self.source.with_app(said.settings, &self.settings) else { return };
        let from = Origin::App.to_string();
        match proposal.and_then(|proposal| self.put_in_force(&from, proposal)) {
            Ok(Taken { changed, restarts }) => {
                if !changed.is_empty() {
                    tracing::info!("{from}: {}", changed.join(", "));
                }
                if restarts {
                    // Pooled workers that booted before this template was ready have the old arguments.
                    self.tell(Event::Restart);
                }
            }
            Err(error) => tracing::error!("{from}: keeping the current settings: {error:#}"),
        }
    }

    /// Applies settings.
    fn put_in_force(&mut self, from: &str, Proposal { settings, late, loaded }: Proposal) -> anyhow::Result<Taken> {
        let queues =
            if settings.queues.is_empty() { vec![self.app.own_queue.clone()] } else { settings.queues.clone() };
        self.queue.check_queues(&queues)?;
        self.warn_of_late(from, &late);
        let changed = KEYS.iter().filter(|key| key.differs(&self.settings, &settings));
        let changed = changed.map(|key| format!("{} = {}", key.name, key.show(&settings)));
        let changed = changed.chain(kqueue_config::differences(&self.settings.tables, &settings.tables)).collect();
        self.settings = Rc::new(settings);
        self.app.queues = queues;
        let restarts = self.processes.recipe.configure(self.settings.clone());
        self.configure_schedule();
        self.queue.configure(&self.settings);
        self.recorder.configure(kept(&self.settings));
        self.service.alerts.configure(&self.settings);
        self.source.accepted(loaded);
        Ok(Taken { changed, restarts })
    }

    /// Configures the schedule by the settings, and by the overrides of operators.
    pub(super) fn configure_schedule(&mut self) {
        let (native, ahead) = (self.queue.is_native(), self.queue.capabilities().unreserve);
        let config = schedule_config(&self.settings, &self.app.queues, self.app.signals, native, ahead);
        self.schedule.configure(self.service.overrides.over(config));
        let keys = keys(&self.held, |class| self.schedule.is_limited_by(class));
        if !keys.is_empty() {
            self.schedule.say_whose(&keys);
        }
        self.tell(Event::Narrowed);
    }

    /// Warns of keys whose new values take effect after a restart only.
    fn warn_of_late(&self, from: &str, late: &[&Key]) {
        let workers_read_file = self.processes.workers_read_file();
        let (own, late): (Vec<&Key>, Vec<&Key>) =
            late.iter().partition(|key| workers_read_file && key.is_read_by(Reader::Worker));
        if let Some(names) = names(&late) {
            tracing::warn!("{from}: {names} will take effect after a restart");
        }
        if let Some(names) = names(&own) {
            tracing::warn!("{from}: {names} will take effect after a restart, in pooled workers when they next start");
        }
    }
}

fn names(keys: &[&Key]) -> Option<String> {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
