//! Answers about single jobs, and about what happened beside them. Touches nothing.

use serde::{Deserialize, Serialize};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// In its queue, or reserved and not yet running.
    Waiting,
    /// In its queue, until its time comes.
    Delayed,
    /// It runs.
    Running,
    /// An attempt ended well.
    Done,
    /// An attempt ended and the job went back to its queue.
    Released,
    /// It failed for good.
    Failed,
    /// Laravel left it reserved.
    Left,
    /// Somebody else had it before the attempt ended.
    Lost,
    /// An attempt ended, in whichever way. Only asked for, never answered.
    Recent,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// The word for it.
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
    /// Where it is, or how the attempt ended.
    pub state: Option<JobState>,
    /// The attempt, from 1; for a job in its queue, the attempts that there have been.
    pub attempt: u32,
    /// `inline`, `pooled` or `isolated`, once that is known.
    pub tier: Option<String>,
    /// Why that tier.
    pub why: Option<String>,
    /// The process that runs it or ran it.
    pub worker: Option<u64>,
    /// When it was dispatched, where its payload says so; else when it became visible.
    pub queued: Option<u64>,
    /// When it is due, where that is to come.
    pub due: Option<u64>,
    /// When the attempt started.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// Milliseconds from when it could have run to its start.
    pub wait_ms: Option<u64>,
    /// Milliseconds that it ran, or has run so far.
    pub ms: Option<u64>,
    /// Bytes at most.
    pub memory_peak: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_usec: Option<u64>,
    /// Seconds that it may run; 0 is without limit.
    pub timeout: Option<u64>,
    /// What went wrong.
    pub cause: Option<String>,
}

/// Jobs, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jobs {
    /// The version of this form.
    pub version: u32,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// How the next page is asked for; null where there is none.
    pub next: Option<String>,
    /// What this answer lacks and why, each in one line: a queue that cannot be listed, history that is off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// Everything known of one job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// The version of this form.
    pub version: u32,
    /// Its uuid.
    pub uuid: String,
    /// Its attempts, the first one first; the last may still run or wait.
    pub attempts: Vec<Job>,
    /// What happened to it between attempts, or to the process that ran it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Happening>,
    /// The command that shows what it printed.
    pub journal: Option<String>,
    /// Its payload, for those who may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What this answer lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// Something that happened beside the jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happening {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// `runtime` (started, stopped), `worker` (started, recycled, killed), `deploy`, `reload`, `outage`, `pause`,
    /// `quarantine`.
    pub kind: String,
    /// In words.
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
    /// When what began here was over again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

/// What happened, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happenings {
    /// The version of this form.
    pub version: u32,
    /// What happened.
    pub events: Vec<Happening>,
    /// What this answer lacks and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}
