//! `kqueue cancel`: jobs that are to run no more.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::chosen::{self, Choice, Deed, Done};
use super::desk::Bulk;
use crate::cli::Failed;
use crate::cli::see::{self, Target};
use kqueue_control::{Act, CancelJobs, Cancelled, Chosen, Request};

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    choice: Choice,
    /// Delete the jobs instead of failing them
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    how: Bulk,
}

impl Deed for Asked {
    const OF_RUNNING: bool = true;
    const MODE: &'static str = "cancel";

    fn finds_again(&self) -> bool {
        false
    }

    fn which(&self) -> (&Choice, &Bulk) {
        (&self.choice, &self.how)
    }

    fn order(&self) -> Map<String, Value> {
        Map::from_iter([("delete".to_owned(), self.delete.into())])
    }

    fn verbs(&self) -> (String, String) {
        let (verb, past) = if self.delete { ("delete", "deleted") } else { ("cancel", "cancelled") };
        (verb.to_owned(), past.to_owned())
    }

    fn ask(&self, target: &Target, chosen: Chosen, dry: bool, done: &mut Done) -> Result<(), Failed> {
        let request = Request::Act(Act::Cancel(CancelJobs { chosen, delete: self.delete, dry }));
        let told: Cancelled = see::wait(target.ask(&request))??;
        done.waiting.extend(told.waiting);
        done.running.extend(told.running);
        done.grace = told.grace;
        Ok(())
    }
}

pub(in crate::cli) fn run(asked: Asked) -> Result<ExitCode, Failed> {
    if asked.choice.uuids.is_empty() && asked.choice.class.is_none() && asked.choice.tag.is_none() {
        return Err(chosen::none_chosen("--class or --tag"));
    }
    let done = chosen::carry_out(&asked)?;
    let (running, grace, dry) = (done.running.len(), done.grace, asked.how.dry_run);
    let would = if dry { "would be " } else { "" };
    let ends = if running > 0 && !dry { format!(" (grace period {grace} s)") } else { String::new() };
    let text = format!("{would}{}: {} waiting, {running} running{ends}\n", asked.verbs().1, done.waited(dry));
    chosen::report(&asked, &done, &text, json!({ "grace": grace }))
}
