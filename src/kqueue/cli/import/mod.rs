//! `kqueue import`: makes config files of what works the queues today, and says what has no equivalent.
//!
//! Files go to standard output, or with `--write` where they belong; what is not carried over goes to standard error.

mod compose;
pub(super) mod cron;
mod expand;
mod horizon;
mod ini;
mod js;
mod node;
mod plan;
mod pm2;
pub(super) mod source;
pub(super) mod supervisor;
mod take;
pub(super) mod unit;
mod yaml;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::init::{self, Wanted};
use super::leave_root::AsRoot;
use super::write::{self, Manner};
use super::{FAILURE, Failed, print, stdio};
use crate::survey::Master;
use kqueue_config::{Draft, Surroundings};
use plan::{App, Set};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Import supervisord programs that run queue:work
    Supervisor {
        /// supervisord config files, directories with *.conf and *.ini, or - for standard input; [include] is followed
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Import the supervisors of config/horizon.php, as the app itself reads it
    Horizon {
        /// The app's directory, the one that holds artisan
        #[arg(long, value_name = "DIR")]
        path: PathBuf,
        /// The environment whose supervisors to import; by default, the app's own
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// The user that the app runs as; by default, the owner of DIR
        #[arg(long)]
        user: Option<String>,
        /// The PHP interpreter, as for `kqueue init`
        #[arg(long)]
        php: Option<PathBuf>,
        #[command(flatten)]
        as_root: AsRoot,
        #[command(flatten)]
        how: How,
    },
    /// Import systemd services that run queue:work, with their drop-ins and enabled instances
    Systemd {
        /// Units, unit files, directories with *.service, or - for standard input
        #[arg(required = true, value_name = "UNIT|FILE")]
        units: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Import pm2 apps that run queue:work; their file is parsed, and nothing in it is executed
    Pm2 {
        /// ecosystem.config.js, a JSON or YAML file, or - for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Make config files for the services of a Compose file that run queue:work, for use inside their containers
    Compose {
        /// compose.yaml, or - for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The app's directory inside the container, where the Compose file does not set it
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
        /// Name of the app; by default, derived from its directory
        #[arg(long, value_name = "APP")]
        name: Option<String>,
    },
    /// Import crontab lines that run queue:work or schedule:run
    Cron {
        /// Crontabs, directories with crontabs, or - for standard input; by default, your own crontab
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
pub(super) struct How {
    /// Name of the app; by default, derived from its directory
    #[arg(long, value_name = "APP")]
    name: Option<String>,
    /// Write /etc/kqueue/APP.toml as `kqueue init` does, instead of printing it
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    manner: Manner,
}

/// What was read.
#[derive(Debug, Default)]
struct Taken {
    sets: Vec<Set>,
    /// What it was read from, for messages and the head of the files.
    source: String,
    /// What to do about it once kqueue runs.
    next: &'static str,
}

pub(super) fn run(asked: Import) -> Result<ExitCode, Failed> {
    let here = init::surroundings()?;
    let mut notes = Vec::new();
    let outcome = make(asked, &here, &mut notes);
    // What was found before a failure often explains it.
    for note in &notes {
        stdio::err(&format!("note: {note}"));
    }
    let Made { apps, how, source } = outcome?;
    if apps.is_empty() {
        return Err(Failed { code: FAILURE, line: format!("{source}: nothing in it works a Laravel queue") });
    }
    if how.write {
        apps.iter().try_for_each(|app| write_app(app, &source, how.manner, &here))?;
    } else {
        let files: Vec<String> = apps.iter().map(|app| printed(app, &source, &here)).collect();
        print(&files.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug)]
struct Made {
    apps: Vec<App>,
    how: How,
    source: String,
}

fn make(asked: Import, here: &Surroundings, notes: &mut Vec<String>) -> Result<Made, Failed> {
    let lookup = |name: &str| std::env::var(name).ok();
    let (taken, how) = match asked {
        Import::Supervisor { files, how } => (supervisors(&files, here, &lookup, notes)?, how),
        Import::Systemd { units, how } => {
            let mut sets = Vec::new();
            for unit in &units {
                for unit in unit::find(unit, &here.cwd, Path::new("/"), notes)? {
                    sets.extend(unit.sets(notes));
                }
            }
            let source = units.iter().map(|unit| unit.display().to_string()).collect::<Vec<_>>().join(", ");
            let next = "once kqueue runs, stop these units, or both work the queue: systemctl disable --now UNIT";
            (Taken { sets, source, next }, how)
        }
        Import::Pm2 { files, how } => {
            let inputs = source::read(&files, &["js", "cjs", "mjs", "json", "yml", "yaml"], &here.cwd)?;
            let mut sets = Vec::new();
            for input in &inputs {
                sets.extend(pm2::sets(input, &lookup, notes).map_err(Failed::config)?);
            }
            let next = "once kqueue runs, delete these apps, or both work the queue: pm2 delete NAME, then pm2 save";
            (Taken { sets, source: named(&inputs), next }, how)
        }
        Import::Compose { files, path, name } => {
            let inputs = source::read(&files, &["yml", "yaml"], &here.cwd)?;
            let mut sets = Vec::new();
            for input in &inputs {
                let variables = compose::variables(input);
                let lookup = |name: &str| lookup(name).or_else(|| variables.get(name).cloned());
                sets.extend(compose::sets(input, path.as_deref(), &lookup, notes).map_err(Failed::config)?);
            }
            let next = "kqueue must run inside the container: install it in the image, copy this file to \
                        /etc/kqueue/APP.toml there, and set the service's command to [\"kqueue\", \"run\", \"APP\"]; see \
                        /usr/share/doc/kqueue/containers.md";
            let how = How { name, write: false, manner: Manner::default() };
            (Taken { sets, source: named(&inputs), next }, how)
        }
        Import::Cron { files, how } => {
            let inputs = match files.is_empty() {
                true => vec![source::crontab()?],
                false => source::read(&files, &[], &here.cwd)?,
            };
            let mut sets = Vec::new();
            for input in &inputs {
                sets.extend(cron::sets(input, &lookup, notes));
            }
            let next = "once kqueue runs, remove these lines from the crontab, or both work the queue";
            (Taken { sets, source: named(&inputs), next }, how)
        }
        Import::Horizon { path, environment, user, php, as_root, how } => {
            let wanted = Wanted {
                user: user.as_deref(),
                php: php.as_deref(),
                environment: environment.as_deref(),
                as_root,
                ..Wanted::default()
            };
            return of_horizon(here.cwd.join(path).components().collect(), &wanted, how, here, notes);
        }
    };
    let apps = plan::apps(taken.sets, how.name.as_deref(), notes)?;
    notes.extend((!apps.is_empty() && !taken.next.is_empty()).then(|| taken.next.to_owned()));
    Ok(Made { apps, how, source: taken.source })
}

fn supervisors(
    files: &[PathBuf],
    here: &Surroundings,
    lookup: &dyn Fn(&str) -> Option<String>,
    notes: &mut Vec<String>,
) -> Result<Taken, Failed> {
    let inputs = source::read(files, &["conf", "ini"], &here.cwd)?;
    let source = named(&inputs);
    let inputs = supervisor::with_included(inputs, lookup, notes)?;
    let mut sets = Vec::new();
    for input in &inputs {
        let programs = supervisor::read(input, lookup, notes);
        sets.extend(supervisor::sets(&programs, notes));
    }
    let next = "once kqueue runs, remove these programs from supervisord, or both work the queue: supervisorctl update";
    Ok(Taken { sets, source, next })
}

/// What texts were read from, for one line.
fn named(inputs: &[source::Input]) -> String {
    match inputs {
        [first, second, third, _, ..] => {
            format!("{}, {}, {} and {} more", first.name, second.name, third.name, inputs.len() - 3)
        }
        inputs => inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn of_horizon(
    path: PathBuf,
    wanted: &Wanted<'_>,
    how: How,
    here: &Surroundings,
    notes: &mut Vec<String>,
) -> Result<Made, Failed> {
    let looked = init::look(&path, wanted, &Draft::default(), here)?;
    let source = path.join("config/horizon.php").display().to_string();
    let mut sets = Vec::new();
    for supervisor in plan_of(&looked, &source)? {
        sets.extend(horizon::set(&supervisor, &path, notes));
    }
    let mut apps = plan::apps(sets, how.name.as_deref(), notes)?;
    for app in &mut apps {
        app.user = wanted.user.map(str::to_owned);
        app.php = looked.other.then(|| looked.php.clone());
        for (key, text) in [
            ("user", looked.named.then(|| looked.user.name.clone())),
            ("php", app.php.as_ref().map(|php| php.display().to_string())),
        ] {
            if let Some(text) = text {
                app.draft.set(key, &text, None).map_err(|error| Failed::config(error.to_string()))?;
            }
        }
    }
    // Where the queue is Horizon's, kqueue stands in for its master.
    let master = looked.found.master.as_ref();
    if let Some(horizon) = &looked.found.horizon {
        notes.extend(horizon::waits(horizon, &mut apps));
    }
    notes.extend(master.and_then(|master| master.lacks.as_ref()).map(|class| {
        format!("this version of Horizon has no {class}: once `php artisan horizon` no longer runs, {}", Master::DUTIES)
    }));
    let next =
        "once kqueue runs, stop Horizon and what restarts it, or both work the queue: php artisan horizon:terminate";
    notes.extend((!apps.is_empty()).then(|| next.to_owned()));
    Ok(Made { apps, how, source })
}

/// The plan that the app has for the environment.
fn plan_of(looked: &init::Looked, source: &str) -> Result<Vec<crate::survey::Supervisor>, Failed> {
    let found = &looked.found;
    let Some(horizon) = &found.horizon else {
        return Err(Failed::config(match &found.failed {
            Some(failure) => format!("cannot read {source} through the app: {}", failure.text),
            None => format!("{source}: the app has no Horizon configuration; give the app that runs Horizon"),
        }));
    };
    horizon.supervisors.clone().ok_or_else(|| {
        let (name, all) = (&horizon.environment, horizon.environments.join(", "));
        Failed::config(format!("{source}: no environment {name:?}; choose one with --environment NAME: {all}"))
    })
}

fn printed(app: &App, source: &str, here: &Surroundings) -> String {
    let mut draft = app.draft.clone();
    let file = here.etc.join(format!("{}.toml", app.name));
    draft.put_first(&[
        format!("{}: settings of {}, made from {source} by `kqueue import`.", file.display(), app.name),
        "`kqueue config example` and kqueue.toml(5) list every key with its meaning and default.".into(),
    ]);
    draft.text()
}

fn write_app(app: &App, source: &str, manner: Manner, here: &Surroundings) -> Result<(), Failed> {
    let wanted = Wanted {
        user: app.user.as_deref(),
        php: app.php.as_deref(),
        php_args: app.php_args.clone(),
        ..Wanted::default()
    };
    let looked = init::look(&app.path, &wanted, &app.draft, here)?;
    let by = format!("made from {source} by `kqueue import`");
    let text = init::complete(&app.name, &app.path, &looked, &app.draft, &by)?;
    let file = here.etc.join(format!("{}.toml", app.name));
    let outcome = write::put(&app.name, &file, &text, manner, here)?;
    write::settle(&app.name, &file, outcome, here, &write::enable(&app.name))
}
