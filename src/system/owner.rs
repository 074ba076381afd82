//! The owner of an app's directory. Reads the metadata along its path, and nothing else.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Maximum number of links in one path, as in the kernel.
const LINKS: usize = 40;

/// The owner of the directory that `path` leads to.
///
/// A link of the path must belong to root or to that same user: otherwise the owner of the link could run an app as any
/// user.
///
/// # Errors
/// The rest of a message that begins with the path.
pub fn of(path: &Path) -> Result<u32, String> {
    let mut rest: VecDeque<OsString> = parts(path).collect();
    let mut at = PathBuf::from("/");
    let mut links: Vec<(PathBuf, u32)> = Vec::new();
    let mut owner = None;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            owner = None;
            continue;
        }
        let next = at.join(&part);
        let metadata = fs::symlink_metadata(&next).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist (file system not mounted yet?)".to_owned(),
            _ => format!("cannot be examined ({error})"),
        })?;
        if !metadata.is_symlink() {
            owner = Some(metadata.uid());
            at = next;
            continue;
        }
        if links.len() == LINKS {
            return Err("has too many levels of symbolic links".into());
        }
        let target =
            fs::read_link(&next).map_err(|error| format!("has a symbolic link that cannot be read ({error})"))?;
        links.push((next, metadata.uid()));
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        parts(&target).rev().for_each(|part| rest.push_front(part));
    }
    let owner = match owner {
        Some(owner) => owner,
        None => fs::symlink_metadata(&at).map_err(|error| format!("cannot be examined ({error})"))?.uid(),
    };
    match links.iter().find(|(_, uid)| *uid != 0 && *uid != owner) {
        Some((link, uid)) => Err(format!(
            "belongs to user {owner} but is reached through {}, a symbolic link owned by user {uid}",
            link.display()
        )),
        None => Ok(owner),
    }
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(named).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed() {
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("releases/7")).unwrap();
        symlink("releases/7", at("current")).unwrap();
        symlink(at("current"), at("live")).unwrap();
        symlink("../releases/../current/.", at("releases/odd")).unwrap();
        symlink("round", at("round")).unwrap();
        let me = nix::unistd::geteuid().as_raw();
        for name in ["releases/7", "current", "live", "releases/odd", "releases/.."] {
            assert_eq!(of(&at(name)), Ok(me), "{name}");
        }
        assert_eq!(of(Path::new("/")), Ok(0));
        assert!(of(&at("gone")).unwrap_err().contains("does not exist"));
        assert!(of(&at("round")).unwrap_err().contains("levels of symbolic links"));
    }

    #[test]
    fn another_users_link_is_not_believed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
        let (bob, link) = (dir.path().join("bob"), dir.path().join("link"));
        fs::create_dir(&bob).unwrap();
        symlink(&bob, &link).unwrap();
        std::os::unix::fs::chown(&bob, Some(1002), None).unwrap();
        assert_eq!(of(&link), Ok(1002));
        std::os::unix::fs::lchown(&link, Some(1001), None).unwrap();
        assert!(of(&link).unwrap_err().ends_with("a symbolic link owned by user 1001"));
        assert_eq!(of(&bob), Ok(1002));
    }
}
