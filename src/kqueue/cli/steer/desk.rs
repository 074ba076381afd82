//! An app whose own PHP is asked to do something, as the app's user; and a person at a terminal, who is asked first.

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::Value;

use crate::cli::leave_root::AsRoot;
use crate::cli::see::{self, Target, Which};
use crate::cli::{CONFIG, FAILURE, Failed, USAGE, print};
use crate::survey::{self, Errand, Found, Manner, Question};
use kqueue_config::{self as config, Loaded};
use kqueue_control::{Act, Entrusted, EntrustedEnd, ErrandKind, LARGEST_REQUEST, Request};
use kqueue_system::identity::{self, Account, App};
use kqueue_system::{harmless, log};
use nix::unistd::geteuid;
use serde::Deserialize;

/// Bytes of a text in a runtime's answer that are kept.
const LONG: usize = 1000;

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
    /// The runtime that has it done, where we are neither the app's user nor root.
    runtime: Option<Target>,
}

impl Desk {
    /// The app that is meant.
    ///
    /// # Errors
    /// Where it cannot be asked, or not by us.
    pub fn find(which: &Which, as_root: AsRoot) -> Result<Self, Failed> {
        let desk = Self::settle(which, as_root)?;
        desk.of_others().map_or(Ok(desk), Err)
    }

    fn settle(which: &Which, AsRoot { as_root }: AsRoot) -> Result<Self, Failed> {
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
        let runtime = None;
        Ok(Self { loaded, user, manner: Manner { unit, as_root }, runtime })
    }

    /// The app that is meant, for ourselves, or else for its runtime: that lets members of the group `kqueue` act where
    /// root's file says so.
    ///
    /// # Errors
    /// As [`Desk::find`], and where there is no runtime that we may ask.
    pub fn find_or_ask(which: &Which, as_root: AsRoot) -> Result<Self, Failed> {
        let mut desk = Self::settle(which, as_root)?;
        if let Some(others) = desk.of_others() {
            let here = see::surroundings()?;
            desk.runtime = Some(see::wait(Target::find(&which.request(), &here))?.map_err(|_| others)?);
        }
        Ok(desk)
    }

    /// Why we cannot run the app's PHP, if so.
    fn of_others(&self) -> Option<Failed> {
        let line =
            || format!("{} runs as {}: run this as that user or as root", self.loaded.settings.app, self.user.name);
        (!geteuid().is_root() && !self.user.is_us()).then(|| Failed { code: FAILURE, line: line() })
    }

    /// Whether the app's runtime does it in our stead.
    pub fn is_of_runtime(&self) -> bool {
        self.runtime.is_some()
    }

    /// Says in the journal what we have done; a runtime says it itself.
    pub fn log(&self, line: &str) {
        if self.runtime.is_none() {
            log::act(&self.loaded.settings.app, &log::user(), line);
        }
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
        if let Some(runtime) = &self.runtime {
            return entrust(runtime, mode, &order, heard);
        }
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

/// Has a runtime do it, and passes on what PHP has answered.
fn entrust(runtime: &Target, mode: &str, order: &Value, mut heard: impl FnMut(Value)) -> Result<(), Failed> {
    let failed = |line: &str| Failed { code: FAILURE, line: format!("{}: {line}", runtime.app) };
    let asked = Entrusted::deserialize(order).ok().zip(ErrandKind::of(mode));
    let (asked, kind) = asked.ok_or_else(|| failed("only the app's user and root may do that"))?;
    let request = Request::Act(Act::Errand(Entrusted { kind, ..asked }));
    if serde_json::to_vec(&request).is_ok_and(|bytes| bytes.len() as u64 >= LARGEST_REQUEST) {
        return Err(failed("too many ids for one request; give fewer, or run this as the app's user or as root"));
    }
    let told: EntrustedEnd = see::wait(runtime.ask(&request))??;
    if told.running {
        return Err(failed("still running in the app's runtime; its log will have the result"));
    }
    told.answers.into_iter().for_each(|answer| heard(harmless::value(answer, LONG)));
    told.error.map_or(Ok(()), |why| Err(failed(&harmless::line(&why, see::LONGEST))))
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
