//! A snapshot for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::table::Table;
use kqueue_control::{Snapshot, State};
use kqueue_system::harmless;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Mood {
    Good,
    /// Somebody may want to know.
    Uneasy,
    Bad,
    Quiet,
}

impl Mood {
    pub fn of(snapshot: &Snapshot) -> Self {
        match snapshot.state {
            _ if snapshot.silent.is_some() => Mood::Bad,
            State::Running => Mood::Good,
            State::Degraded => Mood::Bad,
            _ => Mood::Uneasy,
        }
    }
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Style {
    pub colour: bool,
}

impl Style {
    /// In colour where standard output can show it.
    pub fn of_stdout() -> Self {
        Self { colour: kqueue_system::log::has_colour(&std::io::stdout()) }
    }

    fn dress(self, codes: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn head(self, text: &str) -> String {
        self.dress("2", text)
    }

    pub fn mood(self, mood: Mood, text: &str) -> String {
        match mood {
            Mood::Good => self.dress("32", text),
            Mood::Uneasy => self.dress("33", text),
            Mood::Bad => self.dress("31", text),
            Mood::Quiet => self.dress("2", text),
        }
    }
}

/// One line for each app: name, words, how bad it is.
pub(super) fn list(apps: &[(String, String, Mood)], style: Style) -> String {
    if apps.is_empty() {
        return "no apps: there is no file in /etc/kqueue, and none runs\n".to_owned();
    }
    let width = apps.iter().map(|(app, ..)| app.len()).max().unwrap_or(0);
    let lines = apps.iter().map(|(app, words, mood)| {
        let words = style.mood(*mood, &harmless::whole_line(words));
        format!("{app:width$}  {words}\n")
    });
    lines.collect()
}

/// Everything that a runtime tells.
pub(super) fn details(told: &Snapshot, style: Style) -> String {
    let mut text = format!("{}\n", style.mood(Mood::of(told), &harmless::whole_line(&told.status)));
    let mut fact =
        |name: &str, value: String| text.push_str(&format!("  {name:<11} {}\n", harmless::whole_line(&value)));
    fact("state", told.state.as_str().to_owned());
    if let Some(reason) = &told.reason {
        fact("reason", reason.clone());
    }
    if let Some(remedy) = &told.remedy {
        fact("go on with", remedy.clone());
    }
    if told.pid > 0 {
        let age = told.at.saturating_sub(told.since) as f64;
        fact("process", format!("{} since {} ({})", told.pid, moment(told.since), span(age)));
    }
    if !told.laravel.is_empty() {
        fact("app", format!("Laravel {} on PHP {}, {} launcher", told.laravel, told.php, told.launcher));
    }
    let totals: Vec<String> = told.totals.iter().map(|(outcome, jobs)| format!("{jobs} {outcome}")).collect();
    let totals = if totals.is_empty() { "none yet".to_owned() } else { totals.join(", ") };
    fact("jobs", format!("{totals}; {:.1}/s over the last 10 s", told.rate));

    let mut queues = Table::new(&["QUEUE", ">PENDING", ">DELAYED", ">RESERVED", ""]);
    for queue in &told.queues {
        let size = |of: fn(&kqueue_control::Sizes) -> u64| {
            let about = |sizes: &kqueue_control::Sizes| if sizes.estimated { "~" } else { "" };
            queue.sizes.as_ref().map_or("?".to_owned(), |sizes| format!("{}{}", about(sizes), of(sizes)))
        };
        let paused = queue.paused.then(|| "paused".to_owned());
        let remarks: Vec<String> = paused.into_iter().chain(queue.error.clone()).collect();
        queues.row([
            format!("{}:{}", told.connection, queue.name),
            size(|sizes| sizes.pending),
            size(|sizes| sizes.delayed),
            size(|sizes| sizes.reserved),
            remarks.join(", "),
        ]);
    }
    let mut tiers = Table::new(&["TIER", ">RUNNING", ">WAITING"]);
    let mut running = Table::new(&["RUNNING", "TIER", ">FOR", ">WORKER", ">ATTEMPT", "QUEUE", "JOB"]);
    let mut waiting = Table::new(&["WAITING", "TIER", ">FOR", "QUEUE", "JOB"]);
    for tier in &told.tiers {
        tiers.row([tier.tier.clone(), tier.running.to_string(), tier.waiting.to_string()]);
        for job in &tier.running_jobs {
            running.row([
                job.class.clone(),
                tier.tier.clone(),
                span(job.seconds),
                job.worker.to_string(),
                job.attempt.to_string(),
                job.queue.clone(),
                job.uuid.clone(),
            ]);
        }
        for job in &tier.waiting_jobs {
            waiting.row([job.class.clone(), tier.tier.clone(), span(job.seconds), job.queue.clone(), job.uuid.clone()]);
        }
        let more = tier.waiting.saturating_sub(tier.waiting_jobs.len());
        if more > 0 {
            waiting.row([format!("and {more} more"), tier.tier.clone(), String::new(), String::new(), String::new()]);
        }
    }
    let mut workers = Table::new(&[">WORKER", "TIER", "STATE", ">FOR", ">JOBS", ">MEMORY", ">PID", "UNIT"]);
    for worker in &told.workers {
        workers.row([
            worker.id.to_string(),
            worker.tier.clone(),
            worker.state.clone(),
            span(worker.seconds),
            worker.jobs.to_string(),
            worker.memory_kb.map(|kb| format!("{} MB", kb.div_ceil(1024))).unwrap_or_default(),
            worker.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            worker.unit.clone().unwrap_or_default(),
        ]);
    }
    let mut failures = Table::new(&["LAST FAILURES", "CLASS", "TIER", "QUEUE", ">ATTEMPT", "OUTCOME", "CAUSE"]);
    for failure in &told.failures {
        failures.row([
            moment(failure.at),
            failure.class.clone(),
            failure.tier.clone(),
            failure.queue.clone(),
            failure.attempt.to_string(),
            failure.outcome.clone(),
            failure.cause.clone().unwrap_or_default(),
        ]);
    }
    for table in [queues, tiers, running, waiting, workers, failures].iter().filter(|table| !table.is_empty()) {
        text.push('\n');
        text.push_str(&table.lines(|line| style.head(line)));
    }
    text
}

/// A point in time, where we are.
fn moment(epoch: u64) -> String {
    let at = i64::try_from(epoch).ok().and_then(|epoch| Timestamp::from_second(epoch).ok());
    at.map_or("?".to_owned(), |at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A span of time, in the two units that matter.
fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let two = |n: u64, large: &str, rest: u64, small: &str| match rest {
        0 => format!("{n} {large}"),
        _ => format!("{n} {large} {rest} {small}"),
    };
    match whole {
        0..=9 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_control::{Failure, Process, Queue, RunningJob, Sizes, TierLoad, WaitingJob};

    fn shop() -> Snapshot {
        let running = RunningJob {
            uuid: "u-1".to_owned(),
            class: "App\\Jobs\\Render\u{1b}[2J".to_owned(),
            queue: "default".to_owned(),
            attempt: 2,
            worker: 5,
            seconds: 75.2,
            ..RunningJob::default()
        };
        let waiting =
            WaitingJob { uuid: "u-2".to_owned(), class: "App\\Jobs\\Report".to_owned(), ..WaitingJob::default() };
        Snapshot {
            version: 1,
            app: "shop".to_owned(),
            state: State::Running,
            status: "shop: 1 running, 60 waiting, 41/s, redis ok".to_owned(),
            pid: 4711,
            since: 1_000_000,
            at: 1_007_260,
            laravel: "13.31.0".to_owned(),
            php: "8.4.1".to_owned(),
            launcher: "process".to_owned(),
            connection: "redis".to_owned(),
            queues: vec![
                Queue {
                    name: "high".to_owned(),
                    paused: true,
                    sizes: Some(Sizes { pending: 12, ..Sizes::default() }),
                    ..Queue::default()
                },
                Queue { name: "default".to_owned(), error: Some("timed out".to_owned()), ..Queue::default() },
            ],
            tiers: vec![TierLoad {
                tier: "isolated".to_owned(),
                running: 1,
                waiting: 60,
                running_jobs: vec![running],
                waiting_jobs: vec![waiting],
            }],
            workers: vec![Process {
                id: 5,
                tier: "isolated".to_owned(),
                pid: Some(99),
                state: "busy".to_owned(),
                memory_kb: Some(20_480),
                ..Process::default()
            }],
            failures: vec![Failure {
                at: 1_000_100,
                class: "App\\Jobs\\Leaks".to_owned(),
                outcome: "failed".to_owned(),
                cause: Some("oom-kill at 64M".to_owned()),
                ..Failure::default()
            }],
            totals: [("done".to_owned(), 7), ("failed".to_owned(), 1)].into(),
            rate: 41.26,
            ..Snapshot::default()
        }
    }

    #[test]
    fn fuzz_snapshots() {
        let whole = serde_json::to_vec(&shop()).unwrap();
        kqueue_fuzz::fuzz("snapshots", &[&whole], |input| {
            let Ok(told) = serde_json::from_slice::<Snapshot>(input) else { return };
            let text = details(&told, Style { colour: false });
            assert!(!text.contains(|c| kqueue_system::harmless::is_harmful(c) && c != '\n'), "{text:?}");
        });
    }

    #[test]
    fn all_of_it_is_told_and_nothing_else_reaches_the_terminal() {
        let text = details(&shop(), Style { colour: false });
        assert!(!text.contains('\u{1b}'), "{text}");
        for part in [
            "shop: 1 running, 60 waiting, 41/s, redis ok\n",
            "4711 since 1970-01-12",
            "(2 h 1 min)",
            "Laravel 13.31.0 on PHP 8.4.1, process launcher",
            "7 done, 1 failed; 41.3/s",
            "redis:high          12        0         0  paused",
            "redis:default        ?        ?         ?  timed out",
            "1 min 15 s",
            "and 59 more",
            "20 MB",
            "failed   oom-kill at 64M",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(details(&shop(), Style { colour: true }).starts_with("\u{1b}[32mshop:"));
    }

    #[test]
    fn one_that_starts_has_little_to_tell() {
        let status = "shop: starting".to_owned();
        let text =
            details(&Snapshot { state: State::Starting, status, ..Snapshot::default() }, Style { colour: false });
        assert!(text.starts_with("shop: starting\n  state       starting\n"), "{text}");
    }

    #[test]
    fn lists() {
        let apps = [
            ("shop".to_owned(), "3 running".to_owned(), Mood::Good),
            ("a_blog".to_owned(), "stopped (inactive)".to_owned(), Mood::Quiet),
        ];
        assert_eq!(list(&apps, Style { colour: false }), "shop    3 running\na_blog  stopped (inactive)\n");
        assert!(list(&[], Style { colour: false }).starts_with("no apps"));
    }

    #[test]
    fn spans() {
        let cases = [
            (0.31, "0.3 s"),
            (12.9, "12 s"),
            (60.0, "1 min"),
            (3_725.0, "1 h 2 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0.0 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }
}
