//! Where state and sockets go when nobody says. Looks at permissions; makes nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::error::{At, Error};
use super::surroundings::Surroundings;

/// Longest path of a socket. The kernel takes 107; what is left allows for a longer socket name later.
const SOCKET_LONGEST: usize = 100;

/// The socket that PHP processes dial.
pub const WORKER_SOCKET: &str = "worker.sock";
/// The socket of `kqueue status`.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Where systemd binds a socket of an app, as `units/*.socket` say: in a directory in which nobody but root can put
/// something else in its place. What the runtime makes itself is in a directory of its own.
pub fn unit_socket(app: &str, name: &str, here: &Surroundings) -> PathBuf {
    here.run.join(format!("{app}.{name}"))
}

/// Default of `state_dir`.
///
/// # Errors
/// [`Error::NoValue`] for a user without a home.
pub fn state(app: &str, here: &Surroundings) -> Result<PathBuf, Error> {
    if let Some(given) = first_of(here, "STATE_DIRECTORY") {
        return Ok(given);
    }
    let system = here.var_lib.join(app);
    if here.uid == 0 || can_make(&system, &here.var_lib) {
        return Ok(system);
    }
    // XDG says that a relative path is no path.
    let xdg = here.var("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = xdg.or_else(|| here.home.as_ref().map(|home| home.join(".local/state")));
    base.map(|base| base.join("kqueue").join(app)).ok_or_else(|| Error::NoValue {
        key: "state_dir",
        fix: "the user has no home directory; give --state-dir DIR".into(),
    })
}

/// Default of `runtime_dir`. Who makes it has to see to it that nobody else can put anything there.
pub fn runtime(app: &str, here: &Surroundings) -> PathBuf {
    if let Some(given) = first_of(here, "RUNTIME_DIRECTORY") {
        return given;
    }
    if here.uid == 0 {
        return here.run.join(app);
    }
    if let Some(base) = session(here) {
        return base.join("kqueue").join(app);
    }
    // In /tmp anybody can take the name before us, so it is where nothing else will do.
    let own = below_home(here).map(|dir| dir.join(app));
    own.filter(|dir| fits(dir) && can_make_with_parents(dir)).unwrap_or_else(|| shared(here, here.uid).join(app))
}

/// The directory of our own session: `$XDG_RUNTIME_DIR`, or where it would be, if it is ours alone. One that was inherited
/// from another user is not.
pub(super) fn session(here: &Surroundings) -> Option<PathBuf> {
    let named = here.var("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let usual = here.run_user.join(here.uid.to_string());
    [named, Some(usual)].into_iter().flatten().find(|dir| is_own(dir, here.uid))
}

/// Where runtimes of a user without a session have their directories.
pub(super) fn below_home(here: &Surroundings) -> Option<PathBuf> {
    here.home.as_ref().map(|home| home.join(".local/state/kqueue/.run"))
}

/// The same for a user who cannot write to a home.
pub(super) fn shared(here: &Surroundings, uid: u32) -> PathBuf {
    here.tmp.join(format!("kqueue-{uid}"))
}

/// Whether a directory is this user's, and nobody else may write to it.
pub(super) fn is_own(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|dir| dir.is_dir() && dir.uid() == uid && dir.mode() & 0o022 == 0)
}

/// Whether we could make a directory, with those above it.
fn can_make_with_parents(dir: &Path) -> bool {
    let there = dir.ancestors().find(|dir| dir.exists());
    there.is_some_and(|dir| dir.is_dir() && eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
}

fn fits(dir: &Path) -> bool {
    dir.join(CONTROL_SOCKET).as_os_str().len() <= SOCKET_LONGEST
}

/// Checks that a socket in `dir` has a path that the kernel takes.
///
/// # Errors
/// [`Error::Path`] where it is too long.
pub fn check_socket(dir: &Path, at: At) -> Result<(), Error> {
    let bytes = dir.join(CONTROL_SOCKET).as_os_str().len();
    if bytes <= SOCKET_LONGEST {
        return Ok(());
    }
    Err(Error::Path {
        path: dir.to_owned(),
        what: format!("makes a socket path of {bytes} bytes, above {SOCKET_LONGEST}"),
        fix: format!("give a shorter one: {}", at.spell("/run/kqueue/shop")),
        at,
    })
}

/// The first of a list that systemd made from `StateDirectory=a b`.
fn first_of(here: &Surroundings, var: &str) -> Option<PathBuf> {
    let first = here.var(var)?.as_bytes().split(|byte| *byte == b':').next()?;
    Some(PathBuf::from(OsStr::from_bytes(first))).filter(|dir| dir.is_absolute())
}

fn can_make(dir: &Path, parent: &Path) -> bool {
    let writable = |dir: &Path| eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    if dir.exists() { writable(dir) } else { writable(parent) }
}
