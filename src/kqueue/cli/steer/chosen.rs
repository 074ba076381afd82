//! Jobs that are picked out, wherever they are: those in their queues are done by the app's own PHP, in Laravel's way; those that
//! the runtime has, by it. What is to be done is a [`Deed`].

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::desk::{self, Bulk, Desk};
use crate::cli::see::{self, Target, Which};
use crate::cli::{FAILURE, Failed, USAGE, complete, print, stdio};
use kqueue_control::Chosen;
use kqueue_system::{harmless, log};

/// Uuids of one request to a runtime.
const AT_ONCE: usize = 200;
/// Times that queue and runtime are asked: a job may go from one to the other between two questions.
const ROUNDS: usize = 3;

/// Which jobs.
#[derive(Debug, Args)]
pub(super) struct Choice {
    #[command(flatten)]
    pub which: Which,
    /// Only the jobs with these uuids
    #[arg(value_name = "UUID", add = complete::uuids())]
    pub uuids: Vec<String>,
    /// Only jobs of this class; its last part is enough
    #[arg(long, add = complete::classes())]
    pub class: Option<String>,
    /// Only jobs with this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Only jobs of this queue
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    pub queue: Option<String>,
}

impl Choice {
    fn named(&self, uuids: &[String]) -> Chosen {
        let Choice { class, tag, queue, .. } = self;
        Chosen { uuids: uuids.to_vec(), class: class.clone(), tag: tag.clone(), queue: queue.clone() }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Jobs in their queues that were found, and of which it is done.
    pub queued: u64,
    pub settled: u64,
    /// Jobs of the runtime that waited, and that run.
    pub waiting: BTreeSet<String>,
    pub running: BTreeSet<String>,
    /// Those of the uuids that were found in a queue, or are as they should be already.
    pub found: BTreeSet<String>,
    /// Jobs in their queues of which it is done, as PHP says them: in order.
    pub said: Vec<String>,
    /// Seconds that those have that run, as the runtime says.
    pub grace: u64,
    /// What could not be asked, and why.
    pub lacks: BTreeSet<String>,
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

    /// Jobs that waited: of which it is done, or would be.
    pub fn waited(&self, dry: bool) -> u64 {
        self.waiting.len() as u64 + if dry { self.queued } else { self.settled }
    }
}

/// What is to be done with jobs.
pub(super) trait Deed {
    /// Whether what runs is meant as well.
    const OF_RUNNING: bool;
    /// The mode of `worker.php` that does it.
    const MODE: &'static str;

    /// Whether a job of which it is done may be found once more.
    fn finds_again(&self) -> bool;

    /// Which jobs, and how.
    fn which(&self) -> (&Choice, &Bulk);

    /// What PHP is told beside which jobs.
    fn order(&self) -> Map<String, Value>;

    /// In words: what it is to do, and what it has done.
    fn verbs(&self) -> (String, String);

    /// Asks the runtime for it, and notes what it says.
    fn ask(&self, target: &Target, chosen: Chosen, dry: bool, done: &mut Done) -> Result<(), Failed>;

