//! What operators have asked of a runtime, and what it has decided that they may take back. Touches nothing.

use serde::{Deserialize, Serialize};

use crate::Paused;

/// A class of which no job is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PausedClass {
    /// Its name.
    pub class: String,
    /// Who has paused it.
    pub paused_by: Paused,
    /// Its jobs that are reserved here and wait; there may be more in the queues.
    pub waiting: usize,
}

/// A size of the pool that is not that of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolSize {
    /// Workers that there may be.
    pub size: usize,
    /// The operator's name.
    pub user: String,
    /// Until when, in seconds since 1970; until it is taken back where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// Classes whose jobs run isolated because they have killed processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quarantine {
    /// The version of this form.
    pub version: u32,
    /// Those classes, by name.
    pub classes: Vec<QuarantinedClass>,
}

/// One class in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuarantinedClass {
    /// Its name.
    pub class: String,
    /// Processes that it has killed and that are not forgiven.
    pub crashes: u32,
    /// When it has killed the last one, in seconds since 1970.
    pub last_crash: Option<u64>,
    /// Its jobs that have ended well, ever.
    pub runs: u64,
}

/// Jobs that are cancelled, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cancelled {
    /// The version of this form.
    pub version: u32,
    /// Those that wait, by uuid: they fail at once.
    pub waiting: Vec<String>,
    /// Those that run, by uuid: each has a grace period to end by itself.
    pub running: Vec<String>,
    /// Seconds of that grace period.
    pub grace: u64,
}

/// Jobs that are put elsewhere, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moved {
    /// The version of this form.
    pub version: u32,
    /// Those that wait, by uuid.
    pub waiting: Vec<String>,
    /// Those that run, by uuid: they are left alone.
    pub running: Vec<String>,
    /// Those that are there already.
    pub there: Vec<String>,
}
