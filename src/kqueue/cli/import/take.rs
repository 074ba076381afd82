//! Makes a set from a command and its starter, for every kind of file. Pure.

use std::path::Path;

use super::plan::{At, Set, why_not};
use crate::cli::command::{Kind, Reading, Why, Work, shown};

/// Why environment variables are not carried over.
pub(super) const ENVIRONMENT: Why = "put them into .env, or into Environment= for both units: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@";
/// Why the user root is not carried over.
const ROOT: Why = "jobs should not run as root; kqueue runs them as the owner of the app's directory";

/// The program that starts a command, and how it does.
#[derive(Clone, Debug, Default)]
pub(super) struct Starter<'a> {
    /// Its name in its file.
    pub name: &'a str,
    /// Its name in notes: `[program:shop]`.
    pub source: String,
    pub at: At,
    pub directory: Option<&'a Path>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub processes: u32,
    /// The program that keeps starting commands that work no queue.
    pub keeper: &'a str,
    /// The fix if the app's directory is unknown.
    pub place: &'a str,
}

/// The sets of the commands in a reading; everything else becomes a note.
pub(super) fn take(reading: &Reading, starter: &Starter<'_>, notes: &mut Vec<String>) -> Vec<Set> {
    let Starter { name, at, .. } = starter;
    for refused in &reading.refused {
        notes.push(format!("{at}: {name} is left out: {refused}"));
    }
    for said in &reading.said {
        notes.push(format!("{at}: {name}: {said}"));
    }
    if reading.works.is_empty() && reading.refused.is_empty() {
        notes.push(match &reading.script {
            Some(script) => format!(
                "{at}: {name} runs {script}, which is not read; if it works a queue, write its command as {} would \
                 start it",
                starter.keeper
            ),
            None => format!("{at}: {name} works no Laravel queue; it stays with {}", starter.keeper),
        });
    }
    reading.works.iter().filter_map(|work| one(work, starter, notes)).collect()
}

fn one(work: &Work, starter: &Starter<'_>, notes: &mut Vec<String>) -> Option<Set> {
    let Starter { name, at, .. } = starter;
    let path = work.app(starter.directory);
    if work.kind == Kind::Horizon {
        let path = path.map_or("DIR".into(), |path| path.display().to_string());
        notes.push(format!("{at}: {name} is Horizon; `kqueue import horizon --path {path}` converts its settings"));
        return None;
    }
    let Some(path) = path else {
        notes.push(format!("{at}: {name} is left out: cannot determine the directory of artisan; {}", starter.place));
        return None;
    };
    let mut set = Set {
        name: (*name).to_owned(),
        source: starter.source.clone(),
        at: at.clone(),
        path,
        processes: starter.processes,
        schedule: work.kind == Kind::Schedule,
        ..Set::default()
    };
    let user = work.user.as_ref().or(starter.user.as_ref());
    match user.map(String::as_str) {
        Some(root @ ("root" | "0")) => set.drop(&format!("user {root}"), ROOT),
        Some(user) => {
            set.user = Some(user.to_owned());
            set.group = if work.user.is_some() { work.group.clone() } else { starter.group.clone() };
        }
        None => set.group = work.group.clone().or_else(|| starter.group.clone()),
    }
    set.php = work.php.clone().filter(|php| php != "php");
    set.php_args = work.php_args.clone();
    if set.php_args.iter().any(|arg| arg.contains(char::is_whitespace)) {
        set.php_args.clear();
        set.drop(&work.php_args.join(" "), "an argument contains a blank; write php_args as a list in the config file");
    }
    set.connection = work.connection.clone();
    set.queues = work.queues();
    for (what, why) in &work.dropped {
        set.drop(what, why);
    }
    if !work.env.is_empty() {
        set.drop(&work.env.join(", "), ENVIRONMENT);
    }
    options(work, &mut set);
    Some(set)
}

/// The options of `queue:work`.
fn options(work: &Work, set: &mut Set) {
    if work.kind == Kind::Schedule {
        return;
    }
    if work.kind == Kind::Listen {
        set.drop("queue:listen", "it boots the app for each job; kqueue does so only after a deploy (queue:restart)");
    }
    for (option, value) in &work.options {
        let text = value.as_deref().unwrap_or("true");
        let written = match value {
            Some(value) => format!("--{option}={}", shown(value)),
            None => format!("--{option}"),
        };
        let key = match option.as_str() {
            "tries" => "tries",
            "timeout" => "timeout",
            "memory" => "worker_memory",
            "backoff" | "delay" => "backoff",
            // No limit is Laravel's default.
            "max-jobs" | "max-time" if text == "0" => continue,
            "max-jobs" => "worker_max_jobs",
            "max-time" => "worker_max_time",
            "force" => "force",
            // Imported already, or irrelevant.
            "queue" | "quiet" | "verbose" | "no-interaction" | "ansi" | "no-ansi" | "json" | "daemon" | "name" => {
                continue;
            }
            short if short.starts_with('-') => continue,
            other => {
                set.drop(&written, why_not(other));
                continue;
            }
        };
        set.key(key, text, &written);
    }
}
