//! `kqueue jobs`: jobs of one app, by state, class, queue, tag, text and time.

use std::process::ExitCode;

use clap::Args;

use super::{Target, Which, as_json, print_json, print_text, span};
use crate::cli::show::{Mood, Style, Table, count, memory, moment, span_ms};
use crate::cli::{Failed, complete};
use kqueue_control::{Job, JobState, Jobs, JobsFilter, Request};

/// Jobs that are listed where nothing is said.
const USUAL: &str = "50";
/// Jobs that are listed at the most.
const MOST: i64 = 10_000;
/// Jobs of one answer.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    state: Wanted,
    #[command(flatten)]
    of: Of,
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only jobs with this text in uuid, class, queue, tags or cause
    #[arg(long)]
    text: Option<String>,
    /// Only jobs since this time: 30min, 1h, 7d, or a time such as 14:00 or "2026-11-30 14:00"
    #[arg(long, value_name = span::TIME, value_parser = span::parse)]
    since: Option<u64>,
    /// Only jobs that ended before this time
    #[arg(long, value_name = span::TIME, value_parser = span::parse)]
    until: Option<u64>,
    /// List at most N jobs
    #[arg(long, value_name = "N", default_value = USUAL, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which state; those that have ended, where none is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Wanted {
    /// Running jobs
    #[arg(long)]
    running: bool,
    /// Waiting jobs: due and not started yet, in their order
    #[arg(long)]
    waiting: bool,
    /// Delayed jobs: not due yet
    #[arg(long)]
    delayed: bool,
    /// Ended jobs, with any outcome, the latest first (the default)
    #[arg(long)]
    recent: bool,
    /// Permanently failed jobs
    #[arg(long)]
    failed: bool,
}

/// Of which class and queue.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Of {
    /// Only this class; its last part is enough
    #[arg(long, add = complete::classes())]
    pub class: Option<String>,
    /// Only this queue
    #[arg(long, add = complete::queues())]
    pub queue: Option<String>,
}

impl Wanted {
    fn state(&self) -> JobState {
        let states = [
            (self.running, JobState::Running),
            (self.waiting, JobState::Waiting),
            (self.delayed, JobState::Delayed),
            (self.failed, JobState::Failed),
        ];
        states.into_iter().find(|(wanted, _)| *wanted).map_or(JobState::Recent, |(_, state)| state)
    }
}

impl List {
    fn filter(&self) -> JobsFilter {
        JobsFilter {
            state: Some(self.state.state()),
            class: self.of.class.clone(),
            queue: self.of.queue.clone(),
            tag: self.tag.clone(),
            text: self.text.clone(),
            since: self.since,
            until: self.until,
            after: None,
            limit: self.limit,
        }
    }
}

pub(in crate::cli) fn run(asked: List) -> Result<ExitCode, Failed> {
    let here = super::surroundings()?;
    let found = super::wait(async {
        let target = Target::find(&asked.which.request(), &here).await?;
        list(&target, asked.filter()).await
    })??;
    if asked.json {
        return print_json(&as_json(&found));
    }
    print_text(&text(&found, asked.state.state(), Style::of_stdout()), &found.lacks)
}

/// As many jobs as are wanted, page by page.
pub(in crate::cli) async fn list(target: &Target, mut filter: JobsFilter) -> Result<Jobs, Failed> {
    let wanted = filter.limit as usize;
    let mut all = Jobs::default();
    loop {
        filter.limit = u32::try_from(wanted - all.jobs.len()).unwrap_or(PAGE).min(PAGE);
        let page: Jobs = target.ask(&Request::Jobs(filter.clone())).await?;
        let empty = page.jobs.is_empty();
        all.version = page.version;
        all.lacks.extend(page.lacks.into_iter().filter(|lack| !all.lacks.contains(lack)).collect::<Vec<_>>());
        all.jobs.extend(page.jobs.into_iter().take(wanted - all.jobs.len()));
        all.next.clone_from(&page.next);
        if empty || page.next.is_none() || all.jobs.len() >= wanted {
            return Ok(all);
        }
        filter.after = page.next;
    }
}

fn text(found: &Jobs, state: JobState, style: Style) -> String {
    if found.jobs.is_empty() {
        return if style.columns { "no matching jobs\n".to_owned() } else { String::new() };
    }
    let mut text = match state {
        JobState::Waiting | JobState::Delayed => queued(&found.jobs),
        JobState::Running => running(&found.jobs),
        _ => ended(&found.jobs),
    }
    .show(style);
    if found.next.is_some() && style.columns {
        let more = format!("  the first {}; --limit N for more", count(found.jobs.len() as u64, "job"));
        text += &(style.mood(Mood::Quiet, &more) + "\n");
    }
    text
}

