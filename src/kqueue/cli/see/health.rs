//! `kqueue health`: one line and an exit code, as Nagios, Icinga, Docker and Kubernetes want them.
//!
//! Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, which a wrong command line is too.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::At;
use crate::cli::{Failed, complete, print};
use kqueue_config as config;
use kqueue_control::{self as control, Found, Snapshot, State};
use kqueue_system::harmless;

/// Bytes of the line that are told of one app.
const LINE: usize = 300;
/// The exit code of what cannot be told.
pub(in crate::cli) const UNKNOWN: u8 = 3;

#[derive(Debug, Args)]
pub(in crate::cli) struct Health {
    /// Name of the app; by default, all configured and all running apps
    #[arg(add = complete::apps())]
    app: Option<String>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    limits: Limits,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is too much.
#[derive(Clone, Debug, Default, Args)]
struct Limits {
    /// CRITICAL if a due job has waited longer than this; with two values, WARNING above the first: 1min,5min
    #[arg(long, value_name = "DURATION[,DURATION]", value_parser = durations)]
    max_wait: Option<Limit>,
    /// CRITICAL if more jobs than this are waiting; with two values, WARNING above the first: 1000,5000
    #[arg(long, value_name = "N[,N]", value_parser = numbers)]
    max_backlog: Option<Limit>,
    /// CRITICAL if more jobs than this failed in the last hour; with two values, WARNING above the first: 0,10
    #[arg(long, value_name = "N[,N]", value_parser = numbers)]
    max_failures: Option<Limit>,
}

/// Above the first it is a warning, above the second critical.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    warning: Option<f64>,
    critical: f64,
}

impl Limit {
    fn level(self, value: f64) -> Level {
        match self.warning {
            _ if value > self.critical => Level::Critical,
            Some(warning) if value > warning => Level::Warning,
            _ => Level::Ok,
        }
    }
}

fn durations(text: &str) -> Result<Limit, String> {
    let read = |text: &str| config::duration(text).as_ref().map(Duration::as_secs_f64);
    limit(text, read).ok_or_else(|| "expected a duration such as 5min, or two such as 1min,5min".to_owned())
}

fn numbers(text: &str) -> Result<Limit, String> {
    let read = |text: &str| text.trim().parse::<u32>().ok().map(f64::from);
    limit(text, read).ok_or_else(|| "expected a number such as 1000, or two such as 100,1000".to_owned())
}

fn limit(text: &str, read: impl Fn(&str) -> Option<f64>) -> Option<Limit> {
    match text.split_once(',') {
        None => Some(Limit { warning: None, critical: read(text)? }),
        Some((warning, critical)) => {
            let (warning, critical) = (read(warning)?, read(critical)?);
            (warning <= critical).then_some(Limit { warning: Some(warning), critical })
        }
    }
}

/// How bad it is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warning,
    Unknown,
    Critical,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Unknown => "UNKNOWN",
            Level::Critical => "CRITICAL",
        }
    }

    fn code(self) -> u8 {
        match self {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Critical => 2,
            Level::Unknown => UNKNOWN,
        }
    }
}

/// What is said of one app.
#[derive(Debug)]
struct Verdict {
    app: String,
    level: Level,
    why: String,
    figures: Option<Figures>,
}

#[derive(Debug)]
struct Figures {
    running: usize,
    backlog: u64,
    oldest: Option<f64>,
    failures: u64,
    rate: f64,
}

pub(in crate::cli) fn run(asked: Health) -> Result<ExitCode, Failed> {
    // Whoever asks by exit code alone must not take a failure of ours for one of the app's.
    let verdicts = match judge_all(&asked) {
        Ok(verdicts) => verdicts,
        Err(Failed { line, .. }) => {
            vec![Verdict {
                app: asked.app.clone().unwrap_or_default(),
                level: Level::Unknown,
                why: line,
                figures: None,
            }]
        }
    };
    let level = verdicts.iter().map(|verdict| verdict.level).max().unwrap_or(Level::Unknown);
    print(&if asked.json { as_json(level, &verdicts) } else { line(level, &verdicts, &asked.limits) })?;
    Ok(ExitCode::from(level.code()))
}

fn judge_all(asked: &Health) -> Result<Vec<Verdict>, Failed> {
    let here = super::surroundings()?;
    super::wait(async {
        if asked.app.is_some() || asked.at.names_one() {
            let place = config::place(&asked.at.request(asked.app.clone()), &here)?;
            let found = control::find(&place, &here).await;
            return Ok(vec![judge(place.app, found, &asked.limits, true).await]);
        }
        let mut verdicts = Vec::new();
        for (app, found) in control::find_all(super::all_places(&asked.at, &here)?, &here).await {
            verdicts.push(judge(app, found, &asked.limits, false).await);
        }
        Ok(verdicts)
    })?
}

