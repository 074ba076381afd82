//! The messages that PHP processes are sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
    /// An operator has cancelled it: fail it, or delete it.
    Cancel,
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

/// What a template is told of what it is.
#[derive(Clone, Copy, Debug)]
pub struct TemplateOrder<'a> {
    /// Stop before the app's providers; each fork does the rest.
    pub early: bool,
    /// A job waits for its first fork: what every job needs is loaded after that.
    pub hurry: bool,
    /// Classes to load, as the template said that had booted all of the app.
    pub classes: Option<&'a RawValue>,
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
    /// Laravel's name of the driver, by which PHP picks the class of the job.
    pub driver: &'a str,
    /// What that class is made of besides the payload: JSON, and bytes, which are sent behind the payload.
    pub header: Option<&'a RawValue>,
    /// See `header`.
    pub body: Option<&'a Bytes>,
    /// Whether the runtime removes it when it is done.
    pub ack: bool,
    /// PHP's memory limit for this job, MB.
    pub memory: Option<u32>,
    /// Seconds that it may run where it declares nothing, if not as the arguments of `queue:work` say; 0 is without limit.
    pub timeout: Option<u32>,
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
    /// For [`JobKind::Cancel`]: remove it, and fail nothing.
    pub delete: bool,
    /// For [`JobKind::Cancel`]: it has not been begun since it was reserved.
    pub unrun: bool,
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
    /// Look for a job in these queues, in this order, and say what was found.
    Pop {
        /// Those that may be worked.
        queues: &'a [&'a String],
    },
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
    /// Apart from the others because it is the one that is sent for every job.
    fn encode(&self) -> Parts {
        #[derive(Serialize)]
        struct Header<'a> {
            id: u64,
            kind: JobKind,
            driver: &'a str,
            queue: &'a str,
            payload: usize,
            ack: bool,
            // Workers of former versions know it by this name, and run on during an upgrade.
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
        /// What only replays need.
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

    /// Byte for byte: workers of the version before run on during an upgrade.
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
