//! What a runtime tells of itself. Touches nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{PausedClass, PoolSize};

/// The version of this form. It changes only when a reader of an older one would misread it: fields may be added.
pub const VERSION: u32 = 1;

/// Everything that a runtime tells, at one moment. Points in time are seconds since 1970, spans are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// [`VERSION`].
    pub version: u32,
    /// The app's name.
    pub app: String,
    /// How far it is.
    pub state: State,
    /// The same in words, as `systemctl status` shows it.
    pub status: String,
    /// Why it is degraded; null where it is not.
    pub reason: Option<String>,
    /// Since when the app has been asleep, which is well: its processes start with the next job. Null while it is awake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asleep: Option<u64>,
    /// The command that lets go on what waits; null where nothing is held up.
    pub remedy: Option<String>,
    /// The runtime's process.
    pub pid: u32,
    /// When it started.
    pub since: u64,
    /// When this was written.
    pub at: u64,
    /// How PHP processes are started.
    pub launcher: String,
    /// Laravel's version.
    pub laravel: String,
    /// PHP's version.
    pub php: String,
    /// The queue connection, by its name in the app's config.
    pub connection: String,
    /// For how long the queue has not answered; null while it does.
    pub silent: Option<f64>,
    /// The queues, in the order in which they are worked.
    pub queues: Vec<Queue>,
    /// Classes of which no job is started, since operators say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_classes: Vec<PausedClass>,
    /// The size of the pool that an operator has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSize>,
    /// Jobs that run here.
    pub running: usize,
    /// Jobs that could run and do not yet: in the queues, or reserved for this runtime.
    pub waiting: u64,
    /// Jobs in the queues whose time has not come.
    pub delayed: u64,
    /// Jobs that are reserved for this runtime, running ones included.
    pub held: usize,
    /// The tiers: inline, pooled, isolated.
    pub tiers: Vec<TierLoad>,
    /// PHP processes, without the template. The first few hundred, where there are more.
    pub workers: Vec<Process>,
    /// The last jobs that did not end well, the latest first.
    pub failures: Vec<Failure>,
    /// Jobs since the start, by how they ended: `done`, `released`, `failed`, `left`, `lost`.
    pub totals: BTreeMap<String, u64>,
    /// Jobs that failed for good within the last hour.
    pub failed_hour: u64,
    /// Jobs that ended, per second, over the last ten seconds.
    pub rate: f64,
    /// Laravel's name of the queue's driver, such as `redis`; empty from a runtime of an older version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Seconds after which the queue gives a reserved job to somebody else, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The settings in effect that a reload can change, by key; durations in seconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
}

impl Snapshot {
    /// The same of a runtime that has no time left to tell more.
    #[must_use]
    pub fn stopping(self) -> Self {
        Self { state: State::Stopping, status: format!("{}: stopping", self.app), reason: None, ..self }
    }
}

/// How far a runtime is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The app boots.
    Starting,
    /// It takes on jobs.
    Running,
    /// Something keeps it from running jobs as it should: see [`Snapshot::reason`].
    Degraded,
    /// Every queue is paused.
    Paused,
    /// The app is in maintenance mode.
    Maintenance,
    /// It stops, and lets the jobs that run finish.
    Draining,
    /// It stops, and has killed the jobs that ran.
    Stopping,
    /// A word that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Degraded => "degraded",
            State::Paused => "paused",
            State::Maintenance => "maintenance",
            State::Draining => "draining",
            State::Stopping => "stopping",
            State::Unknown => "unknown",
        }
    }
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub paused: bool,
    /// Who has paused it; null where nobody has.
    pub paused_by: Option<Paused>,
    /// How many jobs it has; null where the queue does not answer.
    pub sizes: Option<Sizes>,
    /// Why there are no sizes.
    pub error: Option<String>,
    /// Seconds that the job has waited that has waited for longest; null where none does, or nobody knows.
    pub oldest: Option<f64>,
}

