//! One connection to a service manager, and the calls on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use zbus::Connection;
use zbus::proxy::{self, CacheProperties, Defaults};
use zbus::zvariant::ObjectPath;

use super::bus::{JobProxy, ManagerProxy, ServiceProxy, UnitProxy};
use super::error::SystemdError;
use super::signals::{self, Signals};
use super::{names, share};
use kqueue_core::wire::coordinator::Purpose;

/// Maximum number of concurrent calls: systemd handles one at a time and has other clients.
const CALLS: usize = 12;
/// Timeout of a call. A call that takes a millisecond can take seconds on a busy host.
const CALL: Duration = Duration::from_secs(10);
/// Timeout of a job that starts no program.
pub(super) const QUICK_JOB: Duration = Duration::from_secs(15);
/// Timeout of the start of a service. Longer than the timeout in its unit.
pub(super) const START_JOB: Duration = Duration::from_secs(100);

/// Selects a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The host's.
    System,
    /// The current user's.
    User,
}

/// Features of this service manager, as far as known.
#[derive(Debug)]
pub(super) struct Abilities {
    /// `PIDFDs` of scopes, since 255.
    pub(super) pidfds: Cell<bool>,
    /// `OOMPolicy` of scopes, since 253.
    pub(super) scope_oom_policy: Cell<bool>,
    /// `GetUnitByPIDFD`, since 253.
    pub(super) unit_by_pidfd: Cell<bool>,
    /// `MemoryPeak`, since 256.
    pub(super) memory_peak: bool,
}

/// One connection to a service manager.
#[derive(Debug)]
pub struct Manager {
    bus: Connection,
    pub(super) proxy: ManagerProxy<'static>,
    pub(super) can: Abilities,
    pub(super) signals: Rc<Signals>,
    calls: Semaphore,
    version: u32,
    held: RefCell<BTreeSet<String>>,
}

impl Manager {
    /// Connects, and starts the task that receives the signals. Must be called on a `LocalSet`.
    ///
    /// # Errors
    /// When the bus or the service manager does not answer.
    pub async fn connect(bus: Bus) -> Result<Rc<Self>, SystemdError> {
        let connecting = async {
            let builder = match bus {
                Bus::System => zbus::connection::Builder::system()?,
                Bus::User => zbus::connection::Builder::session()?,
            };
            let bus = builder.max_queued(1024).build().await?;
            let proxy = ManagerProxy::builder(&bus).cache_properties(CacheProperties::No).build().await?;
            let version = proxy.version().await?;
            Ok::<_, zbus::Error>((bus, proxy, version))
        };
        let (bus, proxy, version) =
            timeout(CALL, connecting).await.map_err(|_| SystemdError::Timeout("connecting".to_owned()))??;
        let signals = signals::start(&bus, &proxy).await?;
        let version = leading_number(&version);
        Ok(Rc::new(Self {
            bus,
            proxy,
            can: Abilities {
                pidfds: Cell::new(version >= 255),
                scope_oom_policy: Cell::new(version >= 253),
                unit_by_pidfd: Cell::new(version >= 253),
                memory_peak: version >= 256,
            },
            signals,
            calls: Semaphore::new(CALLS),
            version,
            held: RefCell::default(),
        }))
    }

    /// systemd's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns once the connection to the bus is closed. All calls fail from then on.
    pub async fn lost(&self) {
        self.signals.lost().await;
    }

    /// Number of iterations of the signal task: it is alive while this grows.
    pub fn rounds(&self) -> u64 {
        self.signals.rounds()
    }

    /// The unit that a process belongs to. With `pidfd`, a process id that has been reused is detected.
    ///
    /// # Errors
    /// When it belongs to no unit or is gone, or systemd does not answer.
    pub async fn unit_of(&self, pid: i32, pidfd: Option<&OwnedFd>) -> Result<String, SystemdError> {
        let gone = || SystemdError::Process(format!("process {pid}: no such process"));
        if let Some(pidfd) = pidfd.filter(|_| self.can.unit_by_pidfd.get()) {
            match self.call(self.proxy.get_unit_by_pidfd(pidfd.as_fd().into())).await {
                Ok((_, unit, _)) => return Ok(unit),
                Err(error) if error.is("UnknownMethod") => self.can.unit_by_pidfd.set(false),
                Err(error) => return Err(error),
            }
        }
        let number = u32::try_from(pid).map_err(|_| gone())?;
        let path = self.call(self.proxy.get_unit_by_pid(number)).await?;
        // The process id can have been reused only if our process has ended.
        if pidfd.is_some_and(|held| !super::process::is_alive(held)) {
            return Err(gone());
        }
        names::unit_name(&path).ok_or_else(gone)
    }

