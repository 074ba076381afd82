//! `kqueue check`: finds what is wrong before systemd does, and says what to do.
//!
//! `kqueue config check` looks at the file alone; this looks at the whole app: its file, user, PHP, boot, queue, what
//! else works that queue, the machine, and the units. It changes nothing.
//! Exit codes: 0 nothing is wrong (there may be notes), 1 there are errors, 3 there are warnings only.

mod app;
mod classes;
pub(in crate::cli) mod connections;
pub(super) mod finding;
mod machine;
mod rivals;
mod tables;
mod units;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::leave_root::AsRoot;
use super::show::{Mood, Style};
use super::{Failed, complete, print};
use crate::survey::{self, Found, Question, UNIT_PATH};
use finding::{Finding, Severity};
use kqueue_config::{self as config, Loaded, Request, Surroundings};
use kqueue_system::identity::{self, Account, App};

/// Bytes of one line, at most.
const LONGEST: usize = 4096;
/// Only warnings were found.
const WARNINGS: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Name of the app; by default, all apps with a file in /etc/kqueue
    #[arg(add = complete::apps())]
    app: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A config file to check instead of /etc/kqueue/APP.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of an app that has no config file
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    #[command(flatten)]
    as_root: AsRoot,
}

/// What is said of one app.
struct Report {
    app: String,
    /// What it is, as far as is known.
    about: Vec<String>,
    findings: Vec<Finding>,
}

pub(super) fn run(asked: Check) -> Result<ExitCode, Failed> {
    let here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    let flags = asked.path.iter().map(|path| ("path", path.to_string_lossy().into_owned())).collect();
    let request = Request { app: asked.app, config: asked.config, flags, ..Request::default() };
    let requests = match (&request.app, &request.config, request.flags.as_slice()) {
        (None, None, []) => {
            let all = config::configured(&here).into_iter();
            all.map(|app| Request { app: Some(app), ..Request::default() }).collect()
        }
        _ => vec![request],
    };
    if requests.is_empty() {
        let line = "no app has a file in /etc/kqueue; `kqueue init APP --path DIR` writes one".to_owned();
        return Err(Failed { code: super::FAILURE, line });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::at("event loop", error))?;
    let mut reports = Vec::new();
    for request in requests {
        reports.push(runtime.block_on(report(request, asked.as_root, here.clone()))?);
    }
    let worst = reports.iter().flat_map(|report| &report.findings).map(|finding| finding.severity).min();
    print(&if asked.json { as_json(&reports) } else { as_text(&reports, Style::of_stdout()) })?;
    Ok(match worst {
        None | Some(Severity::Note) => ExitCode::SUCCESS,
        Some(Severity::Warning) => ExitCode::from(WARNINGS),
        Some(Severity::Error) => ExitCode::from(super::FAILURE),
    })
}

async fn report(request: Request, as_root: AsRoot, mut here: Surroundings) -> Result<Report, Failed> {
    let file = request.app.as_ref().map(|app| here.etc.join(format!("{app}.toml")));
    let file = file.filter(|file| request.config.is_none() && file.exists());
    if file.is_some() {
        // As its units will find it.
        here.vars.insert("PATH".into(), UNIT_PATH.into());
    }
    let loaded = match config::load(&request, &here) {
        Ok(loaded) => loaded,
        Err(error) => {
            if error.is_usage() || file.is_none() {
                return Err(error.into());
            }
            let app = request.app.unwrap_or_default();
            return Ok(Report { app, about: Vec::new(), findings: vec![Finding::of_settings("settings", &error)] });
        }
    };
    let mut findings = Vec::new();
    let user = user(&loaded, file.is_some(), as_root, &here, &mut findings);
    let found = match &user {
        Some(user) => {
            let manner = survey::Manner { unit: file.is_some(), as_root: as_root.as_root };
            survey(&loaded, user, manner, &here, &mut findings)?
        }
        None => Found::default(),
    };
    let settings = &loaded.settings;
    let queues = match settings.queues.as_slice() {
        [] => found.queue.iter().cloned().collect(),
        queues => queues.to_vec(),
    };
    let own = rivals::Own {
        path: &settings.path,
        connection: found.connection.as_deref(),
        usual: found.usual.as_deref(),
        queues: &queues,
        own_queue: found.queue.as_deref(),
    };
    let mut rivals = rivals::find(&own, Path::new("/"));
    let others = config::configured(&here).into_iter().filter(|app| file.is_none() || *app != settings.app);
    rivals.extend(rivals::namesakes(&own, others.filter_map(|app| Some((app.clone(), config::claim(&app, &here)?)))));
    if let Some(user) = &user {
        findings.extend(app::judge(settings, &user.name, &found, !rivals.is_empty()));
        findings.extend(tables::judge(settings, &queues, &found));
    }
    findings.extend(rivals);
    machine::judge(&loaded, here.memory_mb, &mut findings);
    if let Some(file) = &file {
        findings.extend(units::judge(&settings.app, file, user.as_ref()).await);
    }
    // Stable: within each severity the order in which things have to be mended.
    findings.sort_by_key(|finding| finding.severity);
    Ok(Report { app: settings.app.clone(), about: about(&loaded, user.as_ref(), &found), findings })
}

