//! `kqueue run` as process 1 of a container. Whatever a job leaves behind becomes a child of process 1, which has to
//! wait for it, or it stays a zombie as long as the container runs. So process 1 does that alone: it starts the runtime
//! as its child, hands signals on to it, reaps what ends, and ends as the runtime does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Failed;

/// What a runtime is told by signals.
const HANDED_ON: &[Signal] =
    &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs this very command as a child, if this is process 1. `None` where it is not.
///
/// # Errors
/// Where the child cannot be started or waited for.
pub(super) fn run() -> Option<Result<ExitCode, Failed>> {
    if std::process::id() == 1 {
        return Some(supervise().map_err(|error| Failed::at("process 1", error)));
    }
    // Process 1 has them blocked when it starts its child, and so may others: without them nothing could be stopped.
    signals().thread_unblock().err().map(|errno| Err(Failed::at("signals", errno.into())))
}

fn signals() -> SigSet {
    HANDED_ON.iter().copied().chain([Signal::SIGCHLD]).collect()
}

fn supervise() -> io::Result<ExitCode> {
    // Blocked, they wait until they are taken, and none is lost before the child is there.
    let signals = signals();
    signals.thread_block()?;
    // In a group of its own, or Ctrl-C on a terminal would reach it twice, which means at once.
    let child = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).process_group(0).spawn()?;
    let runtime = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(runtime)? {
                    return Ok(ExitCode::from(code));
                }
            }
            // It may have ended just now; the next signal says so.
            signal => drop(kill(runtime, signal)),
        }
    }
}

/// Waits for all that has ended. The exit code, if the runtime is among it.
fn reap(runtime: Pid) -> nix::Result<Option<u8>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == runtime => code = Some(u8::try_from(status).unwrap_or(1)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == runtime => {
                code = Some(u8::try_from(128 + signal as i32).unwrap_or(1));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(code),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
