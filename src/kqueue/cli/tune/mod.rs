//! `kqueue tune`: reads how jobs fared and which settings are in effect, and says which would do better, each with its
//! evidence and the exact line. With `--write` it changes the app's config file, as `kqueue init` writes one.
//!
//! What it says is worked out in [`advice`], which is pure; here is asked, shown and written.

mod advice;
mod edit;
mod memory;
mod pool;
mod times;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::check::connections::{self, Index};
use super::leave_root::AsRoot;
use super::see::{self, LONGEST, Target, Which, ago, jobs, parse, print_json, print_text};
use super::show::{Mood, Style, count, moment};
use super::steer::desk::Desk;
use super::write::{self, Manner};
use super::{FAILURE, Failed};
use advice::{Advice, Class, Given, Place, RUNS, advise};
use edit::{Change, edited};
use kqueue_config::{self as config, KEYS, Surroundings};
use kqueue_control::{Job, JobState, JobsFilter, Metrics, Request, Snapshot, Stats, StatsFilter};
use kqueue_system::harmless;

/// Seconds that are looked at where nothing is said: a week.
const WEEK: u64 = 7 * 86_400;
/// Jobs that are looked at one by one, for their timeouts.
const SAMPLE: u32 = 2_000;
/// What Laravel says of a job that its alarm has ended, and what kqueue does.
const TIMED_OUT: [&str; 2] = ["has timed out", "ran longer than its timeout"];

#[derive(Debug, Args)]
pub(super) struct Tune {
    #[command(flatten)]
    which: Which,
    /// Start of the period: 24h, 7d, or a time such as "2026-11-30 14:00"; by default, 7d
    #[arg(long, value_name = "TIME", value_parser = parse)]
    since: Option<u64>,
    /// Write the advised lines into the app's config file, and keep the old file as APP.toml~
    #[arg(long, conflicts_with = "json")]
    write: bool,
    /// Do not ask before writing, even on a terminal
    #[arg(long, short = 'y', requires = "write")]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    as_root: AsRoot,
}

/// What was asked, and what came of it.
struct Told {
    app: String,
    /// The app's config file, whether it is there or not.
    file: PathBuf,
    since: u64,
    runs: u64,
    advice: Vec<Advice>,
    lacks: Vec<String>,
}

pub(super) fn run(asked: Tune) -> Result<ExitCode, Failed> {
    let here = see::surroundings()?;
    let told = see::wait(look(&asked, &here))??;
    if asked.json {
        return print_json(&as_json(&told));
    }
    let code = print_text(&text(&told, Style::of_stdout()), &told.lacks)?;
    if asked.write {
        write(&asked, &told, &here)?;
    }
    Ok(code)
}

async fn look(asked: &Tune, here: &Surroundings) -> Result<Told, Failed> {
    let request = asked.which.request();
    let target = Target::find(&request, here).await?;
    let snapshot = target.snapshot();
    let since = asked.since.unwrap_or_else(|| ago(WEEK));
    let stats: Stats =
        target.ask(&Request::Stats(StatsFilter { since: Some(since), ..StatsFilter::default() })).await?;
    let mut lacks = stats.lacks.clone();
    let metrics = target.ask::<Metrics>(&Request::Metrics).await.unwrap_or_else(|failed| {
        lacks.push(failed.line);
        Metrics::default()
    });
    let recent =
        JobsFilter { state: Some(JobState::Recent), since: Some(since), limit: SAMPLE, ..JobsFilter::default() };
    let sample = jobs::list(&target, recent).await.map(|found| found.jobs).unwrap_or_default();
    let settings = match snapshot.settings.is_empty() {
        false => snapshot.settings.clone(),
        // One of an older version does not tell its settings: then those that the file has.
        true => config::load(&request, here).map(|loaded| shown(&loaded)).unwrap_or_default(),
    };
    if settings.is_empty() {
        lacks.push("the settings in effect are unknown: advice that depends on them is missing".to_owned());
    }
    let given = given(&snapshot, &stats, &metrics, &sample, settings, here.memory_mb);
    let file = match request.config {
        Some(file) => here.cwd.join(file),
        None => here.etc.join(format!("{}.toml", target.app)),
    };
    let mut advice = advise(&given);
    if snapshot.driver == "database" {
        match index(asked) {
            Ok(found) => advice.extend(found),
            Err(failed) => lacks.push(format!("cannot check the index of the queue's table: {}", failed.line)),
        }
    }
    Ok(Told { app: target.app, file, since: stats.since, runs: given.runs(), advice, lacks })
}