/// Who the app runs as. What the generator would refuse is told here.
fn user(
    loaded: &Loaded,
    is_unit: bool,
    as_root: AsRoot,
    here: &Surroundings,
    findings: &mut Vec<Finding>,
) -> Option<Account> {
    let settings = &loaded.settings;
    let found = match is_unit {
        true => match config::root(&settings.app, here) {
            Ok(root) => {
                let app = App { path: &root.path, user: root.user.as_deref(), group: root.group.as_deref() };
                identity::user_of(app, as_root.as_root)
            }
            Err(error) => {
                findings.push(Finding::of_settings("user", &error));
                return None;
            }
        },
        false => {
            let app = App { path: &settings.path, user: loaded.settings.user.as_deref(), group: None };
            identity::user_of(app, as_root.as_root)
        }
    };
    found.map_err(|refused| findings.push(Finding::error("user", refused.what, refused.fix))).ok()
}

/// Asks the app, as its user if we may.
fn survey(
    loaded: &Loaded,
    user: &Account,
    manner: survey::Manner,
    here: &Surroundings,
    findings: &mut Vec<Finding>,
) -> Result<Found, Failed> {
    let settings = &loaded.settings;
    let classes = settings.tables.class.keys().cloned().collect();
    let question = Question { property_hints: Some(settings.property_hints), classes, ..Question::of(settings) };
    let can = here.uid == 0 || user.is_us();
    if !can {
        let what = format!("the app runs as {}, but was checked as another user", user.name);
        findings.push(Finding::note("user", what, format!("run kqueue check as root or as {}", user.name)));
    }
    let mut found =
        survey::ask(&question, can.then_some(user), manner).map_err(|line| Failed { code: super::FAILURE, line })?;
    if !can {
        // It is this user that cannot.
        found.unwritable.clear();
        found.unreadable = None;
    }
    Ok(found)
}

fn about(loaded: &Loaded, user: Option<&Account>, found: &Found) -> Vec<String> {
    let mut about = vec![loaded.settings.path.display().to_string()];
    about.extend(user.map(|user| format!("user {}", user.name)));
    about.extend(found.php.as_ref().map(|version| format!("PHP {version}")));
    about.extend(found.laravel.as_ref().map(|version| format!("Laravel {version}")));
    about.extend(found.connection.as_ref().map(|name| format!("connection {name}")));
    let queues =
        if loaded.settings.queues.is_empty() { found.queue.clone() } else { Some(loaded.settings.queues.join(",")) };
    about.extend(queues.map(|names| format!("queue {names}")));
    about
}

fn as_text(reports: &[Report], style: Style) -> String {
    let mut text = String::new();
    for report in reports {
        if !text.is_empty() {
            text.push('\n');
        }
        // What the app has said of itself is in all of these.
        let plain = |text: &str| kqueue_system::harmless::words(text, LONGEST);
        text += &format!("{}: {}\n", report.app, plain(&report.about.join(", ")));
        for finding in &report.findings {
            let mood = match finding.severity {
                Severity::Error => Mood::Bad,
                Severity::Warning => Mood::Uneasy,
                Severity::Note => Mood::Quiet,
            };
            let word = style.mood(mood, &format!("{:<7}", finding.severity.word()));
            text += &format!("  {word}  {}\n           fix: {}\n", plain(&finding.what), plain(&finding.fix));
        }
        let count = |severity: Severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
        let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
            .into_iter()
            .filter_map(|severity| match count(severity) {
                0 => None,
                1 => Some(format!("1 {}", severity.word())),
                n => Some(format!("{n} {}s", severity.word())),
            })
            .collect();
        let (mood, words) = match (count(Severity::Error), count(Severity::Warning)) {
            (0, 0) => (Mood::Good, "nothing is wrong"),
            (0, _) => (Mood::Uneasy, "will run with problems"),
            _ => (Mood::Bad, "will not run correctly"),
        };
        let counts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        text += &format!("{}: {}{counts}\n", report.app, style.mood(mood, words));
    }
    text
}

/// An array with an object for each app: `app`, `about`, and `findings` with `severity`, `check`, `what` and `fix`.
fn as_json(reports: &[Report]) -> String {
    let all: Vec<Value> = reports
        .iter()
        .map(|report| json!({"app": report.app, "about": report.about, "findings": report.findings}))
        .collect();
    format!("{:#}\n", Value::Array(all))
}
