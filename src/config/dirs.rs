//! Default directories of state and sockets. Checks permissions; creates nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::error::{At, Error};
use super::raw::Origin;
use super::surroundings::Surroundings;

/// Maximum length of a socket's path in bytes. The kernel accepts 107; the rest is reserved for longer socket names.
const SOCKET_LONGEST: usize = 100;

/// The socket that PHP processes connect to.
pub const WORKER_SOCKET: &str = "worker.sock";
/// The socket of `kqueue status`.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The path at which systemd binds a socket of an app, as in `units/*.socket`: in a directory where only root can
/// replace it. Sockets that the runtime itself binds are in its own directory.
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
    // A relative path is invalid by the XDG specification.
    let xdg = here.var("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = xdg.or_else(|| here.home.as_ref().map(|home| home.join(".local/state")));
    base.map(|base| base.join("kqueue").join(app)).ok_or_else(|| Error::NoValue {
        key: "state_dir",
        fix: "the user has no home directory; give --state-dir DIR".into(),
    })
}

/// Default of `runtime_dir`. Its creator has to ensure that no other user can write to it.
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
    // In /tmp any user can take the name first, so it is the last resort.
    let own = below_home(here).map(|dir| dir.join(app));
    own.filter(|dir| fits(dir) && can_make_with_parents(dir)).unwrap_or_else(|| shared(here, here.uid).join(app))
}

/// The runtime directory of our own session: `$XDG_RUNTIME_DIR`, or its usual path, if only we can write to it. One
/// that was inherited from another user is not used.
pub(super) fn session(here: &Surroundings) -> Option<PathBuf> {
    let named = here.var("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let usual = here.run_user.join(here.uid.to_string());
    [named, Some(usual)].into_iter().flatten().find(|dir| is_own(dir, here.uid))
}

/// Parent of the runtime directories of a user without a session.
pub(super) fn below_home(here: &Surroundings) -> Option<PathBuf> {
    here.home.as_ref().map(|home| home.join(".local/state/kqueue/.run"))
}

/// Parent of the runtime directories of a user without a writable home.
pub(super) fn shared(here: &Surroundings, uid: u32) -> PathBuf {
    here.tmp.join(format!("kqueue-{uid}"))
}

/// Whether a directory belongs to this user, and only that user may write to it.
pub(super) fn is_own(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|dir| dir.is_dir() && dir.uid() == uid && dir.mode() & 0o022 == 0)
}

/// Whether we could create a directory and its missing parents.
fn can_make_with_parents(dir: &Path) -> bool {
    let there = dir.ancestors().find(|dir| dir.exists());
    there.is_some_and(|dir| dir.is_dir() && eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
}

fn fits(dir: &Path) -> bool {
    dir.join(CONTROL_SOCKET).as_os_str().len() <= SOCKET_LONGEST
}

/// Checks that the path of a socket in `dir` is not too long.
///
/// # Errors
/// [`Error::Path`] where it is too long.
pub fn check_socket(dir: &Path, at: At) -> Result<(), Error> {
    let bytes = dir.join(CONTROL_SOCKET).as_os_str().len();
    if bytes <= SOCKET_LONGEST {
        return Ok(());
    }
    let example = match at.origin {
        Origin::Flag => "/run/kqueue/shop",
        _ => "\"/run/kqueue/shop\"",
    };
    Err(Error::Path {
        path: dir.to_owned(),
        what: format!("makes a socket path of {bytes} bytes, above the maximum of {SOCKET_LONGEST}"),
        fix: format!("give a shorter one: {}", at.spell(example)),
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
