//! `kqueue status`: what runtimes tell of themselves, and what systemd says of those that do not run.
//!
//! Looking never starts anything: where systemd listens for an app, it is asked first whether the app runs.
//! Exit codes: 0 it runs, 3 it does not (as `systemctl status`), 4 there is no such app, 5 it is degraded, 6 it runs and
//! takes on no job (maintenance mode, every queue paused), 1 we cannot tell. Of all apps, the first of these that is true of
//! one: 1, 3 (it has failed; one that was stopped on purpose does not count), 5.

mod paused;
mod text;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

pub(super) use paused::paused;

use super::see::{self, At, STOPPED, snapshot, unanswered};
use super::show::{Mood, Style};
use super::{Failed, complete, print, stdio};
use kqueue_config::{self as config, Surroundings};
use kqueue_control::{self as control, Found, Snapshot, State, find, find_all};
use kqueue_system::harmless;

/// It runs, and something keeps it from running jobs as it should.
const DEGRADED: u8 = 5;
/// It runs, and takes on no job until it is told to.
const HELD: u8 = 6;
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Name of the app; by default, all apps with a file in /etc/kqueue and all running ones
    #[arg(add = complete::apps())]
    app: Option<String>,
    #[command(flatten)]
    at: At,
    /// Print JSON: the runtime's snapshot, or an array of snapshots without APP
    #[arg(long)]
    json: bool,
    /// Refresh every two seconds, until Ctrl-C. With --json, each refresh prints one line for each app
    #[arg(long, short)]
    watch: bool,
}

/// One look: what is shown, and the exit code.
struct Look {
    text: String,
    code: u8,
}

pub(super) fn run(asked: Status) -> Result<ExitCode, Failed> {
    let here = see::surroundings()?;
    if !asked.watch {
        let Look { text, code } = see::wait(look(&asked, &here))??;
        print(&text)?;
        return Ok(ExitCode::from(code));
    }
    see::wait(watch(&asked, &here))?
}

/// Looks again and again. A pipe whose reader has gone ends it.
async fn watch(asked: &Status, here: &Surroundings) -> Result<ExitCode, Failed> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let clears = std::io::stdout().is_terminal() && !dumb && !asked.json;
    let mut first = true;
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let Look { text, code } = look(asked, here).await?;
        let text = match (clears, first || asked.json) {
            // Line by line over the last one, so that nothing flickers.
            (true, _) => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
            (false, true) => text,
            (false, false) => format!("\n{text}"),
        };
        let text = if clears && first { format!("\x1b[2J{text}") } else { text };
        first = false;
        if !stdio::is_read(&text).map_err(|error| Failed::at("stdout", error))? {
            return Ok(ExitCode::from(code));
        }
    }
}

async fn look(asked: &Status, here: &Surroundings) -> Result<Look, Failed> {
    if asked.app.is_some() || asked.at.names_one() {
        let place = config::place(&asked.at.request(asked.app.clone()), here)?;
        let found = find(&place, here).await;
        return one(&place.app, found, asked);
    }
    let all = find_all(see::all_places(&asked.at, here)?, here).await;
    let code = code_of_all(&all);
    let text = if asked.json {
        let all = all.into_iter().map(|(app, found)| as_json(&app, found));
        match asked.watch {
            true => all.map(|one| format!("{one}\n")).collect(),
            false => format!("{:#}\n", Value::Array(all.collect())),
        }
    } else {
        let lines: Vec<_> = all.iter().map(|(app, found)| line(app, found)).collect();
        text::list(&lines, Style::of_stdout())
    };
    Ok(Look { text, code })
}

fn one(app: &str, found: Found, asked: &Status) -> Result<Look, Failed> {
    let code = match &found {
        Found::Told(value, _) => code(&snapshot(value)),
        Found::Stopped { .. } => STOPPED,
        Found::Dark { .. } | Found::Nobody => return Err(unanswered(app, &found)),
    };
    let text = match (found, asked.json) {
        (found, true) if asked.watch => format!("{}\n", as_json(app, found)),
        (found, true) => format!("{:#}\n", as_json(app, found)),
        (Found::Told(value, _), false) => text::details(&snapshot(&value), Style::of_stdout()),
        (found, false) => {
            let (_, words, _) = line(app, &found);
            format!("{app}: {words}\n")
        }
    };
    Ok(Look { text, code })
}

/// What a running app ends the command with.
fn code(told: &Snapshot) -> u8 {
    match told.state {
        State::Degraded => DEGRADED,
        State::Maintenance | State::Paused => HELD,
        State::Starting | State::Running | State::Draining | State::Stopping | State::Unknown => 0,
    }
}

/// What all apps together end the command with. One that was stopped on purpose does not count.
fn code_of_all(all: &[(String, Found)]) -> u8 {
    let codes: Vec<u8> = all
        .iter()
        .map(|(_, found)| match found {
            Found::Dark { .. } => super::FAILURE,
            Found::Stopped { failed: true, .. } => STOPPED,
            Found::Told(value, _) => code(&snapshot(value)),
            Found::Stopped { failed: false, .. } | Found::Nobody => 0,
        })
        .collect();
    // The worst first.
    [super::FAILURE, STOPPED, DEGRADED].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

fn as_json(app: &str, found: Found) -> Value {
    match found {
        // A runtime is the app's user's, and may say anything.
        Found::Told(value, _) => harmless::value(value, see::LONGEST),
        Found::Stopped { failed, why } => {
            json!({"version": control::VERSION, "app": app, "state": if failed { "failed" } else { "stopped" }, "status": why})
        }
        Found::Dark { why, .. } => json!({"version": control::VERSION, "app": app, "state": "unknown", "error": why}),
        Found::Nobody => json!({"version": control::VERSION, "app": app, "state": "stopped", "status": "stopped"}),
    }
}

/// Its name, how it is in words, and how bad that is.
fn line(app: &str, found: &Found) -> (String, String, Mood) {
    let (words, mood) = match found {
        Found::Told(value, _) => {
            let snapshot = snapshot(value);
            let words = snapshot.status.strip_prefix(&format!("{app}: ")).unwrap_or(&snapshot.status).to_owned();
            (words, Mood::of(&snapshot))
        }
        Found::Stopped { failed: true, why } => (why.clone(), Mood::Bad),
        Found::Stopped { failed: false, why } => (why.clone(), Mood::Quiet),
        Found::Dark { why, .. } => (why.clone(), Mood::Bad),
        Found::Nobody => ("stopped".to_owned(), Mood::Quiet),
    };
    (app.to_owned(), words, mood)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_all_apps_is_the_exit_code() {
        let told = |state: &str| Found::Told(json!({"version": 1, "state": state}), "/s".into());
        let stopped = |failed| Found::Stopped { failed, why: "x".to_owned() };
        let dark = || Found::Dark { why: "x".to_owned(), denied: false };
        let cases = [
            (vec![], 0),
            (vec![told("running"), told("paused"), told("maintenance"), stopped(false), Found::Nobody], 0),
            (vec![told("running"), told("degraded"), stopped(false)], DEGRADED),
            (vec![told("running"), stopped(true)], STOPPED),
            (vec![told("degraded"), stopped(true)], STOPPED),
            (vec![told("degraded"), stopped(true), dark()], super::super::FAILURE),
            (vec![dark(), told("degraded")], super::super::FAILURE),
        ];
        for (all, code) in cases {
            let all: Vec<_> = all.into_iter().map(|found| ("shop".to_owned(), found)).collect();
            assert_eq!(code_of_all(&all), code, "{all:?}");
        }
    }
}
