//! Tasks in the app's own PHP, outside of any runtime, as the app's user: `kqueue failed`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::child::take_place;
use super::{Manner, again, one_line};
use kqueue_config::Settings;
use kqueue_system::harmless;
use kqueue_system::identity::{self, Account};

/// Prefix of each answer from PHP; see FailedJobs.php.
const MARK: &str = "kqueue-errand ";
/// Maximum bytes of one answer.
const LINE: u64 = 32 << 20;
/// Bytes of PHP's stderr that are kept.
const COMPLAINTS: u64 = 64 << 10;

/// A task for the app's PHP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Errand {
    /// The PHP interpreter.
    pub php: PathBuf,
    /// Its arguments.
    pub php_args: Vec<String>,
    /// The app's directory.
    pub path: PathBuf,
    /// The mode of `worker.php`.
    pub mode: String,
    /// The order passed to it, on its standard input.
    pub order: Value,
}

impl Errand {
    /// A task in this mode of `worker.php`, for the app of these settings.
    pub fn new(settings: &Settings, mode: &str, order: Value) -> Self {
        Self {
            php: settings.php.clone(),
            php_args: settings.php_args.clone(),
            path: settings.path.clone(),
            mode: mode.to_owned(),
            order,
        }
    }
}

/// Runs it as `user`, or as our own user. Each answer is passed to `heard`, sanitized for a terminal; the last one has
/// `end` or `error`.
///
/// # Errors
/// In one line: when the process cannot be started, the app does not boot, or something in it fails.
pub fn run(
    errand: &Errand,
    user: Option<&Account>,
    manner: Manner,
    mut heard: impl FnMut(Value),
) -> Result<(), String> {
    let asked = serde_json::to_vec(&(errand, user, manner.as_root)).map_err(|error| error.to_string())?;
    let mut child = again("errand", user, manner)
        .spawn()
        .map_err(|error| format!("cannot start a kqueue child process: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Fails if the process has ended already; its output says why.
        let _ = stdin.write_all(&asked);
    }
    let complaints = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || {
            let (mut text, mut stderr) = (Vec::new(), stderr.take(COMPLAINTS));
            let _ = stderr.read_to_end(&mut text);
            // Drains the rest, so that the process does not block on a full pipe.
            let _ = std::io::copy(&mut stderr.into_inner(), &mut std::io::sink());
            text
        })
    });
    let (mut ended, mut fault) = (false, None);
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        while let Some(answer) = next(&mut stdout) {
            ended |= answer.get("end").is_some();
            match answer.get("error").and_then(Value::as_str) {
                Some(error) => {
                    fault = Some(one_line(error));
                    heard(answer);
                }
                None => heard(answer),
            }
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let complaints = complaints.and_then(|complaints| complaints.join().ok()).unwrap_or_default();
    match fault {
        Some(fault) => Err(fault),
        None if ended => Ok(()),
        None => {
            let said = String::from_utf8_lossy(&complaints);
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            Err(last.map_or_else(|| format!("PHP ended with {status}"), one_line))
        }
    }
}

/// The next answer, skipping other output.
fn next(stdout: &mut impl BufRead) -> Option<Value> {
    loop {
        let mut line = Vec::new();
        if stdout.by_ref().take(LINE).read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let answer = line.strip_prefix(MARK.as_bytes()).and_then(|answer| serde_json::from_slice(answer).ok());
        if let Some(answer) = answer {
            return Some(harmless::value_of_blocks(answer));
        }
    }
}

/// The hidden command `errand`: reads the errand from standard input, and has PHP do it.
///
/// # Errors
/// When it cannot, in one line.
pub fn carry_out(script: &Path) -> Result<ExitCode, String> {
    let errand: Errand = take_place("errand")?;
    let mut command = Command::new(&errand.php);
    command.args(&errand.php_args).arg(script).arg(&errand.mode);
    command.current_dir(&errand.path).stdin(Stdio::piped());
    let status = command.spawn().and_then(|mut child| {
        if let Some(mut stdin) = child.stdin.take() {
            // Fails if the process has ended already; its output says why.
            let _ = stdin.write_all(errand.order.to_string().as_bytes());
        }
        child.wait()
    });
    let status = status.map_err(|error| format!("{}: {error}", errand.php.display()));
    // Background processes that the app has started.
    identity::end_descendants();
    Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_lines_are_answers() {
        let mut printed = &b"Deprecated: x\nkqueue-errand {\"job\":{\"id\":\"\\u001b[2J\"}}\nkqueue-errand nonsense\n\
            kqueue-errand {\"end\":true}\n"[..];
        assert_eq!(next(&mut printed).unwrap()["job"]["id"], " [2J");
        assert_eq!(next(&mut printed).unwrap()["end"], true);
        assert_eq!(next(&mut printed), None);
    }
}
