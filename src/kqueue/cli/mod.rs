//! The command line: reads it, makes settings, runs the command, turns what comes of it into an exit code.
//!
//! The only part that touches stdout, stderr and the exit code. 0 is success, 1 a failure while running,
//! 2 a command line that cannot be right, 78 (`EX_CONFIG`) a configuration that cannot work.

mod check;
mod command;
mod complete;
mod effective;
mod flags;
mod generate;
mod import;
mod init;
mod leave_root;
mod pid1;
mod see;
mod show;
mod status;
mod stdio;
mod steer;
#[cfg(test)]
mod tests;
#[cfg(feature = "top")]
mod top;
mod tune;
mod unit;
mod write;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::backend::BackendError;
use crate::runtime::StartFailure;
use flags::KeyFlags;
use kqueue_config::{self as config, Loaded, Request, Settings, Surroundings};
use kqueue_system::harmless;
use kqueue_system::systemd::{activation, health};
use leave_root::{AsRoot, Detached};

/// Something broke while running.
const FAILURE: u8 = 1;
/// The command line cannot be right.
const USAGE: u8 = 2;
/// The configuration cannot work: a restart would not help, as units can say with
/// `RestartPreventExitStatus=78`.
const CONFIG: u8 = 78;

/// A unit that fails starts again as soon as somebody connects to its socket, and a socket that starts it too often
/// (20 times in 2 s) fails for good: whoever may connect could bring that about.
const BRAKE: Duration = Duration::from_secs(1);

/// Bytes of the line that tells systemd why.
const STATUS: usize = 500;

/// Runs the queued jobs of Laravel apps.
#[derive(Debug, Parser)]
#[command(name = "kqueue", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the queues of one app until stopped
    Run(Run),
    /// Inspect an app and write its config file
    Init(init::Init),
    /// Find problems of an app and its machine, each with its fix
    ///
    /// It changes nothing. Exit status: 0 no problems (there may be notes), 1 errors, 3 only warnings.
    Check(check::Check),
    /// Make config files from what works the queues today: supervisord, Horizon, systemd, pm2, Compose or cron
    Import {
        #[command(subcommand)]
        import: import::Import,
    },
    /// Show the status of one app or of all: running and waiting jobs, workers, queues
    Status(status::Status),
    /// Watch queues, tiers, processes and running jobs on a terminal
    ///
    /// Keys: q quits, Tab goes to the next panel, the arrows sort and scroll, r reverses, / filters. Exit status: 0
    /// quit, 1 no terminal or no reply, 3 the app is not running, 4 no such app.
    #[cfg(feature = "top")]
    Top(top::Ask),
    /// List the running, waiting or ended jobs of an app
    ///
    /// Exit status: 0 success, 1 no reply, 3 the app is not running, 4 no such app.
    Jobs(see::jobs::List),
    /// Show everything known about one job
    ///
    /// Exit status: 0 success, 1 no reply, 2 the uuid is ambiguous, 3 the app is not running, 4 no such app or job.
    Job(see::job::One),
    /// Show statistics of jobs, by class and by queue
    ///
    /// Exit status: 0 success, 1 no reply, 3 the app is not running, 4 no such app.
    Stats(see::stats::Ask),
    /// Show the PHP processes of an app and their settings; resize the pool for a time, or replace a process
    ///
    /// Exit status: 0 success, 1 refused or no reply, 3 the app is not running, 4 no such app.
    Pool(see::pool::Ask),
    /// Show events other than jobs: starts, deploys, outages, ends of workers
    ///
    /// Exit status: 0 success, 1 no reply, 3 the app is not running, 4 no such app.
    Events(see::events::Ask),
    /// Report the health of one app or of all in one line, for monitoring
    ///
    /// Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    Health(see::health::Health),
    /// List, retry or forget the failed jobs of an app, through Laravel's own records
    ///
    /// Exit status: 0 done, 1 not done or only in part, 2 no jobs selected, 78 the app cannot be queried.
    Failed(steer::failed::Asked),
    /// Cancel jobs: waiting jobs fail at once, running jobs get a grace period to end by themselves
    ///
    /// Exit status: 0 done, 1 not done or only in part, 2 no jobs selected, 78 the app cannot be queried.
    Cancel(steer::cancel::Asked),
    /// Move waiting jobs to the front of their queue or to another queue, or make delayed jobs due now
    ///
    /// Exit status: 0 done, 1 not done or only in part, 2 no jobs selected, 78 the app cannot be queried.
    Move(steer::requeue::Asked),
    /// List the messages that were set aside because Laravel cannot run them; show, requeue, replace or drop them
    ///
    /// Exit status: 0 done, 1 not done or only in part, 2 no messages selected, 78 the app cannot be queried.
    Broken(steer::broken::Asked),
    /// List the classes that run isolated because they killed processes, or lift the quarantine of one
    ///
    /// Exit status: 0 done, 1 refused or no reply, 2 no class given, 3 the app is not running, 4 no such app.
    Quarantine(steer::quarantine::Asked),
    /// Pause an app, one of its queues or a class: no further jobs start, running jobs continue
    ///
    /// A pause persists across restarts. Exit status: 0 done, 1 refused or no reply, 3 the app is not running, 4 no
    /// such app.
    Pause(steer::pause::Pause),
    /// Resume what `kqueue pause` has paused
    ///
    /// Exit status: 0 done, 1 refused or no reply, 3 the app is not running, 4 no such app.
    Resume(steer::pause::Resume),
    /// Test the alert targets of an app: command, webhook, mail
    ///
    /// Exit status: 0 delivered to each target, 1 not to each, or none is set, 78 the settings cannot work.
    Alert(steer::alert::Asked),
    /// Advise better settings, each with its evidence and the exact line
    ///
    /// It changes nothing without --write. Exit status: 0 success, 1 no reply, or the file cannot be written, 3 the app
    /// is not running, 4 no such app.
    Tune(tune::Tune),
    /// Print an example config file, or check and print the settings of an app
    Config {
        #[command(subcommand)]
        command: Config,
    },
}

