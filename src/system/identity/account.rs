//! A user of this machine, and how a process changes to that user permanently.

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};
use serde::{Deserialize, Serialize};

/// A user, with what a unit of that user gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl Account {
    /// Finds a user by name or id; `group` likewise, if it is not the user's own.
    ///
    /// # Errors
    /// A message if there is no such user or group.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, String> {
        let known = match user.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let known = known.map_err(|error| format!("user {user}: {error}"))?;
        let known = known.ok_or_else(|| format!("there is no user {user} on this machine"))?;
        let gid = match group {
            None => known.gid.as_raw(),
            Some(group) => match group.parse() {
                Ok(gid) => gid,
                Err(_) => {
                    let found = Group::from_name(group).map_err(|error| format!("group {group}: {error}"))?;
                    found.ok_or_else(|| format!("there is no group {group} on this machine"))?.gid.as_raw()
                }
            },
        };
        Ok(Self { name: known.name, uid: known.uid.as_raw(), gid, home: known.dir, shell: known.shell })
    }

    /// The environment variables that a login, or a unit, of that user has.
    pub fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("HOME", self.home.clone().into()),
            ("USER", self.name.clone().into()),
            ("LOGNAME", self.name.clone().into()),
            ("SHELL", self.shell.clone().into()),
        ]
    }

    /// Whether it is our effective user.
    pub fn is_us(&self) -> bool {
        geteuid().as_raw() == self.uid
    }

    /// Changes to that user and all its groups, permanently.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn become_it(&self) -> Result<(), String> {
        let gid = Gid::from_raw(self.gid);
        let name = CString::new(self.name.as_str()).map_err(|error| error.to_string())?;
        initgroups(&name, gid)
            .and_then(|()| setgid(gid))
            .and_then(|()| setuid(Uid::from_raw(self.uid)))
            .map_err(|error| format!("cannot change to user {}: {error}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_by_name_and_number() {
        let root = Account::find("root", None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Account::find("0", None).unwrap().name, "root");
        assert_eq!(Account::find("root", Some("7")).unwrap().gid, 7);
        let error = Account::find("no-such-user-here", None).unwrap_err();
        assert_eq!(error, "there is no user no-such-user-here on this machine");
        assert!(Account::find("root", Some("no-such-group-here")).is_err());
    }
}
