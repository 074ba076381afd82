//! `kqueue job`: everything known of one job.

use std::process::ExitCode;

use clap::Args;

use super::{At, LONGEST, Target, UNKNOWN, as_json, fact, jobs, print_json, print_text};
use crate::cli::show::{Mood, Style, memory, moment_ms, span_ms};
use crate::cli::{Failed, USAGE, complete};
use kqueue_control::{Happening, Job, JobState, JobsFilter, Request, Timeline};
use kqueue_system::harmless;

/// Characters of a whole uuid.
const WHOLE: usize = 36;
/// Jobs that are looked through for a uuid that begins so.
const LOOKED: u32 = 500;
/// Uuids that are named where several begin so.
const NAMED: usize = 5;
/// Bytes of a payload that are shown.
const PAYLOAD: usize = 4 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// Name of the app
    #[arg(add = complete::apps())]
    app: String,
    /// The job's uuid, or its beginning
    #[arg(add = complete::uuids())]
    uuid: String,
    #[command(flatten)]
    at: At,
    /// Show its payload too: only for the app's user and root
    #[arg(long)]
    payload: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(asked: One) -> Result<ExitCode, Failed> {
    let here = super::surroundings()?;
    let told: Timeline = super::wait(async {
        let target = Target::find(&asked.at.request(Some(asked.app.clone())), &here).await?;
        let uuid = whole(&target, asked.uuid.trim()).await?;
        let told: Timeline = target.ask(&Request::Job { uuid: uuid.clone(), payload: asked.payload }).await?;
        if told.attempts.is_empty() && told.events.is_empty() && told.payload.is_none() {
            return Err(nobody(&target.app, &uuid));
        }
        Ok(told)
    })??;
    if asked.json {
        let mut json = as_json(&Timeline { payload: None, ..told.clone() });
        if let (Some(payload), Some(object)) = (&told.payload, json.as_object_mut()) {
            object.insert("payload".to_owned(), harmless::line(payload, PAYLOAD).into());
        }
        return print_json(&json);
    }
    print_text(&text(&told, Style::of_stdout()), &told.lacks)
}

fn nobody(app: &str, uuid: &str) -> Failed {
    let line = format!(
        "{app}: no job {uuid} is known: it may be older than the history; kqueue jobs {app} lists the known ones"
    );
    Failed { code: UNKNOWN, line }
}

/// The whole of a uuid, of which the beginning may be given.
async fn whole(target: &Target, given: &str) -> Result<String, Failed> {
    let app = &target.app;
    if given.len() >= WHOLE {
        return Ok(given.to_owned());
    }
    if given.is_empty() {
        let line = format!("an empty uuid names no job; kqueue jobs {app} lists them");
        return Err(Failed { code: USAGE, line });
    }
    let mut found: Vec<String> = Vec::new();
    for state in [JobState::Running, JobState::Recent, JobState::Waiting, JobState::Delayed] {
        let text = Some(given.to_owned());
        let filter = JobsFilter { state: Some(state), text, limit: LOOKED, ..JobsFilter::default() };
        found.extend(jobs::list(target, filter).await?.jobs.into_iter().map(|job| job.uuid));
    }
    pick(app, given, found)
}

/// The only one of these that begins so.
fn pick(app: &str, given: &str, mut found: Vec<String>) -> Result<String, Failed> {
    found.retain(|uuid| uuid.starts_with(given));
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Err(nobody(app, given)),
        [one] => Ok(one.clone()),
        several => {
            let names =
                several.iter().take(NAMED).map(|uuid| harmless::line(uuid, WHOLE)).collect::<Vec<_>>().join(", ");
            let more = if several.len() > NAMED { ", …" } else { "" };
            let line =
                format!("{app}: {} uuids begin with {given}: {names}{more}; give more of the uuid", several.len());
            Err(Failed { code: USAGE, line })
        }
    }
}

fn text(told: &Timeline, style: Style) -> String {
    let last = told.attempts.last().cloned().unwrap_or_default();
    let state = last.state.map_or("unknown", JobState::as_str);
    let mood = match last.state {
        Some(JobState::Done) => Mood::Good,
        Some(JobState::Failed | JobState::Lost) => Mood::Bad,
        _ => Mood::Uneasy,
    };
    let class = if last.class.is_empty() { "job of unknown class" } else { &last.class };
    let mut text = format!("{}\n", style.mood(mood, &harmless::line(&format!("{class}: {state}"), LONGEST)));
    text += &fact("job", &told.uuid, style);
    text += &fact("queue", &last.queue, style);
    if !last.tags.is_empty() {
        text += &fact("tags", &last.tags.join(", "), style);
    }
    if let Some(queued) = last.queued.or_else(|| told.attempts.iter().find_map(|job| job.queued)) {
        text += &fact("queued", &moment_ms(queued), style);
    }
    if let Some(due) = last.due {
        text += &fact("due", &moment_ms(due), style);
    }
    if let Some(tier) = &last.tier {
        let why = last.why.as_deref().unwrap_or("an unknown reason");
        text += &fact("runs", &format!("{tier}, because of: {why}"), style);
    }
    match last.timeout {
        Some(0) => text += &fact("timeout", "none", style),
        Some(seconds) => text += &fact("timeout", &span_ms(seconds * 1000), style),
        None => {}
    }
    text.push('\n');
    text += &timeline(told, style);
    if let Some(cause) = &last.cause {
        text += &format!("\n{}\n", style.head("cause"));
        text += &harmless::block(cause).lines().take(200).map(|line| format!("  {line}\n")).collect::<String>();
    }
    if let Some(journal) = &told.journal {
        text += &format!("\n{}\n  {}\n", style.head("output"), harmless::line(journal, LONGEST));
    }
    if let Some(payload) = &told.payload {
        text += &format!("\n{}\n{}\n", style.head("payload"), pretty(payload));
    }
    text
}

