//! The metric families and their samples.

use std::collections::BTreeMap;
use std::fmt;

use kqueue_control::{Figures, Metrics, Snapshot, State};
use kqueue_core::histogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::labels::Labels;
use crate::apps::Known;

/// Exponents of two that bound the buckets, in milliseconds: from 1 ms to 2^22 ms, an hour and ten minutes.
const POWERS: [u16; 12] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22];
/// States that a runtime reports.
const STATES: [State; 7] = [
    State::Starting,
    State::Running,
    State::Degraded,
    State::Paused,
    State::Maintenance,
    State::Draining,
    State::Stopping,
];
/// States of a worker process.
const WORKERS: [&str; 4] = ["starting", "idle", "busy", "leaving"];
/// Maximum number of queues of one app.
const QUEUES: usize = 100;

/// The data of one app.
#[derive(Debug)]
pub struct AppTold {
    pub app: String,
    pub known: Known,
    pub counted: Option<Metrics>,
}

impl AppTold {
    fn snapshot(&self) -> Option<&Snapshot> {
        match &self.known {
            Known::Told(snapshot, _) => Some(snapshot),
            _ => None,
        }
    }
}

/// The data of all apps.
#[derive(Debug)]
pub struct Host(pub Vec<AppTold>);

/// A sample of a family: labels and value.
type Sample<'a> = (Vec<(&'static str, &'a str)>, f64);

impl Collector for Host {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        self.states(to)?;
        self.queues(to)?;
        self.workers(to)?;
        self.counters(to)?;
        self.jobs(to)
    }
}

fn family<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl Iterator<Item = Sample<'a>>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        let labels = Labels(labels);
        let mut sample = family.encode_family(&labels)?;
        match kind {
            MetricType::Counter => sample.encode_counter::<Labels<'_>, f64, f64>(&value, None)?,
            _ => sample.encode_gauge(&value)?,
        }
    }
    Ok(())
}

impl Host {
    fn told(&self) -> impl Iterator<Item = (&str, &Snapshot)> {
        self.0.iter().filter_map(|told| Some((told.app.as_str(), told.snapshot()?)))
    }

    fn counted(&self) -> impl Iterator<Item = (&str, &Metrics)> {
        self.0.iter().filter_map(|told| Some((told.app.as_str(), told.counted.as_ref()?)))
    }

    /// A gauge with one sample for each app whose runtime answers.
    fn gauge(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: fn(&Snapshot) -> f64,
    ) -> fmt::Result {
        let samples = self.told().map(|(app, snapshot)| (vec![("app", app)], value(snapshot)));
        family(to, name, help, MetricType::Gauge, samples)
    }

    fn states(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let up = self.0.iter().map(|told| (vec![("app", told.app.as_str())], truth(told.snapshot().is_some())));
        family(to, "kqueue_up", "Whether the app's runtime answers.", MetricType::Gauge, up)?;
        let failed = self.0.iter().map(|told| {
            let is_down = matches!(told.known, Known::Stopped(true, _) | Known::Dark(_));
            (vec![("app", told.app.as_str())], truth(is_down))
        });
        let help = "Whether the app should run and does not: its unit has failed, or it does not answer.";
        family(to, "kqueue_down", help, MetricType::Gauge, failed)?;
        let states = self.told().flat_map(|(app, snapshot)| {
            STATES
                .iter()
                .map(move |state| (vec![("app", app), ("state", state.as_str())], truth(snapshot.state == *state)))
        });
        family(to, "kqueue_state", "Whether the app is in this state.", MetricType::Gauge, states)?;
        let info = self.told().map(|(app, snapshot)| {
            let Snapshot { laravel, php, connection, launcher, .. } = snapshot;
            (
                vec![
                    ("app", app),
                    ("laravel", laravel.as_str()),
                    ("php", php),
                    ("connection", connection),
                    ("launcher", launcher),
                ],
                1.0,
            )
        });
        family(to, "kqueue_app_info", "Versions, connection and launcher of the app.", MetricType::Gauge, info)?;
        self.gauge(to, "kqueue_start_time_seconds", "When the runtime started, in seconds since 1970.", |told| {
            told.since as f64
        })?;
        self.gauge(to, "kqueue_queue_silent_seconds", "How long the queue has not answered; 0 if it answers.", |told| {
            told.silent.unwrap_or_default()
        })
    }