/// Commands that units, packages and kqueue itself run. Apart from those for people, so that no list, no completion
/// and no suggestion offers one.
#[derive(Debug, Parser)]
#[command(name = "kqueue", disable_help_subcommand = true)]
enum Internal {
    /// Ask an app about itself, for other commands
    Survey,
    /// Do something in an app's PHP, for other commands
    Errand,
    /// End what the process that holds our standard input has started, once that process is gone
    Guard {
        /// What marks it
        mark: String,
    },
    /// Become the pooled worker of a unit: kqueue-worker@APP:N.service
    Worker {
        /// The unit's instance
        #[arg(value_name = "APP:N")]
        instance: String,
        #[command(flatten)]
        as_root: AsRoot,
    },
    /// Become `php artisan schedule:run` of an app: kqueue-schedule@APP.service
    Schedule {
        /// The app's name
        app: String,
        #[command(flatten)]
        as_root: AsRoot,
    },
    /// Become an app's user, in place of root at a terminal, and carry out the command line behind `--`
    Detached(Detached),
    /// Write man pages, completions and the example config, for packages
    Generate {
        /// Where to
        dir: PathBuf,
    },
}

impl Internal {
    fn is_called(args: &[OsString]) -> bool {
        let name = args.get(1).and_then(|name| name.to_str());
        name.is_some_and(|name| Internal::command().find_subcommand(name).is_some())
    }

    fn run(self) -> Result<ExitCode, Failed> {
        match self {
            Internal::Survey => {
                let script = crate::runtime::find_script().map_err(|error| Failed::config(format!("{error:#}")))?;
                print(&crate::survey::answer(&script).map_err(|line| Failed { code: FAILURE, line })?)?;
                Ok(ExitCode::SUCCESS)
            }
            Internal::Errand => {
                let script = crate::runtime::find_script().map_err(|error| Failed::config(format!("{error:#}")))?;
                crate::survey::carry_out(&script).map_err(|line| Failed { code: FAILURE, line })
            }
            Internal::Guard { mark } => Ok(crate::launch::guard(&mark)),
            Internal::Worker { instance, as_root } => unit::become_worker(&instance, as_root),
            Internal::Schedule { app, as_root } => unit::become_schedule(app, as_root),
            Internal::Detached(detached) => dispatch(detached.settle()?),
            Internal::Generate { dir } => generate::run(&dir),
        }
    }
}

