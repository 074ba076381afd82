//! Ends the remaining units of an app when its runtime has been stopped. A restart leaves the units to the next
//! runtime; a stop leaves none, including scopes with processes that a job has left behind.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::app::App;
use super::state::Coordinator;
use kqueue_core::wire::coordinator::Unit;
use kqueue_system::systemd::{SystemdError, names};

/// Polling interval for the remaining units.
const LOOK: Duration = Duration::from_millis(100);
/// Every so many polls, the units that remain are killed: a stopped scope has its SIGKILL from systemd by then.
const POLITE: u32 = 30;
/// Polls after which the remaining units are left to the next stop.
const LOOKS: u32 = 300;

impl Coordinator {
    /// The existing units of an app, with their systemd names and states.
    pub(super) async fn units_of(&self, app: &App) -> Result<Vec<(Unit, String, String)>, SystemdError> {
        let patterns = [format!("kqueue-worker@{}:*.service", app.name), format!("kqueue-{}-*.scope", app.name)];
        let units = self.host.list(&patterns.each_ref().map(String::as_str)).await?;
        Ok(units.into_iter().filter_map(|(name, state)| Some((Unit::of(&app.name, &name)?, name, state))).collect())
    }

    /// Starts the task that ends the remaining units of an app when its runtime is stopped. One task per app; it ends
    /// after a stop, and the next connection or adopted unit starts it again.
    pub(super) fn keep(self: &Rc<Self>, app: &Rc<App>) {
        if app.is_kept.replace(true) {
            return;
        }
        let (this, app) = (Rc::clone(self), Rc::clone(app));
        tokio::task::spawn_local(async move {
            let runtime = names::runtime(&app.name);
            app.share.of(this.host.stopped(&runtime)).await;
            // No new units meanwhile: those of a runtime that is started now must not be ended.
            app.is_ending.set(true);
            // Connections that are still open were passed on by the runtime that has ended.
            this.cut(&app);
            app.share.of(this.end_all(&app, &runtime)).await;
            app.is_ending.set(false);
            app.is_kept.set(false);
            if app.connections.get() > 0 {
                this.keep(&app);
            }
        });
    }

    async fn end_all(&self, app: &App, runtime: &str) {
        let mut asked = BTreeSet::new();
        for look in 1..=LOOKS {
            tokio::time::sleep(LOOK).await;
            let Ok(there) = self.units_of(app).await else { continue };
            let (left, over): (Vec<_>, Vec<_>) =
                there.into_iter().partition(|(_, _, state)| !matches!(state.as_str(), "inactive" | "failed"));
            // A unit stopped while it started may not be watched: no task resets its failed state.
            for (_, name, _) in over.iter().filter(|(_, name, _)| !self.is_watched(name)) {
                let _ = self.host.reset(name).await;
            }
            if left.is_empty() {
                return;
            }
            // The runtime has been started again: it adopts the remaining units.
            if matches!(self.host.rest(runtime).await, Ok(None)) {
                return;
            }
            for (_, name, _) in &left {
                let ended = match asked.insert(name.clone()) {
                    _ if look % POLITE == 0 => self.host.kill(name).await.map(|()| "killed"),
                    true => self.host.stop(name).await.map(|()| "stopped"),
                    false => continue,
                };
                match ended {
                    Ok(how) => tracing::info!(kqueue_app = app.name, "{name}: {how} because its runtime was stopped"),
                    Err(error) => tracing::debug!(kqueue_app = app.name, "{name}: {error}"),
                }
            }
        }
        tracing::warn!(kqueue_app = app.name, "{}: its runtime was stopped, but some of its units remain", app.name);
    }
}
