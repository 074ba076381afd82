//! Operators' actions on a running schedule: holding classes, resizing the pool, moving and cancelling jobs, replacing
//! workers.

use std::collections::BTreeMap;

use super::limits;
use super::model::classes;
use super::world::{QUEUES, World};
use crate::routing::{PerTier, Tier};
use crate::schedule::{Cancel, Config, Event, Limit, Place, Schedule, WorkerId};

/// Orders of operators in effect.
#[derive(Debug, Default)]
pub struct Steered {
    /// Held classes, each with its own limit.
    held: BTreeMap<String, Option<Limit>>,
    /// The pool before it was made smaller: size, size under pressure, concurrent jobs.
    pool: Option<(usize, usize, usize)>,
    /// Workers and jobs of the pool allowed because they were there when it was made smaller.
    pub surplus: usize,
    /// Number of moves to the front.
    fronts: u64,
}

impl Steered {
    /// Other settings, with the orders of operators applied.
    pub fn over(&mut self, mut config: Config) -> Config {
        for (class, own) in &mut self.held {
            *own = config.class_limits.get(class).copied().filter(|limit| limit.max_concurrent != Some(0));
            let limit = config.class_limits.entry(class.clone()).or_default();
            limit.max_concurrent = Some(0);
        }
        config
    }

    /// Lowers the surplus as workers leave.
    pub fn shrinks(&mut self, schedule: &Schedule) {
        let live = schedule.live(Tier::Pooled);
        self.surplus = if live > schedule.config.pool_max_size { self.surplus.min(live) } else { 0 };
    }
}

impl World {
    /// A random action of an operator.
    pub fn steer(&mut self, workers: &[WorkerId]) {
        let name = self.rng.pick(&classes()).name.to_owned();
        let jobs: Vec<_> =
            self.reservations.iter().filter(|(id, _)| self.schedule.jobs.contains_key(id)).map(|(id, _)| *id).collect();
        match self.rng.below(13) {
            10 | 11 if !jobs.is_empty() => {
                let job = *self.rng.pick(&jobs);
                self.steered.fronts += 1;
                let place = if self.rng.chance(500) { Place::Away } else { Place::Front(self.steered.fronts) };
                self.tell(Event::Requeue { job, place });
            }
            12 => self.put_in_front(),
            6..10 if !jobs.is_empty() => {
                let job = *self.rng.pick(&jobs);
                let order = Cancel { by: "somebody".to_owned(), delete: self.rng.chance(300) };
                self.tell(Event::Cancel { job, order });
            }
            0 | 1 => self.hold_or_let_go(&name),
            2 => self.size_pool(),
            3 | 4 if !workers.is_empty() => {
                let worker = *self.rng.pick(workers);
                self.tell(Event::Recycle(worker));
            }
            _ => self.tell(Event::Lift(name)),
        }
    }

    /// Moves a message that is not reserved to the front of its queue, ahead of reserved jobs, too.
    fn put_in_front(&mut self) {
        let queue = *self.rng.pick(&QUEUES);
        let waiting = self.queue.get_mut(queue).expect("known");
        if !waiting.is_empty() {
            let uid = waiting.remove(self.rng.below(waiting.len() as u64) as usize);
            waiting.insert(0, uid);
            self.steered.fronts += 1;
            self.messages[uid].front = self.steered.fronts;
        }
    }

    /// Takes all orders back.
    pub fn let_go(&mut self) {
        for class in self.steered.held.keys().cloned().collect::<Vec<_>>() {
            self.hold_or_let_go(&class);
        }
        if self.steered.pool.is_some() {
            self.size_pool();
        }
    }

    fn hold_or_let_go(&mut self, class: &str) {
        let mut config = self.schedule.config.clone();
        if let Some(own) = self.steered.held.remove(class) {
            config.class_limits.remove(class);
            config.class_limits.extend(own.map(|limit| (class.to_owned(), limit)));
        } else {
            self.steered.held.insert(class.to_owned(), None);
        }
        let config = self.steered.over(config);
        self.configure(config);
        self.tell(Event::Narrowed);
    }

    fn size_pool(&mut self) {
        let mut config = self.schedule.config.clone();
        let most = &mut config.max_concurrent;
        (config.pool_size, config.pool_max_size, *most) = match self.steered.pool.take() {
            Some((size, largest, at_once)) => {
                (size, largest, PerTier::new(most[Tier::Inline], at_once, most[Tier::Isolated]))
            }
            None => {
                self.steered.pool = Some((config.pool_size, config.pool_max_size, most[Tier::Pooled]));
                let size = 1 + self.rng.below(config.pool_max_size as u64) as usize;
                let at_once = size.min(most[Tier::Pooled]);
                (size, size, PerTier::new(most[Tier::Inline], at_once, most[Tier::Isolated]))
            }
        };
        config.pool_min_idle = config.pool_min_idle.min(config.pool_size);
        self.steered.surplus = self.steered.surplus.max(self.schedule.live(Tier::Pooled));
        self.configure(config);
        self.tell(Event::Narrowed);
    }

    /// Applies other settings.
    pub(super) fn configure(&mut self, config: Config) {
        self.schedule.configure(config);
        let keys = limits::keys(self, |class| self.schedule.is_limited_by(class));
        self.schedule.say_whose(&keys);
        limits::forget(self);
    }
}
