//! Finds the control socket of an app with what other users may know of the app: its name, and its config file if that
//! is readable. Reads files; makes none of the checks that only the app's own user could make.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::dirs::{CONTROL_SOCKET, unit_socket};
use super::error::Error;
use super::keys::Merged;
use super::load::{Request, derived_name, set_flags, stand_in};
use super::raw::Origin;
use super::surroundings::Surroundings;
use super::written::Unread;
use super::{app, dirs, paths, written};

/// Maximum number of apps listed per directory: users control the contents of theirs.
const MOST: usize = 256;

/// The location of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub app: String,
    /// Whether there is a config file for it.
    pub configured: bool,
    /// Possible paths of its control socket, the most likely first.
    pub sockets: Vec<PathBuf>,
}

/// Finds the place of one app, by its name, its file or its directory.
///
/// # Errors
/// An invalid name, or an unusable file that was asked for. An invalid file in `/etc/kqueue` is no error: the app may
/// run with earlier settings.
pub fn place(request: &Request, here: &Surroundings) -> Result<Place, Error> {
    place_among(request, here, &Users::new())
}

/// The places of all known apps; `request` makes the request for a name.
///
/// # Errors
/// See [`place`].
pub fn known_places(request: impl Fn(String) -> Request, here: &Surroundings) -> Result<Vec<Place>, Error> {
    let users = Users::new();
    let apps = apps_among(here, &users).into_iter();
    apps.map(|app| place_among(&request(app), here, &users)).collect()
}

/// Users with a running `kqueue`, found on first use: that takes a scan of all processes.
type Users = OnceCell<BTreeSet<u32>>;

fn place_among(request: &Request, here: &Surroundings, users: &Users) -> Result<Place, Error> {
    let named = request.app.as_deref().map(app::check).transpose()?;
    let mut merged = Merged::defaults()?;
    let mut configured = false;
    if let Some(file) = &request.config {
        let file = paths::absolute(file, &Origin::Flag, here);
        match written::read(&file) {
            Ok(written) => written.merge_into(&mut merged)?,
            Err(Unread::Absent) => {
                return Err(Error::NoFile { file, fix: "give one that exists, or the name of the app".into() });
            }
            Err(Unread::Bad(error)) => return Err(error),
        }
        configured = true;
    } else if let Some(app) = &named {
        match written::read(&here.etc.join(format!("{app}.toml"))) {
            Ok(written) => {
                let _ = written.merge_into(&mut merged);
                configured = true;
            }
            Err(Unread::Bad(_)) => configured = true,
            Err(Unread::Absent) => {}
        }
    }
    set_flags(&mut merged, request)?;
    if merged.runtime_dir.is_none() {
        stand_in(&mut merged, request, here);
    }
    let app = match named {
        Some(app) => app,
        None => derived_name(request, &merged, here)?,
    };
    let directories: Vec<PathBuf> = match merged.runtime_dir {
        Some(given) => vec![paths::absolute(&given.value, &given.origin, here)],
        None => {
            let owner = (here.uid == 0).then(|| owner(&merged, here)).flatten();
            roots(here, owner, users).into_iter().map(|root| root.join(&app)).collect()
        }
    };
    let own = directories.iter().map(|directory| directory.join(CONTROL_SOCKET));
    let sockets = [unit_socket(&app, CONTROL_SOCKET, here)].into_iter().chain(own).collect();
    Ok(Place { app, configured, sockets })
}

/// Names of all apps that have a config file in `/etc/kqueue`.
pub fn configured(here: &Surroundings) -> Vec<String> {
    proper(names(&here.etc).iter().filter_map(|name| name.strip_suffix(".toml")))
}

/// The queues that an app's config file claims; the rest of the file is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The app's directory.
    pub path: PathBuf,
    /// The connection, where it is named.
    pub connection: Option<String>,
    /// The queues, where they are named.
    pub queues: Vec<String>,
}

/// Reads the [`Claim`] of an app's file in `/etc/kqueue`; `None` if the file is missing, invalid or without `path`.
pub fn claim(app: &str, here: &Surroundings) -> Option<Claim> {
    let mut merged = Merged::defaults().ok()?;
    written::read(&here.etc.join(format!("{app}.toml"))).ok()?.merge_into(&mut merged).ok()?;
    let path = merged.path?;
    Some(Claim {
        path: paths::absolute(&path.value, &path.origin, here),
        connection: merged.connection.map(|given| given.value),
        queues: merged.queues.map(|given| given.value).unwrap_or_default(),
    })
}

