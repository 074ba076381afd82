//! `kqueue failed`: the failed jobs of an app, through Laravel's own record of them. It needs no runtime: the app's PHP is
//! asked, as the app's user; by the runtime, for operators who may not run it.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::desk::{self, Bulk, Desk};
use crate::cli::see::{self, Which};
use crate::cli::show::{Style, Table, moment};
use crate::cli::{FAILURE, Failed, USAGE, complete, print, stdio};
use kqueue_system::harmless;

/// Shown at the terminal while something takes long, each so many jobs.
const PACE: u64 = 100;

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    which: Which,
    /// What to do: list them, show them in full, retry them as queue:retry does, or forget them as queue:forget does
    #[arg(value_enum, default_value = "list", hide_possible_values = true)]
    act: Act,
    /// Only the jobs with these uuids, or with these ids in Laravel's table of failed jobs
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only jobs of this class; its last part is enough
    #[arg(long, add = complete::classes())]
    class: Option<String>,
    /// Only jobs with this text in their exception or payload
    #[arg(long = "match", value_name = "TEXT")]
    text: Option<String>,
    /// Only jobs of this queue
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// Only jobs that failed at this time or later: 30min, 24h, or a time such as 14:00 or "2026-11-30 14:00"
    #[arg(long, value_name = "TIME", value_parser = see::parse)]
    since: Option<u64>,
    /// All failed jobs
    #[arg(long)]
    all: bool,
    /// List at most N jobs
    #[arg(long, value_name = "N", default_value = "50")]
    limit: u32,
    #[command(flatten)]
    how: Bulk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Act {
    List,
    Show,
    Retry,
    Forget,
}

/// A failed job, as PHP tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Job {
    id: String,
    uuid: String,
    class: String,
    connection: String,
    queue: String,
    failed_at: u64,
    exception: String,
    payload: Option<String>,
}

/// What came of it.
#[derive(Debug, Default)]
struct Done {
    jobs: Vec<Value>,
    matched: u64,
    done: u64,
}

pub(in crate::cli) fn run(asked: Asked) -> Result<ExitCode, Failed> {
    let changes = matches!(asked.act, Act::Retry | Act::Forget);
    let chosen = !asked.ids.is_empty();
    let filtered = asked.class.is_some() || asked.text.is_some() || asked.queue.is_some() || asked.since.is_some();
    if changes && !(chosen || filtered || asked.all) {
        let line = "no jobs selected: give their ids, --class, --match, --queue, --since or --all";
        return Err(Failed { code: USAGE, line: line.to_owned() });
    }
    let app = Desk::find_or_ask(&asked.which, asked.how.as_root)?;
    if app.is_of_runtime() && (asked.act == Act::Show || asked.text.is_some()) {
        let line = format!(
            "{}: show and --match concern what is in jobs: only its user and root may use them",
            app.loaded.settings.app
        );
        return Err(Failed { code: FAILURE, line });
    }
    if changes && !asked.how.dry_run && !asked.how.yes && !chosen {
        let matched = carry_out(&app, &asked, true)?.matched;
        let verb = if asked.act == Act::Retry { "retry" } else { "forget" };
        if matched > 0 && !desk::agreed(&format!("{verb} {matched} failed jobs?"))? {
            return Err(Failed { code: FAILURE, line: "nothing was done".to_owned() });
        }
    }
    let done = carry_out(&app, &asked, asked.how.dry_run)?;
    if changes && !asked.how.dry_run && done.done > 0 {
        app.log(&format!("{}: {} failed jobs ({})", asked.act.past(), done.done, asked.choice()));
    }
    report(&asked, &done)
}

impl Act {
    fn past(self) -> &'static str {
        if self == Act::Retry { "retried" } else { "forgotten" }
    }
}

impl Asked {
    /// What PHP is to do.
    fn order(&self, path: &std::path::Path, dry: bool) -> Value {
        let act = self.act.to_possible_value().map(|value| value.get_name().to_owned());
        json!({
            "path": path,
            "act": act,
            "ids": self.ids,
            "class": self.class,
            "match": self.text,
            "queue": self.queue,
            "since": self.since,
            "limit": self.limit,
            "dry": dry,
        })
    }

