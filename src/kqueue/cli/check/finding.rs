//! A finding: a problem or something worth knowing, and its fix. Pure.

use serde::Serialize;

use kqueue_system::harmless;

/// Maximum bytes of a line of a finding.
const LONGEST: usize = 2000;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Severity {
    /// The app does not run like this, or jobs are lost.
    Error,
    /// It runs, and something will go wrong.
    Warning,
    /// Nothing is wrong, but it is worth knowing.
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
    /// The name of the check, for programs.
    pub check: &'static str,
    /// The problem, in one line.
    pub what: String,
    /// The fix, in one line.
    pub fix: String,
}

impl Finding {
    pub fn error(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        // Texts may quote an app, a server or a process's command line.
        let line = |text: String| harmless::words(&text, LONGEST);
        Self { severity: Severity::Error, check, what: line(what.into()), fix: line(fix.into()) }
    }

    pub fn warning(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(check, what, fix) }
    }

    pub fn note(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(check, what, fix) }
    }

    /// An error in the settings.
    pub fn of_settings(check: &'static str, error: &kqueue_config::Error) -> Self {
        Self::error(check, error.what(), error.fix())
    }
}
