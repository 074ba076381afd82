//! `kqueue move`: jobs that wait are put elsewhere: to the front of their queue, into another one, or, delayed ones, to now.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::chosen::{self, Choice, Deed, Done};
use super::desk::Bulk;
use crate::backend::check_queues;
use crate::cli::see::{self, Target};
use crate::cli::{Failed, USAGE, complete};
use kqueue_control::{Act, Chosen, MoveJobs, Moved, Request};
use kqueue_system::harmless;

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    how: Bulk,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Move to the front of their queues; only jobs that could run now
    #[arg(long)]
    front: bool,
    /// Move to this queue; delayed jobs keep their time
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    to: Option<String>,
    /// Make delayed jobs due now
    #[arg(long)]
    now: bool,
}

impl Place {
    fn words(&self) -> String {
        match &self.to {
            Some(to) => format!("to queue {}", harmless::line(to, 100)),
            None if self.front => "to the front".to_owned(),
            None => "to now".to_owned(),
        }
    }
}

impl Asked {
    /// Asks the runtime for the jobs that are named, or chosen.
    fn request(&self, target: &Target, chosen: Chosen, coming: bool, dry: bool) -> Result<Moved, Failed> {
        let Place { front, to, .. } = &self.place;
        let moved = MoveJobs { chosen, front: *front, coming, to: to.clone(), now: false, dry };
        see::wait(target.ask(&Request::Act(Act::Move(moved))))?
    }
}

impl Deed for Asked {
    const OF_RUNNING: bool = false;
    const MODE: &'static str = "move";

    fn finds_again(&self) -> bool {
        self.place.front
    }

    fn which(&self) -> (&Choice, &Bulk) {
        (&self.choice, &self.how)
    }

    fn order(&self) -> Map<String, Value> {
        let Place { front, to, now } = &self.place;
        let how = if *front {
            "front"
        } else if *now {
            "now"
        } else {
            "to"
        };
        Map::from_iter([("how".to_owned(), how.into()), ("to".to_owned(), json!(to))])
    }

    fn verbs(&self) -> (String, String) {
        let words = self.place.words();
        (format!("move {words}:"), format!("moved {words}:"))
    }

    fn ask(&self, target: &Target, chosen: Chosen, dry: bool, done: &mut Done) -> Result<(), Failed> {
        // What the runtime has is due, and nothing is to be done with it: it is only looked whether a job is there.
        if self.place.now && chosen.uuids.is_empty() {
            return Ok(());
        }
        let told = self.request(target, chosen, false, dry)?;
        done.waiting.extend(told.waiting);
        done.running.extend(told.running);
        done.found.extend(told.there);
        Ok(())
    }

    /// What is at the front of its queue by now comes behind what the runtime has, unless it knows.
    fn tell(&self, target: &Target, done: &mut Done) -> Result<(), Failed> {
        if self.place.front {
            // What is told last comes first.
            for uuids in chosen::parts(&done.said).into_iter().rev().filter(|uuids| !uuids.is_empty()) {
                self.request(target, Chosen { uuids: uuids.to_vec(), ..Chosen::default() }, true, false)?;
            }
        }
        Ok(())
    }
}

pub(in crate::cli) fn run(asked: Asked) -> Result<ExitCode, Failed> {
    let Choice { uuids, class, tag, queue, .. } = &asked.choice;
    if uuids.is_empty() && class.is_none() && tag.is_none() && queue.is_none() {
        return Err(chosen::none_chosen("--class, --tag or --queue"));
    }
    if let Some(to) = &asked.place.to {
        check_queues(std::slice::from_ref(to))
            .map_err(|error| Failed { code: USAGE, line: harmless::line(&error.to_string(), see::LONGEST) })?;
    }
    let done = chosen::carry_out(&asked)?;
    let dry = asked.how.dry_run;
    let would = if dry { "would be " } else { "" };
    let runs = match done.running.len() {
        0 => String::new(),
        some => format!("; {some} running, not moved"),
    };
    let text = format!("{would}{} {} waiting jobs{runs}\n", asked.verbs().1, done.waited(dry));
    chosen::report(&asked, &done, &text, json!({}))
}
