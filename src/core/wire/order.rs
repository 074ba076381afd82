//! The messages that PHP processes are sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{Mode, kind};
use super::{Parts, encode};

/// What PHP is to do with a job.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Run it.
    Run,
    /// Throw, in its stead, what its process died of.
    Crash,
    /// Treat it as Laravel's own timeout would have.
    Timeout,
    /// Laravel's own timeout has spoken, and left it reserved: release it, with its backoff.
    Release,
}

/// What the replay of a dead job leaves out, since a process has died of that before.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(into = "u8")]
pub enum LastResort {
    /// Nothing.
    #[default]
    None,
    /// The job's class is not loaded.
    NoClass,
    /// Nobody is told either: it is written down as failed, or released.
    Alone,
}

impl From<LastResort> for u8 {
    fn from(resort: LastResort) -> Self {
        resort as Self
    }
}

/// The columns of a jobs row, but for queue and payload.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Row {
    /// Primary key.
    pub id: i64,
    /// Attempts including this one.
    pub attempts: i64,
    /// Epoch seconds.
    pub reserved_at: i64,
    /// Epoch seconds.
    pub available_at: i64,
    /// Epoch seconds.
    pub created_at: i64,
}

/// What a template is told of what it is.
#[derive(Clone, Copy, Debug)]
pub struct TemplateOrder<'a> {
    /// Stop before the app's providers; each fork does the rest.
    pub early: bool,
    /// Classes to load, as the template said that had booted all of the app.
    pub classes: Option<&'a serde_json::value::RawValue>,
    /// Names of what it may hold while it is forked.
    pub safe: &'a [String],
}

/// A job for a process.
#[derive(Debug)]
pub struct Job<'a> {
    /// Its number, by which a process that outlives us speaks of it.
    pub id: u64,
    /// What to do with it.
    pub kind: JobKind,
    /// The queue it came from.
    pub queue: &'a str,
    /// `getRawBody()`.
    pub payload: &'a Bytes,
    /// Redis: the reserved member.
    pub reserved: Option<&'a Bytes>,
    /// Database: the row.
    pub row: Option<Row>,
    /// Whether the runtime removes it when it is done.
    pub ack: bool,
    /// PHP's memory limit for this job, MB.
    pub memory: Option<u32>,
    /// What its process died of.
    pub cause: Option<&'a str>,
    /// The default number of tries, for [`JobKind::Timeout`].
    pub tries: u32,
    /// The default backoff, for a release.
    pub backoff: &'a str,
    /// Release it after a timeout at which it may run again, instead of leaving it to `retry_after`.
    pub release: bool,
    /// For a replay: what is left out in it.
    pub last_resort: LastResort,
    /// For a replay: a process has died while Laravel failed the job, so failed it is.
    pub failing: bool,
    /// It is sent ahead, and is to be begun only by whoever reads this number from the pipe of tickets.
    pub ticket: Option<u64>,
    /// Answer with `TAKEN` before it is begun.
    pub receipt: bool,
    /// Laravel removes it when it is done, but patiently: for a process that outlives us.
    pub own: bool,
    /// Seconds within which a process that is a unit must be done with it, for its service manager.
    pub watchdog: Option<u64>,
}

/// A message to a PHP process.
#[derive(Debug)]
pub enum ToWorker<'a> {
    /// What to be: the app's directory, the connection, and the arguments of `queue:work`.
    Welcome {
        /// The app's directory.
        path: &'a str,
        /// The queue connection; none is the app's default.
        connection: Option<&'a str>,
        /// Arguments behind `artisan queue:work`.
        arguments: &'a [String],
        /// Whether a process that runs no lane outlives us, and is to dial the runtime that comes after us.
        redial: bool,
        /// The file mode creation mask; none is what the process has.
        umask: Option<u32>,
        /// What a template is, where it is one.
        template: Option<TemplateOrder<'a>>,
    },
    /// A job.
    Job(Job<'a>),
    /// Say what the restart signal, the pauses and the maintenance mode are.
    Check {
        /// The queues worked.
        queues: &'a [String],
    },
    /// Leave the loop.
    Stop {
        /// `restart` is reported to the app as such.
        reason: &'a str,
    },
    /// To a template: fork a worker.
    Fork {
        /// The worker's number.
        worker: &'a str,
        /// What it is for.
        mode: Mode,
        /// Arguments of `queue:work`, as they are by now.
        arguments: &'a [String],
    },
    /// To a template: one of its children has ended. Says so only to wake it.
    Reap,
    /// To the process that stands in for Horizon's master: how things stand, as its records are to say.
    Standing {
        /// The app's name.
        app: &'a str,
        /// The queues, in the order in which they are worked.
        queues: &'a [String],
        /// Processes by queue.
        processes: &'a BTreeMap<&'a str, usize>,
        /// Jobs that are reserved and wait for a process, by queue: the queue does not count them.
        waiting: &'a BTreeMap<&'a str, usize>,
        /// No job is started until Horizon is told to continue.
        paused: bool,
        /// Seconds that a job may run; 0 is without limit.
        timeout: u64,
        /// Attempts before a job fails; 0 is without limit.
        tries: u32,
        /// MB of PHP's heap above which a process is replaced.
        memory: u32,
    },
    /// Say what these classes declare.
    Inspect {
        /// Class names.
        classes: &'a [String],
        /// Whether properties and methods count, and not attributes alone.
        properties: bool,
    },
}