#[derive(Debug, Args)]
struct Source {
    /// Name of the app: its settings are in /etc/kqueue/APP.toml. By default, the name of the directory or of the
    /// file of --config
    #[arg(add = complete::apps())]
    app: Option<String>,
    /// A config file to read instead of /etc/kqueue/APP.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyFlags,
}

#[derive(Debug, Args)]
struct Run {
    /// Exit when the queues are empty and no job is running
    #[arg(long)]
    stop_when_empty: bool,
    /// Exit after this many jobs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_jobs: Option<String>,
    /// Exit after this time
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    max_time: Option<String>,
    /// Run one job and exit; exit at once if there is none
    #[arg(long, conflicts_with = "max_jobs")]
    once: bool,
    #[command(flatten)]
    as_root: AsRoot,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Print a config file with every key, its meaning and its default
    Example,
    /// Check the settings of an app and print what is in effect
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        source: Source,
    },
}

impl Cli {
    /// The command, unless it has an option of `queue:work` that kqueue refuses.
    fn accepted(self) -> Result<Command, clap::Error> {
        let (source, path): (_, &[&str]) = match &self.command {
            Command::Run(run) => (&run.source, &["run"]),
            Command::Config { command: Config::Check { source, .. } } => (source, &["config", "check"]),
            _ => return Ok(self.command),
        };
        let Some(why) = source.keys.refused() else { return Ok(self.command) };
        let mut root = Cli::command();
        root.build();
        let found = path.iter().try_fold(&mut root, |command, name| command.find_subcommand_mut(name));
        Err(match found {
            Some(command) => command.error(ErrorKind::UnknownArgument, why),
            None => root.error(ErrorKind::UnknownArgument, why),
        })
    }
}

impl Source {
    fn request(self) -> Request {
        Request { app: self.app, config: self.config, flags: self.keys.given, ..Request::default() }
    }
}

impl Run {
    fn request(self) -> Request {
        let max_jobs = if self.once { Some("1".into()) } else { self.max_jobs };
        Request {
            stop_when_empty: self.stop_when_empty || self.once,
            max_jobs,
            max_time: self.max_time,
            ..self.source.request()
        }
    }
}

/// The `kqueue` command: all of it.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let activated = std::env::var_os("LISTEN_FDS").is_some();
    if complete::answer(&args) {
        return ExitCode::SUCCESS;
    }
    match dispatch(args) {
        Ok(code) => code,
        Err(Failed { code, line }) => {
            stdio::err(&format!("kqueue: {line}"));
            if activated {
                // For `systemctl status` and `kqueue status`.
                health::status(&harmless::line(&line, STATUS));
                activation::refuse(BRAKE);
            }
            ExitCode::from(code)
        }
    }
}

/// An exit code and the one line that says why.
#[derive(Debug)]
struct Failed {
    code: u8,
    line: String,
}

impl From<config::Error> for Failed {
    fn from(error: config::Error) -> Self {
        let code = if error.is_usage() { USAGE } else { CONFIG };
        Self { code, line: error.to_string() }
    }
}

impl Failed {
    /// A configuration that cannot work.
    fn config(line: String) -> Self {
        Self { code: CONFIG, line }
    }

    /// A failure of the system, at `what`.
    fn at(what: &str, error: std::io::Error) -> Self {
        Self { code: FAILURE, line: format!("{what}: {error}") }
    }
}

