//! The app's directory and the PHP interpreter: checked, never changed.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::error::{At, Error};
use super::raw::{Given, Origin};
use super::surroundings::Surroundings;

/// Makes a path absolute: relative to the directory of the file that sets it, else to the working directory.
///
/// Links are not resolved: deployments move them, and kqueue has to follow.
pub fn absolute(path: &Path, origin: &Origin, here: &Surroundings) -> PathBuf {
    let base = match origin {
        Origin::File { file, .. } => here.cwd.join(file.parent().unwrap_or(Path::new(""))),
        _ => here.cwd.clone(),
    };
    normal(&base.join(path))
}

/// The path without `.`, `..` and doubled slashes, from its text alone: all readers need the same spelling, and the
/// unit generator must not access the disk.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            // The parent of `/` is `/`.
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// Checks that the app's directory exists and contains `artisan`.
///
/// # Errors
/// [`Error::Path`] where there is no directory or no `artisan` in it.
pub fn check_app(given: Given<PathBuf>, here: &Surroundings) -> Result<PathBuf, Error> {
    let path = absolute(&given.value, &given.origin, here);
    let at = At { key: "path", origin: given.origin.clone() };
    let bad = |what: &str, fix: String| Err(Error::Path { at: at.clone(), path: path.clone(), what: what.into(), fix });
    let example = at.spell(match at.origin {
        Origin::Flag => "/srv/shop",
        _ => "\"/srv/shop\"",
    });
    let shape = format!("give the app's directory, the one that holds artisan: {example}");
    if let Ok(rest) = given.value.strip_prefix("~") {
        let home = here.home.as_deref().unwrap_or(Path::new("/home/USER")).join(rest);
        let fix = format!("write the absolute path: {}", at.spell(format!("{:?}", home.display().to_string())));
        let what = "begins with ~, which only a shell expands".into();
        return Err(Error::Path { at, path: given.value, what, fix });
    }
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return bad("is not a directory", shape),
        Err(error) if error.kind() == ErrorKind::NotFound => return bad("does not exist", shape),
        Err(error) => {
            return bad(
                &format!("cannot be read ({error})"),
                "check its permissions and those of its parent directories".into(),
            );
        }
    }
    match std::fs::metadata(path.join("artisan")) {
        Ok(meta) if meta.is_file() => Ok(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bad(&format!("cannot be searched ({error})"), "check its permissions".into())
        }
        _ => bad("has no artisan", shape),
    }
}

/// Finds the PHP interpreter.
///
/// # Errors
/// [`Error::Path`] where it is not in `PATH`, or not a program.
pub fn find_php(given: Given<PathBuf>, here: &Surroundings) -> Result<PathBuf, Error> {
    let at = At { key: "php", origin: given.origin.clone() };
    let value = match at.origin {
        Origin::Flag => "/usr/bin/php",
        _ => "\"/usr/bin/php\"",
    };
    let fix = format!("install PHP's command line (php-cli), or set its path: {}", at.spell(value));
    if given.value.components().count() > 1 || given.value.is_absolute() {
        let path = absolute(&given.value, &given.origin, here);
        let what = match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => "is not a file".into(),
            Ok(_) if !is_program(&path) => "cannot be executed".into(),
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => "does not exist".into(),
            Err(error) => format!("cannot be read ({error})"),
        };
        return Err(Error::Path { at, path, what, fix });
    }
    let dirs = here.var("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin".as_ref());
    std::env::split_paths(dirs)
        .map(|dir| here.cwd.join(dir).join(&given.value))
        .find(|path| is_program(path))
        .ok_or_else(|| Error::Path { at, path: given.value.clone(), what: "is not in PATH".into(), fix })
}

fn is_program(path: &Path) -> bool {
    path.is_file() && eaccess(path, AccessFlags::X_OK).is_ok()
}