fn queued(jobs: &[Job]) -> Table {
    let mut table = Table::new(&["CLASS", "QUEUE", "QUEUED", "DUE", ">ATTEMPTS", "TAGS", "JOB"]);
    for job in jobs {
        table.row([
            job.class.clone(),
            job.queue.clone(),
            at(job.queued),
            at(job.due),
            job.attempt.to_string(),
            job.tags.join(","),
            job.uuid.clone(),
        ]);
    }
    table
}

fn running(jobs: &[Job]) -> Table {
    let mut table =
        Table::new(&["CLASS", "QUEUE", "TIER", ">FOR", ">OF", ">WAITED", ">ATTEMPT", ">WORKER", "WHY", "JOB"]);
    for job in jobs {
        table.row([
            job.class.clone(),
            job.queue.clone(),
            job.tier.clone().unwrap_or_default(),
            time(job.ms),
            job.timeout.filter(|seconds| *seconds > 0).map(|seconds| span_ms(seconds * 1000)).unwrap_or_default(),
            time(job.wait_ms),
            job.attempt.to_string(),
            job.worker.map(|worker| worker.to_string()).unwrap_or_default(),
            job.why.clone().unwrap_or_default(),
            job.uuid.clone(),
        ]);
    }
    table
}

fn ended(jobs: &[Job]) -> Table {
    let heads =
        &["ENDED", "CLASS", "QUEUE", "TIER", ">ATTEMPT", "OUTCOME", ">WAITED", ">TOOK", ">MEMORY", "JOB", "CAUSE"];
    let mut table = Table::new(heads);
    for job in jobs {
        table.row([
            at(job.ended),
            job.class.clone(),
            job.queue.clone(),
            job.tier.clone().unwrap_or_default(),
            job.attempt.to_string(),
            job.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            time(job.wait_ms),
            time(job.ms),
            job.memory_peak.map(memory).unwrap_or_default(),
            job.uuid.clone(),
            job.cause.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn at(ms: Option<u64>) -> String {
    ms.map(|ms| moment(ms / 1000)).unwrap_or_default()
}

fn time(ms: Option<u64>) -> String {
    ms.map(span_ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            uuid: "5d0b-1".to_owned(),
            class: "App\\Jobs\\Render\u{1b}[2J".to_owned(),
            queue: "default".to_owned(),
            state: Some(JobState::Failed),
            attempt: 2,
            tier: Some("isolated".to_owned()),
            ended: Some(1_000_000_000),
            wait_ms: Some(12_000),
            ms: Some(42),
            memory_peak: Some(64 << 20),
            timeout: Some(90),
            cause: Some("oom-kill\nat 64 MB".to_owned()),
            ..Job::default()
        }
    }

    #[test]
    fn each_state_has_its_columns() {
        let columns = Style { columns: true, ..Style::default() };
        let found = Jobs { jobs: vec![job()], next: Some("2".to_owned()), ..Jobs::default() };
        let shown = text(&found, JobState::Recent, columns);
        for part in
            ["  ENDED ", "Render [2J", "failed", "12 s", "42 ms", "64 MB", "oom-kill at 64 MB", "the first 1 job;"]
        {
            assert!(shown.contains(part), "no {part:?} in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let shown = text(&found, JobState::Running, columns);
        assert!(shown.contains("42 ms  1 min 30 s"), "{shown}");
        assert!(text(&found, JobState::Waiting, columns).contains("  DUE "));
        assert_eq!(text(&Jobs::default(), JobState::Recent, columns), "no matching jobs\n");
    }

    #[test]
    fn other_programs_get_a_line_a_job() {
        let found = Jobs { jobs: vec![job(), job()], next: Some("2".to_owned()), ..Jobs::default() };
        let shown = text(&found, JobState::Failed, Style::default());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3);
        let cells: Vec<&str> = lines[1].split('\t').collect();
        assert_eq!(cells[1..5], ["App\\Jobs\\Render [2J", "default", "isolated", "2"]);
        assert_eq!(text(&Jobs::default(), JobState::Recent, Style::default()), "");
    }

    #[test]
    fn fuzz_jobs() {
        let whole = serde_json::to_vec(&Jobs { jobs: vec![job()], ..Jobs::default() }).unwrap();
        let style = Style { columns: true, ..Style::default() };
        kqueue_fuzz::fuzz("jobs", &[&whole], |input| {
            let Ok(told) = serde_json::from_slice::<Jobs>(input) else { return };
            let text = text(&told, JobState::Recent, style) + &text(&told, JobState::Running, style);
            assert!(!text.contains(|c| kqueue_system::harmless::is_harmful(c) && c != '\n'), "{text:?}");
        });
    }
}
