//! What a job may use: what it declares, within what the settings allow.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kqueue_config::Settings;
use kqueue_control::ClassFigures;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::JobId;
use kqueue_core::wire::coordinator::UnitLimits;

use super::Runtime;

/// What a scope may run longer than its job's deadline, so that we are the first to end it.
const SLACK: Duration = Duration::from_secs(2);
/// MB by which PHP's own limit is below that of the scope: its error has a stack trace, and comes first.
const HEADROOM: u32 = 4;

impl Runtime {
    /// What an isolated job may use.
    pub(super) fn limits(&self, job: JobId) -> UnitLimits {
        let settings = &self.settings;
        let declared = self.schedule.declared(job);
        // The settings are both the default and the bound: a job may ask for less.
        let capped = |own: Option<u32>, most: u32| Some(u64::from(own.map_or(most, |own| own.min(most))));
        let grace = settings.timeout_grace + SLACK;
        let time = self.schedule.time_limit(job).map(|time| time + grace);
        let time = [time, settings.isolated_time_cap].into_iter().flatten().min();
        UnitLimits {
            memory_max: Some(u64::from(self.memory_limit(job)) << 20),
            runtime_max_usec: time.map(|time| time.as_micros() as u64),
            tasks_max: capped(declared.max_tasks, settings.isolated_tasks_max),
            cpu_weight: capped(declared.cpu_weight, settings.isolated_cpu_weight),
            io_weight: capped(declared.io_weight, settings.isolated_io_weight),
        }
    }

    /// MB that an isolated job may have.
    fn memory_limit(&self, job: JobId) -> u32 {
        isolated_memory(&self.settings, self.schedule.max_memory_mb(job))
    }

    /// What the jobs of each class may have.
    pub(super) fn class_limits(&self) -> ClassLimits {
        ClassLimits { settings: Rc::clone(&self.settings), declared: self.schedule.class_memory_mb() }
    }

    /// MB that PHP is told an isolated job may have.
    pub(super) fn php_memory_limit(&self, job: JobId) -> u32 {
        let limit = self.memory_limit(job);
        if self.processes.outlive() { limit - HEADROOM.min(limit / 2) } else { limit }
    }
}

/// Memory that the jobs of each class may have, for those who ask.
pub(super) struct ClassLimits {
    settings: Rc<Settings>,
    /// MB.
    declared: BTreeMap<String, u32>,
}

impl ClassLimits {
    /// Bytes that a job of this class may have where its last one ran.
    pub(super) fn of(&self, class: &ClassFigures) -> Option<u64> {
        let declared = self.declared.get(&class.class).copied();
        let mb = match class.tier.as_deref()? {
            tier if tier == Tier::Isolated.name() => isolated_memory(&self.settings, declared),
            _ => declared.unwrap_or(self.settings.worker_memory_max),
        };
        Some(u64::from(mb) << 20)
    }
}

/// MB that an isolated job may have which declares this.
fn isolated_memory(settings: &Settings, declared: Option<u32>) -> u32 {
    let declared = declared.unwrap_or(settings.isolated_memory_max);
    settings.isolated_memory_cap.map_or(declared, |cap| declared.min(cap))
}
