//! Counters in memory. Pure.

use std::collections::{BTreeMap, HashMap};

use kqueue_control::{Figures, MetricsRow};
use kqueue_core::histogram::Histogram;
use kqueue_core::routing::{Route, Tier};
use kqueue_core::schedule::Outcome;
use kqueue_system::harmless;

use super::NAME;
use super::attempt::Attempt;

/// All outcomes, in the order of the columns.
pub const OUTCOMES: [Outcome; 5] = [Outcome::Done, Outcome::Released, Outcome::Failed, Outcome::Left, Outcome::Lost];
/// The class under which all others beyond the bound are counted.
pub const OTHER: &str = "other";
/// Maximum slots (class, queue and tier) in one span; new classes beyond it count as [`OTHER`].
const MOST: usize = 1_000;
/// Maximum classes in the totals since the start.
pub const CLASSES: usize = 200;

/// Counters of some attempts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Attempts by outcome, in the order of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// Milliseconds.
    pub wait: Histogram,
    /// Milliseconds.
    pub duration: Histogram,
    /// Highest memory use, in bytes.
    pub memory_peak: Option<u64>,
    /// Processor time, in microseconds.
    pub cpu_usec: u64,
}

impl Tally {
    /// Counts an attempt.
    pub fn record(&mut self, attempt: &Attempt) {
        let place = OUTCOMES.iter().position(|outcome| *outcome == attempt.outcome);
        if let Some(count) = place.and_then(|place| self.outcomes.get_mut(place)) {
            *count += 1;
        }
        if let Some(wait) = attempt.wait_ms() {
            self.wait.record(wait);
        }
        if attempt.started.is_some() {
            self.duration.record(attempt.ms);
        }
        self.memory_peak = self.memory_peak.max(attempt.memory_peak);
        self.cpu_usec = self.cpu_usec.saturating_add(attempt.cpu_usec.unwrap_or(0));
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(count, more)| *count = count.saturating_add(more));
        self.wait.add(&other.wait);
        self.duration.add(&other.duration);
        self.memory_peak = self.memory_peak.max(other.memory_peak);
        self.cpu_usec = self.cpu_usec.saturating_add(other.cpu_usec);
    }

    /// As it is reported.
    pub fn figures(self) -> Figures {
        let counts = OUTCOMES.iter().zip(self.outcomes).filter(|(_, count)| *count > 0);
        Figures {
            outcomes: counts.map(|(outcome, count)| (outcome.as_str().to_owned(), count)).collect(),
            wait: self.wait,
            duration: self.duration,
            memory_peak: self.memory_peak,
            cpu_usec: self.cpu_usec,
        }
    }
}

/// The jobs of one class from one queue in one tier.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The queue.
    pub queue: String,
    /// The tier.
    pub tier: Tier,
    /// Their counters.
    pub tally: Tally,
}

/// One class.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// Its counters by queue and tier.
    pub slots: Vec<Slot>,
    /// Where its last job ran and why.
    pub last: Option<(Tier, Option<Route>)>,
}

impl Class {
    /// Updates the tally of a queue and tier. True if it is new.
    fn slot(&mut self, queue: &str, tier: Tier, count: impl FnOnce(&mut Tally)) -> bool {
        match self.slots.iter_mut().find(|slot| slot.tier == tier && slot.queue == queue) {
            Some(slot) => {
                count(&mut slot.tally);
                false
            }
            None => {
                let mut tally = Tally::default();
                count(&mut tally);
                self.slots.push(Slot { queue: queue.to_owned(), tier, tally });
                true
            }
        }
    }
}

/// Figures of one span of time.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// By class, by queue, by tier.
    pub classes: HashMap<String, Class>,
    slots: usize,
}

impl Span {
    /// Counts an attempt.
    pub fn record(&mut self, attempt: &Attempt) {
        self.count(&attempt.class, &attempt.queue, attempt.tier, usize::MAX, |tally| tally.record(attempt));
        if let Some(class) = self.classes.get_mut(&attempt.class) {
            class.last = Some((attempt.tier, attempt.route));
        }
    }

    fn count(&mut self, class: &str, queue: &str, tier: Tier, classes: usize, count: impl FnOnce(&mut Tally)) {
        if let Some(class) = self.classes.get_mut(class) {
            self.slots += usize::from(class.slot(queue, tier, count));
            return;
        }
        let full = self.slots >= MOST || self.classes.len() >= classes;
        let class = self.classes.entry(if full { OTHER } else { class }.to_owned()).or_default();
        self.slots += usize::from(class.slot(queue, tier, count));
    }

    /// Adds another span, keeping up to `classes` classes apart; further ones count as [`OTHER`].
    pub fn add(&mut self, other: &Self, classes: usize) {
        for (name, class) in &other.classes {
            for Slot { queue, tier, tally } in &class.slots {
                self.count(name, queue, *tier, classes, |known| known.add(tally));
            }
            if let (Some(known), Some(last)) = (self.classes.get_mut(name), class.last) {
                known.last = Some(last);
            }
        }
    }

    /// A row for each class, queue and tier, sorted by name.
    pub fn rows(&self) -> Vec<MetricsRow> {
        let slots = self.classes.iter().flat_map(|(name, class)| class.slots.iter().map(move |slot| (name, slot)));
        let mut rows: Vec<MetricsRow> = slots
            .map(|(name, slot)| MetricsRow {
                class: harmless::line(name, NAME),
                queue: harmless::line(&slot.queue, NAME),
                tier: slot.tier.name().to_owned(),
                figures: slot.tally.clone().figures(),
            })
            .collect();
        rows.sort_by(|one, other| (&one.class, &one.queue, &one.tier).cmp(&(&other.class, &other.queue, &other.tier)));
        rows
    }
}

/// The size of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Its name.
    pub queue: String,
    /// Jobs that are ready to run.
    pub backlog: u64,
    /// Seconds that the oldest of them has waited, if known.
    pub oldest: Option<u64>,
}

/// The maxima of `(backlog, oldest)` of each queue in a minute.
pub type Samples = BTreeMap<String, (u64, Option<u64>)>;
