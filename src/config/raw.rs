//! A value as written, and its origin. Pure data.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default.
    Default,
    /// In the app's own `config/kqueue.php`.
    App,
    /// In a config file.
    File {
        /// The file.
        file: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// On the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::App => f.write_str("config/kqueue.php"),
            Origin::File { line, .. } => write!(f, "line {line}"),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

impl<T> Given<T> {
    /// Whether it is a default, which yields to a written value of a related key.
    pub fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }
}

/// A value before its key has checked it.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Raw>),
    /// A kind of value that no key accepts, by its name: "a table", "a date".
    Other(&'static str),
}

impl Raw {
    /// Reads text of the command line as TOML would read it unquoted: a number, or else a string.
    pub(crate) fn number_or_text(text: &str) -> Raw {
        // `inf` and `nan` are numbers in Rust, and text here.
        let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        if let Ok(whole) = text.parse::<i64>() {
            Raw::Int(whole)
        } else if let Some(float) = text.parse::<f64>().ok().filter(|f| numeric && f.is_finite()) {
            Raw::Float(float)
        } else {
            Raw::Text(text.to_owned())
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Bool(value) => write!(f, "{value}"),
            Raw::Int(value) => write!(f, "{value}"),
            Raw::Float(value) => write!(f, "{value}"),
            // Rust's escapes keep it on one line.
            Raw::Text(value) => write!(f, "{value:?}"),
            Raw::List(values) => {
                write!(f, "[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, "]")
            }
            Raw::Other(what) => write!(f, "{what}"),
        }
    }
}
