//! Usual hours: before each hour, checks in the history whether pooled jobs came in that hour on former days.

use std::cell::Cell;
use std::rc::Rc;

use super::Runtime;
use kqueue_core::schedule::{Event, Usual};

/// Seconds over which the apps of a host are spread, so that not all query their history and start workers at once.
const SPREAD: u64 = 240;

/// The next hour to check, and the result of the last check.
#[derive(Debug)]
pub(super) struct Habit {
    next: Usual,
    found: Rc<Cell<Option<Usual>>>,
    /// Seconds by which this app checks in advance of the hour, on top of the usual lead.
    sooner: u64,
}

impl Habit {
    /// `epoch`: the current time in seconds since 1970.
    pub fn new(epoch: u64) -> Self {
        let sooner = u64::from(std::process::id()) % SPREAD;
        Self { next: Usual::after(epoch + sooner), found: Rc::default(), sooner }
    }
}

impl Runtime {
    /// Checks whether pooled jobs usually come in the next hour. Called on each timer.
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
