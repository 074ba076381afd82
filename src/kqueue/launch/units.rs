//! Units of a service manager, as the runtime asks for them: the trait [`Units`].
//!
//! Behind it is the coordinator (system manager), or a user's own service manager.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Order;
use kqueue_core::wire::coordinator::{Listed, Purpose, Refusal, Unit, UnitEnd, UnitLimits};

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text}")]
pub struct UnitError {
    /// Of which kind the reason is.
    pub refusal: Refusal,
    /// One line that says it.
    pub text: String,
}

/// What comes unasked.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitNotice {
    /// A unit has ended.
    Ended {
        /// Which.
        unit: Unit,
        /// How.
        end: UnitEnd,
    },
    /// Nobody answers any more; requests under way have failed.
    Lost,
    /// Somebody answers again. What was watched is to be watched anew.
    Back,
}

/// The units of one app. Calls fail with [`Refusal::Timeout`] when nobody answers in time; none hangs.
#[async_trait(?Send)]
pub trait Units {
    /// Starts the pooled worker of this number and returns its process id once it is ready. It is watched from then on.
    /// `order` says what to run, unless it [reads that itself](Units::workers_read_file).
    async fn start(&self, worker: u32, order: Option<&Order>) -> Result<i32, UnitError>;

    /// Whether pooled workers have unit files, and read the app's config file themselves whenever they start.
    fn workers_read_file(&self) -> bool;

    /// Whether a process is in this unit of the app.
    fn holds(&self, unit: &Unit, app: &str, pid: i32) -> bool {
        kqueue_system::systemd::process::is_in(pid, &unit.name(app))
    }

    /// Kills every process of a unit.
    async fn kill(&self, unit: &Unit) -> Result<(), UnitError>;

    /// Puts a process of ours into a new scope, and returns once it is known to be in it. It is watched from then on.
    async fn scope(&self, name: &str, pid: i32, limits: &UnitLimits) -> Result<(), UnitError>;

    /// Has the end of these units told; of those that are not there, at once.
    async fn watch(&self, units: &[Unit]) -> Result<(), UnitError>;

    /// Every unit of the app that is there.
    async fn list(&self) -> Result<Vec<Listed>, UnitError>;

    /// What is about to happen to our own unit.
    async fn purpose(&self) -> Result<Purpose, UnitError>;

    /// Writes a line about a job into the coordinator's journal. Best effort: it is not waited for.
    fn tell(&self, priority: u8, message: &str, fields: BTreeMap<String, String>);
}
