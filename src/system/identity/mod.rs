//! The user that an app's PHP runs as, and how a process of root changes to that user permanently.
//!
//! One rule for every command: PHP of an app never runs as root, unless root asks for that with `--as-root`.

mod account;
mod private;
mod session;

use std::path::Path;

use nix::unistd::geteuid;

pub use account::Account;
pub use private::{NotPrivate, make as make_private, make_for as make_private_for, make_readable};
pub use session::{
    adopt_descendants, close_inherited, detach, end_descendants, front, has_terminal, stay_with, unblock_signals,
};

/// The properties of an app that decide which user it runs as.
#[derive(Clone, Copy, Debug)]
pub struct App<'a> {
    /// The app's directory.
    pub path: &'a Path,
    /// The user in the settings.
    pub user: Option<&'a str>,
    /// The group in the settings.
    pub group: Option<&'a str>,
}

/// Why PHP of an app may not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {fix}")]
pub struct Refused {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// The user that PHP of an app runs as: the one in the settings, or the owner of the app's directory. Root is allowed
/// only with `as_root`.
///
/// # Errors
/// When that is root, or no user of this machine.
pub fn user_of(app: App<'_>, as_root: bool) -> Result<Account, Refused> {
    let path = app.path.display();
    let refused = |what: String, fix: &str| Refused { what, fix: fix.to_owned() };
    let name = match app.user {
        Some(name) => name.to_owned(),
        None => match crate::owner::of(app.path) {
            Ok(0) if !as_root => {
                let what = format!("{path} belongs to root, and jobs should not run as root");
                return Err(refused(
                    what,
                    "set the app's user: user = \"www-data\", or pass --as-root to run it as root",
                ));
            }
            Ok(uid) => uid.to_string(),
            Err(why) => return Err(refused(format!("{path} {why}"), "set the app's user: user = \"www-data\"")),
        },
    };
    let account = Account::find(&name, app.group)
        .map_err(|what| refused(what, "create it, or set the app's user: user = \"www-data\""))?;
    if account.uid == 0 && !as_root {
        let what = format!("the user of the app at {path} is root, and jobs should not run as root");
        return Err(refused(what, "set another user: user = \"www-data\", or pass --as-root to run it as root"));
    }
    Ok(account)
}

/// The user that this process has to change to for PHP of an app: for root as in [`user_of`]. `None` for other users:
/// they run it as themselves.
///
/// # Errors
/// As [`user_of`].
pub fn runs_as(app: App<'_>, as_root: bool) -> Result<Option<Account>, Refused> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    user_of(app, as_root).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_nobodys_user_unless_somebody_says_so() {
        let of = |path: &str, user: Option<&str>, as_root| {
            user_of(App { path: Path::new(path), user, group: None }, as_root).map(|account| account.uid)
        };
        for user in [None, Some("root"), Some("0")] {
            let refused = of("/usr", user, false).unwrap_err();
            assert!(refused.fix.contains("--as-root"), "{refused}");
            assert_eq!(of("/usr", user, true), Ok(0));
        }
        assert_ne!(of("/usr", Some("nobody"), false).unwrap(), 0);
        assert!(of("/no/such/place", None, false).unwrap_err().what.contains("/no/such/place"));
        assert!(of("/usr", Some("no-such-user-here"), true).unwrap_err().what.contains("no-such-user-here"));
    }

    #[test]
    fn the_owner_of_the_directory() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let nobody = Account::find("nobody", None).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(nobody.uid), None).unwrap();
        let app = App { path: dir.path(), user: None, group: None };
        assert_eq!(user_of(app, false).unwrap(), nobody);
        assert_eq!(runs_as(app, false).unwrap(), Some(nobody));
    }
}
