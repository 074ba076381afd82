//! Processes that systemd units start directly: checks of their user, and replacing the process by PHP for pooled
//! workers and the scheduler.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::unistd::{Uid, User, geteuid};

use super::leave_root::AsRoot;
use super::{Failed, USAGE};
use crate::launch::output::redirect_to_fifo;
use kqueue_config::{self as config, Loaded, Request, Surroundings};
use kqueue_system::identity::{self, App};

/// The user of units for which the generator has no settings.
const NOBODY_IN_PARTICULAR: &str = "kqueue";

/// Refuses to run an app as another user than its settings say, if a unit has started us.
///
/// The unit sets the user, which the generator took from the settings. If the file has changed since, the app would run
/// as the wrong user, and leave files that the right one cannot write.
///
/// # Errors
/// When the users differ, with the fix, in one line.
pub(super) fn check_user(loaded: &Loaded) -> Result<(), Failed> {
    // Children inherit it: it proves a unit only if it is our own process id.
    if std::env::var("SYSTEMD_EXEC_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(());
    }
    let uid = geteuid();
    let user = User::from_uid(uid).ok().flatten().map(|user| user.name);
    match mismatch(loaded.settings.user.as_deref(), uid, user.as_deref()) {
        None => Ok(()),
        Some(what) => {
            let app = &loaded.settings.app;
            let fix = format!(
                "`systemctl daemon-reload`, then start {app} again; if that does not help, journalctl -t kqueue-generator"
            );
            Err(Failed::config(format!("{what}; {fix}")))
        }
    }
}

/// The mismatch between running as `uid`, called `name`, and the user `wanted` by the settings, if any.
fn mismatch(wanted: Option<&str>, uid: Uid, name: Option<&str>) -> Option<String> {
    let me = name.map_or_else(|| uid.to_string(), str::to_owned);
    match wanted {
        Some(wanted) if Some(wanted) == name || wanted.parse() == Ok(uid.as_raw()) => None,
        Some(wanted) => Some(format!("the app's user is {wanted}, but its unit runs as {me}")),
        None if name == Some(NOBODY_IN_PARTICULAR) => {
            Some(format!("systemd does not know the app's user yet, and its unit runs as {me}"))
        }
        None => None,
    }
}

/// Replaces this process by the PHP of a pooled worker, as `kqueue run APP` would start it. systemd already tracks the
/// process, so PHP itself can report that it is ready (`NOTIFY_SOCKET`).
///
/// # Errors
/// Errors of the settings as in `kqueue run APP`, and if PHP cannot be started. It does not return otherwise.
pub(super) fn become_worker(instance: &str, as_root: AsRoot) -> Result<ExitCode, Failed> {
    let (app, number) = parse(instance).ok_or_else(|| Failed {
        code: USAGE,
        line: format!("{instance:?}: expected the app and the worker's number, such as shop:1"),
    })?;
    let mut here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    // The directories are the runtime's, not the unit's.
    let (run, state) = (here.run.join(app), here.var_lib.join(app));
    here.vars.entry("RUNTIME_DIRECTORY".into()).or_insert_with(|| run.into());
    here.vars.entry("STATE_DIRECTORY".into()).or_insert_with(|| state.into());
    let request = Request { app: Some(app.into()), ..Request::default() };
    refuse_root(&request, as_root, &here)?;
    let loaded = config::load(&request, &here)?;
    let most = loaded.settings.pool_max_size;
    if number > most as u64 {
        return Err(Failed::config(format!(
            "worker {number} of {app}: pool_max_size is {most}; raise it in {app}.toml"
        )));
    }
    check_user(&loaded)?;
    let settings = loaded.settings;
    let script = crate::runtime::find_script().map_err(|error| Failed::config(format!("{error:#}")))?;
    // The runtime reads its output and logs each line with its job; if that fails, output goes to the unit's own log.
    if let Err(error) = redirect_to_fifo(&settings.runtime_dir, number) {
        super::stdio::err(&format!(
            "kqueue: {}: {error}; output goes to the log of this unit",
            settings.runtime_dir.display()
        ));
    }
    let error = Command::new(&settings.php)
        .args(&settings.php_args)
        .arg(script)
        .arg(kqueue_core::wire::Mode::Pooled.to_string())
        .current_dir(&settings.path)
        .env("KQUEUE_SOCKET", config::unit_socket(app, config::WORKER_SOCKET, &here))
        .env("KQUEUE_DIRECTORY", &settings.runtime_dir)
        .env("KQUEUE_WORKER", number.to_string())
        .exec();
    Err(Failed::at(&settings.php.display().to_string(), error))
}

/// Replaces this process by the scheduler of an app, in its directory and with its PHP.
///
/// # Errors
/// Errors of the settings as in `kqueue run APP`, and if PHP cannot be started. It does not return otherwise.
pub(super) fn become_schedule(app: String, as_root: AsRoot) -> Result<ExitCode, Failed> {
    let here = Surroundings::read().map_err(|error| Failed::at("working directory", error))?;
    let request = Request { app: Some(app), ..Request::default() };
    refuse_root(&request, as_root, &here)?;
    let loaded = config::load(&request, &here)?;
    check_user(&loaded)?;
    let settings = loaded.settings;
    let error = Command::new(&settings.php)
        .args(&settings.php_args)
        .args(["artisan", "schedule:run", "--no-interaction"])
        .current_dir(&settings.path)
        .exec();
    Err(Failed::at(&settings.php.display().to_string(), error))
}

/// Refuses to run PHP as root, unless the app is declared to be root's. Units start us as the app's user.
fn refuse_root(request: &Request, as_root: AsRoot, here: &Surroundings) -> Result<(), Failed> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let whose = config::whose(request, here)?;
    let app = App { path: &whose.path, user: whose.user.as_deref(), group: whose.group.as_deref() };
    let user = identity::user_of(app, as_root.as_root)?;
    match user.uid {
        0 => Ok(()),
        _ => Err(Failed::config(format!(
            "{} runs as {}, but this process runs as root; start its unit, which systemd runs as that user",
            whose.app, user.name
        ))),
    }
}

/// Parses `APP:N`, with N from 1.
fn parse(instance: &str) -> Option<(&str, u64)> {
    let (app, number) = instance.split_once(':')?;
    // Only one spelling of a number, or two units could be the same worker.
    let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    Some((app, number.parse().ok().filter(|_| plain)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances() {
        assert_eq!(parse("shop:1"), Some(("shop", 1)));
        assert_eq!(parse("a_1:20"), Some(("a_1", 20)));
        for bad in ["", "shop", "shop:", "shop:x", "shop:0", "shop:01", "shop:+1", "shop:-1", "shop:1:2", "shop:1 "] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_right_user() {
        let uid = Uid::from_raw(1000);
        for (wanted, name) in
            [(Some("alice"), Some("alice")), (Some("1000"), Some("alice")), (Some("1000"), None), (None, Some("alice"))]
        {
            assert_eq!(mismatch(wanted, uid, name), None, "{wanted:?} {name:?}");
        }
        let other = mismatch(Some("alice"), uid, Some("bob"));
        assert_eq!(other.as_deref(), Some("the app's user is alice, but its unit runs as bob"));
        assert!(mismatch(Some("alice"), uid, None).unwrap().ends_with("as 1000"));
        assert!(mismatch(None, uid, Some("kqueue")).is_some());
        assert_eq!(mismatch(Some("kqueue"), uid, Some("kqueue")), None);
    }
}