/// What happened, in its order: attempts, and what was beside them.
fn timeline(told: &Timeline, style: Style) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for job in &told.attempts {
        lines.extend(attempt(job));
    }
    for Happening { at, kind, text, .. } in &told.events {
        lines.push((*at, format!("{kind}: {text}")));
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut text = String::new();
    for (at, line) in lines {
        text += &format!("  {}  {}\n", style.head(&moment_ms(at)), harmless::line(&line, LONGEST));
    }
    text
}

/// When an attempt began and ended, in words.
fn attempt(job: &Job) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    let n = job.attempt;
    if let Some(started) = job.started {
        let mut line = format!("attempt {n} started");
        line += &job.tier.as_ref().map(|tier| format!(", {tier}")).unwrap_or_default();
        line += &job.worker.map(|worker| format!(", process {worker}")).unwrap_or_default();
        line += &job.wait_ms.map(|ms| format!(", after a wait of {}", span_ms(ms))).unwrap_or_default();
        lines.push((started, line));
    }
    if let Some(ended) = job.ended {
        let mut line = format!("attempt {n} {}", job.state.map_or("ended", JobState::as_str));
        line += &job.ms.map(|ms| format!(" after {}", span_ms(ms))).unwrap_or_default();
        line += &job.memory_peak.map(|bytes| format!(", peak {}", memory(bytes))).unwrap_or_default();
        line += &job.cpu_usec.map(|usec| format!(", {} of processor time", span_ms(usec / 1000))).unwrap_or_default();
        line += &job.cause.as_ref().map(|cause| format!(": {}", harmless::words(cause, 200))).unwrap_or_default();
        lines.push((ended, line));
    }
    lines
}

/// A payload is JSON, mostly.
fn pretty(payload: &str) -> String {
    let text = serde_json::from_str::<serde_json::Value>(payload)
        .map_or_else(|_| payload.to_owned(), |value| format!("{value:#}"));
    let end = text.floor_char_boundary(PAYLOAD);
    harmless::block(text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Timeline {
        let first = Job {
            uuid: "u-1".to_owned(),
            class: "App\\Jobs\\Render".to_owned(),
            queue: "default".to_owned(),
            state: Some(JobState::Released),
            attempt: 1,
            tier: Some("pooled".to_owned()),
            why: Some("nothing known".to_owned()),
            queued: Some(1_000_000),
            started: Some(1_000_500),
            ended: Some(1_012_500),
            wait_ms: Some(500),
            ms: Some(12_000),
            cause: Some("out of \u{1b}[31mmemory".to_owned()),
            ..Job::default()
        };
        let second = Job {
            state: Some(JobState::Done),
            attempt: 2,
            tier: Some("isolated".to_owned()),
            why: Some("history: memory peak of 300 MB".to_owned()),
            started: Some(1_020_000),
            ended: Some(1_021_000),
            ms: Some(1_000),
            memory_peak: Some(300 << 20),
            cpu_usec: Some(800_000),
            cause: None,
            ..first.clone()
        };
        Timeline {
            uuid: "u-1".to_owned(),
            attempts: vec![first, second],
            events: vec![Happening {
                at: 1_013_000,
                kind: "worker".to_owned(),
                text: "killed".to_owned(),
                ..Happening::default()
            }],
            journal: Some("journalctl KQUEUE_JOB=u-1".to_owned()),
            payload: Some(r#"{"uuid":"u-1"}"#.to_owned()),
            ..Timeline::default()
        }
    }

    #[test]
    fn its_timeline_is_in_order() {
        let shown = text(&told(), Style::default());
        let mut from = 0;
        for part in [
            "App\\Jobs\\Render: done\n",
            "runs\tisolated, because of: history: memory peak of 300 MB\n",
            "attempt 1 started, pooled, after a wait of 500 ms\n",
            "attempt 1 released after 12 s: out of [31mmemory\n",
            "worker: killed\n",
            "attempt 2 started, isolated",
            "attempt 2 done after 1000 ms, peak 300 MB, 800 ms of processor time\n",
            "  journalctl KQUEUE_JOB=u-1\n",
            "\"uuid\": \"u-1\"",
        ] {
            let at = shown.get(from..).and_then(|rest| rest.find(part));
            from += at.unwrap_or_else(|| panic!("no {part:?} in its place in\n{shown}"));
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn a_beginning_that_is_enough() {
        let found = || ["abc-1", "abc-2", "abd-1", "abc-1"].map(str::to_owned).to_vec();
        assert_eq!(pick("shop", "abd", found()).unwrap(), "abd-1");
        assert_eq!(pick("shop", "abc-1", found()).unwrap(), "abc-1");
        let several = pick("shop", "abc", found()).unwrap_err();
        assert_eq!(
            (several.code, several.line.as_str()),
            (USAGE, "shop: 2 uuids begin with abc: abc-1, abc-2; give more of the uuid")
        );
        assert_eq!(pick("shop", "x", found()).unwrap_err().code, UNKNOWN);
    }

    #[test]
    fn fuzz_job() {
        let whole = serde_json::to_vec(&told()).unwrap();
        let style = Style { columns: true, ..Style::default() };
        kqueue_fuzz::fuzz("job", &[&whole], |input| {
            let Ok(told) = serde_json::from_slice::<Timeline>(input) else { return };
            let text = text(&told, style);
            assert!(
                !text.contains(|c| kqueue_system::harmless::is_harmful(c) && !matches!(c, '\n' | '\t')),
                "{text:?}"
            );
        });
    }
}
