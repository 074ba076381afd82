//! What can be asked of an app before a runtime works it: its PHP, whether it boots, its queue connection.
//!
//! A process of its own asks, as the app's user: what runs or opens anything of the app must not be root. That process
//! is this same program (`kqueue survey`), which gives up root's rights itself, has PHP describe the app
//! (`Survey.php`), and looks whether the queue answers. No password of the app comes back from it.

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

/// `PATH` as systemd gives it to units: what the app's processes will have.
pub const UNIT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Oldest PHP that runs kqueue's side, as `PHP_VERSION_ID`.
pub const OLDEST_PHP: u32 = 8_01_00;

/// Longest text of an app's in bytes that is told.
const LONGEST: usize = 400;

/// What is asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Question {
    /// The PHP interpreter.
    pub php: PathBuf,
    /// Its arguments.
    pub php_args: Vec<String>,
    /// The app's directory.
    pub path: PathBuf,
    /// The queue connection; the app's default where there is none.
    pub connection: Option<String>,
    /// Its queues; the connection's own where there are none.
    pub queues: Vec<String>,
    /// The environment of which Horizon's plan is wanted; the app's own where there is none.
    pub environment: Option<String>,
    /// What the app may open while it boots and share between its processes.
    #[serde(default)]
    pub fork_safe_peers: Vec<String>,
    /// How long PHP may take.
    pub patience: Duration,
    /// Whether properties are hints, where it is asked what the app's classes declare.
    #[serde(default)]
    pub property_hints: Option<bool>,
}

impl Question {
    /// All but what needs more than a look: Horizon's plan and what classes declare.
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
        }
    }
}

/// What was found out, as far as it went.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Found {
    /// PHP's version.
    pub php: Option<String>,
    /// PHP can fork, and its processes can be signalled.
    pub fork: bool,
    /// PHP has `posix`.
    pub posix: bool,
    /// A fork can have an output of its own.
    pub ffi: bool,
    /// Files and directories that the app's user should be able to write to, and is not.
    pub unwritable: Vec<PathBuf>,
    /// Laravel's version: the app has booted.
    pub laravel: Option<String>,
    /// `app.env`.
    pub environment: Option<String>,
    /// What it has opened while it booted, and what its processes must not share.
    pub held: Vec<Held>,
    /// Why what its `artisan` sets up is not done, if so.
    pub artisan: Option<String>,
    /// What its queued classes declare for kqueue, if that was asked.
    pub declared: BTreeMap<String, Declared>,
    /// The default cache store.
    pub cache: Option<Cache>,
    /// Horizon's plan, where the app has one.
    pub horizon: Option<Horizon>,
    /// What there is for standing in for Horizon's master, where the queue is Horizon's.
    pub master: Option<Master>,
    /// The app's default queue connection.
    #[serde(rename = "default")]
    pub usual: Option<String>,
    /// The queue connection that is worked.
    pub connection: Option<String>,
    /// Its own queue.
    pub queue: Option<String>,
    /// What PHP lacks for it: an extension, or a package.
    pub lacks: Option<String>,
    /// The connection's driver.
    pub driver: Option<String>,
    /// Its `retry_after` in seconds; `None` is never, or not known.
    pub retry_after: Option<i64>,
    /// Its table, where that is long and has no index for what is looked for in it.
    pub unindexed: Option<String>,
    /// Workers pop by themselves from it.
    pub native: bool,
    /// The connections behind it, where it only chooses among them.
    pub members: Vec<String>,
    /// Other queue connections that the app uses, and where.
    pub others: BTreeMap<String, String>,
    /// Where it ended, if not at the end.
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

/// What Horizon has for those who stand in for its master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Master {
    /// A class that this version lacks.
    pub lacks: Option<String>,
}

impl Master {
    /// What nobody does where that cannot be done.
    pub const DUTIES: &str = "nobody trims its indexes, keeps its records or watches its waits";
}

