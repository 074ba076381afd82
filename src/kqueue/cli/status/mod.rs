//! `kqueue status`: what runtimes tell of themselves, and what systemd says of those that do not run.
//!
//! Looking never starts anything: where systemd listens for an app, it is asked first whether the app runs.
//! Exit codes: 0 it runs, 3 it does not (as `systemctl status`), 4 there is no such app, 5 it is degraded, 6 it runs and
//! takes on no job (maintenance mode, every queue paused), 1 we cannot tell.

pub(in crate::cli) mod systemd;
mod table;
pub(in crate::cli) mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Failed, complete, print};
use crate::control::{self, AskError, GROUP, Snapshot, State};
use kqueue_config::{self as config, Place, Request, Surroundings};
use kqueue_system::harmless;
use systemd::Verdict;

/// Longest text of a runtime's in bytes that is told.
const LONGEST: usize = 4096;
/// Between two looks at a unit that does not answer.
const LOOK: Duration = Duration::from_millis(500);
/// Apps that are asked at once.
const AT_ONCE: usize = 64;
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

/// What is known of one app.
#[derive(Debug)]
enum Found {
    /// What it tells.
    Told(Value),
    /// It does not run; what systemd says of that.
    Stopped { failed: bool, why: String },
    /// It cannot be asked; whether that is because we may not.
    Dark { why: String, denied: bool },
    /// Nobody has heard of it.
    Nobody,
}

impl Found {
    /// Whether there is anything to say of an app that has no file: what once ran may leave a directory, to which
    /// others than its user have no access.
    fn is_there(&self) -> bool {
        match self {
            Found::Told(_) => true,
            Found::Stopped { failed, .. } => *failed,
            Found::Dark { denied, .. } => !denied,
            Found::Nobody => false,
        }
    }
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
        all.iter().any(|(_, found)| matches!(found, Found::Told(value) if code(&snapshot(value)) == DEGRADED));
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
        Found::Told(value) => code(&snapshot(value)),
        Found::Stopped { .. } => STOPPED,
        Found::Dark { why, .. } => return Err(Failed { code: super::FAILURE, line: why.clone() }),
        Found::Nobody => {
            let line = format!("{app}: no such app: it has no file in /etc/kqueue, and none runs by that name");
            return Err(Failed { code: UNKNOWN, line });
        }
    };
    print(&match (found, json) {
        (found, true) => format!("{:#}\n", as_json(app, found)),
        (Found::Told(value), false) => text::details(&snapshot(&value), text::Style::of_stdout()),
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
        Found::Told(value) => harmless::value(value, LONGEST),
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
        Found::Told(value) => {
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

/// Finds out how each app is, many at once: one that does not answer holds up no other.
async fn find_all(places: Vec<Place>, here: &Surroundings) -> Vec<(String, Found)> {
    let (mut asked, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for place in places {
        let (here, turns) = (here.clone(), turns.clone());
        asked.spawn(async move {
            let _turn = turns.acquire().await;
            let found = find(&place, &here).await;
            (place.configured || found.is_there()).then_some((place.app, found))
        });
    }
    let mut all: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Finds out how one app is.
async fn find(place: &Place, here: &Surroundings) -> Found {
    let (mut stopped, mut dark) = (None, None);
    for socket in &place.sockets {
        let mut is_unit = false;
        // Only there can it be systemd that listens.
        if socket.starts_with(&here.run) && sd_notify::booted().unwrap_or(true) {
            match systemd::ask(&place.app).await {
                Ok(Verdict { runs: true, .. }) => {
                    is_unit = true;
                    stopped = Some((false, "runs, but nothing listens for us".to_owned()));
                }
                Ok(Verdict { listens: true, failed, words, .. }) => return Found::Stopped { failed, why: words },
                Ok(Verdict { failed, words, known, .. }) if known => stopped = Some((failed, words)),
                Ok(_) => {}
                Err(why) => {
                    let why = format!("{}: cannot tell whether it runs: {why}", place.app);
                    return Found::Dark { why, denied: false };
                }
            }
        }
        let asked = tokio::select! {
            asked = control::ask(socket) => asked,
            why = end_of_unit(&place.app), if is_unit => return Found::Stopped { failed: true, why },
        };
        match asked {
            Ok(value) => return Found::Told(value),
            Err(AskError::NotRunning) => {}
            // What another user has left there hides nothing of ours.
            Err(AskError::Denied) => dark = dark.or_else(|| Some((denied(&place.app, socket), true))),
            Err(error) => {
                dark = dark.or_else(|| Some((format!("{}: {}: {error}", place.app, socket.display()), false)));
            }
        }
    }
    if let Some((why, denied)) = dark {
        return Found::Dark { why, denied };
    }
    match stopped {
        Some((failed, why)) => Found::Stopped { failed, why },
        None if place.configured || place.sockets.iter().any(|socket| is_left(socket, here)) => {
            Found::Stopped { failed: false, why: "stopped".to_owned() }
        }
        None => Found::Nobody,
    }
}

/// Waits until a unit that was about to run has failed instead: systemd's socket stays, and nobody answers on it.
async fn end_of_unit(app: &str) -> String {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(Verdict { runs: false, failed: true, words, .. }) = systemd::ask(app).await {
            return words;
        }
    }
}

/// Whether a runtime has left the directory of its own in which this socket was.
fn is_left(socket: &Path, here: &Surroundings) -> bool {
    socket.parent().is_some_and(|directory| directory != here.run && directory.is_dir())
}

fn denied(app: &str, socket: &Path) -> String {
    format!(
        "{app}: {}: permission denied; ask as root or as the app's user, or join the group {GROUP}: usermod -aG {GROUP} USER",
        socket.display()
    )
}
