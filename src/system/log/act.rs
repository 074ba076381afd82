//! Actions of users on the command line, recorded in the journal.

use libsystemd::logging::{Priority, journal_send};
use nix::unistd::{User, getuid};

use crate::harmless;

/// Maximum length of a name in bytes.
const NAME: usize = 64;

/// The acting user: the user of this process; for root through sudo, with the user that sudo names.
#[must_use]
pub fn user() -> String {
    let uid = getuid();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name);
    let sudo = std::env::var("SUDO_USER").ok().filter(|sudo| uid.is_root() && !sudo.is_empty() && *sudo != name);
    harmless::line(&sudo.map_or_else(|| name.clone(), |sudo| format!("{name} ({sudo} by sudo)")), NAME)
}

/// Records in the journal that `who` has done something to an app. Does nothing without a journal.
pub fn act(app: &str, who: &str, what: &str) {
    let message = harmless::line(&format!("{app}: {what}, by {who}"), 4 * 1024);
    let unit = format!("kqueue@{app}.service");
    // Acts of root appear with the app's unit.
    let fields =
        [("SYSLOG_IDENTIFIER", "kqueue"), ("KQUEUE_APP", app), ("KQUEUE_BY", who), ("OBJECT_SYSTEMD_UNIT", &unit)];
    // A failure to record it does not fail the act.
    let _ = journal_send(Priority::Notice, &message, fields.into_iter());
}
