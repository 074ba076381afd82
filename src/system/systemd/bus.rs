//! The members of systemd's D-Bus interface that are used, each with its version if that is later than 249.

use zbus::Result;
use zbus::zvariant::{Fd, OwnedObjectPath, Value};

/// A property and its value.
pub(super) type Property<'a> = (&'a str, Value<'a>);
/// An auxiliary unit of a transient one. Never used, but part of the call.
pub(super) type Auxiliary<'a> = (&'a str, Vec<Property<'a>>);

/// A row of a unit list: name, description, load state, active state, sub state, the unit it follows, object path; id,
/// type and object path of its job.
pub(super) type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> Result<()>;

    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> Result<OwnedObjectPath>;

    /// Since 253. Returns the object path, the name and the invocation id of the unit.
    #[zbus(name = "GetUnitByPIDFD")]
    fn get_unit_by_pidfd(&self, pidfd: Fd<'_>) -> Result<(OwnedObjectPath, String, Vec<u8>)>;

    fn start_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;

    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        auxiliary: &[Auxiliary<'_>],
    ) -> Result<OwnedObjectPath>;

    fn stop_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;

    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> Result<()>;

    fn reset_failed_unit(&self, name: &str) -> Result<()>;

    /// Keeps a unit loaded after its end, until it is unreferenced or we disconnect.
    fn ref_unit(&self, name: &str) -> Result<()>;

    fn unref_unit(&self, name: &str) -> Result<()>;

    fn list_units_by_names(&self, names: &[&str]) -> Result<Vec<Row>>;

    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> Result<Vec<Row>>;

    fn get_unit_processes(&self, name: &str) -> Result<Vec<(String, u32, String)>>;

    #[zbus(property)]
    fn version(&self) -> Result<String>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
pub(super) trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> Result<String>;

    /// When it last became inactive or failed, in microseconds since boot; 0 when it never did.
    #[zbus(property)]
    fn inactive_enter_timestamp_monotonic(&self) -> Result<u64>;

    /// Id and object path of its job; the id is 0 when there is none.
    #[zbus(property)]
    fn job(&self) -> Result<(u32, OwnedObjectPath)>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Job", default_service = "org.freedesktop.systemd1")]
pub(super) trait Job {
    #[zbus(property)]
    fn job_type(&self) -> Result<String>;
}

/// A scope or a service: both have these members, each under its own interface, which is set when the proxy is built.
#[zbus::proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
pub(super) trait Service {
    #[zbus(property)]
    fn result(&self) -> Result<String>;

    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> Result<u32>;

    #[zbus(property)]
    fn exec_main_code(&self) -> Result<i32>;

    #[zbus(property)]
    fn exec_main_status(&self) -> Result<i32>;

    #[zbus(property)]
    fn restart(&self) -> Result<String>;

    /// Exit statuses and signals after which it is not restarted automatically.
    #[zbus(property)]
    fn restart_prevent_exit_status(&self) -> Result<(Vec<i32>, Vec<i32>)>;

    #[zbus(property)]
    fn control_group(&self) -> Result<String>;

    #[zbus(property)]
    fn memory_current(&self) -> Result<u64>;

    /// Since 256.
    #[zbus(property)]
    fn memory_peak(&self) -> Result<u64>;

    #[zbus(property)]
    fn memory_max(&self) -> Result<u64>;

    #[zbus(property, name = "CPUUsageNSec")]
    fn cpu_usage_nsec(&self) -> Result<u64>;
}
