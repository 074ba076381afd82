//! Starting PHP processes and limiting their resources: the trait [`Launcher`].
//!
//! The process launcher starts plain children. Units of a service manager, if there is one, are behind the trait
//! [`Units`]: requested from the [`Coordinator`], or from a user's own manager ([`UserManager`]). A launcher starts and
//! kills processes; it knows nothing of jobs, queues or the worker socket.

mod coordinator;
mod guard;
pub mod output;
mod process;
mod units;
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;

use kqueue_core::schedule::WorkerId;
use kqueue_core::wire::Mode;

pub use coordinator::Coordinator;
pub use guard::guard;
pub use process::ProcessLauncher;
pub use units::{UnitError, UnitNotice, Units};
pub use user::UserManager;

/// A PHP process to start.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its number; the template is 0.
    pub worker: WorkerId,
    /// Its role.
    pub mode: Mode,
    /// The interpreter.
    pub php: PathBuf,
    /// Its arguments, before the script.
    pub php_args: Vec<String>,
    /// The script it runs, `worker.php`.
    pub script: PathBuf,
    /// The app's directory.
    pub directory: PathBuf,
    /// Variables added to its environment.
    pub environment: BTreeMap<String, String>,
    /// A job waits for it: earlier results of probing PHP are reused.
    pub hurry: bool,
    /// Forks of it are to share compiled code where PHP can.
    pub share: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The interpreter could not be run.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The interpreter.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Its unit could not be started.
    #[error("{0}")]
    Unit(String),
}

/// Events of a launcher.
#[derive(Debug)]
pub enum LaunchEvent {
    /// A process started by it has ended.
    Ended {
        /// Its number.
        worker: WorkerId,
        /// Its process id.
        pid: i32,
        /// How it ended.
        exit: Exit,
    },
}

/// Starts and kills PHP processes.
#[async_trait(?Send)]
pub trait Launcher {
    /// Starts a process and returns its id. Its end is reported as [`LaunchEvent::Ended`].
    async fn start(&self, order: &Order) -> Result<i32, LaunchError>;

    /// Kills a process, started here or forked from one that was, and all its descendants.
    fn kill(&self, pid: i32);

    /// Ends every process ever started here, and returns when none is left.
    async fn sweep(&self);
}
