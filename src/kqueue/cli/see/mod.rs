//! What is asked of a running app: which one is meant, where it listens, and what is said where it does not answer.
//!
//! Exit codes are those of `kqueue status`: 3 it does not run, 4 there is no such app (or job), 1 we cannot tell.

pub(super) mod events;
pub(super) mod health;
pub(super) mod job;
pub(super) mod jobs;
pub(super) mod pool;
mod span;
pub(super) mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

pub(super) use span::{ago, parse};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::show::Style;
use super::{Failed, complete, print, stdio};
use kqueue_config::{self as config, Place, Surroundings};
use kqueue_control::{self as control, AskError, Found, Request, Snapshot};
use kqueue_system::harmless;

/// Longest text of a runtime's in bytes that is told.
pub(super) const LONGEST: usize = 4096;
/// It does not run.
pub(super) const STOPPED: u8 = 3;
/// There is no such app, or no such job.
pub(super) const UNKNOWN: u8 = 4;

/// Which app is meant.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Which {
    /// Name of the app; by default, that of the current directory
    #[arg(add = complete::apps())]
    pub app: Option<String>,
    #[command(flatten)]
    pub at: At,
}

/// Where the app is, if its name alone does not say so.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct At {
    /// The config file that `kqueue run` was given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The app's directory, as given to `kqueue run`: identifies the app if APP does not
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
    /// The directory of the app's sockets, if it is not the default for the app's name
    #[arg(long, value_name = "PATH")]
    runtime_dir: Option<PathBuf>,
}

impl At {
    pub fn request(&self, app: Option<String>) -> config::Request {
        let given = [("path", &self.path), ("runtime_dir", &self.runtime_dir)];
        let flags = given.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?.to_str()?.to_owned())));
        config::Request { app, config: self.config.clone(), flags: flags.collect(), ..config::Request::default() }
    }

    /// Whether it names an app by itself.
    pub fn names_one(&self) -> bool {
        self.config.is_some() || self.path.is_some() || self.runtime_dir.is_some()
    }
}

impl Which {
    pub fn request(&self) -> config::Request {
        self.at.request(self.app.clone())
    }
}

/// What the machine says.
pub(super) fn surroundings() -> Result<Surroundings, Failed> {
    Surroundings::read().map_err(|error| Failed::at("working directory", error))
}

/// Runs what waits for answers.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Failed::at("event loop", error))?.block_on(work))
}

/// The places of all apps that there may be.
pub(super) fn all_places(at: &At, here: &Surroundings) -> Result<Vec<Place>, Failed> {
    Ok(config::known_places(|app| at.request(Some(app)), here)?)
}

/// A running app.
#[derive(Debug)]
pub(super) struct Target {
    pub app: String,
    pub socket: PathBuf,
    /// What it has told at the start.
    pub told: Value,
}

impl Target {
    /// Finds the app that is meant. Looking starts nothing.
    ///
    /// # Errors
    /// Why it cannot be asked: it does not run, there is none, we may not.
    pub async fn find(request: &config::Request, here: &Surroundings) -> Result<Self, Failed> {
        let place = config::place(request, here)?;
        let app = place.app.clone();
        match control::find(&place, here).await {
            Found::Told(told, socket) => Ok(Self { app, socket, told }),
            other => Err(unanswered(&app, &other)),
        }
    }

    /// Asks it.
    ///
    /// # Errors
    /// Why there is no answer, as one line with the fix.
    pub async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failed> {
        control::request(&self.socket, request).await.map_err(|error| self.failed(&error))
    }

    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.told)
    }

    fn failed(&self, error: &AskError) -> Failed {
        let Self { app, socket, .. } = self;
        match error {
            AskError::NotRunning => Failed { code: STOPPED, line: format!("{app}: it has just stopped") },
            AskError::Older => {
                Failed { code: super::FAILURE, line: format!("{app}: {error}: systemctl restart kqueue@{app}") }
            }
            AskError::Unable(_) => Failed { code: super::FAILURE, line: format!("{app}: {error}") },
            _ => Failed { code: super::FAILURE, line: format!("{app}: {}: {error}", socket.display()) },
        }
    }
}

/// Why an app that was named gives no answer.
pub(super) fn unanswered(app: &str, found: &Found) -> Failed {
    match found {
        Found::Dark { why, .. } => Failed { code: super::FAILURE, line: why.clone() },
        Found::Stopped { why, .. } => {
            let line = format!("{app}: not available ({why}); start it: systemctl start kqueue@{app}, or kqueue run");
            Failed { code: STOPPED, line }
        }
        Found::Nobody | Found::Told(..) => {
            let line = format!("{app}: no such app: no file in /etc/kqueue, and no running app of that name");
            Failed { code: UNKNOWN, line }
        }
    }
}

/// A snapshot, as far as this version understands it.
pub(super) fn snapshot(value: &Value) -> Snapshot {
    // One whose form has changed beyond that still has a name and a line.
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(value.clone()).unwrap_or_else(|_| Snapshot {
        app: text("app"),
        status: text("status"),
        ..Snapshot::default()
    })
}

/// Prints an answer as JSON.
pub(super) fn print_json(answer: &Value) -> Result<ExitCode, Failed> {
    print(&format!("{answer:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// An answer as JSON. A runtime is the app's user's, and may say anything.
pub(super) fn as_json(answer: &impl serde::Serialize) -> Value {
    harmless::value(serde_json::to_value(answer).unwrap_or_default(), LONGEST)
}

/// Prints an answer as text; beside it what the answer lacks.
pub(super) fn print_text(text: &str, lacks: &[String]) -> Result<ExitCode, Failed> {
    print(text)?;
    for lack in lacks.iter().take(20) {
        stdio::err(&format!("kqueue: note: {}", harmless::line(lack, LONGEST)));
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of facts: `  name        value`.
pub(super) fn fact(name: &str, value: &str, style: Style) -> String {
    match style.columns {
        true => format!("  {name:<11} {}\n", harmless::whole_line(value)),
        false => format!("{name}\t{}\n", harmless::whole_line(value)),
    }
}

/// The last part of a class's name.
pub(super) fn short(class: &str) -> &str {
    class.rsplit('\\').next().unwrap_or(class)
}
