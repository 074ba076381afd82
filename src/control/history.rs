//! Replies about single jobs and about other events. Pure data.

use serde::{Deserialize, Serialize};

/// The state of a job or of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// In its queue, or reserved and not yet running.
    Waiting,
    /// In its queue, and not due yet.
    Delayed,
    /// Running.
    Running,
    /// An attempt succeeded.
    Done,
    /// An attempt ended and the job went back to its queue.
    Released,
    /// It failed for good.
    Failed,
    /// Laravel left it reserved.
    Left,
    /// Another worker reserved it before the attempt ended.
    Lost,
    /// An attempt ended, in any way. Only in requests, never in replies.
    Recent,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::Delayed => "delayed",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Released => "released",
            JobState::Failed => "failed",
            JobState::Left => "left",
            JobState::Lost => "lost",
            JobState::Recent => "recent",
            JobState::Unknown => "unknown",
        }
    }
}

/// A job, or one attempt of it. Points in time are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Its uuid; empty where it has none.
    pub uuid: String,
    /// Its class.
    pub class: String,
    /// The queue it came from.
    pub queue: String,
    /// The tags in its payload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its state, or the outcome of the attempt.
    pub state: Option<JobState>,
    /// The attempt, from 1; for a job in its queue, the number of attempts so far.
    pub attempt: u32,
    /// `inline`, `pooled` or `isolated`, once that is known.
    pub tier: Option<String>,
    /// The reason for that tier.
    pub why: Option<String>,
    /// The number of the process that runs it or ran it.
    pub worker: Option<u64>,
    /// When it was dispatched, if its payload contains that; else when it became visible.
    pub queued: Option<u64>,
    /// When it becomes due, if it is not yet.
    pub due: Option<u64>,
    /// When the attempt started.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// Milliseconds from when it was due to its start.
    pub wait_ms: Option<u64>,
    /// Milliseconds that it ran, or has run so far.
    pub ms: Option<u64>,
    /// Peak memory in bytes.
    pub memory_peak: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_usec: Option<u64>,
    /// Its timeout in seconds; 0 means no limit.
    pub timeout: Option<u64>,
    /// The cause of a failure.
    pub cause: Option<String>,
}

/// The jobs that match a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jobs {
    /// The version of this format.
    pub version: u32,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The cursor of the next page; null if there is none.
    pub next: Option<String>,
    /// What this reply lacks and why, one line each: a queue that cannot be listed, history that is off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// Everything known about one job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// The version of this format.
    pub version: u32,
    /// Its uuid.
    pub uuid: String,
    /// Its attempts, oldest first; the last may still run or wait.
    pub attempts: Vec<Job>,
    /// Events between its attempts, and events of the process that ran it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Happening>,
    /// The command that shows what it printed.
    pub journal: Option<String>,
    /// Its payload, if the peer may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What this reply lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// The kinds of events.
pub const EVENT_KINDS: [&str; 7] = ["runtime", "worker", "deploy", "reload", "outage", "pause", "quarantine"];

/// An event other than an attempt of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happening {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// `runtime` (started, stopped), `worker` (started, recycled, killed), `deploy`, `reload`, `outage`, `pause`,
    /// `quarantine`.
    pub kind: String,
    /// The event, as text.
    pub text: String,
    /// The tier that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The process that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
    /// The job that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When what began here ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

/// Events, latest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happenings {
    /// The version of this format.
    pub version: u32,
    /// The events.
    pub events: Vec<Happening>,
    /// Whether there are older ones, beyond the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// What this reply lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}
