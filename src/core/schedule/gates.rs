//! All gates: of classes, of queues, and of the values by which the jobs of a class are told apart.
//!
//! Of such values at most [`VALUES`] have a gate of their own. Those of which no job is known, and that let as many pass as
//! new ones would, are forgotten. Values for which there is no room share one gate, and as long as that is of use to
//! anybody further ones do too: so no value ever has two, and no limit is exceeded.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use super::gate::{Gate, Limit, Pass};
use crate::payload::LimitHint;

/// Values that have gates of their own.
pub(super) const VALUES: usize = if cfg!(test) { 3 } else { 1_000 };
/// So many of them are kept without a look at who needs them.
const FEW: usize = if cfg!(test) { 1 } else { 64 };

/// The gates of a class.
#[derive(Clone, Debug)]
struct OfClass {
    limit: Limit,
    /// Of all its jobs; where they are told apart, of those for whose values there is no room.
    whole: usize,
    /// What they are told apart by.
    by: Option<String>,
    values: BTreeMap<u64, usize>,
    /// There was no room for some.
    is_full: bool,
}

/// All gates, and how far each is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates {
    all: Vec<Gate>,
    /// Places in `all` that are nobody's.
    free: Vec<usize>,
    classes: BTreeMap<String, OfClass>,
    queues: BTreeMap<String, usize>,
    /// Values that have gates, and how many of them there may be before somebody looks.
    values: usize,
    few: usize,
    now: u64,
}

impl Gates {
    /// `declared`: what classes declare themselves.
    pub fn new(config: &Config, declared: &BTreeMap<String, LimitHint>) -> Self {
        let mut gates = Self { few: FEW, ..Self::default() };
        let names: BTreeSet<&String> = config.class_limits.keys().chain(declared.keys()).collect();
        for class in names {
            let (hint, written) = (declared.get(class), config.class_limits.get(class).copied().unwrap_or_default());
            let limit = hint.map_or(written, |hint| written.declared(hint));
            if limit != Limit::default() {
                let whole = gates.add(limit);
                let by = hint.and_then(|hint| hint.by.as_ref()).or_else(|| config.class_by.get(class)).cloned();
                let of = OfClass { limit, whole, by, values: BTreeMap::new(), is_full: false };
                gates.classes.insert(class.clone(), of);
            }
        }
        for (queue, limit) in &config.queue_limits {
            let gate = gates.add(*limit);
            gates.queues.insert(queue.clone(), gate);
        }
        gates
    }

