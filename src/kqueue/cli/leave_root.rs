//! Where root has typed `kqueue run`: becomes the app's user before anything of the app is looked at.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use nix::unistd::geteuid;

use super::Failed;
use kqueue_config::{self as config, Request, Surroundings};
use kqueue_system::identity::{self, Account, App};

/// The word of root that an app is root's.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct AsRoot {
    /// Run the app's PHP as root, if the app really is root's, as in a container of its own. Otherwise, root becomes
    /// the app's user
    #[arg(long)]
    pub as_root: bool,
}

impl From<identity::Refused> for Failed {
    fn from(refused: identity::Refused) -> Self {
        Failed::config(refused.to_string())
    }
}

/// What is run in root's stead: `kqueue detached …`.
#[derive(Debug, Args)]
pub(super) struct Detached {
    /// Whom to become
    #[arg(long)]
    user: String,
    /// In which group
    #[arg(long)]
    group: String,
    /// The process that stands at the terminal for this one
    #[arg(long)]
    front: Option<i32>,
    /// The command line
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Runs this command line again as the app's user, unless that is who we are. `None` is to go on here.
///
/// # Errors
/// Settings that cannot work, a user that cannot be, or directories that cannot be made for that user.
pub(super) fn leave_root(request: &Request, as_root: AsRoot, args: &[OsString]) -> Result<Option<ExitCode>, Failed> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    let whose = config::whose(request, &here)?;
    let app = App { path: &whose.path, user: whose.user.as_deref(), group: whose.group.as_deref() };
    let account = identity::user_of(app, as_root.as_root)?;
    if account.uid == 0 {
        return Ok(None);
    }
    let terminal = identity::has_terminal();
    let command = again(&whose, &account, terminal, &here, args)?;
    match terminal {
        // Of another session, whose processes cannot type into root's shell.
        true => identity::front(command).map(Some).map_err(|error| Failed::at("/proc/self/exe", error)),
        false => Err(Failed::at("/proc/self/exe", exec(command))),
    }
}

fn exec(mut command: Command) -> std::io::Error {
    command.exec()
}

fn again(
    whose: &config::Whose,
    account: &Account,
    terminal: bool,
    here: &Surroundings,
    args: &[OsString],
) -> Result<Command, Failed> {
    let mut command = Command::new("/proc/self/exe");
    if terminal {
        command.stdin(Stdio::null());
    }
    command.arg0("kqueue").args(["detached", "--user", &account.uid.to_string(), "--group", &account.gid.to_string()]);
    if terminal {
        command.arg("--front").arg(std::process::id().to_string());
    }
    command.arg("--").args(args.iter().skip(1)).envs(account.environment());
    // What is root's own, or of root's session.
    for name in
        ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS", "MAIL"]
    {
        command.env_remove(name);
    }
    for (wanted, variable, parent, option) in [
        (whose.default_runtime, "RUNTIME_DIRECTORY", &here.run, "--runtime-dir"),
        (whose.default_state, "STATE_DIRECTORY", &here.var_lib, "--state-dir"),
    ] {
        if wanted {
            let directory = identity::make_private_for(&parent.join(&whose.app), account).map_err(|error| {
                let line = format!("{error}; remove it if no kqueue uses it any more, or give {option} DIR");
                Failed { code: super::FAILURE, line }
            })?;
            command.env(variable, directory);
        }
    }
    Ok(command)
}

impl Detached {
    /// Becomes that user, and gives the command line.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn settle(self) -> Result<Vec<OsString>, Failed> {
        let failed = |line: String| Failed { code: super::FAILURE, line };
        let account = Account::find(&self.user, Some(&self.group)).map_err(failed)?;
        if identity::has_terminal() {
            identity::detach().map_err(|error| Failed::at("session", error))?;
        }
        identity::close_inherited();
        account.become_it().map_err(failed)?;
        identity::stay_with(self.front).map_err(|error| Failed::at("terminal", error))?;
        Ok([OsString::from("kqueue")].into_iter().chain(self.args).collect())
    }
}