    /// Starts a service from its unit file, keeps a reference to the unit, and returns its main process id once it is
    /// ready.
    ///
    /// # Errors
    /// When it does not become ready. The reference is released then.
    pub async fn start(&self, unit: &str) -> Result<i32, SystemdError> {
        self.hold(unit).await?;
        let started = async {
            let job = self.call(self.proxy.start_unit(unit, "replace")).await?;
            self.finish(unit, &job, START_JOB).await
        };
        self.ready(unit, started.await).await
    }

    /// The main process id of a service, given the result of its start job. Releases the unit if it failed.
    pub(super) async fn ready(&self, unit: &str, started: Result<(), SystemdError>) -> Result<i32, SystemdError> {
        match started {
            Ok(()) => self.main_pid(unit).await,
            Err(SystemdError::Job { unit, result }) => {
                let how = self.end_of(&unit).await.filter(|end| !matches!(end.result.as_str(), "" | "success"));
                let result = how.map_or(result, |end| format!("did not start: {end}"));
                Err(SystemdError::Job { unit, result })
            }
            Err(error) => {
                self.release(unit).await;
                Err(error)
            }
        }
    }

    /// Queues a stop job for a unit.
    ///
    /// # Errors
    /// When there is no such unit, or systemd refuses.
    pub async fn stop(&self, unit: &str) -> Result<(), SystemdError> {
        self.call(self.proxy.stop_unit(unit, "replace")).await.map(drop)
    }

    /// Sends SIGKILL to every process of a unit.
    ///
    /// # Errors
    /// When there is no such unit.
    pub async fn kill(&self, unit: &str) -> Result<(), SystemdError> {
        match self.call(self.proxy.kill_unit(unit, "all", nix::libc::SIGKILL)).await {
            // No process was left.
            Err(error) if error.is("NoSuchProcess") => Ok(()),
            done => done,
        }
    }

    /// Resets the failed state of a unit, so that systemd can unload it.
    ///
    /// # Errors
    /// When there is no such unit.
    pub async fn reset(&self, unit: &str) -> Result<(), SystemdError> {
        self.call(self.proxy.reset_failed_unit(unit)).await
    }

