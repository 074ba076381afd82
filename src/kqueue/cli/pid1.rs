//! `kqueue run` as process 1 of a container. Orphans of jobs become children of process 1, which must reap them, or
//! they stay zombies as long as the container runs. So process 1 does only that: it starts the runtime as its child,
//! forwards signals to it, reaps processes, and exits as the runtime does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::Failed;
use kqueue_system::identity;

/// Runs this same command as a child, if this is process 1. `None` if it is not.
///
/// # Errors
/// When the child cannot be started or waited for.
pub(super) fn run() -> Option<Result<ExitCode, Failed>> {
    if std::process::id() == 1 {
        return Some(supervise().map_err(|error| Failed::at("process 1", error)));
    }
    // Process 1 blocks signals before it starts its child, and other parents may: the runtime could not be stopped.
    identity::unblock_signals().err().map(|error| Err(Failed::at("signals", error)))
}

fn supervise() -> io::Result<ExitCode> {
    let mut command = Command::new("/proc/self/exe");
    // In its own process group, or Ctrl-C on a terminal would reach it twice, which means an immediate stop.
    command.args(std::env::args_os().skip(1)).process_group(0);
    identity::front(command)
}
