//! What of an app's files says that it is other code, or works by other configuration, than when it was looked at last.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files of `config` that are looked at.
const MOST: usize = 200;
/// Files that a deploy, or a change of configuration, writes anew, below the app's directory.
const FILES: [&str; 5] =
    [".env", "bootstrap/app.php", "bootstrap/cache/config.php", "composer.lock", "vendor/composer/installed.json"];

/// The release that a path leads to, and marks of its files. Equal ones are taken for the same code and configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Where the path leads; a deploy moves the link.
    directory: Option<PathBuf>,
    marks: Vec<Option<Mark>>,
}

/// Device, inode, size, and when it was written (seconds, nanoseconds).
type Mark = (u64, u64, u64, i64, i64);

impl Release {
    /// Looks at what is in this directory now. What cannot be looked at is not there.
    pub fn read(path: &Path) -> Self {
        let directory = fs::canonicalize(path).ok();
        let listed = fs::read_dir(path.join("config")).into_iter().flatten().filter_map(Result::ok).take(MOST);
        let mut files: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
        files.sort_unstable();
        files.extend(FILES.iter().map(|file| path.join(file)));
        Self { directory, marks: files.iter().map(|file| mark(file)).collect() }
    }
}

fn mark(file: &Path) -> Option<Mark> {
    let data = fs::metadata(file).ok()?;
    Some((data.dev(), data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_moved_link_and_a_changed_file_are_seen_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for release in ["one", "two"] {
            fs::create_dir_all(at(release).join("config")).unwrap();
            fs::create_dir_all(at(release).join("storage")).unwrap();
        }
        symlink(at("one"), at("current")).unwrap();
        let first = Release::read(&at("current"));
        fs::write(at("one/storage/laravel.log"), "said").unwrap();
        assert_eq!(Release::read(&at("current")), first);
        for file in [".env", "config/queue.php"] {
            let before = Release::read(&at("current"));
            fs::write(at("one").join(file), "<?php").unwrap();
            assert_ne!(Release::read(&at("current")), before, "{file}");
        }
        let before = Release::read(&at("current"));
        fs::remove_file(at("current")).unwrap();
        symlink(at("two"), at("current")).unwrap();
        assert_ne!(Release::read(&at("current")), before);
    }
}
