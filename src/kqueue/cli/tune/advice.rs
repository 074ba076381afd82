//! Derives advice from figures. Pure: no clock, no I/O.
//!
//! Each piece of advice is a line to write and the evidence for it, based on the figures alone. With too few runs or
//! missing data there is none.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use kqueue_control::Figures;

use super::{memory, pool, times};

/// Minimum attempts of a class for its figures to be meaningful.
pub(super) const CLASS_RUNS: u64 = 50;
/// Minimum attempts of a tier, or of all classes.
pub(super) const RUNS: u64 = 100;
const MB: u64 = 1 << 20;

/// One class, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    pub name: String,
    pub tier: String,
    /// Why that tier, as the runtime gives it.
    pub why: String,
    pub figures: Figures,
    /// Timeout in seconds of its last job; 0 is without limit.
    pub timeout: Option<u64>,
    /// Jobs that were inspected individually.
    pub sampled: u64,
    /// How many of those hit their timeout.
    pub timed_out: u64,
}

/// The data on an app.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// Seconds covered by the figures.
    pub seconds: u64,
    /// Settings in effect, by key.
    pub settings: BTreeMap<String, Value>,
    pub classes: Vec<Class>,
    /// Seconds after which the queue hands out a reserved job again.
    pub retry_after: Option<u64>,
    /// The machine's memory in MB.
    pub memory_mb: Option<u64>,
    /// Processes ended since the runtime's start, by tier and reason.
    pub ended: BTreeMap<String, BTreeMap<String, u64>>,
    /// Jobs ended since then, by tier.
    pub ended_jobs: BTreeMap<String, u64>,
    /// Seconds since then.
    pub uptime: u64,
}

impl Given {
    /// A setting as a whole number; `None` if it is none.
    pub fn number(&self, key: &str) -> Option<u64> {
        let value = self.settings.get(key)?;
        value.as_u64().or_else(|| value.as_f64().map(|number| number as u64))
    }

    /// A setting as a duration in milliseconds.
    pub fn ms(&self, key: &str) -> Option<u64> {
        Some((self.settings.get(key)?.as_f64()? * 1000.0) as u64)
    }

    pub fn word(&self, key: &str) -> Option<&str> {
        self.settings.get(key)?.as_str()
    }

    pub fn is(&self, key: &str) -> Option<bool> {
        self.settings.get(key)?.as_bool()
    }

    /// The classes of a tier.
    pub fn of_tier<'a>(&'a self, tier: &'a str) -> impl Iterator<Item = &'a Class> {
        self.classes.iter().filter(move |class| class.tier == tier)
    }

    /// The combined figures of a tier.
    pub fn tier(&self, tier: &str) -> Figures {
        self.of_tier(tier).fold(Figures::default(), |mut all, class| {
            all.add(&class.figures);
            all
        })
    }

    pub fn runs(&self) -> u64 {
        self.classes.iter().map(|class| class.figures.runs()).sum()
    }

    /// Processes of a tier that ended for this reason.
    pub fn ended(&self, tier: &str, why: &str) -> u64 {
        self.ended.get(tier).and_then(|ended| ended.get(why)).copied().unwrap_or(0)
    }

    /// Average number of busy processes, from the total duration of these jobs.
    pub fn load(&self, figures: &Figures) -> f64 {
        figures.duration.sum() as f64 / 1000.0 / self.seconds.max(1) as f64
    }
}

