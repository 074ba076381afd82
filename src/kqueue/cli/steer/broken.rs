//! `kqueue broken`: messages that no Laravel could run, and that were set aside on the queue `NAME:broken`. The app's
//! PHP is asked, as the app's user, and needs no runtime; for operators who may not run it, the runtime asks. What is in
//! messages is for that user and for root alone.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::desk::{self, Bulk, Desk};
use crate::cli::see::Which;
use crate::cli::show::{Style, Table, moment};
use crate::cli::{FAILURE, Failed, USAGE, complete, print, stdio};
use kqueue_control::BrokenMessage;
use kqueue_system::harmless;

/// Bytes of the largest message that one is mended to.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    which: Which,
    /// What to do: list them, show them in full, requeue them, or drop them for good
    #[arg(value_enum, default_value = "list", hide_possible_values = true)]
    act: Act,
    /// Only the messages with these ids, as list prints them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only messages of this queue
    #[arg(long, value_name = "QUEUE", add = complete::queues())]
    queue: Option<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// Requeue the contents of this file, or of standard input (-), in place of the message
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    with: Option<PathBuf>,
    /// List at most N messages
    #[arg(long, value_name = "N", default_value = "50")]
    limit: u32,
    #[command(flatten)]
    how: Bulk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Act {
    List,
    Show,
    Requeue,
    Drop,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Act::List => "list",
            Act::Show => "show",
            Act::Requeue => "requeue",
            Act::Drop => "drop",
        }
    }

    fn past(self) -> &'static str {
        if self == Act::Requeue { "requeued" } else { "dropped" }
    }

    fn changes(self) -> bool {
        matches!(self, Act::Requeue | Act::Drop)
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Done {
    messages: Vec<Value>,
    matched: u64,
    done: u64,
    /// Those that were put back as they are, and are no jobs.
    still: u64,
}

pub(in crate::cli) fn run(asked: Asked) -> Result<ExitCode, Failed> {
    let usage = |line: &str| Err(Failed { code: USAGE, line: line.to_owned() });
    let Asked { act, ids, queue, all, with, how, .. } = &asked;
    if act.changes() && ids.is_empty() && queue.is_none() && !all {
        return usage("no messages selected: give their ids, --queue or --all");
    }
    if with.is_some() && (*act != Act::Requeue || ids.len() != 1) {
        return usage("--with replaces exactly one message: kqueue broken APP requeue ID --with FILE");
    }
    let with = with.as_ref().map(read).transpose()?;
    let desk = Desk::find_or_ask(&asked.which, how.as_root)?;
    if desk.is_of_runtime() && (*act == Act::Show || with.is_some()) {
        let line =
            format!("{}: only its user and root may see or replace what is in a message", desk.loaded.settings.app);
        return Err(Failed { code: FAILURE, line });
    }
    if act.changes() && ids.is_empty() && !how.dry_run && !how.yes {
        let matched = carry_out(&desk, &asked, None, true)?.matched;
        let verb = if *act == Act::Requeue { "requeue" } else { "drop" };
        if matched > 0 && !desk::agreed(&format!("{verb} {matched} messages?"))? {
            return Err(Failed { code: FAILURE, line: "nothing was done".to_owned() });
        }
    }
    let done = carry_out(&desk, &asked, with.as_deref(), how.dry_run)?;
    if done.done > 0 {
        let mended = if with.is_some() { ", replaced" } else { "" };
        let line = format!("{} {} broken messages ({}){mended}", act.past(), done.done, asked.choice());
        desk.log(&line);
    }
    report(&asked, &done)
}

/// What a message is mended to. Whether it is a job is for PHP to say.
fn read(file: &PathBuf) -> Result<String, Failed> {
    let name = file.display().to_string();
    let mut text = String::new();
    let read = match name.as_str() {
        "-" => std::io::stdin().take(LARGEST + 1).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| Failed::at(&name, error))?;
    if text.len() as u64 > LARGEST {
        return Err(Failed { code: USAGE, line: format!("{name}: more than {LARGEST} bytes") });
    }
    // Editors end the last line.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Asked {
    /// The choice in words, for the log.
    fn choice(&self) -> String {
        let ids = self.ids.iter().map(|id| format!("id {id}"));
        let words: Vec<String> = ids.chain(self.queue.iter().map(|queue| format!("queue {queue}"))).collect();
        if words.is_empty() { "all".to_owned() } else { words.join(", ") }
    }
}

/// Has the app's PHP do it, or count what it would do.
fn carry_out(desk: &Desk, asked: &Asked, with: Option<&str>, dry: bool) -> Result<Done, Failed> {
    let settings = &desk.loaded.settings;
    let queues = asked.queue.clone().map_or_else(|| settings.queues.clone(), |queue| vec![queue]);
    let limit = if asked.act == Act::Show && !asked.ids.is_empty() { u32::MAX } else { asked.limit };
    let order = json!({
        "path": settings.path, "connection": settings.connection, "act": asked.act.name(), "queues": queues, "ids": asked.ids,
        "limit": limit, "dry": dry, "with": with,
    });
    let mut done = Done::default();
    desk.run("broken", order, |answer| {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        if answer.get("end").is_some() {
            (done.matched, done.done) = (number("matched"), number("done"));
        } else if answer.get("still").is_some() {
            done.still = number("still");
        } else if let Some(message) = answer.get("message") {
            done.messages.push(message.clone());
        }
    })?;
    Ok(done)
}

fn report(asked: &Asked, done: &Done) -> Result<ExitCode, Failed> {
    let Asked { act, ids, how, with, .. } = asked;
    let text = match act {
        _ if how.json => {
            let messages = if act.changes() { json!(null) } else { json!(done.messages) };
            let json = json!({
                "version": 1, "matched": done.matched, "done": done.done, "still_broken": done.still, "messages": messages,
            });
            format!("{json:#}\n")
        }
        Act::List => list(done, Style::of_stdout()),
        Act::Show => done.messages.iter().map(whole).collect::<Vec<_>>().join("\n"),
        _ if how.dry_run => format!("would be {}: {} messages\n", act.past(), done.matched),
        _ => format!("{}: {} of {} messages\n", act.past(), done.done, done.matched),
    };
    print(&text)?;
    if !how.json && done.still > 0 {
        let what = "still not valid jobs, and kqueue sets them aside again; replace them with --with FILE";
        stdio::err(&format!("kqueue: note: {} of them are {what}", done.still));
    }
    let missing = (ids.len() as u64).saturating_sub(done.matched);
    if missing > 0 {
        stdio::err(&format!("kqueue: {missing} of the given messages were not found"));
    }
    // Of several that are called alike one is mended.
    let wanted = if with.is_some() { done.matched.min(1) } else { done.matched };
    let missed = act.changes() && !how.dry_run && done.done < wanted;
    Ok(if missed || missing > 0 { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}

fn list(done: &Done, style: Style) -> String {
    let mut table = Table::new(&["ID", "QUEUE", "QUEUED", ">BYTES", "CLASS", "WHY"]);
    for message in &done.messages {
        let BrokenMessage { id, queue, bytes, why, queued, class, .. } =
            BrokenMessage::deserialize(message).unwrap_or_default();
        let (queued, class) = (queued.map(moment).unwrap_or_default(), class.unwrap_or_default());
        table.row([id, queue, queued, bytes.to_string(), class, why.unwrap_or_else(|| FINE.to_owned())]);
    }
    if table.is_empty() {
        return if style.columns { "no broken messages\n".to_owned() } else { String::new() };
    }
    let mut text = table.show(style);
    if style.columns && done.matched > done.messages.len() as u64 {
        text.push_str(&format!("and {} more (--limit N)\n", done.matched - done.messages.len() as u64));
    }
    text
}

/// Where nothing is wrong that can be seen.
const FINE: &str = "no error found";

/// Everything of one message.
fn whole(message: &Value) -> String {
    let BrokenMessage { id, queue, bytes, why, queued, uuid, class, text, cut, .. } =
        BrokenMessage::deserialize(message).unwrap_or_default();
    let line = |text: Option<String>| harmless::whole_line(&text.unwrap_or_default());
    let [id, queue, why] = [Some(id), Some(queue), Some(why.unwrap_or_else(|| FINE.to_owned()))].map(line);
    let (uuid, class) = (line(uuid), line(class));
    let end = if cut { "\n… (cut off)" } else { "" };
    format!(
        "{id}\n  queue       {queue}\n  why         {why}\n  bytes       {bytes}\n  queued      {}\n  uuid        {uuid}\n  \
         class       {class}\n\n{}{end}\n",
        queued.map(moment).unwrap_or_default(),
        text.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_why_and_what_is_shown_is_whole() {
        let broken =
            json!({"id": "0a1b", "queue": "mail", "bytes": 9, "why": "it is not JSON: Syntax error", "queued": 9});
        let fine =
            json!({"id": "7", "queue": "mail", "bytes": 70, "class": "App\\A", "text": "{\"job\":\"x\"}", "cut": true});
        let done = Done { messages: vec![broken.clone(), fine.clone()], matched: 2, ..Done::default() };
        let text = list(&done, Style::default());
        assert!(text.contains("0a1b\tmail\t1970-01-01") && text.contains("it is not JSON"), "{text}");
        assert!(text.contains(FINE), "{text}");
        assert_eq!(list(&Done::default(), Style::default()), "");
        let text = whole(&fine);
        assert!(text.contains("class       App\\A\n\n{\"job\":\"x\"}\n… (cut off)\n"), "{text}");
    }
}
