//! Detects whether an app's code or configuration has changed, by a few of its files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Maximum number of files of `config` that are checked.
const MOST: usize = 200;
/// Files below the app's directory that a deploy, or a change of configuration, replaces.
const FILES: [&str; 5] =
    [".env", "bootstrap/app.php", "bootstrap/cache/config.php", "composer.lock", "vendor/composer/installed.json"];

/// The resolved directory of an app, and marks of its files. Equal ones are taken for the same code and configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The resolved path; a deploy moves the link.
    directory: Option<PathBuf>,
    marks: Vec<Option<Mark>>,
}

/// Device, inode, size, and modification time (seconds, nanoseconds).
type Mark = (u64, u64, u64, i64, i64);

impl Release {
    /// Reads the current state of this directory. Files that cannot be read count as absent.
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
