//! `kqueue pause` and `kqueue resume`: no further job of a queue or a class is started, until that is taken back.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::see::Which;
use crate::cli::{Failed, complete};
use kqueue_control::Act;

#[derive(Debug, Args)]
pub(in crate::cli) struct Pause {
    #[command(flatten)]
    which: Which,
    /// Only this queue; by default, every queue
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// Only this class, in every queue; its last part is enough for one that has run
    #[arg(long, value_name = "CLASS", conflicts_with = "queue", add = complete::classes())]
    class: Option<String>,
    /// Resume automatically after this time: 10min, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = super::span)]
    span: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    which: Which,
    /// Only this queue; by default, everything that operators have paused
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// Only this class
    #[arg(long, value_name = "CLASS", conflicts_with = "queue", add = complete::classes())]
    class: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn pause(Pause { which, queue, class, span, json }: Pause) -> Result<ExitCode, Failed> {
    super::act(&which, Act::Pause { queue, class, seconds: span.map(|span| span.as_secs()) }, json)
}

pub(in crate::cli) fn resume(Resume { which, queue, class, json }: Resume) -> Result<ExitCode, Failed> {
    super::act(&which, Act::Resume { queue, class }, json)
}
