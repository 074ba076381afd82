//! Transient units: a scope around a process, and a service of a user's manager.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use zbus::zvariant::{Fd, Value};

use super::bus::Property;
use super::error::SystemdError;
use super::manager::{Manager, QUICK_JOB};
use super::{memory, process};
use kqueue_core::wire::coordinator::UnitLimits;

/// Grace period between SIGTERM and SIGKILL when a unit stops, in microseconds. With the default of 90 s a job could
/// run that long past its time limit.
const STOP_USEC: u64 = 2_000_000;

/// A scope to make.
#[derive(Clone, Debug)]
pub struct NewScope {
    /// The unit's name, never used before.
    pub unit: String,
    /// The slice it is in.
    pub slice: String,
    /// The description that `systemctl status` shows.
    pub description: String,
    /// The process to move into it.
    pub pid: i32,
    /// Its resource limits.
    pub limits: UnitLimits,
}

/// A service to make.
#[derive(Clone, Debug)]
pub struct NewService {
    /// The unit's name.
    pub unit: String,
    /// The slice it is in.
    pub slice: String,
    /// The description that `systemctl status` shows.
    pub description: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// Variables added to its environment.
    pub environment: BTreeMap<String, String>,
    /// Its resource limits.
    pub limits: UnitLimits,
}

impl Manager {
    /// Moves a process into a new scope, keeps a reference to the scope, and returns once the process is verified to be
    /// in it.
    ///
    /// # Errors
    /// When it is not. The scope is stopped and released then.
    pub async fn scope(&self, new: &NewScope, pidfd: &OwnedFd) -> Result<(), SystemdError> {
        self.was_held(&new.unit);
        let made = self.make_scope(new, pidfd).await;
        // systemd reports "done" too early when the process dies at that moment, and has done so in other cases too.
        let made = made.and_then(|()| match process::is_in(new.pid, &new.unit) && process::is_alive(pidfd) {
            true => Ok(()),
            false => Err(SystemdError::Process(format!("process {} is not in {}", new.pid, new.unit))),
        });
        if made.is_ok() && !self.can.scope_oom_policy.get() {
            self.die_together(&new.unit).await;
        }
        if made.is_err() {
            // Remove a scope without its process, and one that has its process but that we do not track.
            let _ = self.stop(&new.unit).await;
            self.release(&new.unit).await;
            let _ = self.reset(&new.unit).await;
        }
        made
    }

    /// Does what `OOMPolicy=kill` does, for a systemd that does not support it for scopes (before 253): the kernel
    /// kills the whole unit at once. Otherwise a job whose child process was killed would continue without it.
    async fn die_together(&self, unit: &str) {
        let Ok(proxy) = self.unit_type(unit).await else { return };
        let Ok(cgroup) = self.call(proxy.control_group()).await else { return };
        if let Err(error) = memory::group_oom(&cgroup) {
            tracing::debug!("{unit}: {error}");
        }
    }

