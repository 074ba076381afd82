//! What can be wrong with a configuration. Each error is one line: place, key, what is wrong, the fix.

use std::fmt;
use std::path::PathBuf;

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
    /// How one would write `value` there.
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

/// Why there are no [`Settings`](super::Settings).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The name of the app cannot be the instance name of a unit.
    #[error("app name {name:?}: must be 1 to 32 of a-z, 0-9 and _, and not begin with _; e.g. {fix:?}")]
    AppName {
        /// The name as given.
        name: String,
        /// A name made from it.
        fix: String,
    },
    /// Nothing to make a name from.
    #[error("no app name can be made from {}; name it: `kqueue run NAME --path {}`", .0.display(), .0.display())]
    NoAppName(PathBuf),
    /// The config file is not there.
    #[error("{}: no such file; {fix}", file.display())]
    NoFile {
        /// The file.
        file: PathBuf,
        /// What to do.
        fix: String,
    },
    /// The config file cannot be read.
    #[error("{}: cannot be read: {reason}; {fix}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        reason: String,
        /// What to do.
        fix: &'static str,
    },
    /// Somebody else could change the config file of which root takes orders.
    #[error("{}: {what} may write to it; {fix}", file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Who.
        what: String,
        /// What to do.
        fix: String,
    },
    /// Another user than the app's has filled a directory that systemd would give to the app's.
    #[error("{}: {key}: {what}; {fix}", file.display())]
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
    #[error("{}:{line}: not UTF-8; save the file in UTF-8", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The config file is not TOML.
    #[error("{}:{line}: not valid TOML: {what}; lines are `key = value`, with text in \"quotes\"", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// A key that is there twice.
    #[error("{}:{line}: {key}: is set a second time; the first is in line {first}: keep one of them", file.display())]
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
    #[error("{}:{line}: unknown key {key:?}; {fix}", file.display())]
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
    /// A value that its key does not take.
    #[error("{at}: {what}; e.g. {fix}")]
    Value {
        /// The key and its place.
        at: At,
        /// What the key takes, and what it was given.
        what: String,
        /// A value that works.
        fix: String,
    },
    /// A value that is empty, for a key that takes no such value.
    #[error("{at}: is empty; leave it out for the default, or give {want}: {fix}")]
    Empty {
        /// The key and its place.
        at: At,
        /// What the key takes.
        want: String,
        /// A value that works.
        fix: String,
    },
    /// A value that contradicts another key's.
    #[error("{at}: {what}; {fix}")]
    Conflict {
        /// The key and its place.
        at: At,
        /// Its value, and that of the other key.
        what: String,
        /// What to do.
        fix: String,
    },
    /// No default fits, so somebody has to say it.
    #[error("{key}: no value; {fix}")]
    NoValue {
        /// The key.
        key: &'static str,
        /// What to do.
        fix: String,
    },
    /// A path that is not what the key needs.
    #[error("{at}: {} {what}; {fix}", path.display())]
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

impl Error {
    /// Whether the command line is at fault, and not a file or the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::AppName { .. } | Error::NoAppName(_) => true,
            Error::Value { at, .. } | Error::Empty { at, .. } | Error::Conflict { at, .. } => at.origin == Origin::Flag,
            _ => false,
        }
    }
}
