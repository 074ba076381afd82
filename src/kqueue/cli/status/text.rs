//! A snapshot as text.

use super::super::show::{Mood, Style, Table, moment, span};
use super::paused;
use crate::cli::see::pool::pool_size;
use kqueue_control::{Paused, Snapshot};
use kqueue_system::harmless;

/// One line for each app, from its name, status text and mood.
pub(super) fn list(apps: &[(String, String, Mood)], style: Style) -> String {
    if apps.is_empty() {
        return "no apps: no file in /etc/kqueue, and none is running\n".to_owned();
    }
    let width = apps.iter().map(|(app, ..)| app.len()).max().unwrap_or(0);
    let lines = apps.iter().map(|(app, words, mood)| {
        let words = style.mood(*mood, &harmless::whole_line(words));
        format!("{app:width$}  {words}\n")
    });
    lines.collect()
}

/// The whole snapshot of an app.
pub(super) fn details(told: &Snapshot, style: Style) -> String {
    let mut text = format!("{}\n", style.mood(Mood::of(told), &harmless::whole_line(&told.status)));
    let mut fact =
        |name: &str, value: String| text.push_str(&format!("  {name:<11} {}\n", harmless::whole_line(&value)));
    fact("state", told.state.as_str().to_owned());
    if let Some(reason) = &told.reason {
        fact("reason", reason.clone());
    }
    if let Some(since) = told.asleep {
        let age = told.at.saturating_sub(since) as f64;
        fact("asleep", format!("since {} ({}); the next job wakes it", moment(since), span(age)));
    }
    if let Some(remedy) = &told.remedy {
        fact("resume with", remedy.clone());
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
    fact(
        "jobs",
        format!("{totals}; {:.1}/s over the last 10 s; {} failed in the last hour", told.rate, told.failed_hour),
    );

    if let Some(pool) = &told.pool {
        fact("pool", pool_size(pool));
    }
    let mut classes = Table::new(&["PAUSED CLASS", ">WAITING", "BY", "UNTIL"]);
    for paused in &told.paused_classes {
        let Paused { user, until, .. } = &paused.paused_by;
        let until = until.map_or_else(|| "kqueue resume".to_owned(), moment);
        classes.row([paused.class.clone(), paused.waiting.to_string(), user.clone().unwrap_or_default(), until]);
    }
    let mut queues = Table::new(&["QUEUE", ">PENDING", ">DELAYED", ">RESERVED", ">OLDEST", ""]);
    for queue in &told.queues {
        let size = |of: fn(&kqueue_control::Sizes) -> u64| {
            let about = |sizes: &kqueue_control::Sizes| if sizes.estimated { "~" } else { "" };
            queue.sizes.as_ref().map_or("?".to_owned(), |sizes| format!("{}{}", about(sizes), of(sizes)))
        };
        let remarks: Vec<String> = paused(queue, told.at).into_iter().chain(queue.error.clone()).collect();
        queues.row([
            format!("{}:{}", told.connection, queue.name),
            size(|sizes| sizes.pending),
            size(|sizes| sizes.delayed),
            size(|sizes| sizes.reserved),
            queue.oldest.map(span).unwrap_or_default(),
            remarks.join(", "),
        ]);
    }
    let mut tiers = Table::new(&["TIER", ">RUNNING", ">WAITING"]);
    let mut running = Table::new(&["RUNNING", "TIER", ">FOR", ">OF", ">WORKER", ">ATTEMPT", "QUEUE", "JOB"]);
    let mut waiting = Table::new(&["WAITING", "TIER", ">FOR", "QUEUE", "JOB"]);
    for tier in &told.tiers {
        tiers.row([tier.tier.clone(), tier.running.to_string(), tier.waiting.to_string()]);
        for job in &tier.running_jobs {
            running.row([
                job.class.clone(),
                tier.tier.clone(),
                span(job.seconds),
                limit(job.timeout),
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
    for table in [queues, classes, tiers, running, waiting, workers, failures].iter().filter(|table| !table.is_empty())
    {
        text.push('\n');
        text.push_str(&table.lines(style));
    }
    text
}

/// A job's timeout as text.
fn limit(seconds: u64) -> String {
    if seconds == 0 { "no limit".to_owned() } else { span(seconds as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kqueue_control::{
        Failure, PausedClass, PoolSize, Process, Queue, RunningJob, Sizes, State, TierLoad, WaitingJob,
    };

    fn shop() -> Snapshot {
        let running = RunningJob {
            uuid: "u-1".to_owned(),
            class: "App\\Jobs\\Render\u{1b}[2J".to_owned(),
            queue: "default".to_owned(),
            attempt: 2,
            worker: 5,
            seconds: 75.2,
            timeout: 90,
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
                    paused_by: Some(Paused {
                        by: "operator".to_owned(),
                        user: Some("al\u{1b}ice".to_owned()),
                        until: Some(1_007_280),
                        ..Paused::default()
                    }),
                    sizes: Some(Sizes { pending: 12, ..Sizes::default() }),
                    oldest: Some(130.0),
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
            paused_classes: vec![PausedClass {
                class: "App\\Jobs\\Mail\u{1b}".to_owned(),
                paused_by: Paused { user: Some("alice".to_owned()), ..Paused::default() },
                waiting: 12,
            }],
            pool: Some(PoolSize { size: 4, user: "bob".to_owned(), until: None }),
            rate: 41.26,
            failed_hour: 3,
            ..Snapshot::default()
        }
    }

    #[test]
    fn fuzz_snapshots() {
        let whole = serde_json::to_vec(&shop()).unwrap();
        kqueue_fuzz::fuzz("snapshots", &[&whole], |input| {
            let Ok(told) = serde_json::from_slice::<Snapshot>(input) else { return };
            let text = details(&told, Style::default());
            assert!(!text.contains(|c| kqueue_system::harmless::is_harmful(c) && c != '\n'), "{text:?}");
        });
    }

    #[test]
    fn all_of_it_is_told_and_nothing_else_reaches_the_terminal() {
        let text = details(&shop(), Style::default());
        assert!(!text.contains('\u{1b}'), "{text}");
        for part in [
            "shop: 1 running, 60 waiting, 41/s, redis ok\n",
            "4711 since 1970-01-12",
            "(2 h 1 min)",
            "Laravel 13.31.0 on PHP 8.4.1, process launcher",
            "7 done, 1 failed; 41.3/s",
            "redis:high          12        0         0  2 min 10 s  paused by al ice until ",
            "redis:default        ?        ?         ?              timed out",
            "12  alice  kqueue resume",
            "pool        at most 4 workers, by bob until",
            "1 min 15 s  1 min 30 s",
            "41.3/s over the last 10 s; 3 failed in the last hour",
            "and 59 more",
            "20 MB",
            "failed   oom-kill at 64M",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(details(&shop(), Style { colour: true, ..Style::default() }).starts_with("\u{1b}[32mshop:"));
    }

    #[test]
    fn one_that_starts_has_little_to_tell() {
        let status = "shop: starting".to_owned();
        let text = details(&Snapshot { state: State::Starting, status, ..Snapshot::default() }, Style::default());
        assert!(text.starts_with("shop: starting\n  state       starting\n"), "{text}");
    }

    #[test]
    fn lists() {
        let apps = [
            ("shop".to_owned(), "3 running".to_owned(), Mood::Good),
            ("a_blog".to_owned(), "stopped (inactive)".to_owned(), Mood::Quiet),
        ];
        assert_eq!(list(&apps, Style::default()), "shop    3 running\na_blog  stopped (inactive)\n");
        assert!(list(&[], Style::default()).starts_with("no apps"));
    }
}
