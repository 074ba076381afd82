//! Limits of a job: what it declares, within the bounds of the settings.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kqueue_config::Settings;
use kqueue_control::ClassFigures;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::JobId;
use kqueue_core::wire::coordinator::UnitLimits;

use super::Runtime;

/// Time that a scope may run beyond its job's deadline and grace period, so that the runtime ends it first.
const SLACK: Duration = Duration::from_secs(2);
/// MB by which PHP's own limit is below that of the scope, so that it is reached first: its error has a stack trace.
const HEADROOM: u32 = 4;

impl Runtime {
    /// The limits of an isolated job's scope.
    pub(super) fn limits(&self, job: JobId) -> UnitLimits {
        let settings = &self.settings;
        let declared = self.schedule.declared(job);
        // The settings are both default and maximum: a job may ask for less.
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

    /// Memory limit of an isolated job in MB.
    fn memory_limit(&self, job: JobId) -> u32 {
        isolated_memory(&self.settings, self.schedule.max_memory_mb(job))
    }

    /// Memory limits of each class.
    pub(super) fn class_limits(&self) -> ClassLimits {
        ClassLimits { settings: Rc::clone(&self.settings), declared: self.schedule.class_memory_mb() }
    }

    /// PHP's own memory limit for an isolated job in MB.
    pub(super) fn php_memory_limit(&self, job: JobId) -> u32 {
        let limit = self.memory_limit(job);
        if self.processes.outlive() { limit - HEADROOM.min(limit / 2) } else { limit }
    }
}

/// Memory limits of each class, for replies on the control socket.
pub(super) struct ClassLimits {
    settings: Rc<Settings>,
    /// Declared limits in MB, by class.
    declared: BTreeMap<String, u32>,
}

impl ClassLimits {
    /// Memory limit of a class in bytes, in the tier where its last job ran.
    pub(super) fn of(&self, class: &ClassFigures) -> Option<u64> {
        let declared = self.declared.get(&class.class).copied();
        let mb = match class.tier.as_deref()? {
            tier if tier == Tier::Isolated.name() => isolated_memory(&self.settings, declared),
            _ => declared.unwrap_or(self.settings.worker_memory_max),
        };
        Some(u64::from(mb) << 20)
    }
}

/// Memory limit in MB of an isolated job that declares this.
fn isolated_memory(settings: &Settings, declared: Option<u32>) -> u32 {
    let declared = declared.unwrap_or(settings.isolated_memory_max);
    settings.isolated_memory_cap.map_or(declared, |cap| declared.min(cap))
}