/// What the app's own database tells, which only who may boot the app can ask.
fn index(asked: &Tune) -> Result<Option<Advice>, Failed> {
    let found = Desk::find(&asked.which, asked.as_root)?.ask()?;
    if let Some(failure) = found.failed {
        return Err(Failed { code: FAILURE, line: failure.text });
    }
    let advice = |Index { migration, why }| Advice {
        place: Place::Migration { line: migration },
        gain: "the search for a job costs the same however many jobs are delayed".to_owned(),
        evidence: why,
    };
    Ok(connections::index(&found).map(advice))
}

fn shown(loaded: &config::Loaded) -> BTreeMap<String, Value> {
    KEYS.iter().map(|key| (key.name.to_owned(), key.show(&loaded.settings))).collect()
}

fn given(
    snapshot: &Snapshot,
    stats: &Stats,
    metrics: &Metrics,
    sample: &[Job],
    settings: BTreeMap<String, Value>,
    memory_mb: Option<u64>,
) -> Given {
    let classes = stats.classes.iter().map(|class| {
        let jobs: Vec<&Job> = sample.iter().filter(|job| job.class == class.class).collect();
        let timed_out =
            |job: &&&Job| job.cause.as_ref().is_some_and(|cause| TIMED_OUT.iter().any(|words| cause.contains(words)));
        Class {
            name: harmless::line(&class.class, 200),
            tier: class.tier.clone().unwrap_or_default(),
            why: harmless::line(class.why.as_deref().unwrap_or_default(), 200),
            figures: class.figures.clone(),
            timeout: jobs.iter().find_map(|job| job.timeout),
            sampled: jobs.len() as u64,
            timed_out: jobs.iter().filter(timed_out).count() as u64,
        }
    });
    let mut ended_jobs = BTreeMap::new();
    for row in &metrics.rows {
        *ended_jobs.entry(row.tier.clone()).or_default() += row.figures.runs();
    }
    Given {
        seconds: stats.until.saturating_sub(stats.since),
        settings,
        classes: classes.collect(),
        retry_after: snapshot.retry_after,
        memory_mb,
        ended: metrics.ended.clone(),
        ended_jobs,
        uptime: snapshot.at.saturating_sub(metrics.since),
    }
}

fn text(told: &Told, style: Style) -> String {
    let Told { app, since, runs, advice, .. } = told;
    let of = format!("{} since {}", count(*runs, "run"), moment(*since));
    if *runs < RUNS && advice.is_empty() {
        return format!("{app}: {of}: too few for advice; try again after {RUNS}\n");
    }
    if advice.is_empty() {
        let words = style.mood(Mood::Good, "no better settings found");
        return format!("{app}: {of}: {words}\n");
    }
    let mut text = format!("{app}: {of}\n");
    for one in advice {
        let place = match &one.place {
            Place::File { .. } => harmless::line(&told.file.to_string_lossy(), LONGEST),
            Place::Class { class, .. } => harmless::line(class, LONGEST),
            Place::Migration { .. } => "a migration (php artisan make:migration)".to_owned(),
        };
        text += &format!("\n  {}\n", style.mood(Mood::Uneasy, &harmless::line(&one.line(), LONGEST)));
        text += &format!("    in        {place}\n");
        text += &format!("    so that   {}\n", one.gain);
        text += &format!("    evidence  {}\n", harmless::line(&one.evidence, LONGEST));
    }
    text
}

fn as_json(told: &Told) -> Value {
    let advice: Vec<Value> = told
        .advice
        .iter()
        .map(|one| {
            let (key, value, class) = match &one.place {
                Place::File { key, value } => (Some(key), Some(value), None),
                Place::Class { class, .. } => (None, None, Some(class)),
                Place::Migration { .. } => (None, None, None),
            };
            json!({
                "line": one.line(), "key": key, "value": value, "class": class, "gain": one.gain, "evidence": one.evidence,
            })
        })
        .collect();
    let enough = told.runs >= RUNS;
    let json = json!({
        "version": kqueue_control::VERSION, "app": told.app, "since": told.since, "runs": told.runs, "enough": enough,
        "advice": advice, "lacks": told.lacks,
    });
    harmless::value(json, LONGEST)
}

