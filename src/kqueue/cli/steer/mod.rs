//! Commands of operators to a running app, by its control socket.
//!
//! Exit codes: 0 done, 1 refused or not done, 3 the app does not run, 4 there is no such app.

pub(super) mod alert;
pub(super) mod broken;
pub(super) mod cancel;
mod chosen;
pub(in crate::cli) mod desk;
pub(super) mod failed;
pub(super) mod pause;
pub(super) mod quarantine;
pub(super) mod requeue;

use std::process::ExitCode;
use std::time::Duration;

use super::Failed;
use super::see::{self, Target, Which, as_json, print_json, print_text};
use kqueue_control::{Act, Acted, Request};
use kqueue_system::harmless;

/// Sends an action to an app, and prints its report.
pub(super) fn act(which: &Which, act: Act, json: bool) -> Result<ExitCode, Failed> {
    let here = see::surroundings()?;
    let done: Acted = see::wait(async { Target::find(&which.request(), &here).await?.ask(&Request::Act(act)).await })??;
    if json {
        return print_json(&as_json(&done));
    }
    let lines = done.said.iter().map(|line| harmless::line(line, see::LONGEST) + "\n");
    print_text(&lines.collect::<String>(), &[])
}

/// Parses a duration of at least a second.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    kqueue_config::duration(text)
        .filter(|span| span.as_secs() > 0)
        .ok_or_else(|| "expected a duration of at least one second, such as 10min or 2h".to_owned())
}