    fn queues(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.gauge(to, "kqueue_backlog_jobs", "Jobs that could run but have not started.", |told| told.waiting as f64)?;
        for (name, help, of) in [
            ("kqueue_queue_waiting_jobs", "Jobs in the queue that could run.", 0),
            ("kqueue_queue_delayed_jobs", "Delayed jobs in the queue.", 1),
            ("kqueue_queue_reserved_jobs", "Jobs of the queue that are reserved by a worker.", 2),
        ] {
            let samples = self.told().flat_map(|(app, snapshot)| {
                snapshot.queues.iter().take(QUEUES).filter_map(move |queue| {
                    let sizes = queue.sizes?;
                    let jobs = [sizes.pending, sizes.delayed, sizes.reserved].get(of).copied()?;
                    Some((vec![("app", app), ("queue", queue.name.as_str())], jobs as f64))
                })
            });
            family(to, name, help, MetricType::Gauge, samples)?;
        }
        let paused = self.told().flat_map(|(app, snapshot)| {
            let queues = snapshot.queues.iter().take(QUEUES);
            queues.map(move |queue| (vec![("app", app), ("queue", queue.name.as_str())], truth(queue.paused)))
        });
        family(to, "kqueue_queue_paused", "Whether the queue is paused.", MetricType::Gauge, paused)?;
        let oldest = self.told().flat_map(|(app, snapshot)| {
            let queues = snapshot.queues.iter().take(QUEUES);
            queues.map(move |queue| {
                let oldest = queue.oldest.filter(|seconds| seconds.is_finite()).unwrap_or_default();
                (vec![("app", app), ("queue", queue.name.as_str())], oldest)
            })
        });
        let help = "How long the oldest job that could run has waited.";
        family(to, "kqueue_oldest_wait_seconds", help, MetricType::Gauge, oldest)
    }

    fn workers(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.told().flat_map(|(app, snapshot)| {
            let tiers = snapshot.tiers.iter().take(8);
            tiers.map(move |tier| (vec![("app", app), ("tier", tier.tier.as_str())], tier.running as f64))
        });
        family(to, "kqueue_running_jobs", "Running jobs.", MetricType::Gauge, running)?;
        let mut count: BTreeMap<(&str, &str, &str), f64> = BTreeMap::new();
        let mut memory: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for (app, snapshot) in self.told() {
            for tier in snapshot.tiers.iter().take(8) {
                count.extend(WORKERS.iter().map(|state| ((app, tier.tier.as_str(), *state), 0.0)));
            }
            for worker in &snapshot.workers {
                let state = WORKERS.iter().copied().find(|state| *state == worker.state).unwrap_or("other");
                *count.entry((app, worker.tier.as_str(), state)).or_default() += 1.0;
                *memory.entry((app, worker.tier.as_str())).or_default() +=
                    worker.memory_kb.unwrap_or_default() as f64 * 1024.0;
            }
        }
        let count = count
            .into_iter()
            .map(|((app, tier, state), count)| (vec![("app", app), ("tier", tier), ("state", state)], count));
        family(to, "kqueue_workers", "PHP processes.", MetricType::Gauge, count)?;
        let memory = memory.into_iter().map(|((app, tier), bytes)| (vec![("app", app), ("tier", tier)], bytes));
        family(
            to,
            "kqueue_worker_memory_bytes",
            "Memory of PHP processes and of their descendants.",
            MetricType::Gauge,
            memory,
        )?;
        let resident = self.counted().filter_map(|(app, counted)| Some((vec![("app", app)], counted.resident? as f64)));
        family(to, "kqueue_runtime_memory_bytes", "Resident memory of the runtime itself.", MetricType::Gauge, resident)
    }

