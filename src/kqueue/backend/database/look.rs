//! How often the table is looked at while nothing is known to be in it.

use std::cell::Cell;
use std::time::Duration;

use crate::backend::epoch;

/// After a job was found.
const FIRST: Duration = Duration::from_millis(2);
/// While nobody announces jobs: half of it is what a job waits at the median.
pub(super) const UNANNOUNCED: Duration = Duration::from_millis(180);
/// While somebody does: what is not announced is what becomes due.
pub(super) const ANNOUNCED: Duration = Duration::from_secs(1);
/// A look takes no more than this part of the time.
const SHARE: u32 = 10;

/// Grows from look to look, until a job is found.
#[derive(Debug)]
pub(super) struct Pace(Cell<Duration>);

impl Pace {
    pub(super) const fn new() -> Self {
        Self(Cell::new(FIRST))
    }

    /// There was work: there may soon be more.
    pub(super) fn quicken(&self) {
        self.0.set(FIRST);
    }

    /// How long to pause after a look that took so long and found nothing.
    pub(super) fn pause(&self, cost: Duration, slowest: Duration) -> Duration {
        let pause = self.0.get().min(slowest);
        self.0.set((pause + pause / 2).min(slowest));
        // Jobs become due on whole seconds.
        let pause = if pause < ANNOUNCED { pause } else { pause.min(to_next_second()) };
        pause.max(cost * SHARE)
    }
}

fn to_next_second() -> Duration {
    Duration::from_millis(u64::from(1001 - epoch().subsec_millis()))
}
