//! The messages to PHP processes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::{Mode, kind};
use super::{Parts, encode};

/// What a PHP process does with a job.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Run it.
    Run,
    /// Throw `cause`, the reason of its process's death, instead of running it.
    Crash,
    /// Treat it as Laravel's own timeout would.
    Timeout,
    /// Laravel's own timeout ended the process and left the job reserved: release it with its backoff.
    Release,
    /// An operator has cancelled it: fail it, or delete it.
    Cancel,
}

/// Steps that the replay of a dead job omits because a process has died in them before.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(into = "u8")]
pub enum LastResort {
    /// Nothing.
    #[default]
    None,
    /// The job's class is not loaded.
    NoClass,
    /// Nor is any listener called: the job is recorded as failed, or released.
    Alone,
}

impl From<LastResort> for u8 {
    fn from(resort: LastResort) -> Self {
        resort as Self
    }
}

/// Settings of a template.
#[derive(Clone, Copy, Debug)]
pub struct TemplateOrder<'a> {
    /// Stop booting before the app's service providers; each fork boots the rest.
    pub early: bool,
    /// A job waits for the first fork: the classes that every job needs are loaded after it.
    pub hurry: bool,
    /// Classes to preload, from a template that had booted the whole app. Sent to early templates only.
    pub classes: Option<&'a RawValue>,
    /// Names of resources that may stay open across a fork.
    pub safe: &'a [String],
}

/// A job for a process.
#[derive(Debug)]
pub struct Job<'a> {
    /// The runtime's number of the job; a process that outlives the runtime reports it to the next one.
    pub id: u64,
    /// What to do with it.
    pub kind: JobKind,
    /// The queue it came from.
    pub queue: &'a str,
    /// `getRawBody()`.
    pub payload: &'a Bytes,
    /// Laravel's name of the driver, which selects PHP's class of the job.
    pub driver: &'a str,
    /// Driver-specific fields of that class, as JSON.
    pub header: Option<&'a RawValue>,
    /// Driver-specific bytes of that class, sent after the payload.
    pub body: Option<&'a Bytes>,
    /// Whether the runtime removes the job from the queue when it is done.
    pub ack: bool,
    /// PHP's memory limit for this job, MB.
    pub memory: Option<u32>,
    /// Timeout in seconds if the job declares none, in place of the one in the arguments of `queue:work`; 0 is no
    /// limit.
    pub timeout: Option<u32>,
    /// The reason of its process's death.
    pub cause: Option<&'a str>,
    /// The default number of tries, for [`JobKind::Timeout`].
    pub tries: u32,
    /// The default backoff, for a release.
    pub backoff: &'a str,
    /// After a timeout, release a job that may run again instead of leaving it to `retry_after`.
    pub release: bool,
    /// For a replay: the steps to omit.
    pub last_resort: LastResort,
    /// For a replay: a process died while Laravel failed the job, so the job must fail.
    pub failing: bool,
    /// For [`JobKind::Cancel`]: remove it without failing it.
    pub delete: bool,
    /// For [`JobKind::Cancel`]: it was not started since it was reserved.
    pub unrun: bool,
    /// The job is sent ahead: the lane starts it only after it has read this number from its FIFO of tickets.
    pub ticket: Option<u64>,
    /// Answer with `TAKEN` before the job starts.
    pub receipt: bool,
    /// Laravel removes the job when it is done, with retries on a locked database: for a process that outlives the
    /// runtime.
    pub own: bool,
    /// For a process that is a unit: seconds until its watchdog expires.
    pub watchdog: Option<u64>,
}

/// A message to a PHP process.
#[derive(Debug)]
pub enum ToWorker<'a> {
    /// The answer to `HELLO`: the app's directory, the connection, and the arguments of `queue:work`.
    Welcome {
        /// The app's directory.
        path: &'a str,
        /// The queue connection; `None` is the app's default.
        connection: Option<&'a str>,
        /// Arguments of `artisan queue:work`.
        arguments: &'a [String],
        /// Whether a process other than a lane outlives the runtime and connects to the next one.
        redial: bool,
        /// The file mode creation mask; `None` leaves it as it is.
        umask: Option<u32>,
        /// For a template.
        template: Option<TemplateOrder<'a>>,
    },
    /// A job.
    Job(Job<'a>),
    /// Pop a job from these queues, in this order, and report it.
    Pop {
        /// The queues that may be worked.
        queues: &'a [&'a String],
    },
    /// Report the restart signal, the paused queues and the maintenance mode.
    Check {
        /// The queues worked.
        queues: &'a [String],
    },
    /// Leave the loop.
    Stop {
        /// `recycle`, `idle`, `restart` or `drain`; `restart` is reported to the app as Laravel's own restart.
        reason: &'a str,
    },
    /// To a template: fork a worker.
    Fork {
        /// The worker's number.
        worker: &'a str,
        /// Its role.
        mode: Mode,
        /// The current arguments of `queue:work`.
        arguments: &'a [String],
    },
    /// To a template: one of its children has ended. Wakes it to reap the child.
    Reap,
    /// To the process that stands in for Horizon's master: the current state, for Horizon's records.
    Standing {
        /// The app's name.
        app: &'a str,
        /// The queues, in the order of their processing.
        queues: &'a [String],
        /// Number of processes by queue.
        processes: &'a BTreeMap<&'a str, usize>,
        /// Reserved jobs that wait for a process, by queue: the queue's own size does not include them.
        waiting: &'a BTreeMap<&'a str, usize>,
        /// No job is started until Horizon's `continue`.
        paused: bool,
        /// Timeout of a job in seconds; 0 is no limit.
        timeout: u64,
        /// Attempts before a job fails; 0 is no limit.
        tries: u32,
        /// MB of PHP's heap above which a process is replaced.
        memory: u32,
    },
    /// Report the declarations of these classes.
    Inspect {
        /// Class names.
        classes: &'a [String],
        /// Whether properties and methods count as declarations, besides attributes.
        properties: bool,
    },
}

