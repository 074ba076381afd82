//! The kinds of messages, and those that PHP processes send.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::WireError;
use crate::routing::Tier;

/// The kinds of frames. From PHP below 32, to PHP from 32 on.
pub mod kind {
    #![allow(missing_docs)]
    pub const HELLO: u8 = 1;
    pub const READY: u8 = 2;
    pub const DELETED: u8 = 3;
    pub const STOPPING: u8 = 4;
    pub const DIED: u8 = 5;
    pub const FORKED: u8 = 6;
    pub const EXITED: u8 = 7;
    pub const STATE: u8 = 8;
    pub const HINTS: u8 = 9;
    pub const BOOT_FAILED: u8 = 10;
    pub const NEXT: u8 = 11;
    pub const TAKEN: u8 = 12;
    pub const INTERRUPTIBLE: u8 = 13;
    pub const POPPED: u8 = 14;
    pub const HORIZON: u8 = 20;

    pub const WELCOME: u8 = 32;
    pub const JOB: u8 = 33;
    pub const CHECK: u8 = 34;
    pub const STOP: u8 = 35;
    pub const FORK: u8 = 36;
    pub const INSPECT: u8 = 37;
    pub const REAP: u8 = 38;
    pub const POP: u8 = 39;
    pub const STANDING: u8 = 40;
}

/// What a PHP process is for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Boots the app and forks the others; runs no job.
    Template,
    /// Runs short jobs, one after the other.
    Lane,
    /// A worker of the pool.
    Pooled,
    /// Runs one job and ends.
    Isolated,
    /// Does what Horizon's master would; runs no job.
    Horizon,
}

impl Mode {
    /// What the processes of a tier are.
    pub fn of(tier: Tier) -> Self {
        match tier {
            Tier::Inline => Self::Lane,
            Tier::Pooled => Self::Pooled,
            Tier::Isolated => Self::Isolated,
        }
    }

    /// The tier whose jobs such a process runs; none for one that runs no job.
    pub fn tier(self) -> Option<Tier> {
        match self {
            Self::Lane => Some(Tier::Inline),
            Self::Pooled => Some(Tier::Pooled),
            Self::Isolated => Some(Tier::Isolated),
            Self::Template | Self::Horizon => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Template => "template",
            Mode::Lane => "lane",
            Mode::Pooled => "pooled",
            Mode::Isolated => "isolated",
            Mode::Horizon => "horizon",
        })
    }
}

/// Something that a template has open and that two processes must not share.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Held {
    /// The peer of a socket, the path of a file, or what else it is.
    pub name: String,
    /// When the app opened it, as far as is known.
    #[serde(default)]
    pub opened: Option<String>,
}

/// Why a template must not be forked as it is.
#[derive(Debug, Default)]
pub struct Unforkable {
    /// What it holds; nothing where it can be forked.
    pub held: Vec<Held>,
    /// The classes that the app has loaded, for a template that does not boot all of it.
    pub classes: Option<Box<serde_json::value::RawValue>>,
}

/// How a job ended, read off Laravel's job object. None of the three: the job stays reserved.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Done {
    /// It is gone from the queue, or will be once the runtime has removed it.
    pub deleted: bool,
    /// It is back on the queue.
    pub released: bool,
    /// It has failed for good.
    pub failed: bool,
    /// The runtime is to remove it from the queue, and has not been told so before.
    #[serde(default)]
    pub ack: bool,
    /// The process died while Laravel failed the job: not everybody has been told, and it may not be written down.
    #[serde(default)]
    pub unfinished: bool,
    /// Peak of PHP's heap during the job, KiB.
    #[serde(default)]
    pub peak: u32,
    /// Processor time that PHP took for the job and all its children that it has waited for, microseconds.
    #[serde(default)]
    pub cpu: Option<u64>,
    /// Class and message of the exception it threw, if any.
    #[serde(default)]
    pub error: Option<String>,
}

