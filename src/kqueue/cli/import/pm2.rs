//! pm2 process files such as `ecosystem.config.js`. Pure.

use std::path::PathBuf;

use super::node::{Node, Value};
use super::plan::{At, Set};
use super::source::Input;
use super::take::{self, ENVIRONMENT, Starter};
use super::{js, yaml};
use crate::cli::command::{Dialect, Reading, Why, mentions};

/// Maximum processes of one app; more are taken for a mistake.
const MOST_PROCESSES: u32 = 1000;

/// Keys without an equivalent, and why.
const DROPPED: &[(Why, &[&str])] = &[
    (
        "kqueue@{app} is always restarted",
        &["autorestart", "max_restarts", "min_uptime", "restart_delay", "exp_backoff_restart_delay"],
    ),
    ("worker_max_time sets when processes are replaced", &["cron_restart"]),
    (
        "kqueue logs the output of jobs, each line with its job: journalctl -u kqueue@{app}",
        &[
            "out_file",
            "error_file",
            "output",
            "error",
            "log_file",
            "merge_logs",
            "log_date_format",
            "combine_logs",
            "log",
            "time",
        ],
    ),
    ("a deploy's queue:restart, or systemctl reload kqueue@{app}, replaces the processes", &["watch", "ignore_watch"]),
    (ENVIRONMENT, &["env", "env_production", "env_file"]),
    ("worker_memory and worker_memory_max limit the memory of a process", &["max_memory_restart"]),
];

/// The sets of a file's apps.
///
/// # Errors
/// The error in the file, with its line.
pub(super) fn sets(
    input: &Input,
    lookup: &dyn Fn(&str) -> Option<String>,
    notes: &mut Vec<String>,
) -> Result<Vec<Set>, String> {
    notes.extend(input.note());
    let directory = input.path.parent().map(|path| path.display().to_string()).unwrap_or_default();
    let ending = input.path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let root = match ending.as_str() {
        "yml" | "yaml" => yaml::read(&input.text),
        _ => js::read(&input.text, &directory, lookup),
    };
    let root = root.map_err(|why| format!("{}: {why}", input.name))?;
    let apps = match &root.value {
        Value::List(list) => list.as_slice(),
        _ => root.get("apps").map_or(std::slice::from_ref(&root), |apps| match &apps.value {
            Value::List(list) => list.as_slice(),
            _ => std::slice::from_ref(apps),
        }),
    };
    let mut sets = Vec::new();
    for app in apps {
        let name = app.get("name").and_then(Node::text).unwrap_or("an app without name").to_owned();
        let at = At::new(&input.name, app.line);
        match one(app, &name, at.clone(), input, lookup, notes) {
            Ok(more) => sets.extend(more),
            Err(why) => notes.push(format!("{at}: {name} is left out: {why}")),
        }
    }
    Ok(sets)
}