/// Changes the config file.
fn write(asked: &Tune, told: &Told, here: &Surroundings) -> Result<(), Failed> {
    let changes: Vec<Change<'_>> = told
        .advice
        .iter()
        .filter_map(|one| match &one.place {
            Place::File { key, value } => Some(Change { key, value, why: &one.evidence }),
            Place::Class { .. } | Place::Migration { .. } => None,
        })
        .collect();
    if changes.is_empty() {
        return super::print("nothing to write: no advice is for the config file\n");
    }
    let Told { app, file, .. } = told;
    let failed = |what: String| Failed { code: FAILURE, line: format!("{}: {what}", file.display()) };
    let old = fs::read_to_string(file)
        .map_err(|error| failed(format!("{error}; `kqueue init {app} --path DIR` writes one")))?;
    let new =
        edited(&old, &changes).map_err(|error| failed(format!("{error}; kqueue config check {app} shows more")))?;
    // Everything that was there still is: only the lines that are advised are others.
    let manner = Manner { dry_run: false, force: true, yes: asked.yes };
    super::print("\n")?;
    let outcome = write::put(app, file, &new, manner, here)?;
    write::settle(app, file, outcome, here, &format!("systemctl reload kqueue@{app}"))
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use kqueue_control::{ClassFigures, Figures, MetricsRow};

    fn stats() -> Stats {
        let mut figures = Figures::default();
        figures.outcomes.insert("done".to_owned(), 500);
        (0..500).for_each(|_| {
            figures.wait.record(20_000);
            figures.duration.record(3_000);
        });
        let class = ClassFigures {
            class: "App\\Jobs\\Sends".to_owned(),
            tier: Some("pooled".to_owned()),
            figures,
            ..ClassFigures::default()
        };
        Stats { since: 0, until: 86_400, classes: vec![class], ..Stats::default() }
    }

    fn told() -> Told {
        let job = |cause: Option<&str>| Job {
            class: "App\\Jobs\\Sends".to_owned(),
            timeout: Some(60),
            cause: cause.map(str::to_owned),
            ..Job::default()
        };
        let mut sample = vec![job(Some("App\\Jobs\\Sends has timed out.")); 5];
        sample.push(job(Some("another cause")));
        sample.push(job(Some("ran longer than its timeout of 60 s")));
        let settings = [("pool_size", 10), ("pool_max_size", 20), ("max_concurrent_pooled", 40)];
        let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        let rows = vec![MetricsRow { tier: "pooled".to_owned(), ..MetricsRow::default() }];
        let metrics = Metrics { rows, ..Metrics::default() };
        let given = given(&Snapshot::default(), &stats(), &metrics, &sample, settings, Some(16_000));
        assert_eq!((given.classes[0].sampled, given.classes[0].timed_out), (7, 6));
        Told {
            app: "shop".to_owned(),
            file: "/etc/kqueue/shop.toml".into(),
            since: 0,
            runs: given.runs(),
            advice: advise(&given),
            lacks: vec![],
        }
    }

    /// What is printed as JSON.
    pub fn printed() -> Value {
        as_json(&Told { lacks: vec!["x".to_owned()], ..told() })
    }

    #[test]
    fn each_line_with_its_place_and_evidence() {
        let shown = text(&told(), Style::default());
        for part in [
            "shop: 500 runs since 1970",
            "\n  pool_max_size = 30\n    in        /etc/kqueue/shop.toml\n",
            "    evidence  of 500 pooled jobs 5 % waited for 20 s or longer",
            "\n  public $timeout = 120;\n    in        App\\Jobs\\Sends\n",
        ] {
            assert!(shown.contains(part), "no {part:?} in\n{shown}");
        }
        let json = as_json(&told());
        assert_eq!((&json["enough"], &json["advice"][0]["key"]), (&true.into(), &"pool_max_size".into()));
        assert_eq!(
            (&json["advice"][0]["value"], &json["advice"][1]["class"]),
            (&"30".into(), &"App\\Jobs\\Sends".into())
        );
    }

    #[test]
    fn without_advice() {
        let none = Told { advice: vec![], ..told() };
        assert!(text(&none, Style::default()).ends_with(": no better settings found\n"));
        let few = Told { runs: 99, ..none };
        assert!(text(&few, Style::default()).ends_with("too few for advice; try again after 100\n"));
    }
}
