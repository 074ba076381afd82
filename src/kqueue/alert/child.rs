//! A program that is given something on its standard input.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kqueue_system::harmless;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Bytes of its complaints that are told.
const COMPLAINTS: u64 = 2048;
/// What its complaints may take to come once it has ended: something that it left behind may hold them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs it, in a process group of its own that is killed when its time is over.
///
/// # Errors
/// In one line, why it cannot have done what it is for.
pub async fn run(program: &Path, arguments: &[String], input: &[u8], patience: Duration) -> Result<(), String> {
    let named = program.display();
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // They are between us and the service manager.
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        command.env_remove(variable);
    }
    let mut child = command.spawn().map_err(|error| format!("{named}: {error}"))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let work = async {
        let mut said = Vec::new();
        let written = async {
            if let Some(mut stdin) = stdin {
                // One that reads nothing may still do what it is for.
                let _ = stdin.write_all(input).await;
            }
        };
        let heard = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(COMPLAINTS).read_to_end(&mut said).await;
            }
        };
        let status = {
            let mut words = std::pin::pin!(futures_util::future::join(written, heard));
            tokio::select! {
                status = child.wait() => {
                    let _ = tokio::time::timeout(LAST_WORDS, words).await;
                    status
                }
                _ = &mut words => child.wait().await,
            }
        };
        (status, said)
    };
    let Ok((status, said)) = tokio::time::timeout(patience, work).await else {
        if let Some(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        return Err(format!("{named}: took more than {} s, and was killed", patience.as_secs()));
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let said = String::from_utf8_lossy(&said).into_owned();
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            let last = last.map(|line| format!(": {}", harmless::line(line, 300))).unwrap_or_default();
            Err(format!("{named}: {status}{last}"))
        }
        Err(error) => Err(format!("{named}: {error}")),
    }
}
