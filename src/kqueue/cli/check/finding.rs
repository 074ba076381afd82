//! One thing that is wrong, or worth knowing, and what to do about it. Pure.

use serde::Serialize;

use kqueue_system::harmless;

/// Longest line of a finding in bytes.
const LONGEST: usize = 2000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Severity {
    /// The app does not run like this, or jobs are lost.
    Error,
    /// It runs, and something will go wrong.
    Warning,
    /// Nothing is wrong; somebody may want to know.
    Note,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Finding {
    pub severity: Severity,
    /// What was looked at, for programs.
    pub check: &'static str,
    /// What there is, in one line.
    pub what: String,
    /// What to do, in one line.
    pub fix: String,
}

impl Finding {
    pub fn error(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        // It may quote an app, a server or the command line of a process.
        let line = |text: String| harmless::words(&text, LONGEST);
        Self { severity: Severity::Error, check, what: line(what.into()), fix: line(fix.into()) }
    }

    pub fn warning(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(check, what, fix) }
    }

    pub fn note(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(check, what, fix) }
    }

    /// Of settings that cannot work.
    pub fn of_settings(check: &'static str, error: &kqueue_config::Error) -> Self {
        Self::error(check, error.what(), error.fix())
    }
}
