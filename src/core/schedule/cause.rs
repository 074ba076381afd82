//! Why a process ended, with its text for logs.

use std::fmt;

/// How a process ended, or why it is being killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It exited with this code.
    Exit(i32),
    /// Ended by a signal that the runtime did not send.
    Signal(i32),
    /// A PHP fatal error.
    Fatal(String),
    /// It exceeded its memory limit.
    Memory {
        /// Memory in use, in MB.
        used: u32,
        /// The limit, in MB.
        limit: u32,
    },
    /// Its job ran longer than this many milliseconds.
    Timeout(u64),
    /// Its look for a job took this many milliseconds, and did not end.
    Pop(u64),
    /// It broke the protocol.
    Protocol(String),
    /// It did not become ready within this many milliseconds.
    Boot(u64),
    /// It reported why it could not boot.
    BootFailed(String),
    /// The kernel killed it at the memory limit of its unit.
    OutOfMemory {
        /// The limit, in MB.
        limit: u32,
        /// Peak memory in MB, if known.
        peak: Option<u32>,
    },
    /// Killed on a stop that could wait no longer.
    Shutdown,
    /// It ended together with an earlier runtime that was killed.
    Orphaned,
    /// Its end was not observed.
    Vanished,
    /// Its job was cancelled by this operator.
    Cancelled(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Exit(code) => write!(f, "the job ended PHP with exit({code})"),
            Cause::Signal(signal) => write!(f, "killed by {}", signal_name(*signal)),
            Cause::Fatal(message) => write!(f, "PHP fatal error: {message}"),
            Cause::Memory { used, limit } => write!(f, "used {used} MB of memory, over its limit of {limit} MB"),
            Cause::Timeout(ms) => write!(f, "ran longer than its timeout of {} s", *ms as f64 / 1000.0),
            Cause::Pop(ms) => write!(f, "was still waiting for the queue after {} s", *ms as f64 / 1000.0),
            Cause::Protocol(what) => write!(f, "violated the protocol: {what}"),
            Cause::Boot(ms) => write!(f, "was not ready within {} s", *ms as f64 / 1000.0),
            Cause::BootFailed(why) => write!(f, "the app did not boot: {why}"),
            Cause::OutOfMemory { limit, peak } => {
                write!(f, "oom-kill at {limit} MB")?;
                peak.map_or(Ok(()), |peak| write!(f, " (peak {peak} MB)"))
            }
            Cause::Orphaned => f.write_str("killed together with kqueue, which ended unexpectedly"),
            Cause::Shutdown => f.write_str("killed because the grace period of the stop had ended"),
            Cause::Cancelled(by) => write!(f, "cancelled by {by}"),
            Cause::Vanished => f.write_str("its PHP process ended with unknown exit status"),
        }
    }
}

/// `SIGSEGV` for 11, and so on for those that end a PHP process in practice.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
