//! `kqueue cancel`: jobs that are to run no more. Those that are in their queues are taken out and failed by the app's own PHP, in
//! Laravel's way; those that the runtime has, running ones included, are cancelled by it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::desk::{self, Bulk, Desk};
use crate::cli::see::{self, Target, Which};
use crate::cli::{FAILURE, Failed, USAGE, complete, print, stdio};
use kqueue_control::{Act, Cancelled, Chosen, Request};
use kqueue_system::log;

/// Uuids of one request to a runtime.
const AT_ONCE: usize = 200;
/// Times that queue and runtime are asked: a job may go from one to the other between two questions.
const ROUNDS: usize = 3;

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    which: Which,
    /// These jobs
    #[arg(value_name = "UUID", add = complete::uuids())]
    uuids: Vec<String>,
    /// Of this class; its last part is enough
    #[arg(long, add = complete::classes())]
    class: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// Of this queue
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// Delete them, and fail none
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    how: Bulk,
}

/// What came of it.
#[derive(Debug, Default)]
struct Done {
    /// Jobs in their queues that were found, and that were settled.
    queued: u64,
    settled: u64,
    /// Jobs of the runtime that waited, and that run.
    waiting: BTreeSet<String>,
    running: BTreeSet<String>,
    grace: u64,
    /// Those of the uuids that were found in a queue.
    found: BTreeSet<String>,
    /// What could not be asked, and why.
    lacks: BTreeSet<String>,
}

impl Done {
    fn count(&self) -> u64 {
        self.queued.max(self.settled) + (self.waiting.len() + self.running.len()) as u64
    }
}

pub(in crate::cli) fn run(asked: Asked) -> Result<ExitCode, Failed> {
    if asked.uuids.is_empty() && asked.class.is_none() && asked.tag.is_none() {
        let line = "which jobs? name their uuids, or choose by --class or --tag";
        return Err(Failed { code: USAGE, line: line.to_owned() });
    }
    if asked.uuids.is_empty() && !asked.how.dry_run && !asked.how.yes {
        let count = once(&asked, true)?.count();
        let verb = if asked.delete { "delete" } else { "cancel" };
        if count > 0 && !desk::agreed(&format!("{verb} {count} jobs?"))? {
            return Err(Failed { code: FAILURE, line: "nothing was done".to_owned() });
        }
    }
    let mut done = once(&asked, asked.how.dry_run)?;
    for _ in 1..ROUNDS {
        let missing = asked.uuids.iter().any(|uuid| !done.has(uuid));
        if asked.how.dry_run || !missing && !asked.uuids.is_empty() {
            break;
        }
        let again = once(&asked, false)?;
        let more = again.count() > 0;
        done.add(again);
        if !more {
            break;
        }
    }
    report(&asked, &done)
}

impl Done {
    fn has(&self, uuid: &String) -> bool {
        self.waiting.contains(uuid) || self.running.contains(uuid) || self.found.contains(uuid)
    }

    fn add(&mut self, other: Done) {
        self.queued += other.queued;
        self.settled += other.settled;
        self.waiting.extend(other.waiting);
        self.running.extend(other.running);
        self.found.extend(other.found);
        self.lacks.extend(other.lacks);
    }
}

impl Asked {
    fn chosen(&self, uuids: &[String], dry: bool) -> Chosen {
        let Asked { class, tag, queue, delete, .. } = self;
        let (class, tag, queue) = (class.clone(), tag.clone(), queue.clone());
        Chosen { uuids: uuids.to_vec(), class, tag, queue, delete: *delete, dry }
    }
}

/// Goes through the queues, and then asks the runtime: a job goes from there to here more often than back.
fn once(asked: &Asked, dry: bool) -> Result<Done, Failed> {
    let mut done = Done::default();
    let of_queue = in_queues(asked, dry, &mut done);
    let of_runtime = in_runtime(asked, dry, &mut done);
    match (of_queue, of_runtime) {
        // Who may not do the one may do the other.
        (Err(queue), Err(_)) => Err(queue),
        (queue, runtime) => {
            done.lacks.extend(queue.err().map(|failed| format!("jobs that nobody has reserved: {}", failed.line)));
            done.lacks.extend(runtime.err().map(|failed| format!("jobs of the runtime: {}", failed.line)));
            Ok(done)
        }
    }
}

