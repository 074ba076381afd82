//! The state that a runtime reports. Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{PausedClass, PoolSize};

/// The version of this format. It changes only when a reader of an older version would misread it: fields may be added.
pub const VERSION: u32 = 1;

/// The state of a runtime at one moment. Points in time are seconds since 1970, durations are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// [`VERSION`].
    pub version: u32,
    /// The app's name.
    pub app: String,
    /// Its state.
    pub state: State,
    /// The state as text, as `systemctl status` shows it.
    pub status: String,
    /// Why it is degraded; null where it is not.
    pub reason: Option<String>,
    /// Since when the app has been asleep: it has no processes until the next job, and is healthy. Absent while it is
    /// awake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asleep: Option<u64>,
    /// The command that resumes waiting jobs; null where nothing is held up.
    pub remedy: Option<String>,
    /// The process id of the runtime.
    pub pid: u32,
    /// When it started.
    pub since: u64,
    /// When this was taken.
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
    /// Classes paused by operators: no job of theirs is started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_classes: Vec<PausedClass>,
    /// The size of the pool that an operator has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSize>,
    /// Number of running jobs.
    pub running: usize,
    /// Number of jobs that are due but do not run yet: in the queues, or reserved for this runtime.
    pub waiting: u64,
    /// Number of jobs in the queues that are not due yet.
    pub delayed: u64,
    /// Number of jobs reserved for this runtime, running ones included.
    pub held: usize,
    /// The tiers: inline, pooled, isolated.
    pub tiers: Vec<TierLoad>,
    /// PHP processes, without the template. At most a few hundred.
    pub workers: Vec<Process>,
    /// The last jobs that did not end well, latest first.
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
    /// Seconds after which the queue gives a reserved job to another worker, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The settings in effect that a reload can change, by key; durations in seconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
}

impl Snapshot {
    /// This snapshot of a runtime that is stopping and collects no new one.
    #[must_use]
    pub fn stopping(self) -> Self {
        Self { state: State::Stopping, status: format!("{}: stopping", self.app), reason: None, ..self }
    }
}

/// The state of a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The app is booting.
    Starting,
    /// It accepts jobs.
    Running,
    /// Something keeps it from running jobs as it should: see [`Snapshot::reason`].
    Degraded,
    /// Every queue is paused.
    Paused,
    /// The app is in maintenance mode.
    Maintenance,
    /// It is stopping, and lets running jobs finish.
    Draining,
    /// It is stopping, and has killed the running jobs.
    Stopping,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl State {
    /// Its name in JSON.
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
    /// Who paused it; null where nobody has.
    pub paused_by: Option<Paused>,
    /// How many jobs it has; null where the queue does not answer.
    pub sizes: Option<Sizes>,
    /// Why there are no sizes.
    pub error: Option<String>,
    /// How long the oldest due job has waited, in seconds; null where none waits or the time is unknown.
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
    /// When the pause ends; absent if it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Whether it is paused together with all other queues.
    pub every: bool,
}

impl Paused {
    /// The command that resumes the queue.
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
    /// Jobs that are not due yet.
    pub delayed: u64,
    /// Jobs reserved by any worker, here or elsewhere.
    pub reserved: u64,
    /// Whether the queue only estimates these numbers. Left out where it counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// The load of one tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TierLoad {
    /// `inline`, `pooled` or `isolated`.
    pub tier: String,
    /// Number of running jobs.
    pub running: usize,
    /// Number of reserved jobs that wait for a process of this tier.
    pub waiting: usize,
    /// The running jobs; at most a few hundred.
    pub running_jobs: Vec<RunningJob>,
    /// The first fifty waiting jobs, in order.
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
    /// The number of the process that runs it.
    pub worker: u64,
    /// How long it has run.
    pub seconds: f64,
    /// Its timeout in seconds; 0 means no limit.
    pub timeout: u64,
    /// Current memory of its process and that process's descendants, in KiB.
    pub memory_kb: Option<u64>,
    /// Processor time of its process in microseconds, if the process runs only this job.
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
    /// How long it has waited.
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
    /// How long it has been in that state.
    pub seconds: f64,
    /// Number of jobs it has run.
    pub jobs: u32,
    /// Memory of the process and its descendants in KiB, without mapped files.
    pub memory_kb: Option<u64>,
    /// Processor time of the process and its descendants in microseconds.
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
    /// `failed`, `released`, `left` or `lost`; `done` if only its process failed.
    pub outcome: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The cause.
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
