//! The kinds of messages, and the messages from PHP processes.

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

/// The role of a PHP process.
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
    /// Stands in for Horizon's master process; runs no job.
    Horizon,
}

impl Mode {
    /// The mode of processes in a tier.
    pub fn of(tier: Tier) -> Self {
        match tier {
            Tier::Inline => Self::Lane,
            Tier::Pooled => Self::Pooled,
            Tier::Isolated => Self::Isolated,
        }
    }

    /// The tier whose jobs a process of this mode runs; `None` when it runs no job.
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

/// A descriptor or connection that a template has open and that must not be shared with a fork.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Held {
    /// The peer of a socket, the path of a file, or another description.
    pub name: String,
    /// When the app opened it, if known.
    #[serde(default)]
    pub opened: Option<String>,
}

/// The reason why a template must not be forked.
#[derive(Debug, Default)]
pub struct Unforkable {
    /// Open resources that forks must not share; empty when it can be forked.
    pub held: Vec<Held>,
    /// The classes that the app has loaded, to be preloaded by an early template.
    pub classes: Option<Box<serde_json::value::RawValue>>,
}

/// How a job ended, read from Laravel's job object. With none of `deleted`, `released` and `failed` set, the job
/// stays reserved.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Done {
    /// The job was removed from the queue, or will be once the runtime has removed it.
    pub deleted: bool,
    /// The job was put back on the queue.
    pub released: bool,
    /// The job has failed permanently.
    pub failed: bool,
    /// The runtime has to remove the job from the queue, and no `DELETED` has requested it.
    #[serde(default)]
    pub ack: bool,
    /// The process died while Laravel failed the job: some listeners were not called, and the failure may not be
    /// recorded.
    #[serde(default)]
    pub unfinished: bool,
    /// Peak of PHP's heap during the job, KiB.
    #[serde(default)]
    pub peak: u32,
    /// CPU time of PHP for the job, including children that it has waited for, microseconds.
    #[serde(default)]
    pub cpu: Option<u64>,
    /// Class and message of the exception that the job threw, if any.
    #[serde(default)]
    pub error: Option<String>,
}

/// A message from a PHP process.
#[derive(Debug)]
pub enum FromWorker {
    /// The first frame of a connection: the identity of the process.
    Hello {
        /// Version of the protocol.
        version: u32,
        /// Its role.
        mode: Mode,
        /// The number that the runtime gave it, decimal.
        worker: String,
        /// The process id that it reports. Not used: the kernel's peer credentials count.
        pid: u32,
        /// Its PHP version.
        php: String,
        /// The last job that an earlier runtime gave it, 0 for none; `None` if it served no earlier runtime.
        job: Option<u64>,
    },
    /// From a worker: requests a job and reports how the last one ended. From a template: it has booted.
    Ready {
        /// How the last job ended.
        done: Option<Done>,
        /// From a template that has booted: PHP's description of the app.
        app: Option<Box<serde_json::value::RawValue>>,
        /// From a template: the reason why it must not be forked, if any.
        unforkable: Unforkable,
        /// After `POP`: why it could not look for a job.
        fault: Option<String>,
    },
    /// It has popped a job by itself, and waits for `JOB`.
    Popped(Popped),
    /// It has read a `JOB` that requested a receipt.
    Taken,
    /// The job that it begins implements Laravel's `Interruptible`: Laravel passes SIGTERM on to it.
    Interruptible,
    /// It has claimed a job that was sent ahead and is about to begin it.
    Next {
        /// How the last job ended.
        done: Done,
        /// The ticket of the job that it begins.
        job: u64,
    },
    /// Laravel has deleted the job: the runtime has to remove it from the queue.
    Deleted {
        /// Laravel is about to fail the job.
        failed: bool,
    },
    /// Laravel's loop ends by itself, with this exit status.
    Stopping {
        /// 0 for a planned stop, 12 for the memory limit, anything else for Laravel's timeout alarm.
        status: i32,
        /// How the job ended during or after which it stops.
        done: Option<Done>,
        /// After `POP`: why it could not look for a job, if it stops because of that.
        fault: Option<String>,
    },
    /// PHP ends within a job: `exit()` or a fatal error.
    Died {
        /// The fatal error; `None` after `exit()`.
        fatal: Option<String>,
        /// The state of the job in Laravel at that point.
        done: Done,
    },
    /// The template has forked a worker, or failed to.
    Forked {
        /// The worker's number.
        worker: String,
        /// Its process id, negative when the fork failed.
        pid: i32,
        /// Why the fork failed.
        error: Option<String>,
        /// The reason why the template must not be forked any more, if any.
        unforkable: Unforkable,
    },
    /// A child of the template has ended.
    Exited {
        /// The worker's number.
        worker: String,
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it.
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
        /// By queue, Laravel's counts of waiting, delayed and reserved jobs. Only after `POP`, where no backend can
        /// count
        /// them.
        sizes: BTreeMap<String, [u64; 3]>,
    },
    /// The kqueue declarations of classes.
    Hints {
        /// Declared values by class.
        classes: BTreeMap<String, ClassHints>,
        /// Names of which no class exists.
        missing: Vec<String>,
        /// Classes whose loading ends PHP, with the way it ends.
        unloadable: BTreeMap<String, String>,
        /// Declared values that kqueue cannot use, by class and name.
        ignored: BTreeMap<String, BTreeMap<String, String>>,
    },
    /// From the process that stands in for Horizon's master: it has started, finished a round, or received a command.
    Horizon {
        /// The command that Horizon received.
        ask: Option<HorizonAsk>,
        /// Why a round failed; the process ends.
        error: Option<String>,
    },
    /// The app threw, or ended PHP, while it booted.
    BootFailed(BootFailure),
}

/// A job that a worker has popped by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Popped {
    /// The queue, by the name in `POP`.
    pub queue: String,
    /// The payload. A large one lacks the serialised job; it is empty if it is large for another reason.
    pub payload: String,
    /// Size of the whole payload in bytes.
    #[serde(default)]
    pub bytes: usize,
    /// The driver's id of the job.
    #[serde(default)]
    pub id: Option<String>,
    /// Attempts including this one, as counted by the driver.
    #[serde(default)]
    pub attempts: Option<u32>,
}

/// Why an app failed to boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BootFailure {
    /// Class of the exception; `exit` when the app ended PHP, `PHP` for a fatal error.
    pub class: String,
    /// Its message.
    pub message: String,
    /// The file in which it was thrown.
    pub file: String,
    /// The line in that file.
    pub line: u32,
    /// The known fault that caused it, if any.
    #[serde(default)]
    pub fault: Option<BootFault>,
}

impl fmt::Display for BootFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            // The message is kqueue's own and names the place.
            Some(BootFault::Connection | BootFault::DatabaseFile) => f.write_str(&self.message),
            _ => write!(f, "{}: {} ({}:{})", self.class, self.message, self.file, self.line),
        }
    }
}

/// A fault of an app that has a specific fix, by its name in `Misconfigured.php`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootFault {
    /// Its Composer packages are not installed.
    Vendor,
    /// The named connection is not in its config.
    Connection,
    /// The file of its SQLite database does not exist.
    DatabaseFile,
    /// A name that only a newer worker program knows.
    #[serde(other)]
    Unknown,
}

/// Commands to Horizon's master process, from its Artisan commands or a signal.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HorizonAsk {
    /// Start no further job.
    Pause,
    /// Resume after a pause.
    Continue,
    /// Replace every process after its current job.
    Restart,
    /// Exit, to be restarted by the process supervisor.
    Terminate,
}

/// The declarations of one class; a value of an unexpected type counts as absent.
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
