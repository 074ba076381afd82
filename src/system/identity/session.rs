//! The terminal and the descriptors that a process inherits.
//!
//! A process on root's terminal can type into root's shell (`TIOCSTI`), and a process that can trace one with that
//! terminal open can read what root types. So a process that changes to another user leaves the terminal's session
//! while it is still root's, and cannot be traced afterwards.

use std::io;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid, setsid};

use crate::proc;
use crate::processes::snapshot;

/// Signals that [`front`] forwards.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Maximum number of passes in [`end_descendants`].
const ROUNDS: usize = 256;

/// Whether this process has a controlling terminal.
pub fn has_terminal() -> bool {
    proc::stat(std::process::id().cast_signed()).is_some_and(|own| own.has_terminal)
}

/// Leaves the session, and with it the terminal.
///
/// # Errors
/// When this process is the leader of a process group.
pub fn detach() -> io::Result<()> {
    setsid().map(drop).map_err(io::Error::from)
}

/// Runs a command that leaves our session, and stays at the terminal for it: forwards signals, and ends with its exit
/// status.
///
/// # Errors
/// When the program cannot be started, or signals cannot be awaited.
pub fn front(mut command: Command) -> io::Result<ExitCode> {
    // Blocked before the child exists, so that none of its signals is missed.
    let signals = signals();
    signals.thread_block()?;
    let child = command.spawn()?;
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = ended(child) {
                    return Ok(code);
                }
            }
            Ok(signal) => {
                // It may have ended meanwhile; SIGCHLD follows then.
                let _ = kill(child, signal);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Unblocks the signals that [`front`] has blocked, in the process that it has started.
///
/// # Errors
/// Where the kernel refuses.
pub fn unblock_signals() -> io::Result<()> {
    Ok(signals().thread_unblock()?)
}

fn signals() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect()
}

/// Reaps all children that have ended (the first process of a container inherits others), and returns the exit status
/// of this one.
fn ended(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as u8),
            Ok(WaitStatus::StillAlive) | Err(_) => return code.map(ExitCode::from),
            Ok(_) => {}
        }
    }
}

/// After the change to another user: prevents tracing by that user's other processes, and ends this process with the
/// front.
///
/// # Errors
/// When the kernel refuses, or the front has ended.
pub fn stay_with(front: Option<i32>) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    if let Some(front) = front {
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        if getppid().as_raw() != front {
            return Err(io::Error::other("the process at the terminal has ended"));
        }
    }
    Ok(())
}

/// From now on orphaned descendants become our children, for [`end_descendants`].
///
/// # Errors
/// Where the kernel refuses.
pub fn adopt_descendants() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Kills all descendants of this process, unless they fork faster than they are killed.
pub fn end_descendants() {
    let own = std::process::id().cast_signed();
    // The children of a killed process are ours in the next pass.
    for _ in 0..ROUNDS {
        let children: Vec<i32> =
            snapshot().into_iter().filter(|(_, parent)| *parent == own).map(|(pid, _)| pid).collect();
        if children.is_empty() {
            return;
        }
        for pid in children.into_iter().map(Pid::from_raw) {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

/// Closes all inherited descriptors, except those passed by systemd. Must be called before anything is opened here.
pub fn close_inherited() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<i32>().ok());
    let for_us = number("LISTEN_PID") == Some(std::process::id().cast_signed());
    let passed = number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= 3 + passed) {
        // The directory's own descriptor is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}
