//! All gates: of classes, of queues, and of the values per which the jobs of a class are limited.
//!
//! At most [`VALUES`] values have a gate of their own. Gates that are as new, and of whose value no job is known, are
//! freed. Values without room share one gate, and new values join them as long as that gate is in use: so no value ever
//! has two gates, and no limit is exceeded. Where hosts share a limit they must agree on which values count together:
//! there, values whose hashes are equal modulo [`VALUES`] share a gate.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use super::gate::{Gate, Limit, Pass};
use super::permit::Permit;
use crate::payload::LimitHint;

/// Maximum of values with a gate of their own.
pub(super) const VALUES: usize = if cfg!(test) { 3 } else { 1_000 };
/// Number of values below which none are freed.
const FEW: usize = if cfg!(test) { 1 } else { 64 };

/// The gates of a class.
#[derive(Clone, Debug)]
struct OfClass {
    limit: Limit,
    /// Gate of all its jobs; with `by`, of the jobs whose values have no gate of their own.
    whole: usize,
    /// Name of the payload value per which its jobs are limited.
    by: Option<String>,
    values: BTreeMap<u64, usize>,
    /// Some values got no gate of their own.
    is_full: bool,
    /// Name of the limit between hosts, if it is shared.
    shared: Option<String>,
}

impl OfClass {
    /// Name of the limit of one value between hosts.
    fn shared_by(&self, value: u64) -> Option<String> {
        self.shared.as_ref().map(|name| format!("{name}:{value}"))
    }

    /// The key of a value's gate. Jobs without a value count as value 0.
    fn told(&self, value: Option<u64>) -> u64 {
        let value = value.unwrap_or(0);
        if self.shared.is_some() { value % VALUES as u64 } else { value }
    }

    /// Values that count towards [`VALUES`].
    fn counted(&self) -> usize {
        if self.shared.is_some() { 0 } else { self.values.len() }
    }
}

/// All gates, and their state.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates {
    all: Vec<Gate>,
    /// Unused indexes of `all`.
    free: Vec<usize>,
    classes: BTreeMap<String, OfClass>,
    queues: BTreeMap<String, usize>,
    /// Values that have gates, and how many there may be before [`Gates::tidy`] is to run.
    values: usize,
    few: usize,
    /// Whether any limit is shared between hosts.
    are_shared: bool,
    now: u64,
}

impl Gates {
    /// `declared`: the limits that classes declare.
    pub fn new(config: &Config, declared: &BTreeMap<String, LimitHint>) -> Self {
        let mut gates = Self { few: FEW, ..Self::default() };
        let names: BTreeSet<&String> = config.class_limits.keys().chain(declared.keys()).collect();
        // The class of a job popped by a worker is known too late for its limit.
        for class in names.into_iter().filter(|_| !config.native) {
            let (hint, written) = (declared.get(class), config.class_limits.get(class).copied().unwrap_or_default());
            let limit = hint.map_or(written, |hint| written.declared(hint));
            if limit != Limit::default() {
                let shared = config.class_shared.contains(class).then(|| format!("class:{class}"));
                let whole = gates.add(limit, shared.clone());
                let by = hint.and_then(|hint| hint.by.as_ref()).or_else(|| config.class_by.get(class)).cloned();
                let of = OfClass { limit, whole, by, values: BTreeMap::new(), is_full: false, shared };
                gates.classes.insert(class.clone(), of);
            }
        }
        for (queue, limit) in &config.queue_limits {
            let shared = config.queue_shared.contains(queue) && !config.native;
            let shared = shared.then(|| format!("queue:{queue}"));
            let gate = gates.add(*limit, shared);
            gates.queues.insert(queue.clone(), gate);
        }
        gates
    }

