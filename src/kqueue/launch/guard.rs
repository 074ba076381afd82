//! The guard: a small process that outlives the runtime just long enough to end its children.
//!
//! A runtime killed with SIGKILL cannot end the PHP processes it has started, and the kernel would leave them running.
//! So each carries a mark in its environment, which its descendants inherit. The guard's standard input is a pipe that
//! only the runtime holds open: at its end, the guard kills every process with the mark. In a systemd unit, the unit's
//! cgroup does the same and more.

use std::io::{self, Read};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use kqueue_system::processes::with_variable;
use kqueue_system::unchecked;

/// The variable that marks our processes.
pub const MARK: &str = "KQUEUE_RUN";
/// Maximum scans for marked processes; each takes a few milliseconds.
const ROUNDS: usize = 500;

/// The runtime's end of the guard.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    mark: String,
}

impl Guard {
    /// Starts the guard: this same program, as `kqueue guard MARK`.
    ///
    /// # Errors
    /// When the program cannot be started again.
    pub fn start() -> io::Result<Self> {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{}-{}", std::process::id(), started.as_nanos());
        let child = Command::new("/proc/self/exe")
            .arg0("kqueue-guard")
            .args(["guard", &mark])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // The terminal may be root's, and the app's user could trace this process.
            .stderr(Stdio::null())
            // Ctrl-C on a terminal must reach the runtime alone, which decides what to do.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, mark })
    }

    /// The mark that our processes carry.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Has the guard kill all marked processes, and returns when it has, or after 10 s.
    pub async fn sweep(mut self) {
        drop(self.child.stdin.take());
        let _ = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
    }
}

/// The guard's main function: waits for the end of the runtime, then kills all marked processes.
pub fn guard(mark: &str) -> ExitCode {
    // It only waits from here on.
    unchecked::unmap_code();
    // Nothing is written to the pipe: it ends with the runtime.
    let mut nothing = [0u8; 16];
    while matches!(io::stdin().read(&mut nothing), Ok(1..)) {}
    let mark = format!("{MARK}={mark}");
    for _ in 0..ROUNDS {
        let marked = with_variable(&mark);
        if marked.is_empty() {
            return ExitCode::SUCCESS;
        }
        for pid in marked {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    ExitCode::FAILURE
}
