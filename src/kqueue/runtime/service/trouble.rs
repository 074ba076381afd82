//! Why this runtime is degraded: what keeps it from running jobs as it should.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::{Snapshot, State};
use crate::runtime::Runtime;
use crate::runtime::queue::backlog::{self, Count};
use kqueue_core::schedule::Standing;
use kqueue_system::harmless;

/// Bytes of a reason.
const REASON: usize = 400;

impl Runtime {
    /// Whether it takes on jobs, and why not.
    pub fn state(&self) -> State {
        match self.schedule.standing() {
            Standing::Draining(_) => State::Draining,
            Standing::Killing(_) | Standing::Over => State::Stopping,
            Standing::Running if !self.queue.fetch.has_answered() && self.queue.fetch.silent().is_none() => {
                State::Starting
            }
            Standing::Running if self.schedule.is_down() => State::Maintenance,
            Standing::Running if self.schedule.open_queues(&self.app.queues).is_empty() => State::Paused,
            Standing::Running => State::Running,
        }
    }

    /// The first reason for which jobs do not run as they should, in one line.
    pub fn trouble(&self, counts: &BTreeMap<String, Count>) -> Option<String> {
        let trouble = self
            .service
            .health
            .dead()
            .map(str::to_owned)
            .or_else(|| backlog::partial_fault(counts))
            .or_else(|| self.processes.templates.fault().map(|how| format!("the template does not start: {how}")))
            .or_else(|| {
                let (tier, cause) = self.schedule.unready()?;
                Some(format!("{} processes do not start: {cause}", tier.name()))
            })
            .or_else(|| {
                let silent = silent(&self.app.connection, self.queue.fetch.silent()?);
                Some(self.queue.fetch.error().map_or_else(|| silent.clone(), |error| format!("{silent}: {error}")))
            })
            .or_else(|| Some(silent("the coordinator", self.processes.units.as_ref()?.lost()?)))
            .or_else(|| backlog::fault(counts))
            .or_else(|| {
                let fault = self.signal_fault.as_deref()?;
                Some(format!(
                    "queue:restart, queue:pause and down are not seen, the app's cache cannot be read: {fault}"
                ))
            })?;
        Some(harmless::line(&trouble, REASON))
    }

    /// How things are, without what it takes to list them.
    pub fn outline(&self) -> Snapshot {
        let paused: Vec<&str> = self.schedule.paused().collect();
        let queues = self.app.queues.iter().map(|name| self.queue.backlog.queue(name, paused.contains(&name.as_str())));
        Snapshot {
            at: self.now().epoch,
            state: self.state(),
            reason: self.trouble(self.queue.backlog.counts()),
            connection: self.app.connection.clone(),
            silent: self.queue.fetch.silent().map(|silence| silence.as_secs_f64()),
            queues: queues.collect(),
            remedy: self.service.duties.remedy(),
            running: self.schedule.running_count(),
            held: self.schedule.job_count(),
            rate: self.service.observer.pace.rate(self.now().ms),
            ..self.service.observer.about().clone()
        }
    }
}

fn silent(what: &str, silence: Duration) -> String {
    format!("{what} has not answered for {} s", silence.as_secs())
}
