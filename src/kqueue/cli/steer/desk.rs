//! An app whose own PHP is asked to do something, as the app's user; and a person at a terminal, who is asked first.

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::Value;

use crate::cli::leave_root::AsRoot;
use crate::cli::see::{self, Which};
use crate::cli::{CONFIG, FAILURE, Failed, USAGE, print};
use crate::survey::{self, Errand, Found, Manner, Question};
use kqueue_config::{self as config, Loaded};
use kqueue_system::identity::{self, Account, App};
use kqueue_system::log;

/// How something is done that concerns many jobs.
#[derive(Debug, Args)]
pub(super) struct Bulk {
    /// Only count what is selected; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub as_root: AsRoot,
}

/// See the module.
pub(in crate::cli) struct Desk {
    pub loaded: Loaded,
    user: Account,
    manner: Manner,
}

impl Desk {
    /// The app that is meant.
    ///
    /// # Errors
    /// Where it cannot be asked, or not by us.
    pub fn find(which: &Which, AsRoot { as_root }: AsRoot) -> Result<Self, Failed> {
        let mut here = see::surroundings()?;
        let request = which.request();
        let unit = request.config.is_none() && request.flags.is_empty();
        if unit {
            // As its units will find it.
            here.vars.insert("PATH".into(), survey::UNIT_PATH.into());
        }
        let loaded = config::load(&request, &here)?;
        let whose = config::whose(&request, &here)?;
        let app = App { path: &whose.path, user: whose.user.as_deref(), group: whose.group.as_deref() };
        let user = identity::user_of(app, as_root)?;
        if here.uid != 0 && !user.is_us() {
            let line = format!("{} runs as {}: run this as that user or as root", loaded.settings.app, user.name);
            return Err(Failed { code: FAILURE, line });
        }
        Ok(Self { loaded, user, manner: Manner { unit, as_root } })
    }

    /// What the app says of itself.
    ///
    /// # Errors
    /// Where nobody can be started who asks it. An app that does not boot says so in what is found.
    pub fn ask(&self) -> Result<Found, Failed> {
        survey::ask(&Question::of(&self.loaded.settings), Some(&self.user), self.manner)
            .map_err(|line| Failed { code: CONFIG, line: format!("{}: {line}", self.loaded.settings.app) })
    }

    /// Has PHP do something in this mode of `worker.php`, and passes on what it says.
    ///
    /// # Errors
    /// Where it cannot, or something in it fails.
    pub fn run(&self, mode: &str, order: Value, mut heard: impl FnMut(Value)) -> Result<(), Failed> {
        let settings = &self.loaded.settings;
        let mut done = 0;
        let errand = Errand::new(settings, mode, order);
        let ended = survey::run_errand(&errand, Some(&self.user), self.manner, |answer| {
            let number = ["done", "progress"].iter().find_map(|name| answer.get(name)?.as_u64());
            done = number.unwrap_or(done);
            heard(answer);
        });
        ended.map_err(|line| {
            // What was done before the error is done.
            if done > 0 {
                log::act(&settings.app, &log::user(), &format!("{}: {done} done before an error: {line}", errand.mode));
            }
            Failed { code: CONFIG, line: format!("{}: {line}", settings.app) }
        })
    }
}

/// Asks at the terminal.
///
/// # Errors
/// Where nobody is there.
pub(super) fn agreed(question: &str) -> Result<bool, Failed> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let line = format!("{question} cannot ask without a terminal: confirm with --yes");
        return Err(Failed { code: USAGE, line });
    }
    print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failed::at("stdin", error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
