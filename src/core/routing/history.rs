//! The history of all classes: bounded in size, and kept across restarts as JSON.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ClassHistory, Hints, Limits, Route, Summary, Why, route};
use crate::payload::{MAX_NAME, bounded};

/// Maximum number of classes; beyond it the least recently used one is dropped.
pub const MAX_CLASSES: usize = 4096;

/// Version of the JSON that [`History::to_json`] writes.
const VERSION: u32 = 1;

/// The reason why a stored history could not be read. The runtime then logs it and starts with an empty one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not valid; the parser's error.
    #[error("the history is damaged: {0}")]
    Damaged(String),
    /// It has the version of another kqueue.
    #[error("the history has version {0}, this kqueue reads version {VERSION}")]
    Version(u64),
}

/// The earlier runs of every class. All `now` are epoch seconds. Class names are truncated to [`MAX_NAME`] bytes, like
/// those of [`Envelope::classes`](crate::payload::Envelope::classes).
#[derive(Clone, Debug, Default)]
pub struct History {
    classes: HashMap<Arc<str>, Entry>,
    /// Classes by their last use, the least recent first.
    order: BTreeMap<u64, Arc<str>>,
    /// Number of uses so far, the latest key in `order`.
    uses: u64,
    /// Number of changes so far.
    changes: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    class: ClassHistory,
    /// Its key in `order`.
    used: u64,
}

impl History {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// True when there is no class.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// A number that changes with every modification.
    pub fn revision(&self) -> u64 {
        self.changes
    }

    /// The history of a class.
    pub fn get(&self, class: &str) -> Option<&ClassHistory> {
        self.classes.get(bounded(class, MAX_NAME)).map(|entry| &entry.class)
    }

    /// Figures of a class for status output.
    pub fn summary(&self, class: &str) -> Option<Summary> {
        self.get(class).map(ClassHistory::summary)
    }

    /// Every class with its figures, most recently used first.
    pub fn summaries(&self) -> impl Iterator<Item = (&str, Summary)> {
        let newest_first = self.order.values().rev();
        newest_first.filter_map(|class| Some((&**class, self.summary(class)?)))
    }

    /// [`route`] with the history of the class. Stores the tier if durations chose it, because it determines the
    /// margins
    /// around the bounds.
    pub fn route(&mut self, class: &str, hints: &Hints, timeout: Option<u32>, limits: &Limits) -> Route {
        let class = bounded(class, MAX_NAME);
        let Some(entry) = self.classes.get_mut(class) else {
            return route(class, hints, timeout, None, limits);
        };
        let route = route(class, hints, timeout, Some(&entry.class), limits);
        if matches!(route.why, Why::History { .. } | Why::Overrun { .. }) {
            self.changes += u64::from(entry.class.placed(route.tier));
        }
        route
    }

    /// Records that a job succeeded, with its own run time of `ms` milliseconds. `peak_kb` is the peak memory of its
    /// process during this run, in KB, if measured.
    pub fn record_success(&mut self, class: &str, ms: u32, peak_kb: Option<u32>, now: u64) {
        self.touch(class, now).success(ms, peak_kb, now);
    }

    /// Records that a job failed: it threw, or its timeout expired inside PHP.
    pub fn record_failure(&mut self, class: &str, now: u64) {
        self.touch(class, now).failure();
    }

    /// Records that the process of a job died. True if this quarantines the class: it is the second crash within
    /// [`FORGIVING_SECS`](super::FORGIVING_SECS), with fewer than [`FORGIVING_RUNS`](super::FORGIVING_RUNS) successful
    /// runs in between. A quarantine ends when an operator lifts it, or with the first success after
    /// [`FORGIVING_SECS`](super::FORGIVING_SECS) without a crash.
    pub fn record_crash(&mut self, class: &str, now: u64) -> bool {
        self.touch(class, now).crash(now)
    }