/// Names of all apps that have a config file in `/etc/kqueue`, or a control socket in a default location.
pub fn known_apps(here: &Surroundings) -> Vec<String> {
    apps_among(here, &Users::new())
}

fn apps_among(here: &Surroundings, users: &Users) -> Vec<String> {
    let mut apps = configured(here);
    let units = names(&here.run);
    apps.extend(
        units.iter().filter_map(|name| name.strip_suffix(CONTROL_SOCKET)?.strip_suffix('.')).map(str::to_owned),
    );
    for root in roots(here, None, users) {
        let there = names(&root).into_iter().filter(|name| is_there(&root.join(name).join(CONTROL_SOCKET)));
        apps.extend(there.take(MOST));
    }
    proper(apps.iter().map(String::as_str))
}

/// Names of the files in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The valid app names, sorted, without duplicates.
fn proper<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut apps: Vec<String> = names.filter(|name| app::check(name).is_ok()).map(str::to_owned).collect();
    apps.sort_unstable();
    apps.dedup();
    apps
}

/// Whether a file exists. One in a directory that we may not search counts as existing.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or_else(|error| error.kind() == ErrorKind::PermissionDenied, |_| true)
}

/// The app's user according to its settings: `user`, or the owner of `path`.
fn owner(merged: &Merged, here: &Surroundings) -> Option<u32> {
    if let Some(user) = &merged.user {
        return nix::unistd::User::from_name(&user.value).ok().flatten().map(|user| user.uid.as_raw());
    }
    let path = merged.path.as_ref()?;
    Some(fs::metadata(paths::absolute(&path.value, &path.origin, here)).ok()?.uid())
}

/// Default parents of runtime directories: that of units first, then those of our own user. For root also those of
/// `owner` or, without an owner, of all users with a running `kqueue`.
fn roots(here: &Surroundings, owner: Option<u32>, running: &Users) -> Vec<PathBuf> {
    let mut roots = vec![here.run.clone()];
    roots.extend(dirs::session(here).map(|base| base.join("kqueue")));
    roots.extend(dirs::below_home(here).filter(|dir| dirs::is_own(dir, here.uid)));
    let users = match owner {
        Some(uid) => vec![here.uid, uid],
        None if here.uid == 0 => {
            let running = running.get_or_init(|| users(here));
            [here.uid].into_iter().chain(running.iter().copied()).collect()
        }
        None => vec![here.uid],
    };
    for uid in users {
        let (session, shared) = (here.run_user.join(uid.to_string()).join("kqueue"), dirs::shared(here, uid));
        for root in [Some(session), below_home(uid), Some(shared)].into_iter().flatten() {
            // Any user may have created a directory of that name.
            let theirs = fs::symlink_metadata(&root).is_ok_and(|dir| dir.is_dir() && dir.uid() == uid);
            if theirs && !roots.contains(&root) {
                roots.push(root);
            }
        }
    }
    roots
}

/// Users with a running `kqueue`.
fn users(here: &Surroundings) -> BTreeSet<u32> {
    let processes = fs::read_dir(&here.proc).into_iter().flatten().flatten();
    let runs = |process: &Path| fs::read(process.join("comm")).is_ok_and(|name| name == b"kqueue\n");
    let found = processes.map(|process| process.path()).filter(|process| runs(process));
    found.filter_map(|process| user_of(&process)).collect()
}

/// The effective user of a process. The directory of a process that is not dumpable belongs to root, so `status` comes
/// first.
fn user_of(process: &Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok());
    effective.or_else(|| fs::metadata(process).ok().map(|process| process.uid()))
}

