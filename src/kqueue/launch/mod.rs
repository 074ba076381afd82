//! Where PHP processes come from, and what keeps them within bounds: the trait [`Launcher`].
//!
//! The process launcher starts plain children. Units of a service manager, where there is one, are behind the
//! trait [`Units`]: asked of the [`Coordinator`], or of a user's own manager ([`UserManager`]). A launcher starts
//! and kills processes; it knows nothing of jobs, queues or the worker socket.

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
    /// What it is for.
    pub mode: Mode,
    /// The interpreter.
    pub php: PathBuf,
    /// Its arguments, before the script.
    pub php_args: Vec<String>,
    /// The script that makes it one of ours.
    pub script: PathBuf,
    /// The app's directory.
    pub directory: PathBuf,
    /// What is added to its environment.
    pub environment: BTreeMap<String, String>,
    /// A job waits for it: what was found out about PHP before is taken to be so.
    pub hurry: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The interpreter could not be run.
    #[error("cannot start {program}: {source}")]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its unit could not be started.
    #[error("{0}")]
    Unit(String),
}

/// What a launcher has to tell.
#[derive(Debug)]
pub enum LaunchEvent {
    /// A process that it started has ended.
    Ended {
        /// Which.
        worker: WorkerId,
        /// Its process id.
        pid: i32,
        /// How.
        exit: Exit,
    },
}

/// Starts and kills PHP processes.
#[async_trait(?Send)]
pub trait Launcher {
    /// Starts a process and returns its id. Its end comes as [`LaunchEvent::Ended`].
    async fn start(&self, order: &Order) -> Result<i32, LaunchError>;

    /// Kills a process, started here or forked by one that was, and all that it has started itself.
    fn kill(&self, pid: i32);

    /// Ends everything that was ever started here, and returns when nothing is left.
    async fn sweep(&self);
}
