//! The reason why a runtime does not start.

use std::path::Path;

use crate::survey::boot_fix;
use kqueue_core::wire::{BootFailure, BootFault};

/// A failed start: cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default())]
pub struct StartFailure {
    /// What is wrong, in one line.
    pub what: String,
    /// The remedy, if known.
    pub fix: Option<String>,
    /// Whether the settings are at fault, so that another start would fail the same way.
    pub settings: bool,
}

impl StartFailure {
    /// For an app that has reported why it did not boot.
    pub(super) fn said(path: &Path, failure: &BootFailure) -> Self {
        let fix = boot_fix(failure.fault, &failure.message, path);
        let settings = failure.fault == Some(BootFault::Connection);
        let what = match settings {
            true => failure.to_string(),
            false => format!("the app at {} did not boot: {failure}", path.display()),
        };
        Self { what, fix, settings }
    }

    /// For an app whose PHP process ended before it had booted. `how`: the end; `printed`: its output.
    pub(super) fn ended(path: &Path, how: &str, printed: &[String]) -> Self {
        let printed = printed.join(" ");
        let fix = boot_fix(None, &printed, path);
        let said = if printed.is_empty() { String::new() } else { format!(": {printed}") };
        Self { what: format!("{how} before the app at {} had booted{said}", path.display()), fix, settings: false }
    }
}