/// Has the app's PHP cancel what nobody has reserved.
fn in_queues(asked: &Asked, dry: bool, done: &mut Done) -> Result<(), Failed> {
    let desk = Desk::find(&asked.which, asked.how.as_root)?;
    let settings = &desk.loaded.settings;
    let who = log::user();
    let queues = asked.queue.clone().map_or_else(|| settings.queues.clone(), |queue| vec![queue]);
    let order = json!({
        "path": settings.path, "connection": settings.connection, "queues": queues, "uuids": asked.uuids, "class": asked.class,
        "tag": asked.tag, "delete": asked.delete, "dry": dry, "by": who,
    });
    desk.run("cancel", order, |answer| {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        if answer.get("end").is_some() {
            (done.queued, done.settled) = (number("matched"), number("done"));
        } else if let Some(uuid) = answer.get("uuid").and_then(Value::as_str) {
            done.found.insert(uuid.to_owned());
        }
    })?;
    if done.settled > 0 {
        let verb = if asked.delete { "deleted" } else { "cancelled" };
        log::act(&settings.app, &who, &format!("{verb} {} jobs that waited in their queues", done.settled));
    }
    Ok(())
}

/// Has the runtime cancel what it has. Where it does not run it has nothing.
fn in_runtime(asked: &Asked, dry: bool, done: &mut Done) -> Result<(), Failed> {
    let here = see::surroundings()?;
    let found = see::wait(Target::find(&asked.which.request(), &here))?;
    let target = match found {
        Ok(target) => target,
        Err(failed) if failed.code == see::STOPPED || failed.code == see::UNKNOWN => return Ok(()),
        Err(failed) => return Err(failed),
    };
    let all: &[String] = &[];
    let parts: Vec<&[String]> = match asked.uuids.is_empty() {
        true => vec![all],
        false => asked.uuids.chunks(AT_ONCE).collect(),
    };
    for uuids in parts {
        let request = Request::Act(Act::Cancel(asked.chosen(uuids, dry)));
        let told: Cancelled = see::wait(target.ask(&request))??;
        done.waiting.extend(told.waiting);
        done.running.extend(told.running);
        done.grace = told.grace;
    }
    Ok(())
}

fn report(asked: &Asked, done: &Done) -> Result<ExitCode, Failed> {
    let missing: Vec<&String> = asked.uuids.iter().filter(|uuid| !done.has(uuid)).collect();
    let unsettled = !asked.how.dry_run && done.settled < done.queued;
    let text = if asked.how.json {
        let json = json!({
            "version": kqueue_control::VERSION, "queued": done.queued, "settled": done.settled, "waiting": done.waiting.len(),
            "running": done.running.len(), "grace": done.grace, "missing": missing, "lacks": done.lacks,
        });
        format!("{:#}\n", kqueue_system::harmless::value(json, see::LONGEST))
    } else {
        let verb = match (asked.how.dry_run, asked.delete) {
            (true, true) => "would be deleted",
            (true, false) => "would be cancelled",
            (false, true) => "deleted",
            (false, false) => "cancelled",
        };
        let running = done.running.len();
        let ends = if running > 0 && !asked.how.dry_run {
            format!(", which have {} s to end", done.grace)
        } else {
            String::new()
        };
        let waiting = done.waiting.len() as u64 + if asked.how.dry_run { done.queued } else { done.settled };
        format!("{verb}: {waiting} that waited, {running} that run{ends}\n")
    };
    print(&text)?;
    if !asked.how.json {
        done.lacks.iter().take(5).for_each(|lack| stdio::err(&format!("kqueue: note: {lack}")));
        missing.iter().take(20).for_each(|uuid| {
            let uuid = kqueue_system::harmless::line(uuid, 100);
            stdio::err(&format!("kqueue: {uuid}: no such job waits or runs"));
        });
    }
    Ok(if !missing.is_empty() || unsettled { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}