/// Parent of the runtime directories of a user without a session.
fn below_home(uid: u32) -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten()?;
    Some(user.dir.join(".local/state/kqueue/.run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(top: &Path) -> Surroundings {
        let mut here = Surroundings::read().unwrap();
        here.vars.remove("XDG_RUNTIME_DIR");
        here.etc = top.join("etc");
        here.run = top.join("run");
        here.run_user = top.join("users");
        here.tmp = top.join("tmp");
        for dir in [&here.etc, &here.run, &here.tmp.join(format!("kqueue-{}", here.uid)).join("mine")] {
            fs::create_dir_all(dir).unwrap();
        }
        here
    }

    /// The control socket of `shop` below a root.
    fn at(root: &Path) -> PathBuf {
        root.join("shop/control.sock")
    }

    fn named(app: &str) -> Request {
        Request { app: Some(app.to_owned()), ..Request::default() }
    }

    #[test]
    fn by_name() {
        let top = tempfile::tempdir().unwrap();
        let here = here(top.path());
        let own = here.tmp.join(format!("kqueue-{}", here.uid));
        let found = place(&named("shop"), &here).unwrap();
        assert!(!found.configured);
        assert_eq!(found.sockets, [here.run.join("shop.control.sock"), at(&here.run), at(&own)]);
        // An invalid file still shows that the app exists.
        fs::write(here.etc.join("shop.toml"), "pool_size = 'x'").unwrap();
        assert!(place(&named("shop"), &here).unwrap().configured);
        fs::write(here.etc.join("shop.toml"), "runtime_dir = '../r'\npath = '/no/such/place'").unwrap();
        let given = place(&named("shop"), &here).unwrap();
        assert_eq!(given.sockets, [here.run.join("shop.control.sock"), top.path().join("r/control.sock")]);
        assert!(place(&named("No Name"), &here).is_err());
    }

    #[test]
    fn by_file_and_by_directory() {
        let top = tempfile::tempdir().unwrap();
        let here = here(top.path());
        let file = top.path().join("other.toml");
        fs::write(&file, "runtime_dir = '/r'").unwrap();
        let by_file = Request { config: Some(file.clone()), ..Request::default() };
        let found = place(&by_file, &here).unwrap();
        assert_eq!(found.app, "other");
        assert!(found.sockets.contains(&PathBuf::from("/r/control.sock")));
        fs::write(&file, "runtime_dir = 3").unwrap();
        assert!(place(&by_file, &here).is_err());
        let flags = vec![("path", "/srv/My-Shop".to_owned())];
        let by_path = Request { flags, ..Request::default() };
        assert_eq!(place(&by_path, &here).unwrap().app, "my_shop");
    }

    #[test]
    fn root_looks_where_the_apps_user_would_be() {
        let top = tempfile::tempdir().unwrap();
        let mut here = here(top.path());
        let own = here.uid;
        // The test's own user is the app's user here, and `here.uid` makes the caller root.
        let session = here.run_user.join(own.to_string()).join("kqueue");
        fs::create_dir_all(session.join("shop")).unwrap();
        fs::write(session.join("shop/control.sock"), "").unwrap();
        let last_resort = here.tmp.join(format!("kqueue-{own}"));
        // A directory of a user other than its name says, and a link.
        fs::create_dir_all(here.tmp.join("kqueue-4242/evil")).unwrap();
        fs::write(here.tmp.join("kqueue-4242/evil/control.sock"), "").unwrap();
        std::os::unix::fs::symlink(&session, here.tmp.join("kqueue-4243")).unwrap();
        here.uid = 0;
        here.proc = top.path().join("proc");
        fs::create_dir_all(here.proc.join("42")).unwrap();
        fs::write(here.etc.join("shop.toml"), format!("path = '{}'", top.path().display())).unwrap();
        let found = place(&named("shop"), &here).unwrap();
        assert_eq!(found.sockets[1..], [at(&here.run), at(&session), at(&last_resort)]);
        // Without a config file, directories of users with a running `kqueue` are searched.
        let desk = session.join("desk/control.sock");
        assert_eq!(place(&named("desk"), &here).unwrap().sockets.contains(&desk), own == 0);
        fs::write(here.proc.join("42/comm"), "kqueue\n").unwrap();
        assert!(place(&named("desk"), &here).unwrap().sockets.contains(&desk));
        assert_eq!(known_apps(&here), ["shop"]);
    }

    #[test]
    fn all_there_are() {
        let top = tempfile::tempdir().unwrap();
        let here = here(top.path());
        for name in ["shop.toml", "blog.toml", "Not A Name.toml", "notes.txt"] {
            fs::write(here.etc.join(name), "").unwrap();
        }
        fs::create_dir_all(here.run.join("stale")).unwrap();
        fs::create_dir_all(here.run.join("desk")).unwrap();
        fs::write(here.run.join("desk/control.sock"), "").unwrap();
        fs::write(here.tmp.join(format!("kqueue-{}/mine/control.sock", here.uid)), "").unwrap();
        assert_eq!(known_apps(&here), ["blog", "desk", "mine", "shop"]);
        let named = |app: String| Request { app: Some(app), ..Request::default() };
        let each: Vec<Place> = known_apps(&here).into_iter().map(|app| place(&named(app), &here).unwrap()).collect();
        assert_eq!(known_places(named, &here).unwrap(), each);
    }
}
