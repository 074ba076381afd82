//! Directories that only their owner and root can change.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

use super::Account;

/// Maximum number of links in one path, as in the kernel.
const LINKS: usize = 40;

/// Why a directory cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// It cannot be created or read.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// Another user could change it.
    #[error("{0}: belongs to another user, or others may write to it")]
    Others(PathBuf),
}

/// Creates a directory of mode 0700 that only our user can write to, and its missing parents. Every directory and link
/// of the path must belong to our user or root and must not be writable by others (unless it is sticky), or they could
/// redirect the path. Returns the path with its links resolved.
///
/// # Errors
/// See [`NotPrivate`].
pub fn make(directory: &Path) -> Result<PathBuf, NotPrivate> {
    make_with(directory, 0o700)
}

/// As [`make`] with mode 0755: others may read it, but not write to it.
///
/// # Errors
/// See [`NotPrivate`].
pub fn make_readable(directory: &Path) -> Result<PathBuf, NotPrivate> {
    make_with(directory, 0o755)
}

fn make_with(directory: &Path, mode: u32) -> Result<PathBuf, NotPrivate> {
    let own = geteuid().as_raw();
    let path = walk(directory, own, mode)?;
    let metadata = look(&path)?;
    // Others may pass through it, as the control socket needs, but not write to it.
    if metadata.uid() != own || metadata.mode() & 0o022 != 0 {
        return Err(NotPrivate::Others(path));
    }
    Ok(path)
}

/// As root, creates a directory owned by `account`, in a parent that only root can write to: root must not create
/// anything where another user can write.
///
/// # Errors
/// See [`NotPrivate`].
pub fn make_for(directory: &Path, account: &Account) -> Result<PathBuf, NotPrivate> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| NotPrivate::Io { path, source }
    };
    let (parent, name) = directory.parent().zip(directory.file_name()).unwrap_or((directory, "".as_ref()));
    let parent = walk(parent, 0, 0o755)?;
    let metadata = look(&parent)?;
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(NotPrivate::Others(parent));
    }
    let path = parent.join(name);
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => lchown(&path, Some(account.uid), Some(account.gid)).map_err(at(&path))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = look(&path)?;
            if !metadata.is_dir() || metadata.uid() != account.uid {
                return Err(NotPrivate::Others(path));
            }
        }
        Err(source) => return Err(NotPrivate::Io { path, source }),
    }
    Ok(path)
}

/// Walks to `directory`, creates what is missing (the last component with `mode`), and refuses components of users
/// other than root and `own`. Returns the path with its links resolved.
fn walk(directory: &Path, own: u32, mode: u32) -> Result<PathBuf, NotPrivate> {
    let mut directory = directory.to_owned();
    'again: for _ in 0..LINKS {
        let mut at = PathBuf::new();
        let mut parts = directory.components();
        while let Some(part) = parts.next() {
            at.push(part);
            let metadata = match fs::symlink_metadata(&at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Root's own directories can be searched by all.
                    let above = if own == 0 { 0o755 } else { 0o700 };
                    let mode = if parts.as_path().as_os_str().is_empty() { mode } else { above };
                    match fs::DirBuilder::new().mode(mode).create(&at) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(NotPrivate::Io { path: at, source: error });
                        }
                        Err(_) => look(&at)?,
                        Ok(()) => {
                            // Independent of the umask.
                            fs::set_permissions(&at, Permissions::from_mode(mode))
                                .map_err(|source| NotPrivate::Io { path: at.clone(), source })?;
                            look(&at)?
                        }
                    }
                }
                found => found.map_err(|source| NotPrivate::Io { path: at.clone(), source })?,
            };
            if metadata.uid() != own && metadata.uid() != 0 {
                return Err(NotPrivate::Others(at));
            }
            if metadata.is_symlink() {
                let path = fs::canonicalize(&at).map_err(|source| NotPrivate::Io { path: at.clone(), source })?;
                directory = path.join(parts.as_path());
                continue 'again;
            }
            if !metadata.is_dir() {
                return Err(NotPrivate::Io { path: at, source: io::ErrorKind::NotADirectory.into() });
            }
            let sticky = metadata.mode() & 0o1000 != 0;
            if is_shared(&metadata, own) && !sticky {
                return Err(NotPrivate::Others(at));
            }
        }
        return Ok(at);
    }
    Err(NotPrivate::Io { path: directory, source: io::Error::other("too many levels of symbolic links") })
}