/// Of an app that nobody has named, a stop is nothing bad: somebody may have wanted it.
async fn judge(app: String, found: Found, limits: &Limits, named: bool) -> Verdict {
    let (level, why) = match found {
        Found::Told(value, _) => {
            let told = super::snapshot(&value);
            return weigh(app, &told, limits);
        }
        Found::Stopped { failed: false, why } if !named => (Level::Ok, why),
        Found::Stopped { why, .. } => (Level::Critical, format!("not available: {why}")),
        Found::Dark { why, .. } => (Level::Unknown, why),
        Found::Nobody => (Level::Unknown, "no such app".to_owned()),
    };
    Verdict { app, level, why, figures: None }
}

/// Weighs what an app tells. Pure.
fn weigh(app: String, told: &Snapshot, limits: &Limits) -> Verdict {
    let oldest = if told.waiting == 0 { Some(0.0) } else { told.oldest() };
    let state = match told.state {
        State::Running => Level::Ok,
        State::Degraded => Level::Critical,
        State::Unknown => Level::Unknown,
        State::Starting | State::Paused | State::Maintenance | State::Draining | State::Stopping => Level::Warning,
    };
    let mut faults = Vec::new();
    let mut level = state;
    let mut hold = |limit: Option<Limit>, value: Option<f64>, name: &str, unit: &str| {
        let Some(limit) = limit else { return };
        let found = value.map_or(Level::Unknown, |value| limit.level(value));
        let over = match found {
            Level::Warning => limit.warning.unwrap_or(limit.critical),
            _ => limit.critical,
        };
        match value {
            _ if found == Level::Ok => {}
            Some(value) => faults.push(format!("{name} {value:.0}{unit} is over {over}{unit}")),
            None => faults.push(format!("{name} is unknown")),
        }
        level = level.max(found);
    };
    hold(limits.max_backlog, Some(told.waiting as f64), "backlog", "");
    hold(limits.max_wait, oldest, "wait of the oldest job", " s");
    hold(limits.max_failures, Some(told.failed_hour as f64), "failures in the last hour:", "");
    let status = told.status.strip_prefix(&format!("{app}: ")).unwrap_or(&told.status);
    faults.push(status.to_owned());
    let figures =
        Figures { running: told.running, backlog: told.waiting, oldest, failures: told.failed_hour, rate: told.rate };
    Verdict { app, level, why: faults.join("; "), figures: Some(figures) }
}

/// `KQUEUE OK - shop: 3 running, 12 waiting … | backlog=12;;1000;0 …`
fn line(level: Level, verdicts: &[Verdict], limits: &Limits) -> String {
    let told = |verdict: &Verdict| {
        let why = verdict.why.strip_prefix(&format!("{}: ", verdict.app)).unwrap_or(&verdict.why);
        // A bar would begin the figures.
        let line = if verdict.app.is_empty() { why.to_owned() } else { format!("{}: {why}", verdict.app) };
        harmless::line(&line, LINE).replace('|', "/")
    };
    let words = match verdicts {
        [] => "no apps: no file in /etc/kqueue, and none is running".to_owned(),
        [one] => told(one),
        several => {
            let bad: Vec<String> = several.iter().filter(|one| one.level != Level::Ok).map(told).collect();
            match bad.as_slice() {
                [] => format!("{} apps", several.len()),
                bad => format!("{} of {} apps: {}", bad.len(), several.len(), bad.join(" / ")),
            }
        }
    };
    let data: Vec<String> = verdicts.iter().flat_map(|verdict| data(verdict, verdicts.len() > 1, limits)).collect();
    let data = if data.is_empty() { String::new() } else { format!(" | {}", data.join(" ")) };
    format!("KQUEUE {} - {words}{data}\n", level.word())
}

/// The figures of one app: `name=value;warning;critical;least`.
fn data(verdict: &Verdict, several: bool, limits: &Limits) -> Vec<String> {
    let Some(figures) = &verdict.figures else { return Vec::new() };
    let name = |of: &str| if several { format!("{}_{of}", verdict.app) } else { of.to_owned() };
    let bounds = |limit: Option<Limit>| {
        let text = |bound: Option<f64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        format!("{};{}", text(limit.and_then(|limit| limit.warning)), text(limit.map(|limit| limit.critical)))
    };
    let mut data = vec![format!("{}={};{};0", name("backlog"), figures.backlog, bounds(limits.max_backlog))];
    data.extend(
        figures.oldest.map(|seconds| format!("{}={seconds:.1}s;{};0", name("oldest"), bounds(limits.max_wait))),
    );
    data.push(format!("{}={};{};0", name("failures"), figures.failures, bounds(limits.max_failures)));
    data.push(format!("{}={};;;0", name("running"), figures.running));
    data.push(format!("{}={:.1};;;0", name("rate"), figures.rate));
    data
}

