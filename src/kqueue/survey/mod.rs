//! Surveys an app before a runtime works it: its PHP, whether it boots, its queue connection.
//!
//! The survey runs in a process of its own, as the app's user: nothing that runs or opens files of the app may be root.
//! That process is this same program (`kqueue survey`), which drops root's rights itself, has PHP describe the app
//! (`Survey.php`), and checks whether the queue answers. It returns no password of the app.

mod child;
mod errand;
mod fix;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use kqueue_config::Settings;
use kqueue_core::wire::{BootFault, Held};
use kqueue_system::harmless;
use kqueue_system::identity::Account;

pub use child::answer;
pub use errand::{Errand, carry_out, run as run_errand};
pub use fix::{of_boot as boot_fix, of_connection as connection_fix};

/// `PATH` as systemd sets it for units, and so for the app's processes.
pub const UNIT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Oldest PHP that runs kqueue's side, as `PHP_VERSION_ID`.
pub const OLDEST_PHP: u32 = 8_01_00;

/// Maximum bytes of a text from an app.
const LONGEST: usize = 400;

/// The question of a survey.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Question {
    /// The PHP interpreter.
    pub php: PathBuf,
    /// Its arguments.
    pub php_args: Vec<String>,
    /// The app's directory.
    pub path: PathBuf,
    /// The queue connection; `None` is the app's default.
    pub connection: Option<String>,
    /// Its queues; if empty, the connection's own.
    pub queues: Vec<String>,
    /// The environment whose Horizon plan is wanted; `None` is the app's own.
    pub environment: Option<String>,
    /// Peers to which the app may hold connections from its boot and share them between its processes.
    #[serde(default)]
    pub fork_safe_peers: Vec<String>,
    /// Timeout for PHP.
    pub patience: Duration,
    /// Set to survey what the app's classes declare: whether properties count as hints.
    #[serde(default)]
    pub property_hints: Option<bool>,
    /// Classes to look for.
    #[serde(default)]
    pub classes: Vec<String>,
}

impl Question {
    /// The question for these settings, without the slow parts: another environment's Horizon plan, and class
    /// declarations.
    pub fn of(settings: &Settings) -> Self {
        Self {
            php: settings.php.clone(),
            php_args: settings.php_args.clone(),
            path: settings.path.clone(),
            connection: settings.connection.clone(),
            queues: settings.queues.clone(),
            environment: None,
            fork_safe_peers: settings.fork_safe_peers.clone(),
            patience: settings.boot_timeout,
            property_hints: None,
            classes: Vec::new(),
        }
    }
}

/// Findings of a survey, as far as it went.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Found {
    /// PHP's version.
    pub php: Option<String>,
    /// PHP can fork, and its processes can be signalled.
    pub fork: bool,
    /// PHP has `posix`.
    pub posix: bool,
    /// A fork can redirect its output to a stream of its own.
    pub ffi: bool,
    /// Files and directories that the app's user should be able to write, and cannot.
    pub unwritable: Vec<PathBuf>,
    /// Its `.env`, if it should be able to read it and cannot.
    pub unreadable: Option<PathBuf>,
    /// Those of the question's classes that it does not have.
    pub unknown: Vec<String>,
    /// Laravel's version: the app has booted.
    pub laravel: Option<String>,
    /// `app.env`.
    pub environment: Option<String>,
    /// What it opened during boot and its processes must not share.
    pub held: Vec<Held>,
    /// Why the setup in its `artisan` is not done, if so.
    pub artisan: Option<String>,
    /// Declarations for kqueue in its queued classes, if asked for.
    pub declared: BTreeMap<String, Declared>,
    /// The default cache store.
    pub cache: Option<Cache>,
    /// Horizon's plan, if the app has one.
    pub horizon: Option<Horizon>,
    /// Support for replacing Horizon's master, if the queue is Horizon's.
    pub master: Option<Master>,
    /// The app's default queue connection.
    #[serde(rename = "default")]
    pub usual: Option<String>,
    /// The queue connection that is worked.
    pub connection: Option<String>,
    /// Its own queue.
    pub queue: Option<String>,
    /// What PHP lacks for the connection: an extension, or a package.
    pub lacks: Option<String>,
    /// The connection's driver.
    pub driver: Option<String>,
    /// Its `retry_after` in seconds; `None` is never or unknown.
    pub retry_after: Option<i64>,
    /// Its table, if that is long and lacks an index for the queries on it.
    pub unindexed: Option<String>,
    /// Workers pop from it by themselves (native pop).
    pub native: bool,
    /// The connections behind it, if it only chooses among them.
    pub members: Vec<String>,
    /// Other queue connections that the app uses, each with where it is used.
    pub others: BTreeMap<String, String>,
    /// Why it ended early, if it did.
    pub failed: Option<Failure>,
}

/// A cache store of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Cache {
    /// Its name.
    pub store: String,
    /// Its driver.
    pub driver: String,
}

/// Horizon's support for a replacement of its master process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Master {
    /// A class that this version lacks.
    pub lacks: Option<String>,
}

impl Master {
    /// The duties of the master that are left undone where it cannot be replaced.
    pub const DUTIES: &str = "nothing trims its indexes, keeps its records or monitors its waits";
}