    /// Records that a job still runs after `ms_so_far` milliseconds, past the bound of its tier. The class moves up at
    /// once, even if the job never succeeds; the overrun is forgotten after [`OVERRUN_RUNS`](super::OVERRUN_RUNS)
    /// successful runs. If the job succeeds, [`History::record_success`] records its full duration as well.
    pub fn record_overrun(&mut self, class: &str, ms_so_far: u32, now: u64) {
        self.touch(class, now).overrun(ms_so_far);
    }

    /// The quarantined classes with their crashes, sorted by name.
    pub fn quarantined(&self) -> Vec<(&str, u32)> {
        let mut list: Vec<_> = self
            .classes
            .iter()
            .filter(|(_, entry)| entry.class.is_quarantined())
            .map(|(name, entry)| (&**name, entry.class.crashes()))
            .collect();
        list.sort_unstable();
        list
    }

    /// Ends the quarantine of a class and forgives its crashes. True if it was quarantined.
    pub fn lift(&mut self, class: &str) -> bool {
        let Some(entry) = self.classes.get_mut(bounded(class, MAX_NAME)) else { return false };
        self.changes += 1;
        entry.class.lift()
    }

    /// The entry of a class, created if necessary and marked as most recently used.
    fn touch(&mut self, class: &str, now: u64) -> &mut ClassHistory {
        let class = bounded(class, MAX_NAME);
        if !self.classes.contains_key(class) && self.classes.len() >= MAX_CLASSES {
            self.forget_one();
        }
        self.uses += 1;
        self.changes += 1;
        let used = self.uses;
        let name = match self.classes.get(class) {
            Some(entry) => self.order.remove(&entry.used).unwrap_or_else(|| class.into()),
            None => class.into(),
        };
        self.order.insert(used, Arc::clone(&name));
        let entry = self.classes.entry(name).or_insert_with(|| Entry { class: ClassHistory::default(), used });
        entry.used = used;
        entry.class.used(now);
        &mut entry.class
    }

    /// Drops the least recently used class that is not quarantined, else the least recently used one: dropping a
    /// quarantined class would silently lift its quarantine.
    fn forget_one(&mut self) {
        let free = |name: &Arc<str>| {
            let entry = self.classes.get(name);
            entry.is_none_or(|entry| !entry.class.is_quarantined())
        };
        let mut oldest_first = self.order.iter();
        let victim =
            oldest_first.find(|(_, name)| free(name)).or_else(|| self.order.first_key_value()).map(|(used, _)| *used);
        if let Some(name) = victim.and_then(|used| self.order.remove(&used)) {
            self.classes.remove(&name);
        }
    }

    /// The history as JSON, read by [`History::from_json`].
    pub fn to_json(&self) -> String {
        let classes = self.order.values().filter_map(|name| {
            let history = self.get(name)?;
            Some(Named { class: &**name, history })
        });
        let stored = Stored { version: VERSION, classes: classes.collect::<Vec<_>>() };
        // Plain structs of numbers, strings and lists always serialise.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// Reads the output of [`History::to_json`]. Unknown keys are ignored, and bounds are enforced by dropping the
    /// oldest
    /// entries.
    ///
    /// # Errors
    /// [`Unreadable`], with the reason.
    pub fn from_json(json: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            version: u64,
        }
        let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        // The version first: the rest of a file with another version may have any form.
        let Head { version } = serde_json::from_str(json).map_err(damaged)?;
        if version != u64::from(VERSION) {
            return Err(Unreadable::Version(version));
        }
        let stored: Stored<Vec<Named<String, ClassHistory>>> = serde_json::from_str(json).map_err(damaged)?;
        let mut history = Self::new();
        for Named { class, history: read } in stored.classes {
            let read = read.bounded();
            let last_used = read.last_used();
            *history.touch(&class, last_used) = read;
        }
        Ok(history)
    }
}

/// The file format: classes from least to most recently used.
#[derive(Serialize, Deserialize)]
struct Stored<C> {
    version: u32,
    classes: C,
}

#[derive(Serialize, Deserialize)]
struct Named<N, H> {
    class: N,
    #[serde(flatten)]
    history: H,
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