/// A message from a PHP process.
#[derive(Debug)]
pub enum FromWorker {
    /// The first: who it is. `worker` is the number it was started with.
    Hello {
        /// Version of the protocol.
        version: u32,
        /// What it is for.
        mode: Mode,
        /// The number the runtime gave it.
        worker: String,
        /// Its process id, as it says; the kernel's word counts.
        pid: u32,
        /// Its PHP version.
        php: String,
        /// It has served a runtime before this one, and this is the last job it was given; 0 when it had none.
        job: Option<u64>,
    },
    /// It wants a job, and says how the last one ended. From a template: it can fork now.
    Ready {
        /// How the last job ended.
        done: Option<Done>,
        /// From a template that has booted: the app, as PHP describes it.
        app: Option<Box<serde_json::value::RawValue>>,
        /// From a template: why it must not be forked, if so.
        unforkable: Unforkable,
        /// Why it could not look for a job, where it was sent to.
        fault: Option<String>,
    },
    /// It has taken a job off the queue by itself, and waits to be told what to do with it.
    Popped(Popped),
    /// It has read the job that it was handed, as it was asked to say.
    Taken,
    /// The job that it begins is one that Laravel passes SIGTERM on to.
    Interruptible,
    /// It has claimed a job that was sent ahead and is about to begin it.
    Next {
        /// How the last job ended.
        done: Done,
        /// The ticket of the one it goes on with.
        job: u64,
    },
    /// Laravel has finished with the job: the runtime is to remove it from the queue.
    Deleted {
        /// It is about to fail the job.
        failed: bool,
    },
    /// Laravel's loop ends by itself, with this exit status.
    Stopping {
        /// 0 planned, 12 memory, anything else a timeout.
        status: i32,
        /// How the job ended during which, or after which, it stops.
        done: Option<Done>,
        /// Why it could not look for a job, where it stops for that.
        fault: Option<String>,
    },
    /// PHP ends within a job: `exit()` or a fatal error.
    Died {
        /// The fatal error; none after `exit()`.
        fatal: Option<String>,
        /// How far Laravel had got with the job.
        done: Done,
    },
    /// The template has forked a worker, or could not.
    Forked {
        /// The worker's number.
        worker: String,
        /// Its process id, negative when the fork failed.
        pid: i32,
        /// Why it failed.
        error: Option<String>,
        /// Why the template must not be forked any more, if so.
        unforkable: Unforkable,
    },
    /// A child of the template has ended.
    Exited {
        /// The worker's number.
        worker: String,
        /// Its exit code, if it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The answer to a check.
    State {
        /// Maintenance mode.
        down: bool,
        /// Queues that are paused.
        paused: Vec<String>,
        /// Value of the restart signal.
        restart: Option<String>,
        /// Why the state could not be read.
        error: Option<String>,
        /// What Laravel counts in each queue, where nobody else can: jobs that wait, are delayed, are reserved.
        sizes: BTreeMap<String, [u64; 3]>,
    },
    /// What classes declare for kqueue.
    Hints {
        /// Declared values by class.
        classes: BTreeMap<String, ClassHints>,
        /// Names that are no classes.
        missing: Vec<String>,
        /// Classes that end PHP when they are loaded, and how.
        unloadable: BTreeMap<String, String>,
        /// Values that cannot be meant for kqueue, by class and name.
        ignored: BTreeMap<String, BTreeMap<String, String>>,
    },
    /// From the process that stands in for Horizon's master: it has done what was due.
    Horizon {
        /// What somebody has asked Horizon for.
        ask: Option<HorizonAsk>,
        /// Why something could not be done; the process ends.
        error: Option<String>,
    },
    /// The app threw while it booted.
    BootFailed(BootFailure),
}

/// A job that a worker has taken off the queue by itself, as far as others need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Popped {
    /// The queue, as the worker was told it.
    pub queue: String,
    /// The payload: all of it, or what is left without the serialised job where it is large.
    pub payload: String,
    /// Bytes of the payload.
    #[serde(default)]
    pub bytes: usize,
    /// The queue's own name of the job, where the payload has none.
    #[serde(default)]
    pub id: Option<String>,
    /// Attempts including this one, as the driver counts them.
    #[serde(default)]
    pub attempts: Option<u32>,
}

/// Why an app has not booted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BootFailure {
    /// Class of the exception; `exit` where the app has ended PHP.
    pub class: String,
    /// Its message.
    pub message: String,
    /// Where it was thrown.
    pub file: String,
    /// The line there.
    pub line: u32,
    /// What it comes from, where that is known.
    #[serde(default)]
    pub fault: Option<BootFault>,
}

impl fmt::Display for BootFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            // In our own words, which say where.
            Some(BootFault::Connection | BootFault::DatabaseFile) => f.write_str(&self.message),
            _ => write!(f, "{}: {} ({}:{})", self.class, self.message, self.file, self.line),
        }
    }
}

/// A fault of an app that has a fix of its own, by its name in `Misconfigured.php`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootFault {
    /// Its Composer packages are not installed.
    Vendor,
    /// A connection is named that its config does not have.
    Connection,
    /// The file of its SQLite database is not there.
    DatabaseFile,
    /// One that a newer worker program names.
    #[serde(other)]
    Unknown,
}

/// What can be asked of Horizon's master, by its commands or a signal.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HorizonAsk {
    /// Start no further job.
    Pause,
    /// Go on.
    Continue,
    /// Replace every process after its current job.
    Restart,
    /// End, to be started again by whoever keeps it running.
    Terminate,
}

/// What one class declares; anything of an unexpected type counts as not said.
pub type ClassHints = serde_json::Map<String, serde_json::Value>;