/// `config/horizon.php`, for one environment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Horizon {
    /// The environment asked for.
    pub environment: String,
    /// All environments that have a plan.
    pub environments: Vec<String>,
    /// The plan; `None` if there is none for this environment.
    pub supervisors: Option<Vec<Supervisor>>,
    /// Seconds of waiting after which it notifies, by connection and queue.
    pub waits: BTreeMap<String, serde_json::Value>,
}

/// A supervisor of Horizon.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Supervisor {
    /// Its name.
    pub name: String,
    /// Its options, by their names in Horizon's classes: `maxProcesses`, `maxTries`.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// Declarations of one class of the app, as text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Declared {
    /// Its hints.
    pub hints: BTreeMap<String, String>,
    /// Declarations that have the name of a hint but cannot be meant for kqueue.
    pub ignored: BTreeMap<String, String>,
    /// Why the class cannot be loaded.
    pub unloadable: Option<String>,
}

/// The stage at which a survey failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// PHP does not run, or is too old.
    Php,
    /// The app does not boot.
    Boot,
    /// The app's connection cannot be served.
    Connection,
    /// The queue does not answer.
    Queue,
}

/// Why a survey ended early.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Failure {
    /// The stage that failed.
    pub stage: Stage,
    /// The reason, in one line.
    pub text: String,
    /// The cause, if known.
    #[serde(default)]
    pub fault: Option<BootFault>,
}

impl Found {
    fn failed(stage: Stage, text: impl Into<String>) -> Self {
        Self { failed: Some(Failure { stage, text: one_line(&text.into()), fault: None }), ..Self::default() }
    }

    /// Parses the answer of a survey; `None` if it is not valid JSON of that form. Texts of the app are sanitized for a
    /// terminal.
    fn read(answer: &[u8]) -> Option<Self> {
        let answer = harmless::value(serde_json::from_slice(answer).ok()?, LONGEST);
        serde_json::from_value(answer).ok()
    }

    /// The stage at which it failed; `None` if it completed.
    pub fn stage(&self) -> Option<Stage> {
        self.failed.as_ref().map(|failure| failure.stage)
    }
}

/// How a survey or errand is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// The app has units, or will have: these give it an environment of their own, and nothing of the shell's.
    pub unit: bool,
    /// Its PHP may run as root.
    pub as_root: bool,
}

/// A command that runs this program again, as `user` or as our own user. The app sees the environment that it will run
/// with.
fn again(what: &str, user: Option<&Account>, manner: Manner) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Variables between a runtime and its service manager.
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        command.env_remove(variable);
    }
    if let Some(user) = user {
        if manner.unit && sd_notify::booted().unwrap_or(false) {
            let kept = ["LANG", "TZ", "KQUEUE_PHP_DIR"].map(|name| (name, std::env::var_os(name)));
            command.env_clear().env("PATH", UNIT_PATH);
            command.envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
        }
        command.current_dir("/");
        if !user.is_us() || manner.unit {
            command.envs(user.environment());
        }
    }
    command
}

/// Makes a survey, as `user` or as our own user. The app sees the environment that it will run with.
///
/// # Errors
/// When the survey process cannot be run or gives no answer; faults of the app are in the answer.
pub fn ask(question: &Question, user: Option<&Account>, manner: Manner) -> Result<Found, String> {
    let mut command = again("survey", user, manner);
    let asked = serde_json::to_vec(&(question, user, manner.as_root)).map_err(|error| error.to_string())?;
    let mut child = command.spawn().map_err(|error| format!("cannot start a kqueue child process: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Fails if the process has ended already; its output says why.
        let _ = stdin.write_all(&asked);
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    Found::read(&output.stdout).ok_or_else(|| {
        let said = one_line(String::from_utf8_lossy(&output.stderr).trim());
        if said.is_empty() { format!("the survey ended with {}", output.status) } else { said }
    })
}

/// The version of a PHP interpreter, as text and as number (`80204`).
///
/// # Errors
/// When it cannot be determined, the reason in one line.
pub fn version(php: &Path, args: &[String]) -> Result<(String, u32), String> {
    let mut command = Command::new(php);
    command.args(args).args(["-r", "echo PHP_VERSION_ID, ' ', PHP_VERSION;"]);
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Startup warnings of extensions come first.
    let last = said.lines().last().unwrap_or_default();
    last.split_once(' ')
        .and_then(|(id, version)| Some((version.to_owned(), id.parse().ok()?)))
        .ok_or_else(|| format!("not a PHP command line: {}", one_line(&String::from_utf8_lossy(&output.stderr))))
}

/// Output of a process or server, sanitized, as one line of at most [`LONGEST`] bytes.
fn one_line(text: &str) -> String {
    harmless::words(text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_harmless() {
        let answer = serde_json::json!({
            "php": "8.4\u{1b}]0;x\u{7}",
            "connection": "redis\u{9b}31m\u{202e}",
            "unwritable": ["/srv/shop/\u{85}storage"],
            "horizon": {"supervisors": [{"name": "a\nb", "options": {"q\u{1b}": "\u{1b}[2J"}}]},
            "failed": {"stage": "boot", "text": "x".repeat(9999)},
        });
        let found = Found::read(answer.to_string().as_bytes()).unwrap();
        let text = serde_json::to_value(&found).unwrap();
        assert_eq!(text, harmless::value(text.clone(), LONGEST));
        assert!(Found::read(b"no JSON").is_none());
    }
}
