//! Units of a service manager, as the runtime requests them: the trait [`Units`].
//!
//! Implemented by the coordinator's client (system manager) and by a user's own service manager.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Order;
use kqueue_core::wire::coordinator::{Listed, Purpose, Refusal, Unit, UnitEnd, UnitLimits};

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text}")]
pub struct UnitError {
    /// The kind of reason.
    pub refusal: Refusal,
    /// The reason, in one line.
    pub text: String,
}

/// Unsolicited events.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitNotice {
    /// A unit has ended.
    Ended {
        /// The unit.
        unit: Unit,
        /// How it ended.
        end: UnitEnd,
    },
    /// The connection is lost; requests in flight have failed, except queries that can be repeated.
    Lost,
    /// The connection is back. Units must be watched anew.
    Back,
}

/// The units of one app. Calls fail with [`Refusal::Timeout`] when no answer comes in time; none hangs.
#[async_trait(?Send)]
pub trait Units {
    /// Starts the pooled worker of this number and returns its process id once it is ready. The unit is watched from
    /// then on. `order` is what to run, ignored if the worker [reads that itself](Units::workers_read_file).
    async fn start(&self, worker: u32, order: Option<&Order>) -> Result<i32, UnitError>;

    /// Whether pooled workers have unit files, and read the app's config file themselves at each start.
    fn workers_read_file(&self) -> bool;

    /// Whether a process is in this unit of the app.
    fn holds(&self, unit: &Unit, app: &str, pid: i32) -> bool {
        kqueue_system::systemd::process::is_in(pid, &unit.name(app))
    }

    /// Kills every process of a unit.
    async fn kill(&self, unit: &Unit) -> Result<(), UnitError>;

    /// Moves a process of ours into a new scope, and returns once it is known to be in it. The unit is watched from
    /// then on.
    async fn scope(&self, name: &str, pid: i32, limits: &UnitLimits) -> Result<(), UnitError>;

    /// Watches these units: sends [`UnitNotice::Ended`] when one ends, at once for one that does not exist.
    async fn watch(&self, units: &[Unit]) -> Result<(), UnitError>;

    /// All existing units of the app.
    async fn list(&self) -> Result<Vec<Listed>, UnitError>;

    /// What the service manager is about to do with our own unit.
    async fn purpose(&self) -> Result<Purpose, UnitError>;

    /// Writes a line about a job to the coordinator's journal. Best effort: returns at once and may drop it.
    fn tell(&self, priority: u8, message: &str, fields: BTreeMap<String, String>);
}