    /// The names and states of the units that match one of these patterns.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn list(&self, patterns: &[&str]) -> Result<Vec<(String, String)>, SystemdError> {
        let rows = self.call(self.proxy.list_units_by_patterns(&[], patterns)).await?;
        Ok(rows.into_iter().map(|row| (row.0, row.3)).collect())
    }

    /// A process id of a unit (the main process of a service, else the lowest id; 0 if there is none) and the unit's
    /// current memory in bytes.
    pub async fn inside(&self, unit: &str) -> (i32, Option<u64>) {
        let pid = if unit.ends_with(".service") {
            self.main_pid(unit).await.unwrap_or(0)
        } else {
            let processes = self.call(self.proxy.get_unit_processes(unit)).await.unwrap_or_default();
            processes.iter().map(|(_, pid, _)| *pid as i32).min().unwrap_or(0)
        };
        let memory = match self.unit_type(unit).await {
            Ok(proxy) => self.call(proxy.memory_current()).await.ok().filter(|bytes| *bytes != u64::MAX),
            Err(_) => None,
        };
        (pid, memory)
    }

    /// The pending job of a unit, if it is a stop or a restart.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn purpose(&self, unit: &str) -> Result<Purpose, SystemdError> {
        let proxy = self.unit(unit).await?;
        let (id, path) = self.call(proxy.job()).await?;
        if id == 0 {
            return Ok(Purpose::None);
        }
        let job = JobProxy::builder(&self.bus)
            .path(ObjectPath::from(path))?
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok(match self.call(job.job_type()).await.as_deref() {
            Ok("stop") => Purpose::Stop,
            Ok("restart" | "try-restart") => Purpose::Restart,
            // Another kind of job, or it has finished by now.
            _ => Purpose::None,
        })
    }

    /// The main process id of a service; 0 when there is none.
    ///
    /// # Errors
    /// When systemd does not answer, or the unit is no service.
    pub async fn main_pid(&self, unit: &str) -> Result<i32, SystemdError> {
        let proxy = self.unit_type(unit).await?;
        self.call(proxy.main_pid()).await.map(|pid| pid as i32)
    }

    /// Makes one call within the limits on concurrent calls, with a timeout.
    pub(super) async fn call<T>(&self, call: impl Future<Output = zbus::Result<T>>) -> Result<T, SystemdError> {
        let whole = async {
            // The share first: an app that has used up its share must not occupy a turn while it waits.
            let _share = share::turn().await;
            let _turn = self.calls.acquire().await;
            call.await
        };
        match timeout(CALL, whole).await {
            Ok(answer) => answer.map_err(SystemdError::from),
            Err(_) => Err(SystemdError::Timeout("call".to_owned())),
        }
    }

    /// Waits for a job to succeed. Without a result in time, the state of the unit decides.
    pub(super) async fn finish(&self, unit: &str, job: &str, limit: Duration) -> Result<(), SystemdError> {
        let result = timeout(limit, self.signals.jobs.result(job)).await;
        match result {
            Ok(Ok(result)) if result == "done" => Ok(()),
            Ok(Ok(result)) => Err(SystemdError::Job { unit: unit.to_owned(), result }),
            Ok(Err(_)) => Err(SystemdError::Bus("closed".to_owned())),
            Err(_) => self.is_active(unit).await,
        }
    }

    /// Succeeds if a unit is active; for a job without a result in time.
    pub(super) async fn is_active(&self, unit: &str) -> Result<(), SystemdError> {
        let rows = self.call(self.proxy.list_units_by_names(&[unit])).await?;
        match rows.first().map(|row| row.3.as_str()) {
            Some("active") => Ok(()),
            Some("failed" | "inactive") | None => {
                Err(SystemdError::Job { unit: unit.to_owned(), result: "failed".to_owned() })
            }
            Some(_) => Err(SystemdError::Timeout(unit.to_owned())),
        }
    }

    /// Takes a reference to a unit: systemd keeps it loaded after its end, so that its result can be read.
    pub(super) async fn hold(&self, unit: &str) -> Result<(), SystemdError> {
        if self.held.borrow_mut().insert(unit.to_owned()) {
            let held = self.call(self.proxy.ref_unit(unit)).await;
            if held.is_err() {
                self.held.borrow_mut().remove(unit);
            }
            return held;
        }
        Ok(())
    }

    /// Records that a unit was created with a reference (`AddRef`).
    pub(super) fn was_held(&self, unit: &str) {
        self.held.borrow_mut().insert(unit.to_owned());
    }

    /// Drops the reference to a unit, so that systemd unloads it once it has ended.
    pub(super) async fn release(&self, unit: &str) {
        if self.held.borrow_mut().remove(unit) {
            let _ = self.call(self.proxy.unref_unit(unit)).await;
        }
    }

    pub(super) async fn unit(&self, name: &str) -> Result<UnitProxy<'static>, SystemdError> {
        self.build(UnitProxy::builder(&self.bus), name).await
    }

    /// The interface of the unit's type: scope or service.
    pub(super) async fn unit_type(&self, name: &str) -> Result<ServiceProxy<'static>, SystemdError> {
        let builder = ServiceProxy::builder(&self.bus);
        let builder = match name.ends_with(".scope") {
            true => builder.interface("org.freedesktop.systemd1.Scope")?,
            false => builder,
        };
        self.build(builder, name).await
    }

    async fn build<P>(&self, builder: proxy::Builder<'static, P>, name: &str) -> Result<P, SystemdError>
    where
        P: From<zbus::Proxy<'static>> + Defaults + zbus::proxy::ProxyImpl<'static>,
    {
        // No cache: it would cost a match rule and all properties for each unit.
        Ok(builder.path(names::unit_path(name))?.cache_properties(CacheProperties::No).build().await?)
    }
}

/// The number that a version begins with: 257 of `257.9-1~deb13u1`.
fn leading_number(version: &str) -> u32 {
    let digits = version.trim_start_matches('v');
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(leading_number("257.9-1~deb13u1"), 257);
        assert_eq!(leading_number("252.39-1~deb12u1"), 252);
        assert_eq!(leading_number("v259~rc1"), 259);
        assert_eq!(leading_number("unknown"), 0);
    }
}