    fn add(&mut self, limit: Limit) -> usize {
        let gate = Gate::new(limit, self.now);
        match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.all.get_mut(at) {
                    *place = gate;
                }
                at
            }
            None => {
                self.all.push(gate);
                self.all.len() - 1
            }
        }
    }

    /// Those of other settings, or of other declarations. A bucket keeps what is in it, as far as the new one holds that;
    /// who has passed is to be counted anew.
    pub fn configured(&self, config: &Config, declared: &BTreeMap<String, LimitHint>) -> Self {
        let mut new = Self::new(config, declared);
        new.now = self.now;
        let mut pairs: Vec<(usize, usize)> =
            new.queues.iter().filter_map(|(name, at)| Some((*at, *self.queues.get(name)?))).collect();
        let mut classes = std::mem::take(&mut new.classes);
        for (name, class) in &mut classes {
            let Some(old) = self.classes.get(name) else { continue };
            if class.by.is_none() || class.by == old.by {
                pairs.push((class.whole, old.whole));
            }
            if class.by.is_some() && class.by == old.by {
                class.is_full = old.is_full;
                class.values = old.values.keys().map(|value| (*value, new.add(class.limit))).collect();
                pairs.extend(old.values.iter().filter_map(|(value, was)| Some((*class.values.get(value)?, *was))));
            }
        }
        new.values = classes.values().map(|class| class.values.len()).sum();
        new.few = new.few.max(new.values);
        new.classes = classes;
        for (at, was) in pairs {
            if let (Some(gate), Some(old)) = (new.all.get_mut(at), self.all.get(was)) {
                gate.follow(old);
            }
        }
        new.refresh(self.now);
        new
    }

    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.queues.is_empty()
    }

    /// When time was last said to have passed.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The gates of a job of this class from this queue, whose value is this one.
    pub fn pass(&mut self, class: &str, queue: &str, value: Option<u64>) -> Pass {
        let Some(queue) = (!self.is_empty()).then(|| self.queues.get(queue).copied()) else { return Pass::default() };
        Pass { class: self.of_class(class, value), queue }
    }

    fn of_class(&mut self, name: &str, value: Option<u64>) -> Option<usize> {
        let class = self.classes.get(name)?;
        // Jobs that say nothing are all somebody's.
        let value = value.unwrap_or(0);
        if class.by.is_none() {
            return Some(class.whole);
        }
        if let Some(gate) = class.values.get(&value) {
            return Some(*gate);
        }
        let (limit, whole, has_room) = (class.limit, class.whole, self.values < VALUES && !class.is_full);
        let gate = has_room.then(|| self.add(limit));
        let class = self.classes.get_mut(name)?;
        match gate {
            Some(gate) => {
                class.values.insert(value, gate);
                self.values += 1;
            }
            None => class.is_full = true,
        }
        Some(gate.unwrap_or(whole))
    }

    /// Whether somebody is to say who is needed before this value gets a gate.
    pub fn is_crowded(&self, class: &str, value: Option<u64>) -> bool {
        let by = self.classes.get(class).filter(|class| class.by.is_some());
        by.is_some_and(|class| {
            !class.values.contains_key(&value.unwrap_or(0)) && (class.is_full || self.values >= self.few)
        })
    }

    /// Forgets the values of gates that are as new and not among these.
    pub fn tidy(&mut self, known: &BTreeSet<usize>) {
        let Self { all, free, classes, .. } = self;
        let is_needed = |gate: usize| known.contains(&gate) || all.get(gate).is_some_and(|gate| !gate.is_as_new());
        for class in classes.values_mut() {
            class.is_full &= is_needed(class.whole);
            class.values.retain(|_, gate| {
                let is_needed = is_needed(*gate);
                if !is_needed {
                    free.push(*gate);
                }
                is_needed
            });
        }
        self.values = self.classes.values().map(|class| class.values.len()).sum();
        self.few = (2 * self.values).clamp(FEW, VALUES);
    }

    /// Time has passed: there are more tokens.
    pub fn refresh(&mut self, now: u64) {
        self.now = now;
        self.all.iter_mut().for_each(|gate| gate.fill(now));
    }

    fn of(&self, pass: Pass) -> impl Iterator<Item = &Gate> {
        pass.gates().filter_map(|at| self.all.get(at))
    }

    /// Jobs that may pass these gates now.
    pub fn room(&self, pass: Pass) -> usize {
        self.of(pass).map(Gate::room).min().unwrap_or(usize::MAX)
    }

    pub fn is_open(&self, pass: Pass) -> bool {
        self.of(pass).all(|gate| gate.open)
    }

    /// Whether nothing at all passes these gates.
    pub fn is_shut(&self, pass: Pass) -> bool {
        self.of(pass).any(|gate| gate.limit.max_concurrent == Some(0))
    }

    /// Since when these gates are open.
    pub fn opened(&self, pass: Pass) -> u64 {
        self.of(pass).map(|gate| gate.opened).max().unwrap_or(0)
    }

    /// When they will be without anybody having left; `None` if they are, or somebody has to leave.
    pub fn opens_at(&self, pass: Pass) -> Option<u64> {
        let waits = self.of(pass).all(|gate| gate.places() > 0);
        self.of(pass).filter_map(Gate::token_at).max().filter(|_| waits)
    }

    /// A job passes.
    pub fn take(&mut self, pass: Pass) {
        self.each(pass, |gate, now| gate.take(now));
    }

    /// It has been counted before, under other settings.
    pub fn count(&mut self, pass: Pass) {
        self.each(pass, |gate, now| {
            gate.passed += 1;
            gate.fill(now);
        });
    }

    /// It is counted no longer; see [`Gate::give`].
    pub fn give(&mut self, pass: Pass, unstarted: Option<u64>) {
        self.each(pass, |gate, now| gate.give(now, unstarted));
    }

    fn each(&mut self, pass: Pass, act: impl Fn(&mut Gate, u64)) {
        for at in pass.gates() {
            if let Some(gate) = self.all.get_mut(at) {
                act(gate, self.now);
            }
        }
    }
}