impl ToWorker<'_> {
    /// Encodes the message as a frame.
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
                if let Some(TemplateOrder { early, hurry, classes, safe }) = template {
                    set("early", json!(early));
                    if *hurry {
                        set("hurry", json!(true));
                    }
                    set("fork_safe_peers", json!(safe));
                    set("classes", json!(classes.filter(|_| *early)));
                }
                (kind::WELCOME, header.into())
            }
            ToWorker::Check { queues } => (kind::CHECK, json!({ "queues": queues })),
            ToWorker::Pop { queues } => (kind::POP, json!({ "queues": queues })),
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
    /// Serialises a struct directly, without a `Value`: this message is sent for every job.
    fn encode(&self) -> Parts {
        #[derive(Serialize)]
        struct Header<'a> {
            id: u64,
            kind: JobKind,
            driver: &'a str,
            queue: &'a str,
            payload: usize,
            ack: bool,
            // The name in earlier versions, whose workers keep running during an upgrade.
            #[serde(rename = "row", skip_serializing_if = "Option::is_none")]
            header: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            memory: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            timeout: Option<u32>,
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
        /// Fields of replays only.
        #[derive(Serialize)]
        struct Replay<'a> {
            tries: u32,
            backoff: &'a str,
            release: bool,
            last_resort: LastResort,
            failing: bool,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            delete: bool,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            unrun: bool,
        }
        let header = serde_json::to_vec(&Header {
            id: self.id,
            kind: self.kind,
            driver: self.driver,
            queue: self.queue,
            payload: self.payload.len(),
            ack: self.ack,
            header: self.header,
            memory: self.memory,
            timeout: self.timeout,
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
                delete: self.delete,
                unrun: self.unrun,
            }),
        });
        // Plain fields always serialise.
        let header = header.unwrap_or_default();
        match self.body {
            Some(body) => encode(kind::JOB, &header, &[self.payload, body]),
            None => encode(kind::JOB, &header, &[self.payload]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(driver: &str, header: Option<&RawValue>, body: Option<&Bytes>) -> Vec<u8> {
        let payload = Bytes::from_static(br#"{"job":"a"}"#);
        let job = Job {
            id: 7,
            kind: JobKind::Run,
            queue: "default",
            payload: &payload,
            driver,
            header,
            body,
            ack: true,
            memory: None,
            timeout: None,
            cause: None,
            tries: 1,
            backoff: "0",
            release: true,
            last_resort: LastResort::None,
            failing: false,
            delete: false,
            unrun: false,
            ticket: None,
            receipt: false,
            own: false,
            watchdog: None,
        };
        ToWorker::Job(job).encode().to_vec()
    }

    /// Byte for byte: workers of the previous version keep running during an upgrade.
    #[test]
    fn a_job_is_what_workers_of_the_former_version_read() {
        let lay_out = |header: &str, body: &str| {
            let length = (5 + header.len() + body.len()) as u32;
            let head = [&length.to_be_bytes()[..], &[kind::JOB], &(header.len() as u32).to_be_bytes()].concat();
            [&head[..], header.as_bytes(), body.as_bytes()].concat()
        };
        let member = Bytes::from_static(br#"{"job":"a","attempts":1}"#);
        let expected = lay_out(
            r#"{"id":7,"kind":"run","driver":"redis","queue":"default","payload":11,"ack":true}"#,
            r#"{"job":"a"}{"job":"a","attempts":1}"#,
        );
        assert_eq!(frame("redis", None, Some(&member)), expected);
        let row = r#"{"id":5,"attempts":2,"reserved_at":1,"available_at":3,"created_at":4}"#;
        let expected = lay_out(
            &format!(
                r#"{{"id":7,"kind":"run","driver":"database","queue":"default","payload":11,"ack":true,"row":{row}}}"#
            ),
            r#"{"job":"a"}"#,
        );
        assert_eq!(frame("database", Some(serde_json::from_str(row).unwrap()), None), expected);
    }
}
