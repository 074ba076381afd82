//! The guard: a small process of our own that outlives the runtime just long enough to end its children.
//!
//! A runtime that is killed with SIGKILL cannot end the PHP processes it has started, and the kernel would
//! leave them running. So each of them carries a mark in its environment, which everything inherits that
//! it starts, and the guard, whose standard input is a pipe that only the runtime holds open, kills all that
//! bear the mark once that pipe ends. In a systemd unit, the unit's cgroup does the same and more.

use std::io::{self, Read};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use kqueue_system::processes::with_variable;

/// The variable that marks our processes.
pub const MARK: &str = "KQUEUE_RUN";
/// Rounds of looking for marked processes; each takes a few milliseconds.
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
            // The terminal may be root's, whose app's user could trace this process.
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for the runtime, which then decides.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, mark })
    }

    /// The mark that our processes bear.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Lets the guard end all that bear the mark, and returns when it has.
    pub async fn sweep(mut self) {
        drop(self.child.stdin.take());
        let _ = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
    }
}

/// What the guard does, from its start to its end.
pub fn guard(mark: &str) -> ExitCode {
    // Nobody writes to the pipe: it ends when the runtime does.
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