fn dispatch(args: Vec<OsString>) -> Result<ExitCode, Failed> {
    if Internal::is_called(&args) {
        return Internal::try_parse_from(args).map_or_else(|error| Ok(explain(&error)), Internal::run);
    }
    let command = match Cli::try_parse_from(&args).and_then(Cli::accepted) {
        Ok(command) => command,
        // To a monitor, 2 would be the app's.
        Err(error) if error.use_stderr() && args.get(1).is_some_and(|name| name == "health") => {
            let _ = explain(&error);
            return Ok(ExitCode::from(see::health::UNKNOWN));
        }
        Err(error) => return Ok(explain(&error)),
    };
    match command {
        Command::Run(run) => {
            let as_root = run.as_root;
            let request = run.request();
            if let Some(ended) = pid1::run() {
                return ended;
            }
            // One that was started again by way of /proc is called otherwise, and `kqueue status` looks for the name.
            let _ = nix::sys::prctl::set_name(c"kqueue");
            if let Some(code) = leave_root::leave_root(&request, as_root, &args)? {
                return Ok(code);
            }
            let loaded = load(&request)?;
            unit::check_user(&loaded)?;
            let _log = kqueue_system::log::init(&loaded.settings.app);
            if nix::unistd::geteuid().is_root() {
                tracing::warn!("--as-root: jobs run as root");
            }
            start(loaded, request)
        }
        Command::Init(asked) => init::run(asked),
        Command::Check(asked) => check::run(asked),
        Command::Import { import } => import::run(import),
        Command::Status(asked) => status::run(asked),
        #[cfg(feature = "top")]
        Command::Top(asked) => top::run(asked),
        Command::Jobs(asked) => see::jobs::run(asked),
        Command::Job(asked) => see::job::run(asked),
        Command::Stats(asked) => see::stats::run(asked),
        Command::Pool(asked) => see::pool::run(asked),
        Command::Events(asked) => see::events::run(asked),
        Command::Health(asked) => see::health::run(asked),
        Command::Failed(asked) => steer::failed::run(asked),
        Command::Cancel(asked) => steer::cancel::run(asked),
        Command::Move(asked) => steer::requeue::run(asked),
        Command::Broken(asked) => steer::broken::run(asked),
        Command::Quarantine(asked) => steer::quarantine::run(asked),
        Command::Pause(asked) => steer::pause::pause(asked),
        Command::Resume(asked) => steer::pause::resume(asked),
        Command::Alert(asked) => steer::alert::run(asked, &args),
        Command::Tune(asked) => tune::run(asked),
        Command::Config { command: Config::Example } => {
            print(&Settings::example())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config { command: Config::Check { json, source } } => {
            let loaded = load(&source.request())?;
            print(&if json { effective::json(&loaded) } else { effective::text(&loaded) })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says what clap has to say. `--help` and `--version` come this way too, and are no errors; a closed stdout is none
/// either.
fn explain(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

fn print(text: &str) -> Result<(), Failed> {
    stdio::out(text).map_err(|error| Failed::at("stdout", error))
}

fn load(request: &Request) -> Result<Loaded, Failed> {
    let here = Surroundings::read().map_err(|error| Failed {
        code: FAILURE,
        line: format!("working directory: {error}; change to one that exists"),
    })?;
    Ok(config::load(request, &here)?)
}

fn start(loaded: Loaded, request: Request) -> Result<ExitCode, Failed> {
    // One thread: all the work is waiting, and the state machine needs no locks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::at("event loop", error))?;
    let reread = move || Ok(config::load(&request, &Surroundings::read()?)?);
    runtime.block_on(crate::runtime::run(loaded, Box::new(reread))).map_err(|error| {
        let settings = matches!(error.downcast_ref(), Some(BackendError::Settings(_) | BackendError::Refused { .. }))
            || matches!(error.downcast_ref(), Some(StartFailure { settings: true, .. }));
        Failed { code: if settings { CONFIG } else { FAILURE }, line: format!("{error:#}") }
    })
}

/// Pages, and what their commands print as JSON.
#[cfg(test)]
fn printed() -> [(&'static str, serde_json::Value); 5] {
    [
        ("kqueue-stats.1", see::stats::tests::printed()),
        ("kqueue-pool.1", see::pool::tests::printed()),
        ("kqueue-quarantine.1", steer::quarantine::tests::printed()),
        ("kqueue-health.1", see::health::tests::printed()),
        ("kqueue-tune.1", tune::tests::printed()),
    ]
}
