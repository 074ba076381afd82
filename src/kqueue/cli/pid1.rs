//! `kqueue run` as process 1 of a container. Whatever a job leaves behind becomes a child of process 1, which has to
//! wait for it, or it stays a zombie as long as the container runs. So process 1 does that alone: it starts the runtime
//! as its child, hands signals on to it, reaps what ends, and ends as the runtime does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::Failed;
use kqueue_system::identity;

/// Runs this very command as a child, if this is process 1. `None` where it is not.
///
/// # Errors
/// Where the child cannot be started or waited for.
pub(super) fn run() -> Option<Result<ExitCode, Failed>> {
    if std::process::id() == 1 {
        return Some(supervise().map_err(|error| Failed::at("process 1", error)));
    }
    // Process 1 has them blocked when it starts its child, and so may others: without them nothing could be stopped.
    identity::unblock_signals().err().map(|error| Err(Failed::at("signals", error)))
}

fn supervise() -> io::Result<ExitCode> {
    let mut command = Command::new("/proc/self/exe");
    // In a group of its own, or Ctrl-C on a terminal would reach it twice, which means at once.
    command.args(std::env::args_os().skip(1)).process_group(0);
    identity::front(command)
}