fn as_json(level: Level, verdicts: &[Verdict]) -> String {
    let apps: Vec<Value> = verdicts
        .iter()
        .map(|Verdict { app, level, why, figures }| {
            let figures = figures.as_ref();
            json!({
                "app": app, "level": level.word(), "why": harmless::line(why, super::LONGEST),
                "running": figures.map(|figures| figures.running), "backlog": figures.map(|figures| figures.backlog),
                "oldest": figures.and_then(|figures| figures.oldest),
                "failures": figures.map(|figures| figures.failures), "rate": figures.map(|figures| figures.rate),
            })
        })
        .collect();
    format!("{:#}\n", json!({"level": level.word(), "code": level.code(), "apps": apps}))
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use kqueue_control::Queue;

    fn told(state: State) -> Snapshot {
        Snapshot {
            state,
            status: "shop: 1 running | 12 waiting".to_owned(),
            running: 1,
            waiting: 12,
            rate: 2.5,
            queues: vec![Queue { oldest: Some(90.0), ..Queue::default() }],
            ..Snapshot::default()
        }
    }

    fn weighed(told: &Snapshot, failures: u64, limits: &Limits) -> (Level, String) {
        let told = Snapshot { failed_hour: failures, ..told.clone() };
        let verdict = weigh("shop".to_owned(), &told, limits);
        (verdict.level, line(verdict.level, &[verdict], limits))
    }

    /// What is printed as JSON.
    pub fn printed() -> Value {
        let verdict = weigh("shop".to_owned(), &told(State::Running), &Limits::default());
        serde_json::from_str(&as_json(Level::Ok, &[verdict])).unwrap()
    }

    #[test]
    fn a_line_with_figures() {
        let limits = Limits { max_backlog: numbers("100,1000").ok(), ..Limits::default() };
        let (level, line) = weighed(&told(State::Running), 3, &limits);
        let figures = "backlog=12;100;1000;0 oldest=90.0s;;;0 failures=3;;;0 running=1;;;0 rate=2.5;;;0";
        assert_eq!((level, line), (Level::Ok, format!("KQUEUE OK - shop: 1 running / 12 waiting | {figures}\n")));
    }

    #[test]
    fn states_and_limits() {
        let none = Limits::default();
        for (state, level) in [
            (State::Running, Level::Ok),
            (State::Paused, Level::Warning),
            (State::Starting, Level::Warning),
            (State::Degraded, Level::Critical),
            (State::Unknown, Level::Unknown),
        ] {
            assert_eq!(weighed(&told(state), 0, &none).0, level, "{state:?}");
        }
        let wait = |text: &str| Limits { max_wait: durations(text).ok(), ..Limits::default() };
        for (text, level) in [("1min,5min", Level::Warning), ("1min", Level::Critical), ("2min", Level::Ok)] {
            assert_eq!(weighed(&told(State::Running), 0, &wait(text)).0, level, "{text}");
        }
        let silent = Snapshot { queues: vec![], ..told(State::Running) };
        assert_eq!(weighed(&silent, 0, &wait("1min")).0, Level::Unknown);
        assert_eq!(weighed(&Snapshot { waiting: 0, ..silent }, 0, &wait("1min")).0, Level::Ok);
        let failures = Limits { max_failures: numbers("0").ok(), ..Limits::default() };
        let (level, line) = weighed(&told(State::Running), 1, &failures);
        assert!(
            level == Level::Critical && line.contains(" - shop: failures in the last hour: 1 is over 0; 1 running"),
            "{line}"
        );
        assert_eq!(weighed(&told(State::Running), 0, &failures).0, Level::Ok);
        assert_eq!(weighed(&told(State::Degraded), 0, &failures).0, Level::Critical);
    }

    #[test]
    fn several_apps() {
        let verdict = |app: &str, level| Verdict { app: app.to_owned(), level, why: "x".to_owned(), figures: None };
        let apps = [verdict("shop", Level::Ok), verdict("blog", Level::Critical)];
        assert_eq!(line(Level::Critical, &apps, &Limits::default()), "KQUEUE CRITICAL - 1 of 2 apps: blog: x\n");
        assert_eq!(line(Level::Ok, &apps[..0], &Limits::default()).matches('\n').count(), 1);
        let json: Value = serde_json::from_str(&as_json(Level::Critical, &apps)).unwrap();
        assert_eq!((&json["code"], &json["apps"][1]["level"]), (&2.into(), &"CRITICAL".into()));
    }

    #[test]
    fn what_is_no_limit() {
        for text in ["", "x", "5,1", "1,2,3", "-1"] {
            assert!(numbers(text).is_err(), "{text}");
        }
        assert!(durations("5 parsecs").is_err());
        assert_eq!(durations("1min,5min"), Ok(Limit { warning: Some(60.0), critical: 300.0 }));
    }
}
