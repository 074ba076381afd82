//! The usual hour: before each hour it is looked up in the history whether pooled jobs came in it on former days.

use std::cell::Cell;
use std::rc::Rc;

use super::Runtime;
use kqueue_core::schedule::{Event, Usual};

/// Seconds over which the apps of a host are spread, so that not all look, and start workers, at once.
const SPREAD: u64 = 240;

/// What is to be found out next, and what has been.
#[derive(Debug)]
pub(super) struct Habit {
    next: Usual,
    found: Rc<Cell<Option<Usual>>>,
    /// Seconds by which this app is sooner than others.
    sooner: u64,
}

impl Habit {
    /// At the start, at this time (seconds since 1970).
    pub fn new(epoch: u64) -> Self {
        let sooner = u64::from(std::process::id()) % SPREAD;
        Self { next: Usual::after(epoch + sooner), found: Rc::default(), sooner }
    }
}

impl Runtime {
    /// Looks whether the next hour is one in which pooled jobs usually come. Called now and then.
    pub(super) fn look_at_habit(&mut self) {
        let epoch = self.now().epoch;
        if let Some(within) = self.habit.found.take().map(|usual| usual.lasts(epoch)).filter(|within| *within > 0) {
            tracing::debug!("pooled jobs usually come within {} s", within / 1000);
            self.tell(Event::PoolExpected(within));
        }
        let soon = epoch + self.habit.sooner;
        if soon < self.habit.next.at() {
            return;
        }
        let usual = std::mem::replace(&mut self.habit.next, Usual::after(soon));
        let keeps = self.settings.idle_after.is_some() && self.settings.pool_min_idle > 0;
        if !keeps || self.schedule.asleep_since().is_some() {
            return;
        }
        let (recorder, found) = (self.recorder.clone(), self.habit.found.clone());
        tokio::task::spawn_local(async move {
            if recorder.pooled_runs(usual.before()).await.is_some_and(Usual::expects) {
                found.set(Some(usual));
            }
        });
    }
}