    /// The choice in words, for the log.
    fn choice(&self) -> String {
        let since = self.since.map(|since| since.to_string());
        let chosen = [("class", &self.class), ("match", &self.text), ("queue", &self.queue), ("since", &since)];
        let mut words: Vec<String> =
            chosen.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
        words.extend(self.ids.iter().map(|id| format!("id {id}")));
        if words.is_empty() { "all".to_owned() } else { words.join(", ") }
    }
}

/// Has the app's PHP do it, or count what it would do.
fn carry_out(desk: &Desk, asked: &Asked, dry: bool) -> Result<Done, Failed> {
    let shows = io::stderr().is_terminal();
    let mut done = Done::default();
    let ended = desk.run("failed", asked.order(&desk.loaded.settings.path, dry), |answer| {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64);
        if let Some(progress) = number("progress").filter(|progress| shows && progress % PACE == 0) {
            let _ = write!(io::stderr(), "\r{progress} {} …", asked.act.past());
        }
        if answer.get("end").is_some() {
            (done.matched, done.done) = (number("matched").unwrap_or(0), number("done").unwrap_or(0));
        } else if let Some(job) = answer.get("job") {
            done.jobs.push(job.clone());
        }
    });
    if shows && done.done >= PACE {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    ended.map(|()| done)
}

fn report(asked: &Asked, done: &Done) -> Result<ExitCode, Failed> {
    let changes = matches!(asked.act, Act::Retry | Act::Forget);
    let missed = changes && !asked.how.dry_run && done.done < done.matched;
    let missing = !asked.ids.is_empty() && done.matched < asked.ids.len() as u64;
    let text = match asked.act {
        _ if asked.how.json => {
            let jobs = if changes { json!(null) } else { json!(done.jobs) };
            format!("{:#}\n", json!({ "version": 1, "matched": done.matched, "done": done.done, "jobs": jobs }))
        }
        Act::List => list(done, Style::of_stdout()),
        Act::Show => done.jobs.iter().map(whole).collect::<Vec<_>>().join("\n"),
        _ if asked.how.dry_run => format!("{} failed jobs would be {}\n", done.matched, asked.act.past()),
        _ => format!("{}: {} of {} failed jobs\n", asked.act.past(), done.done, done.matched),
    };
    print(&text)?;
    if missing {
        stdio::err(&format!("kqueue: {} of the given jobs were not found", asked.ids.len() as u64 - done.matched));
    }
    Ok(if missed || missing { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}

fn list(done: &Done, style: Style) -> String {
    let mut table = Table::new(&["FAILED", "ID", "CLASS", "QUEUE", "EXCEPTION"]);
    for job in &done.jobs {
        let job = Job::deserialize(job).unwrap_or_default();
        let id = if job.uuid.is_empty() { job.id } else { job.uuid };
        table.row([moment(job.failed_at), id, job.class, job.queue, job.exception]);
    }
    if table.is_empty() {
        return if style.columns { "no failed jobs\n".to_owned() } else { String::new() };
    }
    let mut text = table.show(style);
    if style.columns && done.matched > done.jobs.len() as u64 {
        text.push_str(&format!("and {} more (--limit N)\n", done.matched - done.jobs.len() as u64));
    }
    text
}

/// Everything of one job.
fn whole(job: &Value) -> String {
    let job = Job::deserialize(job).unwrap_or_default();
    let Job { id, uuid, class, connection, queue, failed_at, exception, payload } = job;
    let payload = payload.unwrap_or_default();
    let line = harmless::whole_line;
    let [class, id, uuid] = [class, id, uuid].map(|text| line(&text));
    let [connection, queue, payload] = [connection, queue, payload].map(|text| line(&text));
    format!(
        "{class}\n  id          {id}\n  uuid        {uuid}\n  connection  {connection}\n  queue       {queue}\n  \
         failed      {}\n  payload     {payload}\n\n{exception}\n",
        moment(failed_at)
    )
}
