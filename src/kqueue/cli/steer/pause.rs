//! `kqueue pause` and `kqueue resume`: no further job of a queue is started, until that is taken back.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::see::{self, Target, Which, as_json, print_json, print_text};
use crate::cli::{Failed, complete};
use kqueue_control::{Act, Acted, Request};
use kqueue_system::harmless;

#[derive(Debug, Args)]
pub(in crate::cli) struct Pause {
    #[command(flatten)]
    which: Which,
    /// This queue; every one without
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// Go on by itself after so long: 10min, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = span)]
    span: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    which: Which,
    /// This queue; every one that an operator has paused without
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn pause(Pause { which, queue, span, json }: Pause) -> Result<ExitCode, Failed> {
    act(&which, Act::Pause { queue, seconds: span.map(|span| span.as_secs()) }, json)
}

pub(in crate::cli) fn resume(Resume { which, queue, json }: Resume) -> Result<ExitCode, Failed> {
    act(&which, Act::Resume { queue }, json)
}

fn act(which: &Which, act: Act, json: bool) -> Result<ExitCode, Failed> {
    let here = see::surroundings()?;
    let done: Acted = see::wait(async { Target::find(&which.request(), &here).await?.ask(&Request::Act(act)).await })??;
    if json {
        return print_json(&as_json(&done));
    }
    let lines = done.said.iter().map(|line| harmless::line(line, see::LONGEST) + "\n");
    print_text(&lines.collect::<String>(), &[])
}

/// Reads how long.
fn span(text: &str) -> Result<Duration, String> {
    kqueue_config::duration(text)
        .filter(|span| span.as_secs() > 0)
        .ok_or_else(|| "a duration of a second or more, such as 10min or 2h".to_owned())
}
