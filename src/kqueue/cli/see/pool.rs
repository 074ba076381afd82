//! `kqueue pool`: PHP processes against the settings that size them, and what became of those before; another size of the
//! pool for a while, and another process in the place of one.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{LONGEST, Target, Which, print_json, print_text};
use crate::cli::show::{Style, Table, memory, moment, span, span_ms};
use crate::cli::{FAILURE, Failed, steer};
use kqueue_control::{Act, Metrics, PoolSize, Request, Snapshot};
use kqueue_system::harmless;

/// The settings that size each tier: those that keep some, those that bound them, what bounds each process in MB.
const SIZES: &[(&str, &[&str], &str)] = &[
    ("inline", &["max_concurrent_inline"], "worker_memory_max"),
    ("pooled", &["pool_min_idle", "pool_size", "pool_max_size"], "worker_memory_max"),
    ("isolated", &["max_concurrent_isolated"], "isolated_memory_max"),
];

#[derive(Debug, Args)]
pub(in crate::cli) struct Ask {
    #[command(flatten)]
    which: Which,
    /// Limit the pool to N workers from now on, up to pool_max_size; `settings`: as in the settings again
    #[arg(long, value_name = "N", value_parser = size)]
    size: Option<Size>,
    /// Duration of --size, after which the settings apply again: 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = steer::span, requires = "size")]
    span: Option<Duration>,
    /// Replace this process after its current job; `all`: every process, pooled workers one by one
    #[arg(long, value_name = "WORKER", value_parser = worker, conflicts_with = "size")]
    recycle: Option<Recycled>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How many workers; none: as the settings say.
type Size = Option<usize>;
/// Which process; none: each.
type Recycled = Option<u64>;

fn size(text: &str) -> Result<Size, String> {
    match text {
        "settings" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "expected a number of workers, or settings".to_owned()),
    }
}

fn worker(text: &str) -> Result<Recycled, String> {
    match text {
        "all" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "expected the number of a process, or all".to_owned()),
    }
}

pub(in crate::cli) fn run(asked: Ask) -> Result<ExitCode, Failed> {
    if let Some(size) = asked.size {
        return steer::act(
            &asked.which,
            Act::Pool { size, seconds: asked.span.map(|span| span.as_secs()) },
            asked.json,
        );
    }
    if let Some(worker) = asked.recycle {
        return steer::act(&asked.which, Act::Recycle { worker }, asked.json);
    }
    let here = super::surroundings()?;
    let (told, metrics) = super::wait(async {
        let target = Target::find(&asked.which.request(), &here).await?;
        let metrics = match target.ask::<Metrics>(&Request::Metrics).await {
            Ok(metrics) => Ok(metrics),
            // What is known without is more than nothing.
            Err(failed) if failed.code == FAILURE => Err(failed.line),
            Err(failed) => return Err(failed),
        };
        Ok((target.snapshot(), metrics))
    })??;
    let lacks: Vec<String> = metrics.as_ref().err().cloned().into_iter().collect();
    let metrics = metrics.unwrap_or_default();
    if asked.json {
        return print_json(&as_json(&told, &metrics, lacks));
    }
    print_text(&text(&told, &metrics, Style::of_stdout()), &lacks)
}

fn as_json(told: &Snapshot, metrics: &Metrics, lacks: Vec<String>) -> Value {
    let tiers: Vec<Value> = SIZES
        .iter()
        .map(|(tier, keys, limit)| {
            let tally = Tally::of(told, tier);
            let settings: BTreeMap<&str, &Value> =
                keys.iter().chain([limit]).filter_map(|key| Some((*key, told.settings.get(*key)?))).collect();
            json!({
                "tier": tier, "processes": tally.processes, "busy": tally.busy, "idle": tally.idle,
                "waiting": tally.waiting, "memory_kb": tally.memory_kb, "settings": settings,
                "started": metrics.started.get(*tier), "ended": metrics.ended.get(*tier),
            })
        })
        .collect();
    let json = json!({
        "version": kqueue_control::VERSION, "app": told.app, "at": told.at, "since": told.since,
        "resident": metrics.resident, "pool": told.pool, "tiers": tiers, "workers": told.workers, "lacks": lacks,
    });
    harmless::value(json, LONGEST)
}

/// What there is of one tier.
#[derive(Debug, Default)]
struct Tally {
    processes: usize,
    busy: usize,
    idle: usize,
    waiting: usize,
    memory_kb: u64,
}

impl Tally {
    fn of(told: &Snapshot, tier: &str) -> Self {
        let waiting = told.tiers.iter().filter(|load| load.tier == tier).map(|load| load.waiting).sum();
        let mut tally = Self { waiting, ..Self::default() };
        for worker in told.workers.iter().filter(|worker| worker.tier == tier) {
            tally.processes += 1;
            tally.busy += usize::from(worker.state == "busy");
            tally.idle += usize::from(worker.state == "idle");
            tally.memory_kb = tally.memory_kb.saturating_add(worker.memory_kb.unwrap_or(0));
        }
        tally
    }
}

