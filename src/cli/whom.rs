//! As whom `kqueue run` runs: root becomes the app's user before it looks at anything of the app.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::{geteuid, getppid};

use super::{FAILURE, Failed};
use crate::config::{self, Request, Surroundings};
use crate::identity::{self, App, Refused};

/// What is root's, or of a unit, in the environment, and would lead the app's user astray.
const ROOTS_OWN: &[&str] =
    &["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"];

/// The internal command that runs another one as the app's user, in a session of its own.
const DETACHED: &str = "detached";
/// The same, without a session of its own.
const SETTLED: &str = "settled";

/// How the process goes on.
pub(super) enum Whom {
    /// As who we are now.
    Us,
    /// As root, since somebody said so.
    Root,
    /// It has run in a session of its own, and ended like this.
    Ended(ExitCode),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::config(refused.to_string())
    }
}

/// How far the way to the app's user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The command as it was given.
    First,
    /// Again, with the user's environment.
    Settled,
    /// Again, behind the process that is at the terminal.
    Detached,
}

/// Becomes the app's user, if root is who we are. A process cannot safely change its own environment, so the command
/// is executed again with that of the user; where there is a terminal, in a session of its own.
///
/// # Errors
/// Where nobody may run the app, or the system does not let us become that user.
pub(super) fn settle(request: &Request, as_root: bool, step: Step) -> Result<Whom, Failed> {
    if !geteuid().is_root() || super::unit::is_unit() {
        return Ok(Whom::Us);
    }
    let here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    let whose = config::whose(request, &here)?;
    let app = App { path: &whose.path, user: whose.user.as_deref(), group: whose.group.as_deref() };
    let account = match identity::user_of(app, as_root) {
        Ok(account) => account,
        Err(refused) => {
            // That there is no app is better said by the settings, which name the key.
            if whose.user.is_none() && !whose.path.join("artisan").is_file() {
                config::load(request, &here)?;
            }
            return Err(refused.into());
        }
    };
    if account.uid == 0 {
        return Ok(Whom::Root);
    }
    if step == Step::First {
        let own = std::env::current_exe().map_err(|error| Failed::at("kqueue", error))?;
        let terminal = identity::has_terminal();
        let mut command = Command::new(own);
        command.arg(if terminal { DETACHED } else { SETTLED }).args(std::env::args_os().skip(1)).stdin(Stdio::null());
        for name in ROOTS_OWN {
            command.env_remove(name);
        }
        command.envs(account.environment());
        if terminal {
            return identity::front(command).map(Whom::Ended).map_err(|error| Failed::at("kqueue", error));
        }
        return Err(Failed::at("kqueue", command.exec()));
    }
    if whose.default_state {
        // Where it cannot be had, the user's home is the next best.
        let _ = identity::make_private_for(&here.var_lib.join(&whose.app), &account);
    }
    let front = (step == Step::Detached).then(|| getppid().as_raw());
    account.become_it().map_err(|line| Failed { code: FAILURE, line })?;
    if let Some(front) = front {
        identity::stay_with(front).map_err(|error| Failed::at("kqueue", error))?;
    }
    Ok(Whom::Us)
}

/// Takes the step that comes first in the arguments off them. To be called before anything is opened.
pub(super) fn step(args: &mut Vec<OsString>) -> Result<Step, Failed> {
    let step = match args.get(1).and_then(|name| name.to_str()) {
        Some(DETACHED) => Step::Detached,
        Some(SETTLED) => Step::Settled,
        _ => return Ok(Step::First),
    };
    args.remove(1);
    identity::close_inherited();
    match identity::detach() {
        // One that leads a group cannot leave it, and need not where there is no terminal.
        Err(error) if identity::has_terminal() => Err(Failed::at("session", error)),
        _ => Ok(step),
    }
}