fn one(
    app: &Node,
    name: &str,
    at: At,
    input: &Input,
    lookup: &dyn Fn(&str) -> Option<String>,
    notes: &mut Vec<String>,
) -> Result<Vec<Set>, String> {
    let text = |keys: &[&str]| -> Result<Option<String>, String> {
        let Some((key, node)) = keys.iter().find_map(|key| Some((key, app.get(key)?))) else { return Ok(None) };
        match (&node.value, node.text()) {
            (_, Some(text)) => Ok(Some(text.to_owned())),
            (Value::Unknown(written), _) => Err(format!(
                "{key} = {written} in line {} is not known without running the file; write its value there",
                node.line
            )),
            _ => Err(format!("{key} in line {} is not a string", node.line)),
        }
    };
    let (words, dialect) = command(app, &text)?;
    if app.get("...").is_some() && !mentions(&words) {
        notes.push(format!("{at}: {name}: an object that is merged into it is not known without running the file"));
    }
    let reading = Reading::of(&words, dialect, lookup);
    let processes = match text(&["instances"])?.as_deref() {
        None | Some("") => 1,
        Some("max" | "0" | "-1") if !reading.works.is_empty() => {
            return Err("instances depends on the number of CPUs; write a fixed number".into());
        }
        Some(count) if reading.works.is_empty() => count.parse().unwrap_or(1),
        Some(count) => count.parse::<u32>().map_err(|_| format!("instances = {count} is not a number"))?,
    };
    if processes > MOST_PROCESSES {
        return Err(format!("instances = {processes} is more than {MOST_PROCESSES} processes"));
    }
    let base = input.path.parent().unwrap_or(&input.path);
    let directory: PathBuf = match text(&["cwd"])? {
        Some(cwd) if cwd.starts_with('~') => return Err("cwd begins with ~; write it in full".into()),
        Some(cwd) => base.join(cwd),
        None => base.to_owned(),
    };
    for written in [words.as_str(), &directory.to_string_lossy()] {
        if input.is_doubtful(written) && !reading.works.is_empty() {
            return Err(format!("{written} is not UTF-8; save the file as UTF-8"));
        }
    }
    let user = text(&["user", "uid"])?;
    let starter = Starter {
        name,
        source: format!("app {name}"),
        at: at.clone(),
        directory: Some(&directory),
        group: text(&["gid"])?.filter(|_| user.is_some()),
        user,
        processes,
        keeper: "pm2",
        place: "set its cwd",
    };
    let mut sets = take::take(&reading, &starter, notes);
    for set in &mut sets {
        let at = |line: usize| At::new(&input.name, line);
        if let Some(milliseconds) = text(&["kill_timeout"])? {
            match milliseconds.parse::<u64>() {
                Ok(milliseconds) => set.key("stop_timeout", &format!("{milliseconds}ms"), "kill_timeout"),
                Err(_) => set.drop("kill_timeout", "not a number of milliseconds"),
            }
        }
        if let Some(mode) =
            app.get("exec_mode").filter(|mode| mode.text().is_some_and(|mode| mode.starts_with("cluster")))
        {
            set.drop_at("exec_mode = cluster", at(mode.line), "cluster mode is for Node.js programs only");
        }
        for (why, keys) in DROPPED {
            let there: Vec<_> = keys.iter().filter_map(|key| Some((*key, app.get(key)?))).collect();
            if let Some((_, first)) = there.first() {
                let names: Vec<&str> = there.iter().map(|(key, _)| *key).collect();
                set.drop_at(&names.join(", "), at(first.line), why);
            }
        }
    }
    Ok(sets)
}

/// The text of the first of these keys that exists.
type TextOf<'a> = &'a dyn Fn(&[&str]) -> Result<Option<String>, String>;

/// The command that pm2 runs, as one line.
fn command(app: &Node, text: TextOf<'_>) -> Result<(String, Dialect), String> {
    let script = text(&["script", "cmd"])?.unwrap_or_default();
    let args = match app.get("args") {
        Some(node) if node.text().is_none() => {
            if let Some(unknown) = node.unknown() {
                return Err(format!(
                    "args = {unknown} in line {} is not known without running the file; write its value there",
                    node.line
                ));
            }
            let words = node.list().iter().filter_map(Node::text);
            words.map(|word| shell_words::quote(word).into_owned()).collect::<Vec<_>>().join(" ")
        }
        _ => text(&["args"])?.unwrap_or_default(),
    };
    let interpreter = text(&["interpreter", "exec_interpreter"])?.filter(|name| name != "none" && name != "node");
    let options = text(&["interpreter_args", "interpreterArgs", "node_args"])?.unwrap_or_default();
    // pm2 passes a script with white space to a shell.
    let dialect = if script.contains(char::is_whitespace) { Dialect::Shell } else { Dialect::Words };
    let (interpreter, options) = match interpreter {
        Some(interpreter) => (interpreter, options),
        None => (String::new(), String::new()),
    };
    let words = [interpreter, options, script, args];
    Ok((words.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" "), dialect))
}
