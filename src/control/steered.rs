//! Changes that operators have made to a runtime, and its own decisions that they can revoke. Pure data.

use serde::{Deserialize, Serialize};

use crate::Paused;

/// A paused class: no job of it is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PausedClass {
    /// Its name.
    pub class: String,
    /// Who paused it.
    pub paused_by: Paused,
    /// Number of its jobs that are reserved here and wait; there may be more in the queues.
    pub waiting: usize,
}

/// A pool size that overrides the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolSize {
    /// Maximum number of workers.
    pub size: usize,
    /// The operator's name.
    pub user: String,
    /// When it ends, in seconds since 1970; absent if it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// A message that was set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokenMessage {
    /// Its id, by which an action names it.
    pub id: String,
    /// The queue that it was set aside from.
    pub queue: String,
    /// Its size.
    pub bytes: u64,
    /// Why it is not a job; absent if no reason can be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it was queued, in seconds since 1970, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// Its uuid, if it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its class, if it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Its contents, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether there is more of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Whether they are shown without characters that a terminal or browser may act upon.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub altered: bool,
}

/// Classes whose jobs run isolated because they have killed processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quarantine {
    /// The version of this format.
    pub version: u32,
    /// The classes, by name.
    pub classes: Vec<QuarantinedClass>,
}

/// One class in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuarantinedClass {
    /// Its name.
    pub class: String,
    /// Number of processes that it has killed and that still count.
    pub crashes: u32,
    /// When it killed the last one, in seconds since 1970.
    pub last_crash: Option<u64>,
    /// Number of its jobs that have ever succeeded.
    pub runs: u64,
}

/// Jobs that were cancelled, or would be in a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cancelled {
    /// The version of this format.
    pub version: u32,
    /// Waiting jobs, by uuid: they fail at once.
    pub waiting: Vec<String>,
    /// Running jobs, by uuid: each has a grace period to end by itself.
    pub running: Vec<String>,
    /// The grace period in seconds.
    pub grace: u64,
}

/// Jobs that were moved, or would be in a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moved {
    /// The version of this format.
    pub version: u32,
    /// Waiting jobs that are moved, by uuid.
    pub waiting: Vec<String>,
    /// Running jobs, by uuid: they are not moved.
    pub running: Vec<String>,
    /// Jobs that are there already, by uuid.
    pub there: Vec<String>,
}