/// Whether others may write to a directory. Root's group and our own are trusted.
fn is_shared(metadata: &Metadata, own: u32) -> bool {
    let trusted = metadata.gid() == 0 || (own != 0 && metadata.gid() == getegid().as_raw());
    metadata.mode() & 0o002 != 0 || (metadata.mode() & 0o020 != 0 && !trusted)
}

fn look(path: &Path) -> Result<Metadata, NotPrivate> {
    fs::symlink_metadata(path).map_err(|source| NotPrivate::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn temporary() -> tempfile::TempDir {
        tempfile::Builder::new().prefix("kq").tempdir().unwrap()
    }

    #[test]
    fn made_with_those_above_it() {
        let top = temporary();
        let made = make(&top.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert_eq!(make(&made).unwrap(), made);
        let readable = make_readable(&top.path().join("r/s")).unwrap();
        assert_eq!(fs::metadata(&readable).unwrap().mode() & 0o777, 0o755);
        symlink(top.path().join("a"), top.path().join("link")).unwrap();
        assert_eq!(make(&top.path().join("link/b")).unwrap(), made);
        symlink(top.path().join("round"), top.path().join("round")).unwrap();
        assert!(make(&top.path().join("round/b")).is_err());
    }

    #[test]
    fn what_others_may_write_to_is_refused() {
        let top = temporary();
        let open = top.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(make(&open), Err(NotPrivate::Others(path)) if path == open));
        assert!(matches!(make(&open.join("in")), Err(NotPrivate::Others(path)) if path == open));
        assert!(!open.join("in").exists());
        // As /tmp is.
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        assert!(make(&open.join("in")).is_ok());
        fs::write(open.join("file"), "").unwrap();
        assert!(make(&open.join("file/in")).is_err());
    }

    #[test]
    fn what_is_anothers_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let top = temporary();
        let theirs = top.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(1002), None).unwrap();
        symlink(&theirs, top.path().join("link")).unwrap();
        let real = top.path().join("real");
        fs::create_dir(&real).unwrap();
        let anothers = top.path().join("anothers");
        symlink(&real, &anothers).unwrap();
        lchown(&anothers, Some(1002), None).unwrap();
        for path in
            [theirs.clone(), theirs.join("in"), top.path().join("link/in"), anothers.clone(), anothers.join("in")]
        {
            assert!(matches!(make(&path), Err(NotPrivate::Others(_))), "{path:?}");
        }
        assert_eq!(fs::read_dir(&theirs).unwrap().count() + fs::read_dir(&real).unwrap().count(), 0);
    }

    #[test]
    fn made_by_root_for_somebody() {
        if !geteuid().is_root() {
            return;
        }
        let top = temporary();
        let account = Account::find("nobody", None).unwrap();
        let made = make_for(&top.path().join("new/shop"), &account).unwrap();
        let metadata = fs::metadata(&made).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (account.uid, 0o700));
        assert_eq!(fs::metadata(top.path().join("new")).unwrap().uid(), 0);
        assert!(make_for(&made, &account).is_ok());
        // Nothing is created in another user's directory, and the target of a link does not change its owner.
        assert!(matches!(make_for(&made.join("in"), &account), Err(NotPrivate::Others(_))));
        symlink("/etc", top.path().join("new/link")).unwrap();
        assert!(make_for(&top.path().join("new/link"), &account).is_err());
        assert_eq!(fs::metadata("/etc").unwrap().uid(), 0);
    }
}