    fn counters(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let started = self.counted().flat_map(|(app, counted)| {
            counted
                .started
                .iter()
                .map(move |(tier, count)| (vec![("app", app), ("tier", tier.as_str())], *count as f64))
        });
        family(to, "kqueue_workers_started", "PHP processes that were started.", MetricType::Counter, started)?;
        let ended = self.counted().flat_map(|(app, counted)| {
            counted.ended.iter().flat_map(move |(tier, whys)| {
                whys.iter().map(move |(why, count)| {
                    (vec![("app", app), ("tier", tier.as_str()), ("why", why.as_str())], *count as f64)
                })
            })
        });
        family(to, "kqueue_workers_ended", "PHP processes that ended, by reason.", MetricType::Counter, ended)?;
        let oom = self.counted().map(|(app, counted)| {
            let kills = counted
                .ended
                .values()
                .filter_map(|whys| whys.get("oom"))
                .fold(0, |all: u64, kills| all.saturating_add(*kills));
            (vec![("app", app)], kills as f64)
        });
        family(
            to,
            "kqueue_oom_kills",
            "PHP processes that the kernel killed at their memory limit.",
            MetricType::Counter,
            oom,
        )?;
        let orders = self.counted().flat_map(|(app, counted)| {
            counted.orders.iter().map(move |(kind, count)| (vec![("app", app), ("kind", kind.as_str())], *count as f64))
        });
        family(to, "kqueue_coordinator_orders", "Requests to the coordinator, by kind.", MetricType::Counter, orders)?;
        let outages = self.counted().map(|(app, counted)| (vec![("app", app)], counted.outages as f64));
        family(to, "kqueue_outages", "Times that the queue stopped answering.", MetricType::Counter, outages)
    }

    fn jobs(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let outcomes = self.counted().flat_map(|(app, counted)| {
            counted.rows.iter().flat_map(move |row| {
                row.figures.outcomes.iter().map(move |(outcome, count)| {
                    let labels = vec![
                        ("app", app),
                        ("class", row.class.as_str()),
                        ("queue", row.queue.as_str()),
                        ("tier", row.tier.as_str()),
                        ("outcome", outcome.as_str()),
                    ];
                    (labels, *count as f64)
                })
            })
        });
        family(to, "kqueue_jobs", "Attempts that ended, by outcome.", MetricType::Counter, outcomes)?;
        let by_class = self.summed(|row| [("class", row.class.as_str()), ("tier", row.tier.as_str())]);
        let by_queue = self.summed(|row| [("queue", row.queue.as_str()), ("tier", row.tier.as_str())]);
        let cpu = by_class.iter().map(|(labels, figures)| (labels.clone(), figures.cpu_usec as f64 / 1e6));
        family(to, "kqueue_job_cpu_seconds", "Processor time of jobs, where it is known.", MetricType::Counter, cpu)?;
        let peak = by_class.iter().filter_map(|(labels, figures)| Some((labels.clone(), figures.memory_peak? as f64)));
        family(to, "kqueue_job_memory_peak_bytes", "Peak memory of a job of the class.", MetricType::Gauge, peak)?;
        histograms(
            to,
            "kqueue_job_wait_seconds",
            "Time from when a job could have run to its start.",
            &by_queue,
            |figures| &figures.wait,
        )?;
        histograms(to, "kqueue_job_duration_seconds", "Duration of attempts.", &by_class, |figures| &figures.duration)
    }

    /// Figures summed by the app and two labels.
    fn summed<'a>(
        &'a self,
        by: fn(&'a kqueue_control::MetricsRow) -> [(&'static str, &'a str); 2],
    ) -> BTreeMap<Vec<(&'static str, &'a str)>, Figures> {
        let mut sums: BTreeMap<Vec<(&'static str, &str)>, Figures> = BTreeMap::new();
        for (app, counted) in self.counted() {
            for row in &counted.rows {
                let mut labels = vec![("app", app)];
                labels.extend(by(row));
                sums.entry(labels).or_default().add(&row.figures);
            }
        }
        sums
    }
}

fn histograms(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    sums: &BTreeMap<Vec<(&'static str, &str)>, Figures>,
    of: fn(&Figures) -> &Histogram,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, figures) in sums {
        let labels = Labels(labels.clone());
        histogram(family.encode_family(&labels)?, of(figures))?;
    }
    Ok(())
}

fn histogram(mut to: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let mut buckets = Vec::with_capacity(POWERS.len() + 1);
    let mut before = 0;
    for power in POWERS {
        let below = histogram.below(power);
        buckets.push((2_f64.powi(power.into()) / 1000.0, below.saturating_sub(before)));
        before = below;
    }
    // The encoder writes `f64::MAX` as `+Inf`.
    buckets.push((f64::MAX, histogram.count().saturating_sub(before)));
    to.encode_histogram::<Labels<'_>>(histogram.sum() as f64 / 1000.0, histogram.count(), &buckets, None)
}

fn truth(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}