/// Where to write the line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// The app's config file: the key, and its value as TOML.
    File { key: &'static str, value: String },
    /// A job class: a property of it.
    Class { class: String, property: String },
    /// A migration of the app's database.
    Migration { line: String },
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Advice {
    pub place: Place,
    /// What it improves.
    pub gain: String,
    /// The figures that support it.
    pub evidence: String,
}

impl Advice {
    /// The line itself.
    pub fn line(&self) -> String {
        match &self.place {
            Place::File { key, value } => format!("{key} = {value}"),
            Place::Class { property, .. } => property.clone(),
            Place::Migration { line } => line.clone(),
        }
    }
}

/// All advice that follows from the figures, the most general first.
pub(super) fn advise(given: &Given) -> Vec<Advice> {
    if given.runs() < RUNS {
        return Vec::new();
    }
    let mut advice = pool::advise(given);
    advice.extend(memory::advise(given));
    advice.extend(times::advise(given));
    advice
}

/// A size in bytes as MB, rounded up to the next multiple of 32.
pub(super) fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(MB).next_multiple_of(32)
}

/// Bytes as text in MB, rounded up.
pub(super) fn said(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(MB))
}

/// Advice to set a key of the config file.
pub(super) fn file(key: &'static str, value: impl ToString, gain: &str, evidence: String) -> Advice {
    Advice { place: Place::File { key, value: value.to_string() }, gain: gain.to_owned(), evidence }
}

/// Advice to set a property of a job class.
pub(super) fn class(of: &Class, property: String, gain: &str, evidence: String) -> Advice {
    Advice { place: Place::Class { class: of.name.clone(), property }, gain: gain.to_owned(), evidence }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A class with `runs` runs that each waited `wait` and took `took` milliseconds.
    pub fn class_of(name: &str, tier: &str, runs: u64, wait: u64, took: u64) -> Class {
        let mut figures = Figures::default();
        figures.outcomes.insert("done".to_owned(), runs);
        (0..runs).for_each(|_| {
            figures.wait.record(wait);
            figures.duration.record(took);
        });
        Class { name: name.to_owned(), tier: tier.to_owned(), figures, sampled: runs, ..Class::default() }
    }

    /// An app with the default settings.
    pub fn given(classes: Vec<Class>) -> Given {
        let settings = serde_json::json!({
            "pool_min_idle": 2, "pool_size": 10, "pool_max_size": 20, "max_concurrent_inline": 100,
            "max_concurrent_pooled": 20, "max_concurrent_isolated": 5, "inline_max_duration": 1.0,
            "pooled_max_duration": 30.0, "worker_memory": 128, "worker_memory_max": 512, "isolated_memory_max": 512,
            "isolated_memory_cap": null, "timeout": 60.0, "renew": true, "worker_max_jobs": 1000, "worker_max_time": 3600.0,
            "default_tier": "auto", "crash": "replay",
        });
        let settings = settings.as_object().unwrap().clone().into_iter().collect();
        Given { seconds: 86_400, settings, classes, memory_mb: Some(16_000), uptime: 86_400, ..Given::default() }
    }

    pub fn lines(given: &Given) -> Vec<String> {
        advise(given).iter().map(Advice::line).collect()
    }

    #[test]
    fn too_few_runs_and_good_figures_give_none() {
        assert_eq!(lines(&given(vec![class_of("A", "pooled", RUNS - 1, 60_000, 900)])), [""; 0]);
        let healthy = [
            class_of("A", "inline", 10_000, 3, 20),
            class_of("B", "pooled", 1_000, 20, 4_000),
            Class { timeout: Some(120), ..class_of("C", "isolated", 300, 50, 45_000) },
        ];
        assert_eq!(lines(&given(healthy.to_vec())), [""; 0]);
        assert_eq!(lines(&Given::default()), [""; 0]);
    }

    #[test]
    fn nothing_is_advised_where_settings_are_not_known() {
        let classes = vec![class_of("A", "pooled", 1_000, 60_000, 4_000), class_of("B", "isolated", 1_000, 60_000, 10)];
        let unknown = Given { settings: BTreeMap::new(), ..given(classes) };
        assert_eq!(lines(&unknown), [""; 0]);
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!([mb(1), mb(32 << 20), mb((32 << 20) + 1)], [32, 32, 64]);
        assert_eq!(said((1 << 20) + 1), "2 MB");
    }
}
