//! Errors of a configuration. Each is one line: place, key, problem, fix.

use std::fmt;
use std::path::{Path, PathBuf};

use super::raw::Origin;

/// A key at the place where its value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The key.
    pub key: &'static str,
    /// The place.
    pub origin: Origin,
}

impl At {
    /// The setting with `value`, in the syntax of that place.
    pub(crate) fn spell(&self, value: impl fmt::Display) -> String {
        match self.origin {
            Origin::Flag => format!("{} {value}", flag(self.key)),
            _ => format!("{} = {value}", self.key),
        }
    }
}

/// The option of the command line for a key.
pub(crate) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{}", self.key),
            Origin::App => write!(f, "{}: {}", self.origin, self.key),
            Origin::File { file, line } => write!(f, "{}:{line}: {}", file.display(), self.key),
            Origin::Flag => write!(f, "{}", flag(self.key)),
        }
    }
}

/// Why [`Settings`](super::Settings) could not be loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The name of the app cannot be the instance name of a unit.
    AppName {
        /// The name as given.
        name: String,
        /// A name made from it.
        fix: String,
    },
    /// No app name can be made from this path.
    NoAppName(PathBuf),
    /// The config file does not exist.
    NoFile {
        /// The file.
        file: PathBuf,
        /// What to do.
        fix: String,
    },
    /// The config file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        reason: String,
        /// What to do.
        fix: &'static str,
    },
    /// Others may write to a config file that root relies on.
    Exposed {
        /// The file.
        file: PathBuf,
        /// Who may write to it.
        what: String,
        /// What to do.
        fix: String,
    },
    /// A directory that systemd would give to the app's user belongs to another user.
    Filled {
        /// The config file.
        file: PathBuf,
        /// The key that chooses the user.
        key: &'static str,
        /// The directory, its owner and the app's user now.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The config file is not text.
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The config file is not TOML.
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// A key that is set twice.
    Twice {
        /// The file.
        file: PathBuf,
        /// The line of the second, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The line of the first.
        first: usize,
    },
    /// A key that does not exist.
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The key that was meant, or where the keys are listed.
        fix: String,
    },
    /// A value that its key does not accept.
    Value {
        /// The key and its place.
        at: At,
        /// What the key accepts, and what it was given.
        what: String,
        /// A value that works.
        fix: String,
    },
    /// An empty value, for a key that does not accept one.
    Empty {
        /// The key and its place.
        at: At,
        /// What the key accepts.
        want: String,
        /// A value that works.
        fix: String,
    },
    /// A value that contradicts another key's.
    Conflict {
        /// The key and its place.
        at: At,
        /// Its value, and that of the other key.
        what: String,
        /// What to do.
        fix: String,
    },
    /// A key without a default that has to be set.
    NoValue {
        /// The key.
        key: &'static str,
        /// What to do.
        fix: String,
    },
    /// A path that is not what the key needs.
    Path {
        /// The key and its place.
        at: At,
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        fix: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.fix())
    }
}

impl std::error::Error for Error {}

impl Error {
    /// The place, the key, and what is wrong with it.
    pub fn what(&self) -> String {
        let file_is = |file: &Path, what: &str| format!("{}: {what}", file.display());
        let line_is = |file: &Path, line: &usize, what: &str| format!("{}:{line}: {what}", file.display());
        match self {
            Error::AppName { name, .. } => {
                format!("app name {name:?}: must be 1 to 32 of a-z, 0-9 and _, and not begin with _")
            }
            Error::NoAppName(path) => format!("cannot derive an app name from {}", path.display()),
            Error::NoFile { file, .. } => file_is(file, "no such file"),
            Error::Unreadable { file, reason, .. } => file_is(file, &format!("cannot be read: {reason}")),
            Error::Exposed { file, what, .. } => file_is(file, &format!("{what} may write to it")),
            Error::Filled { file, key, what, .. } => file_is(file, &format!("{key}: {what}")),
            Error::NotUtf8 { file, line } => line_is(file, line, "not UTF-8"),
            Error::Syntax { file, line, what } => line_is(file, line, &format!("not valid TOML: {what}")),
            Error::Twice { file, line, key, .. } => line_is(file, line, &format!("{key}: is set a second time")),
            Error::UnknownKey { file, line, key, .. } => line_is(file, line, &format!("unknown key {key:?}")),
            Error::Value { at, what, .. } | Error::Conflict { at, what, .. } => format!("{at}: {what}"),
            Error::Empty { at, .. } => format!("{at}: is empty"),
            Error::NoValue { key, .. } => format!("{key}: no value"),
            Error::Path { at, path, what, .. } => format!("{at}: {} {what}", path.display()),
        }
    }

    /// The fix.
    pub fn fix(&self) -> String {
        match self {
            Error::AppName { fix, .. } => format!("e.g. {fix:?}"),
            Error::NoAppName(path) => format!("name the app: `kqueue run NAME --path {}`", path.display()),
            Error::Unreadable { fix, .. } => (*fix).to_owned(),
            Error::NotUtf8 { .. } => "save the file in UTF-8".to_owned(),
            Error::Syntax { .. } => "write each line as `key = value`, with strings in \"quotes\"".to_owned(),
            Error::Twice { first, .. } => format!("the first is in line {first}: keep one of them"),
            Error::Value { fix, .. } => format!("e.g. {fix}"),
            Error::Empty { want, fix, at } if at.key == "path" => format!("give {want}: {fix}"),
            Error::Empty { want, fix, .. } => format!("leave it out for the default, or give {want}: {fix}"),
            Error::NoFile { fix, .. }
            | Error::Exposed { fix, .. }
            | Error::Filled { fix, .. }
            | Error::UnknownKey { fix, .. }
            | Error::Conflict { fix, .. }
            | Error::NoValue { fix, .. }
            | Error::Path { fix, .. } => fix.clone(),
        }
    }

    /// Whether the error is in the command line, not in a file or on the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::AppName { .. } | Error::NoAppName(_) => true,
            Error::Value { at, .. } | Error::Empty { at, .. } | Error::Conflict { at, .. } => at.origin == Origin::Flag,
            _ => false,
        }
    }
}
