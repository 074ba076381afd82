//! Why a runtime does not start.

use std::path::Path;

use crate::survey::boot_fix;
use kqueue_core::wire::{BootFailure, BootFault};

/// What is wrong with the app, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default())]
pub struct StartFailure {
    /// What is wrong, in one line.
    pub what: String,
    /// What to do, where that is known.
    pub fix: Option<String>,
    /// Whether it is a matter of settings: another start would end the same way.
    pub settings: bool,
}

impl StartFailure {
    /// Of an app that has said why it did not boot.
    pub(super) fn said(path: &Path, failure: &BootFailure) -> Self {
        let fix = boot_fix(failure.fault, &failure.message, path);
        let settings = failure.fault == Some(BootFault::Connection);
        let what = match settings {
            true => failure.to_string(),
            false => format!("the app at {} did not boot: {failure}", path.display()),
        };
        Self { what, fix, settings }
    }

    /// Of an app whose PHP ended before it had booted: `how`, and what it had printed.
    pub(super) fn ended(path: &Path, how: &str, printed: &[String]) -> Self {
        let printed = printed.join(" ");
        let fix = boot_fix(None, &printed, path);
        let said = if printed.is_empty() { String::new() } else { format!(": {printed}") };
        Self { what: format!("{how} before the app at {} had booted{said}", path.display()), fix, settings: false }
    }
}