/// Who has paused a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paused {
    /// `app` (`queue:pause`), `horizon`, or `operator` (`kqueue pause`).
    pub by: String,
    /// The operator's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Until when; for ever where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// It is paused together with all others.
    pub every: bool,
}

impl Paused {
    /// The command that lets the queue go on.
    #[must_use]
    pub fn remedy(&self, app: &str, connection: &str, queue: &str) -> String {
        match self.by.as_str() {
            "operator" if self.every => format!("kqueue resume {app}"),
            "operator" => format!("kqueue resume {app} --queue {queue}"),
            "horizon" => "php artisan horizon:continue".to_owned(),
            _ => format!("php artisan queue:resume {connection}:{queue} (or --all)"),
        }
    }
}

/// How many jobs a queue has, as Laravel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// Jobs that could run now.
    pub pending: u64,
    /// Jobs whose time has not come.
    pub delayed: u64,
    /// Jobs that some worker holds, here or elsewhere.
    pub reserved: u64,
    /// The queue only estimates these numbers. Left out where it counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// What goes on in one tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TierLoad {
    /// `inline`, `pooled` or `isolated`.
    pub tier: String,
    /// How many jobs run.
    pub running: usize,
    /// How many wait, reserved, for a process of this tier.
    pub waiting: usize,
    /// Those that run; the first few hundred, where there are more.
    pub running_jobs: Vec<RunningJob>,
    /// The first fifty of those that wait, in their order.
    pub waiting_jobs: Vec<WaitingJob>,
}

/// A job that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningJob {
    /// Its uuid.
    pub uuid: String,
    /// Its class.
    pub class: String,
    /// The queue it came from.
    pub queue: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The process that runs it.
    pub worker: u64,
    /// For how long.
    pub seconds: f64,
    /// Seconds that it may run; 0 is without limit.
    pub timeout: u64,
    /// KiB of memory that its process and all that it has started have now.
    pub memory_kb: Option<u64>,
    /// Processor time in microseconds of its process, where that runs it alone.
    pub cpu_usec: Option<u64>,
}

/// A job that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitingJob {
    /// Its uuid.
    pub uuid: String,
    /// Its class.
    pub class: String,
    /// The queue it came from.
    pub queue: String,
    /// For how long.
    pub seconds: f64,
}

/// A PHP process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Its number.
    pub id: u64,
    /// Its tier.
    pub tier: String,
    /// Its process id, once known.
    pub pid: Option<i32>,
    /// Its systemd unit, if it has one of its own.
    pub unit: Option<String>,
    /// `starting`, `idle`, `busy` or `leaving`.
    pub state: String,
    /// For how long it has been in that state.
    pub seconds: f64,
    /// Jobs it has run.
    pub jobs: u32,
    /// KiB of memory of it and of all that it has started, without mapped files.
    pub memory_kb: Option<u64>,
    /// Microseconds of processor time of it and of all that it has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<u64>,
}

/// A job that did not end well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// When it ended.
    pub at: u64,
    /// Its uuid.
    pub uuid: String,
    /// Its class.
    pub class: String,
    /// The queue it came from.
    pub queue: String,
    /// The tier it ran in.
    pub tier: String,
    /// `failed`, `released`, `left` or `lost`; `done` where only its process came to grief.
    pub outcome: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What went wrong.
    pub cause: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_form_is_still_read() {
        let text = r#"{"version":1,"app":"shop","state":"dreaming","moon":"full","queues":[{"name":"default","x":1}]}"#;
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        assert_eq!((snapshot.app.as_str(), snapshot.state), ("shop", State::Unknown));
        assert_eq!(snapshot.queues[0].sizes, None);
        let text = serde_json::to_string(&Snapshot { state: State::Draining, ..Snapshot::default() }).unwrap();
        assert!(text.contains(r#""state":"draining""#), "{text}");
    }
}