/// `config/horizon.php`, for one environment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Horizon {
    /// The environment that was asked for.
    pub environment: String,
    /// All that have a plan.
    pub environments: Vec<String>,
    /// The plan; `None` where there is none for this environment.
    pub supervisors: Option<Vec<Supervisor>>,
    /// After how many seconds of waiting it tells, by connection and queue.
    pub waits: BTreeMap<String, serde_json::Value>,
}

/// One supervisor of Horizon's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Supervisor {
    /// Its name.
    pub name: String,
    /// Its options, by the names that Horizon's classes give them: `maxProcesses`, `maxTries`.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// What one class of the app declares, as text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Declared {
    /// Its hints.
    pub hints: BTreeMap<String, String>,
    /// What it has under the name of a hint and cannot be meant for kqueue.
    pub ignored: BTreeMap<String, String>,
    /// Why it cannot be loaded.
    pub unloadable: Option<String>,
}

/// How far a survey went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// PHP does not run, or is too old.
    Php,
    /// The app does not boot.
    Boot,
    /// The app's connection cannot be worked.
    Connection,
    /// The queue does not answer.
    Queue,
}

/// Why a survey ended early.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// Why, in one line.
    pub text: String,
    /// What it comes from, where that is known.
    #[serde(default)]
    pub fault: Option<BootFault>,
}

impl Found {
    fn failed(stage: Stage, text: impl Into<String>) -> Self {
        Self { failed: Some(Failure { stage, text: one_line(&text.into()), fault: None }), ..Self::default() }
    }

    /// What a survey has answered. Whatever an app says in it is harmless to a terminal.
    fn read(answer: &[u8]) -> Option<Self> {
        let answer = harmless::value(serde_json::from_slice(answer).ok()?, LONGEST);
        serde_json::from_value(answer).ok()
    }

    /// What it failed at, unless it came to its end.
    pub fn stage(&self) -> Option<Stage> {
        self.failed.as_ref().map(|failure| failure.stage)
    }
}

/// How an app is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// It has units, or is to have them: these give it an environment of their own, and nothing of the shell's.
    pub unit: bool,
    /// Its PHP may run as root.
    pub as_root: bool,
}

/// This program again, for something that is done as `user` or as who we are. The app sees the environment that it will see
/// when it runs.
fn again(what: &str, user: Option<&Account>, manner: Manner) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // They are between a runtime and its service manager.
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

/// Asks, as `user` or as who we are. The app sees the environment that it will see when it runs.
///
/// # Errors
/// Where the process that is to ask cannot be had; what is wrong with the app is in what it answers.
pub fn ask(question: &Question, user: Option<&Account>, manner: Manner) -> Result<Found, String> {
    let mut command = again("survey", user, manner);
    let asked = serde_json::to_vec(&(question, user, manner.as_root)).map_err(|error| error.to_string())?;
    let mut child = command.spawn().map_err(|error| format!("cannot start kqueue again: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended already says why.
        let _ = stdin.write_all(&asked);
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    Found::read(&output.stdout).ok_or_else(|| {
        let said = one_line(String::from_utf8_lossy(&output.stderr).trim());
        if said.is_empty() { format!("the survey ended with {}", output.status) } else { said }
    })
}

/// PHP's version and its number (`80204`), of an interpreter.
///
/// # Errors
/// Why there is none, in one line.
pub fn version(php: &Path, args: &[String]) -> Result<(String, u32), String> {
    let mut command = Command::new(php);
    command.args(args).args(["-r", "echo PHP_VERSION_ID, ' ', PHP_VERSION;"]);
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    // What an extension complains of at startup comes first.
    let last = said.lines().last().unwrap_or_default();
    last.split_once(' ')
        .and_then(|(id, version)| Some((version.to_owned(), id.parse().ok()?)))
        .ok_or_else(|| format!("is no PHP command line: {}", one_line(&String::from_utf8_lossy(&output.stderr))))
}

/// One line of what a process or a server said.
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