impl FromWorker {
    pub(super) fn parse(kind: u8, header: &[u8]) -> Result<Self, WireError> {
        #[derive(Deserialize)]
        struct Hello {
            version: u32,
            mode: Mode,
            worker: String,
            pid: u32,
            php: String,
            #[serde(default)]
            job: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Ready {
            #[serde(default)]
            done: Option<Done>,
            #[serde(default)]
            fault: Option<String>,
            #[serde(default)]
            app: Option<Box<serde_json::value::RawValue>>,
            #[serde(default)]
            held: Vec<Held>,
            #[serde(default)]
            classes: Option<Box<serde_json::value::RawValue>>,
        }
        #[derive(Deserialize)]
        struct Next {
            done: Done,
            job: u64,
        }
        #[derive(Deserialize)]
        struct Stopping {
            status: i32,
            done: Option<Done>,
            #[serde(default)]
            fault: Option<String>,
        }
        #[derive(Deserialize)]
        struct Died {
            fatal: Option<String>,
            #[serde(flatten)]
            done: Done,
        }
        #[derive(Deserialize)]
        struct Forked {
            worker: String,
            pid: i32,
            error: Option<String>,
            #[serde(default)]
            held: Vec<Held>,
            #[serde(default)]
            classes: Option<Box<serde_json::value::RawValue>>,
        }
        #[derive(Deserialize)]
        struct Exited {
            worker: String,
            code: Option<i32>,
            signal: Option<i32>,
        }
        #[derive(Deserialize)]
        struct State {
            down: bool,
            paused: Vec<String>,
            restart: Option<String>,
            error: Option<String>,
            #[serde(default)]
            sizes: BTreeMap<String, [u64; 3]>,
        }
        // PHP writes an empty array for an empty map.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Classes {
            Some(BTreeMap<String, ClassHints>),
            #[allow(dead_code)]
            None(Vec<()>),
        }
        #[derive(Deserialize)]
        struct Hints {
            classes: Classes,
            #[serde(default)]
            missing: Vec<String>,
            #[serde(default)]
            unloadable: BTreeMap<String, String>,
            #[serde(default)]
            ignored: BTreeMap<String, BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        struct Deleted {
            #[serde(default)]
            failed: bool,
        }
        #[derive(Deserialize)]
        struct Horizon {
            #[serde(default)]
            ask: Option<HorizonAsk>,
            #[serde(default)]
            error: Option<String>,
        }
        fn read<'a, T: Deserialize<'a>>(kind: u8, header: &'a [u8]) -> Result<T, WireError> {
            serde_json::from_slice(header).map_err(|error| WireError::Header { kind, reason: error.to_string() })
        }

        Ok(match kind {
            kind::HELLO => {
                let Hello { version, mode, worker, pid, php, job } = read(kind, header)?;
                FromWorker::Hello { version, mode, worker, pid, php, job }
            }
            kind::READY if header == b"{}" => {
                FromWorker::Ready { done: None, app: None, unforkable: Unforkable::default(), fault: None }
            }
            kind::READY => {
                let Ready { done, fault, app, held, classes } = read(kind, header)?;
                FromWorker::Ready { done, app, unforkable: Unforkable { held, classes }, fault }
            }
            kind::DELETED => {
                let Deleted { failed } = read(kind, header)?;
                FromWorker::Deleted { failed }
            }
            kind::POPPED => FromWorker::Popped(read(kind, header)?),
            kind::TAKEN => FromWorker::Taken,
            kind::INTERRUPTIBLE => FromWorker::Interruptible,
            kind::NEXT => {
                let Next { done, job } = read(kind, header)?;
                FromWorker::Next { done, job }
            }
            kind::STOPPING => {
                let Stopping { status, done, fault } = read(kind, header)?;
                FromWorker::Stopping { status, done, fault }
            }
            kind::DIED => {
                let Died { fatal, done } = read(kind, header)?;
                FromWorker::Died { fatal, done }
            }
            kind::FORKED => {
                let Forked { worker, pid, error, held, classes } = read(kind, header)?;
                FromWorker::Forked { worker, pid, error, unforkable: Unforkable { held, classes } }
            }
            kind::EXITED => {
                let Exited { worker, code, signal } = read(kind, header)?;
                FromWorker::Exited { worker, code, signal }
            }
            kind::STATE => {
                let State { down, paused, restart, error, sizes } = read(kind, header)?;
                FromWorker::State { down, paused, restart, error, sizes }
            }
            kind::HINTS => {
                let Hints { classes, missing, unloadable, ignored } = read(kind, header)?;
                FromWorker::Hints {
                    missing,
                    unloadable,
                    ignored,
                    classes: match classes {
                        Classes::Some(classes) => classes,
                        Classes::None(_) => BTreeMap::new(),
                    },
                }
            }
            kind::HORIZON => {
                let Horizon { ask, error } = read(kind, header)?;
                FromWorker::Horizon { ask, error }
            }
            kind::BOOT_FAILED => FromWorker::BootFailed(read(kind, header)?),
            other => return Err(WireError::UnknownKind(other)),
        })
    }
}