    fn add(&mut self, limit: Limit, shared: Option<String>) -> usize {
        self.are_shared |= shared.is_some();
        let gate = Gate::new(limit, self.now, shared);
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

    /// The gates for other settings or declarations. Buckets keep their level, up to the new capacity; passed jobs are
    /// to be counted anew.
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
                class.values =
                    old.values.keys().map(|value| (*value, new.add(class.limit, class.shared_by(*value)))).collect();
                pairs.extend(old.values.iter().filter_map(|(value, was)| Some((*class.values.get(value)?, *was))));
            }
        }
        new.values = classes.values().map(OfClass::counted).sum();
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

    /// Whether any limit is shared between hosts.
    pub fn are_shared(&self) -> bool {
        self.are_shared
    }

    /// Indexes of the gates of shared limits.
    pub fn all_shared(&self) -> impl Iterator<Item = usize> {
        self.all.iter().enumerate().filter(|(_, gate)| gate.permit.is_some()).map(|(at, _)| at)
    }

    /// The permit of a shared gate, its limit, and how many have passed it.
    pub fn permit(&mut self, gate: usize) -> Option<(&mut Permit, Limit, usize)> {
        let Gate { permit, limit, passed, .. } = self.all.get_mut(gate)?;
        Some((permit.as_mut()?, *limit, *passed))
    }

    /// The permit of a shared gate, and how many have passed it.
    pub fn shared(&self, gate: usize) -> Option<(&Permit, usize)> {
        let gate = self.all.get(gate)?;
        Some((gate.permit.as_ref()?, gate.passed))
    }

    /// Whether a job would start but for this gate: the gate asked before it is open, and the one asked after it is
    /// open or shared.
    pub fn waits_for(&self, pass: Pass, gate: usize) -> bool {
        let is_open = |at: usize, later: bool| {
            at == gate || self.all.get(at).is_some_and(|gate| gate.open || later && gate.permit.is_some())
        };
        match (pass.class, pass.queue) {
            (Some(class), queue) if class == gate => queue.is_none_or(|queue| is_open(queue, true)),
            (class, Some(queue)) if queue == gate => class.is_none_or(|class| is_open(class, false)),
            _ => false,
        }
    }

    /// Time of the last [`Gates::refresh`] (milliseconds).
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The gates of a job of this class, queue and value.
    pub fn pass(&mut self, class: &str, queue: &str, value: Option<u64>) -> Pass {
        let Some(queue) = (!self.is_empty()).then(|| self.queues.get(queue).copied()) else { return Pass::default() };
        Pass { class: self.of_class(class, value), queue }
    }

    /// The gate of a queue, for a job of any class.
    pub fn of_queue(&self, queue: &str) -> Pass {
        Pass { class: None, queue: self.queues.get(queue).copied() }
    }

    fn of_class(&mut self, name: &str, value: Option<u64>) -> Option<usize> {
        let class = self.classes.get(name)?;
        let value = class.told(value);
        if class.by.is_none() {
            return Some(class.whole);
        }
        if let Some(gate) = class.values.get(&value) {
            return Some(*gate);
        }
        let (limit, whole, shared) = (class.limit, class.whole, class.shared_by(value));
        let (is_shared, has_room) = (shared.is_some(), self.values < VALUES && !class.is_full);
        let gate = (is_shared || has_room).then(|| self.add(limit, shared));
        let class = self.classes.get_mut(name)?;
        match gate {
            Some(gate) => {
                class.values.insert(value, gate);
                self.values += usize::from(!is_shared);
            }
            None => class.is_full = true,
        }
        Some(gate.unwrap_or(whole))
    }

    /// Whether [`Gates::tidy`] is to run before this value gets a gate.
    pub fn is_crowded(&self, class: &str, value: Option<u64>) -> bool {
        let by = self.classes.get(class).filter(|class| class.by.is_some() && class.shared.is_none());
        by.is_some_and(|class| {
            !class.values.contains_key(&class.told(value)) && (class.is_full || self.values >= self.few)
        })
    }

    /// Frees the gates of values that are as new and not in `known`.
    pub fn tidy(&mut self, known: &BTreeSet<usize>) {
        let (Self { all, free, classes, .. }, mut forgotten) = (&mut *self, Vec::new());
        let is_needed = |gate: usize| known.contains(&gate) || all.get(gate).is_some_and(|gate| !gate.is_as_new());
        for class in classes.values_mut() {
            class.is_full &= is_needed(class.whole);
            class.values.retain(|_, gate| {
                let is_needed = is_needed(*gate);
                if !is_needed {
                    free.push(*gate);
                    let nobodys = Gate::new(Limit::default(), 0, None);
                    forgotten.push((*gate, nobodys));
                }
                is_needed
            });
        }
        for (at, nobodys) in forgotten {
            if let Some(gate) = self.all.get_mut(at) {
                *gate = nobodys;
            }
        }
        self.values = self.classes.values().map(OfClass::counted).sum();
        self.few = (2 * self.values).clamp(FEW, VALUES);
    }

    /// Fills the buckets up to this time (milliseconds).
    pub fn refresh(&mut self, now: u64) {
        self.now = now;
        self.all.iter_mut().for_each(|gate| gate.fill(now));
    }

    pub fn of(&self, pass: Pass) -> impl Iterator<Item = &Gate> {
        pass.gates().filter_map(|at| self.all.get(at))
    }

    /// Jobs that may pass these gates now; `usize::MAX` is without limit.
    pub fn room(&self, pass: Pass) -> usize {
        self.of(pass).map(Gate::room).min().unwrap_or(usize::MAX)
    }

    pub fn is_open(&self, pass: Pass) -> bool {
        self.of(pass).all(|gate| gate.open)
    }

    /// Whether no job ever passes these gates.
    pub fn is_shut(&self, pass: Pass) -> bool {
        self.of(pass).any(|gate| gate.limit.max_concurrent == Some(0))
    }

    /// Since when these gates are open (milliseconds).
    pub fn opened(&self, pass: Pass) -> u64 {
        self.of(pass).map(|gate| gate.opened).max().unwrap_or(0)
    }

    /// When these gates open by time alone (milliseconds); `None` if they are open, or a job has to leave first.
    pub fn opens_at(&self, pass: Pass) -> Option<u64> {
        let waits = self.of(pass).all(|gate| gate.places() > 0);
        self.of(pass).filter_map(Gate::token_at).max().filter(|_| waits)
    }

    /// Lets a job pass.
    pub fn take(&mut self, pass: Pass) {
        self.each(pass, |gate, now| gate.take(now));
    }

    /// Counts a job that passed under other settings; takes no token.
    pub fn count(&mut self, pass: Pass) {
        self.each(pass, |gate, now| {
            gate.passed += 1;
            gate.fill(now);
        });
    }

    /// Counts a job no longer; see [`Gate::give`].
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