fn text(told: &Snapshot, metrics: &Metrics, style: Style) -> String {
    let mut tiers =
        Table::new(&["TIER", ">PROCESSES", ">BUSY", ">IDLE", ">JOBS WAIT", ">MEMORY", ">STARTED", "ENDED", "SETTINGS"]);
    for (tier, keys, limit) in SIZES {
        let tally = Tally::of(told, tier);
        let settings = keys.iter().chain([limit]);
        let settings = settings.filter_map(|key| Some(format!("{key} = {}", told.settings.get(*key)?)));
        let ended = metrics.ended.get(*tier).cloned().unwrap_or_default();
        let ended: Vec<String> = ended.iter().map(|(why, processes)| format!("{processes} {why}")).collect();
        tiers.row([
            (*tier).to_owned(),
            tally.processes.to_string(),
            tally.busy.to_string(),
            tally.idle.to_string(),
            tally.waiting.to_string(),
            memory(tally.memory_kb.saturating_mul(1024)),
            metrics.started.get(*tier).map(u64::to_string).unwrap_or_default(),
            ended.join(", "),
            settings.collect::<Vec<_>>().join(", "),
        ]);
    }
    let limits: BTreeMap<&str, u64> =
        SIZES.iter().filter_map(|(tier, _, limit)| Some((*tier, told.settings.get(*limit)?.as_u64()?))).collect();
    let heads = &[">PROCESS", "TIER", "STATE", ">FOR", ">JOBS", ">MEMORY", ">OF", ">CPU", ">PID", "UNIT"];
    let mut workers = Table::new(heads);
    for worker in &told.workers {
        workers.row([
            worker.id.to_string(),
            worker.tier.clone(),
            worker.state.clone(),
            span(worker.seconds),
            worker.jobs.to_string(),
            worker.memory_kb.map(|kb| memory(kb.saturating_mul(1024))).unwrap_or_default(),
            limits.get(worker.tier.as_str()).map(|mb| format!("{mb} MB")).unwrap_or_default(),
            worker.cpu_usec.map(|usec| span_ms(usec / 1000)).unwrap_or_default(),
            worker.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            worker.unit.clone().unwrap_or_default(),
        ]);
    }
    let mut text = tiers.show(style);
    if let Some(pool) = &told.pool {
        text += &format!("\nthe pool: {}\n", pool_size(pool));
    }
    if !workers.is_empty() {
        text += &format!("\n{}", workers.show(style));
    }
    text
}

/// A size of the pool that an operator has chosen, in words.
pub(in crate::cli) fn pool_size(pool: &PoolSize) -> String {
    let until =
        pool.until.map_or_else(|| "until kqueue pool --size settings".to_owned(), |at| format!("until {}", moment(at)));
    harmless::line(&format!("at most {} workers, by {} {until}", pool.size, pool.user), LONGEST)
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use kqueue_control::{Process, TierLoad};

    fn told() -> (Snapshot, Metrics) {
        let worker = |id: u64, state: &str| Process {
            id,
            tier: "pooled".to_owned(),
            state: state.to_owned(),
            memory_kb: Some(40 << 10),
            cpu_usec: Some(2_500_000),
            ..Process::default()
        };
        let told = Snapshot {
            app: "shop".to_owned(),
            tiers: vec![TierLoad { tier: "pooled".to_owned(), waiting: 7, ..TierLoad::default() }],
            workers: vec![worker(1, "busy"), worker(2, "idle\u{1b}"), worker(3, "idle")],
            settings: [("pool_size".to_owned(), 10.into()), ("worker_memory_max".to_owned(), 512.into())].into(),
            ..Snapshot::default()
        };
        let ended = [("oom".to_owned(), 2), ("recycled".to_owned(), 40)].into();
        let metrics = Metrics {
            started: [("pooled".to_owned(), 45)].into(),
            ended: [("pooled".to_owned(), ended)].into(),
            ..Metrics::default()
        };
        (told, metrics)
    }

    #[test]
    fn processes_beside_their_settings() {
        let (told, metrics) = told();
        let shown = text(&told, &metrics, Style::default());
        let expected = "pooled\t3\t1\t1\t7\t120 MB\t45\t2 oom, 40 recycled\tpool_size = 10, worker_memory_max = 512\n";
        assert!(shown.contains(expected), "{shown}");
        assert!(shown.contains("1\tpooled\tbusy\t0.0 s\t0\t40 MB\t512 MB\t2500 ms\t"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    /// What is printed as JSON, but settings and workers: those have pages of their own.
    pub fn printed() -> Value {
        let (told, metrics) = told();
        let pool = Some(PoolSize { size: 4, user: "alice".to_owned(), until: Some(5) });
        let told = Snapshot { workers: vec![], settings: BTreeMap::new(), pool, ..told };
        as_json(&told, &metrics, vec!["x".to_owned()])
    }

    #[test]
    fn a_size_that_somebody_has_chosen() {
        let pool = Some(PoolSize { size: 4, user: "al\u{1b}ice".to_owned(), until: None });
        let shown = text(&Snapshot { pool, ..told().0 }, &Metrics::default(), Style::default());
        assert!(
            shown.contains("\nthe pool: at most 4 workers, by al ice until kqueue pool --size settings\n"),
            "{shown}"
        );
        assert_eq!((size("4"), size("settings"), worker("all")), (Ok(Some(4)), Ok(None), Ok(None)));
        assert!(size("-1").is_err() && worker("").is_err());
    }

    #[test]
    fn the_same_as_json() {
        let (told, metrics) = told();
        let json = as_json(&told, &metrics, vec!["why".to_owned()]);
        let pooled = &json["tiers"][1];
        assert_eq!((&pooled["busy"], &pooled["settings"]["pool_size"]), (&1.into(), &10.into()));
        assert_eq!((&pooled["ended"]["oom"], &json["lacks"][0]), (&2.into(), &"why".into()));
        assert_eq!(json["workers"][1]["state"], "idle ");
    }
}
