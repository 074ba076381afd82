//! `kqueue status`: what runtimes tell of themselves, and what systemd says of those that do not run.
//!
//! Looking never starts anything: where systemd listens for an app, it is asked first whether the app runs.
//! Exit codes: 0 it runs, 3 it does not (as `systemctl status`), 4 there is no such app, 5 it is degraded, 6 it runs and
//! takes on no job (maintenance mode, every queue paused), 1 we cannot tell.

mod table;
pub(in crate::cli) mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Failed, complete, print};
use kqueue_config::{self as config, Request, Surroundings};
use kqueue_control::{self as control, Found, Snapshot, State, find, find_all};
use kqueue_system::harmless;

/// Longest text of a runtime's in bytes that is told.
const LONGEST: usize = 4096;
/// It does not run.
const STOPPED: u8 = 3;
/// There is no such app.
const UNKNOWN: u8 = 4;
/// It runs, and something keeps it from running jobs as it should.
const DEGRADED: u8 = 5;
/// It runs, and takes on no job until it is told to.
const HELD: u8 = 6;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Name of the app; without it, all apps with a file in /etc/kqueue and all that run
    #[arg(add = complete::apps())]
    app: Option<String>,
    /// Print JSON: what the runtime tells, or an array of that without APP
    #[arg(long)]
    json: bool,
    /// The config file that `kqueue run` was given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The app's directory, as `kqueue run` was given it: names the app where APP does not
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
    /// The directory of the app's sockets, if it is not where the app's name says
    #[arg(long, value_name = "PATH")]
    runtime_dir: Option<PathBuf>,
}

impl Status {
    fn request(&self) -> Request {
        let given = [("path", &self.path), ("runtime_dir", &self.runtime_dir)];
        let flags = given.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?.to_str()?.to_owned())));
        Request { app: self.app.clone(), config: self.config.clone(), flags: flags.collect(), ..Request::default() }
    }

    fn names_one(&self) -> bool {
        self.app.is_some() || self.config.is_some() || self.path.is_some() || self.runtime_dir.is_some()
    }
}

pub(super) fn run(asked: Status) -> Result<ExitCode, Failed> {
    let here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::at("event loop", error))?;
    if asked.names_one() {
        let place = config::place(&asked.request(), &here)?;
        let found = runtime.block_on(find(&place, &here));
        return one(&place.app, found, asked.json);
    }
    let request = asked.request();
    let mut places = Vec::new();
    for app in config::known_apps(&here) {
        places.push(config::place(&Request { app: Some(app), ..request.clone() }, &here)?);
    }
    let all = runtime.block_on(find_all(places, &here));
    let dark = all.iter().any(|(_, found)| matches!(found, Found::Dark { .. }));
    let degraded =
        all.iter().any(|(_, found)| matches!(found, Found::Told(value, _) if code(&snapshot(value)) == DEGRADED));
    print(&if asked.json {
        let all: Vec<Value> = all.into_iter().map(|(app, found)| as_json(&app, found)).collect();
        format!("{:#}\n", Value::Array(all))
    } else {
        let lines: Vec<_> = all.iter().map(|(app, found)| line(app, found)).collect();
        text::list(&lines, text::Style::of_stdout())
    })?;
    Ok(ExitCode::from(match (dark, degraded) {
        (true, _) => super::FAILURE,
        (_, true) => DEGRADED,
        _ => 0,
    }))
}

fn one(app: &str, found: Found, json: bool) -> Result<ExitCode, Failed> {
    let code = match &found {
        Found::Told(value, _) => code(&snapshot(value)),
        Found::Stopped { .. } => STOPPED,
        Found::Dark { why, .. } => return Err(Failed { code: super::FAILURE, line: why.clone() }),
        Found::Nobody => {
            let line = format!("{app}: no such app: it has no file in /etc/kqueue, and none runs by that name");
            return Err(Failed { code: UNKNOWN, line });
        }
    };
    print(&match (found, json) {
        (found, true) => format!("{:#}\n", as_json(app, found)),
        (Found::Told(value, _), false) => text::details(&snapshot(&value), text::Style::of_stdout()),
        (found, false) => {
            let (_, words, _) = line(app, &found);
            format!("{app}: {words}\n")
        }
    })?;
    Ok(ExitCode::from(code))
}

/// What a running app ends the command with.
fn code(told: &Snapshot) -> u8 {
    match told.state {
        State::Degraded => DEGRADED,
        State::Maintenance | State::Paused => HELD,
        State::Starting | State::Running | State::Draining | State::Stopping | State::Unknown => 0,
    }
}

/// A snapshot, as far as this version understands it.
fn snapshot(value: &Value) -> Snapshot {
    // One whose form has changed beyond that still has a name and a line.
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(value.clone()).unwrap_or_else(|_| Snapshot {
        app: text("app"),
        status: text("status"),
        ..Snapshot::default()
    })
}

fn as_json(app: &str, found: Found) -> Value {
    match found {
        // A runtime is the app's user's, and may say anything.
        Found::Told(value, _) => harmless::value(value, LONGEST),
        Found::Stopped { failed, why } => {
            json!({"version": control::VERSION, "app": app, "state": if failed { "failed" } else { "stopped" }, "status": why})
        }
        Found::Dark { why, .. } => json!({"version": control::VERSION, "app": app, "state": "unknown", "error": why}),
        Found::Nobody => json!({"version": control::VERSION, "app": app, "state": "stopped", "status": "stopped"}),
    }
}

/// Its name, how it is in words, and how bad that is.
fn line(app: &str, found: &Found) -> (String, String, text::Mood) {
    let (words, mood) = match found {
        Found::Told(value, _) => {
            let snapshot = snapshot(value);
            let words = snapshot.status.strip_prefix(&format!("{app}: ")).unwrap_or(&snapshot.status).to_owned();
            (words, text::Mood::of(&snapshot))
        }
        Found::Stopped { failed: true, why } => (why.clone(), text::Mood::Bad),
        Found::Stopped { failed: false, why } => (why.clone(), text::Mood::Quiet),
        Found::Dark { why, .. } => (why.clone(), text::Mood::Bad),
        Found::Nobody => ("stopped".to_owned(), text::Mood::Quiet),
    };
    (app.to_owned(), words, mood)
}
