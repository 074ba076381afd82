//! Checks whether the state and runtime directories of an app belong to another user. systemd, as root, would change
//! the owner of such a directory and its contents to the unit's user: the generator makes the runtime refuse to start
//! instead.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::drop_ins::App;
use kqueue_config::{Error, Surroundings};

/// Local users. The name service is not used: it may need the network.
const PASSWD: &str = "/etc/passwd";

/// Checks that the app's directories, if they exist, belong to root or to the app's user.
///
/// # Errors
/// [`Error::Filled`] when one belongs to another user.
pub fn check(app: &App, here: &Surroundings) -> Result<(), Error> {
    let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
    let settings = &app.settings;
    let directories = [here.var_lib.join(&settings.app), here.run.join(&settings.app)];
    for directory in &directories {
        // The parent directories are root's, so no other user can replace it by a link.
        let Ok(metadata) = fs::symlink_metadata(directory) else { continue };
        if metadata.uid() != 0 && is_another(metadata.uid(), &app.user, &passwd) {
            let key = if settings.user.is_some() { "user" } else { "path" };
            let there: Vec<_> = directories.iter().filter(|path| fs::symlink_metadata(path).is_ok()).collect();
            let there: Vec<_> = there.iter().map(|path| path.display().to_string()).collect();
            return Err(Error::Filled {
                file: settings.file.clone(),
                key,
                what: format!(
                    "{} belongs to user {}, but the app's user is now {}",
                    directory.display(),
                    metadata.uid(),
                    app.user
                ),
                fix: format!(
                    "stop the app, then `rm -r {} && systemctl daemon-reload`; or change {key} back",
                    there.join(" ")
                ),
            });
        }
    }
    Ok(())
}

/// Whether `uid` is not that of `user`, a name or a number. A name that is not in `passwd` comes from the network: then
/// only a `uid` of a local user is known to be another.
fn is_another(uid: u32, user: &str, passwd: &str) -> bool {
    let mut users = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?))
    });
    match user.parse::<u32>().ok().or_else(|| users.clone().find(|(name, _)| *name == user).map(|(_, uid)| uid)) {
        Some(own) => own != uid,
        None => users.any(|(_, local)| local == uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        let passwd = "root:x:0:0::/:/bin/sh\nshop:x:2001:2001::/:/bin/sh\n\nodd\nblog:x:2002:2001::/:/bin/sh\n";
        for (uid, user, another) in [
            (2001, "shop", false),
            (2001, "2001", false),
            (2001, "blog", true),
            (2001, "2002", true),
            (2001, "root", true),
            // A network user.
            (7000, "jane", false),
            (2001, "jane", true),
        ] {
            assert_eq!(is_another(uid, user, passwd), another, "{uid} {user}");
        }
        assert!(!is_another(2001, "shop", ""), "no file, nothing known");
    }
}