    /// Tells the runtime what was done in the queues.
    fn tell(&self, _target: &Target, _done: &mut Done) -> Result<(), Failed> {
        Ok(())
    }
}

/// Does it, after a question where many may be meant.
///
/// # Errors
/// Where it is not done.
pub(super) fn carry_out<D: Deed>(deed: &D) -> Result<Done, Failed> {
    let (choice, how) = deed.which();
    if choice.uuids.is_empty() && !how.dry_run && !how.yes {
        let found = once(deed, &[], true)?;
        let count = found.waited(true) + if D::OF_RUNNING { found.running.len() as u64 } else { 0 };
        if count > 0 && !desk::agreed(&format!("{} {count} jobs?", deed.verbs().0))? {
            return Err(Failed { code: FAILURE, line: "nothing was done".to_owned() });
        }
    }
    let mut done = once(deed, &choice.uuids, how.dry_run)?;
    for _ in 1..ROUNDS {
        let missing: Vec<String> = choice.uuids.iter().filter(|uuid| !done.has(uuid)).cloned().collect();
        let is_over = if choice.uuids.is_empty() { deed.finds_again() } else { missing.is_empty() };
        if how.dry_run || is_over {
            break;
        }
        let again = once(deed, &missing, false)?;
        let more = again.queued.max(again.settled) > 0 || !again.waiting.is_subset(&done.waiting);
        done.add(again);
        if !more {
            break;
        }
    }
    Ok(done)
}

/// Goes through the queues, and then asks the runtime: a job goes from there to here more often than back.
fn once(deed: &impl Deed, uuids: &[String], dry: bool) -> Result<Done, Failed> {
    let mut done = Done::default();
    let of_queue = in_queues(deed, uuids, dry, &mut done);
    let of_runtime = in_runtime(deed, uuids, dry, &mut done);
    match (of_queue, of_runtime) {
        // Who may not do the one may do the other.
        (Err(queue), Err(_)) => Err(queue),
        (queue, runtime) => {
            done.lacks.extend(queue.err().map(|failed| format!("jobs in their queues: {}", failed.line)));
            done.lacks.extend(runtime.err().map(|failed| format!("jobs reserved by the runtime: {}", failed.line)));
            Ok(done)
        }
    }
}

/// Has the app's PHP do it with what nobody has reserved.
fn in_queues<D: Deed>(deed: &D, uuids: &[String], dry: bool, done: &mut Done) -> Result<(), Failed> {
    let (choice, how) = deed.which();
    let desk = Desk::find_or_ask(&choice.which, how.as_root)?;
    let settings = &desk.loaded.settings;
    let who = log::user();
    let queues = choice.queue.clone().map_or_else(|| settings.queues.clone(), |queue| vec![queue]);
    let mut order = json!({
        "path": settings.path, "connection": settings.connection, "queues": queues, "uuids": uuids, "class": choice.class,
        "tag": choice.tag, "dry": dry, "by": who,
    });
    if let Value::Object(order) = &mut order {
        order.extend(deed.order());
    }
    let ended = desk.run(D::MODE, order, |answer| {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        if answer.get("end").is_some() {
            (done.queued, done.settled) = (number("matched"), number("done"));
        } else {
            done.found.extend(text("uuid"));
            done.said.extend(text("done"));
        }
    });
    if ended.is_err() {
        // What became of them is not known.
        done.found.clear();
    }
    if done.settled > 0 {
        let line = format!("{} {} jobs waiting in their queues", deed.verbs().1, done.settled);
        desk.log(&line);
    }
    ended
}

/// Has the runtime do it with what it has. Where it does not run it has nothing.
fn in_runtime<D: Deed>(deed: &D, uuids: &[String], dry: bool, done: &mut Done) -> Result<(), Failed> {
    let choice = deed.which().0;
    let here = see::surroundings()?;
    let found = see::wait(Target::find(&choice.which.request(), &here))?;
    let target = match found {
        Ok(target) => target,
        Err(failed) if failed.code == see::STOPPED || failed.code == see::UNKNOWN => return Ok(()),
        Err(failed) => return Err(failed),
    };
    deed.tell(&target, done)?;
    for uuids in parts(uuids) {
        deed.ask(&target, choice.named(uuids), dry, done)?;
    }
    Ok(())
}

/// What one request after the other names.
pub(super) fn parts(uuids: &[String]) -> Vec<&[String]> {
    match uuids.is_empty() {
        true => vec![uuids],
        false => uuids.chunks(AT_ONCE).collect(),
    }
}

/// Prints what came of it. `text`: what a person is told. `more`: further fields of the JSON.
///
/// # Errors
/// Where nothing can be printed.
pub(super) fn report<D: Deed>(deed: &D, done: &Done, text: &str, more: Value) -> Result<ExitCode, Failed> {
    let (choice, how) = deed.which();
    let missing: Vec<&String> = choice.uuids.iter().filter(|uuid| !done.has(uuid)).collect();
    // Of those that are not named nobody knows whether there are more where nobody could be asked.
    let unasked = choice.uuids.is_empty() && !done.lacks.is_empty();
    let unsettled = !how.dry_run && done.settled < done.queued || unasked;
    if how.json {
        let mut json = json!({
            "version": kqueue_control::VERSION, "queued": done.queued, "settled": done.settled, "waiting": done.waiting.len(),
            "running": done.running.len(), "missing": missing, "lacks": done.lacks,
        });
        if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
            json.extend(more);
        }
        print(&format!("{:#}\n", harmless::value(json, see::LONGEST)))?;
    } else {
        print(text)?;
        done.lacks.iter().take(5).for_each(|lack| stdio::err(&format!("kqueue: note: {lack}")));
        missing.iter().take(20).for_each(|uuid| {
            let what = if D::OF_RUNNING { "is waiting or running" } else { "is waiting there" };
            stdio::err(&format!("kqueue: {}: no such job {what}", harmless::line(uuid, 100)));
        });
    }
    Ok(if !missing.is_empty() || unsettled { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}

/// Says that nothing says which jobs.
pub(super) fn none_chosen(ways: &str) -> Failed {
    Failed { code: USAGE, line: format!("no jobs selected: give their uuids, {ways}") }
}