    async fn make_scope(&self, new: &NewScope, pidfd: &OwnedFd) -> Result<(), SystemdError> {
        loop {
            let (pidfds, oom_policy) = (self.can.pidfds.get(), self.can.scope_oom_policy.get());
            let properties = scope_properties(new, pidfds.then_some(pidfd), oom_policy);
            match self.call(self.proxy.start_transient_unit(&new.unit, "fail", &properties, &[])).await {
                Ok(job) => return self.finish(&new.unit, &job, QUICK_JOB).await,
                // systemd is older than its version says, or was built without these properties: retry once, and
                // remember.
                Err(error) if error.is_unknown_property() && (pidfds || oom_policy) => {
                    tracing::debug!("creating scopes without PIDFDs and OOMPolicy: {error}");
                    self.can.pidfds.set(false);
                    self.can.scope_oom_policy.set(false);
                }
                Err(SystemdError::Timeout(_)) => return self.is_active(&new.unit).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts a transient service, and returns its main process id once it is ready.
    ///
    /// # Errors
    /// When it does not become ready. Its reference is released then.
    pub async fn start_transient(&self, new: &NewService) -> Result<i32, SystemdError> {
        self.was_held(&new.unit);
        let properties = service_properties(new);
        let started = async {
            let job = self.call(self.proxy.start_transient_unit(&new.unit, "fail", &properties, &[])).await?;
            self.finish(&new.unit, &job, super::manager::START_JOB).await
        };
        self.ready(&new.unit, started.await).await
    }
}

/// Adds limits as systemd properties. Absent limits are not set.
fn limits_as_properties(limits: &UnitLimits, into: &mut Vec<Property<'_>>) {
    let mut set = |name, value: Option<u64>| into.extend(value.map(|value| (name, Value::U64(value))));
    set("MemoryMax", limits.memory_max);
    // Otherwise memory that is swapped out does not count against the limit.
    set("MemorySwapMax", limits.memory_max.map(|_| 0));
    set("TasksMax", limits.tasks_max);
    set("CPUWeight", limits.cpu_weight);
    set("IOWeight", limits.io_weight);
}

/// Properties of every unit created here.
fn common<'a>(slice: &'a str, description: &'a str, limits: &UnitLimits) -> Vec<Property<'a>> {
    let mut properties = vec![
        ("Description", Value::from(description)),
        ("Slice", Value::from(slice)),
        ("CollectMode", Value::from("inactive-or-failed")),
        // Keeps the unit until we have read its result or disconnect.
        ("AddRef", Value::Bool(true)),
        ("TimeoutStopUSec", Value::U64(STOP_USEC)),
        // Usage is read at the end, whatever the host's defaults are.
        ("CPUAccounting", Value::Bool(true)),
        ("MemoryAccounting", Value::Bool(true)),
    ];
    limits_as_properties(limits, &mut properties);
    properties.extend(limits.runtime_max_usec.map(|usec| ("RuntimeMaxUSec", Value::U64(usec))));
    properties
}

fn scope_properties<'a>(new: &'a NewScope, pidfd: Option<&'a OwnedFd>, oom_policy: bool) -> Vec<Property<'a>> {
    let mut properties = common(&new.slice, &new.description, &new.limits);
    match pidfd {
        Some(pidfd) => properties.push(("PIDFDs", Value::from(vec![Fd::from(pidfd.as_fd())]))),
        None => properties.push(("PIDs", Value::from(vec![new.pid as u32]))),
    }
    if oom_policy {
        // The kernel kills all processes of the job at once: a part of a job is useless.
        properties.push(("OOMPolicy", Value::from("kill")));
    }
    properties
}

fn service_properties(new: &NewService) -> Vec<Property<'_>> {
    let mut properties = common(&new.slice, &new.description, &new.limits);
    let program = new.program.to_string_lossy().into_owned();
    let mut command = vec![program.clone()];
    command.extend(new.arguments.iter().cloned());
    let environment: Vec<String> = new.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    properties.extend([
        ("Type", Value::from("notify")),
        ("NotifyAccess", Value::from("main")),
        ("ExecStart", Value::from(vec![(program, command, false)])),
        ("WorkingDirectory", Value::from(new.directory.to_string_lossy().into_owned())),
        ("Environment", Value::from(environment)),
        ("OOMPolicy", Value::from("kill")),
    ]);
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(properties: &'a [Property<'_>], name: &str) -> Option<&'a Value<'a>> {
        properties.iter().find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    #[test]
    fn a_scope_has_what_keeps_a_job_within_bounds() {
        let new = NewScope {
            unit: "kqueue-shop-a.scope".to_owned(),
            slice: "kqueue-shop.slice".to_owned(),
            description: "a job".to_owned(),
            pid: 7,
            limits: UnitLimits { memory_max: Some(1 << 20), runtime_max_usec: Some(5), ..UnitLimits::default() },
        };
        let held = process::hold(std::process::id() as i32).unwrap();
        let modern = scope_properties(&new, Some(&held), true);
        assert_eq!(named(&modern, "MemorySwapMax"), Some(&Value::U64(0)));
        assert_eq!(named(&modern, "OOMPolicy"), Some(&Value::from("kill")));
        assert_eq!(named(&modern, "PIDFDs").map(|value| value.value_signature().to_string()), Some("ah".to_owned()));
        assert_eq!(named(&modern, "PIDs"), None);
        let old = scope_properties(&new, None, false);
        assert_eq!(named(&old, "PIDs"), Some(&Value::from(vec![7u32])));
        assert_eq!((named(&old, "PIDFDs"), named(&old, "OOMPolicy")), (None, None));
        for name in ["CollectMode", "AddRef", "Slice", "TimeoutStopUSec", "RuntimeMaxUSec", "MemoryMax"] {
            assert!(named(&old, name).is_some(), "{name}");
        }
        assert_eq!(named(&old, "TasksMax"), None);
    }
}
