//! What somebody has done from the command line, for the journal.

use libsystemd::logging::{Priority, journal_send};
use nix::unistd::{User, getuid};

use crate::harmless;

/// Bytes of a name.
const NAME: usize = 64;

/// Who acts: the user of this process; where that is root by way of sudo, whom sudo names too.
#[must_use]
pub fn user() -> String {
    let uid = getuid();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name);
    let sudo = std::env::var("SUDO_USER").ok().filter(|sudo| uid.is_root() && !sudo.is_empty() && *sudo != name);
    harmless::line(&sudo.map_or_else(|| name.clone(), |sudo| format!("{name} ({sudo} by sudo)")), NAME)
}

/// Notes that `who` has done something to an app. Where no journal is, nobody is told.
pub fn act(app: &str, who: &str, what: &str) {
    let message = harmless::line(&format!("{app}: {what}, by {who}"), 4 * 1024);
    let unit = format!("kqueue@{app}.service");
    // What root has done is shown with the app's unit.
    let fields =
        [("SYSLOG_IDENTIFIER", "kqueue"), ("KQUEUE_APP", app), ("KQUEUE_BY", who), ("OBJECT_SYSTEMD_UNIT", &unit)];
    // An act is done whether or not it can be noted.
    let _ = journal_send(Priority::Notice, &message, fields.into_iter());
}