impl ToWorker<'_> {
    /// The whole frame.
    pub fn encode(&self) -> Parts {
        use serde_json::json;
        let (kind, header) = match self {
            ToWorker::Welcome { path, connection, arguments, redial, umask, template } => {
                let mut header = serde_json::Map::new();
                let mut set = |name: &str, value| header.insert(name.to_owned(), value);
                set("path", json!(path));
                set("connection", json!(connection));
                set("arguments", json!(arguments));
                set("redial", json!(redial));
                if let Some(umask) = umask {
                    set("umask", json!(umask));
                }
                if let Some(TemplateOrder { early, classes, safe }) = template {
                    set("early", json!(early));
                    set("fork_safe_peers", json!(safe));
                    set("classes", json!(classes.filter(|_| *early)));
                }
                (kind::WELCOME, header.into())
            }
            ToWorker::Check { queues } => (kind::CHECK, json!({ "queues": queues })),
            ToWorker::Stop { reason } => (kind::STOP, json!({ "reason": reason })),
            ToWorker::Fork { worker, mode, arguments } => {
                (kind::FORK, json!({"worker": worker, "mode": mode, "arguments": arguments}))
            }
            ToWorker::Reap => (kind::REAP, json!({})),
            ToWorker::Standing { app, queues, processes, waiting, paused, timeout, tries, memory } => (
                kind::STANDING,
                json!({
                    "app": app, "queues": queues, "processes": processes, "waiting": waiting, "paused": paused,
                    "timeout": timeout, "tries": tries, "memory": memory,
                }),
            ),
            ToWorker::Inspect { classes, properties } => {
                (kind::INSPECT, json!({ "classes": classes, "properties": properties }))
            }
            ToWorker::Job(job) => return job.encode(),
        };
        encode(kind, header.to_string().as_bytes(), &[])
    }
}

impl Job<'_> {
    /// Apart from the others because it is the one that is sent for every job.
    fn encode(&self) -> Parts {
        #[derive(Serialize)]
        struct Header<'a> {
            id: u64,
            kind: JobKind,
            driver: &'static str,
            queue: &'a str,
            payload: usize,
            ack: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            row: &'a Option<Row>,
            #[serde(skip_serializing_if = "Option::is_none")]
            memory: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            cause: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            replay: Option<Replay<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            ticket: Option<u64>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            receipt: bool,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            own: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            watchdog: Option<u64>,
        }
        /// What only replays need.
        #[derive(Serialize)]
        struct Replay<'a> {
            tries: u32,
            backoff: &'a str,
            release: bool,
            last_resort: LastResort,
            failing: bool,
        }
        let header = serde_json::to_vec(&Header {
            id: self.id,
            kind: self.kind,
            driver: if self.row.is_some() { "database" } else { "redis" },
            queue: self.queue,
            payload: self.payload.len(),
            ack: self.ack,
            row: &self.row,
            memory: self.memory,
            cause: self.cause,
            ticket: self.ticket,
            receipt: self.receipt,
            own: self.own,
            watchdog: self.watchdog,
            replay: (self.kind != JobKind::Run).then_some(Replay {
                tries: self.tries,
                backoff: self.backoff,
                release: self.release,
                last_resort: self.last_resort,
                failing: self.failing,
            }),
        });
        // Plain fields always serialise.
        encode(kind::JOB, &header.unwrap_or_default(), &[self.payload, self.reserved.unwrap_or(&Bytes::new())])
    }
}
