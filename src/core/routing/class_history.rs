//! The history of one class.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::durations::Durations;
use super::{Limits, Tier, Why};

/// Number of memory peaks kept for a class.
pub const PEAKS: usize = 8;

/// Successful runs from which durations are used.
pub const MIN_RUNS: usize = 3;

/// Number of recent crashes that put a class into quarantine.
pub const QUARANTINE_CRASHES: usize = 2;

/// Successful runs since the last crash after which crashes are forgiven.
pub const FORGIVING_RUNS: u32 = 20;

/// Seconds after which a crash is forgiven.
pub const FORGIVING_SECS: u64 = 24 * 3600;

/// Number of successful runs for which an overrun is remembered.
pub const OVERRUN_RUNS: u32 = 16;

/// The earlier runs of one class. Failures (the job threw) are counted but not timed: a job that fails at once would
/// make its class look fast.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassHistory {
    /// Durations of the last successful runs, milliseconds.
    durations_ms: Durations,
    /// Peak memory of the process in recent runs, KB, newest last.
    peaks_kb: Vec<u32>,
    /// Successful runs ever.
    runs: u64,
    /// Failed runs ever.
    failures: u64,
    /// Crashes ever.
    crashes: u64,
    /// Epoch seconds of the crashes that are not forgiven, oldest first; at most [`QUARANTINE_CRASHES`].
    recent_crashes: Vec<u64>,
    /// Successful runs since the last crash.
    since_crash: u32,
    /// Set by the crash that quarantined the class.
    quarantined: bool,
    /// Longest remembered overrun, milliseconds.
    overrun_ms: u32,
    /// Successful runs until the overrun is forgotten.
    overrun_runs: u32,
    /// The tier last chosen by history, which determines the margins around the bounds.
    tier: Option<Tier>,
    /// Epoch seconds of the last use.
    last_used: u64,
}

/// Figures of one class for status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Successful runs ever.
    pub runs: u64,
    /// Failed runs ever.
    pub failures: u64,
    /// Crashes ever.
    pub crashes: u64,
    /// Number of recent successful runs in the percentiles.
    pub count: usize,
    /// Their median duration; zero when there is none.
    pub p50: Duration,
    /// Their 90th percentile; zero when there is none.
    pub p90: Duration,
    /// The highest memory peak of recent runs, in KB.
    pub peak_kb: Option<u32>,
    /// True while the class is quarantined.
    pub quarantined: bool,
    /// Epoch seconds of the last use.
    pub last_used: u64,
}

impl ClassHistory {
    /// The figures for status output.
    pub fn summary(&self) -> Summary {
        let percentile = |percent| self.durations_ms.percentile(percent).map_or(Duration::ZERO, millis);
        Summary {
            runs: self.runs,
            failures: self.failures,
            crashes: self.crashes,
            count: self.durations_ms.len(),
            p50: percentile(50),
            p90: percentile(90),
            peak_kb: self.peak_kb(),
            quarantined: self.quarantined,
            last_used: self.last_used,
        }
    }

    /// True while the class is quarantined.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined
    }

    /// Crashes that are not forgiven; counted up to [`QUARANTINE_CRASHES`].
    pub fn crashes(&self) -> u32 {
        u32::try_from(self.recent_crashes.len()).unwrap_or(u32::MAX)
    }

    /// Epoch seconds of the last crash that is not forgiven.
    pub fn last_crash(&self) -> Option<u64> {
        self.recent_crashes.last().copied()
    }

    /// The highest memory peak of recent runs, in KB.
    pub fn peak_kb(&self) -> Option<u32> {
        self.peaks_kb.iter().copied().max()
    }

    /// Difference between the highest and the lowest memory peak of recent runs, in KB.
    pub fn growth_kb(&self) -> u32 {
        let lowest = self.peaks_kb.iter().copied().min().unwrap_or(0);
        self.peak_kb().unwrap_or(0) - lowest
    }

    /// The tier by the durations of earlier runs; `None` when there are fewer than [`MIN_RUNS`] and no overrun.
    ///
    /// A class that history has placed keeps its tier until the 90th percentile has passed the bound by a tenth: over
    /// 110 % of it to move up, at 90 % or less to move down. An overrun moves the class up at once, and holds it there
    /// for
    /// [`OVERRUN_RUNS`] successful runs.
    pub(super) fn duration_tier(&self, limits: &Limits) -> Option<(Tier, Why)> {
        let timed = self.p90().map(|p90| {
            let runs = self.durations_ms.len();
            (self.settle(p90, limits), Why::History { p90, runs })
        });
        let overrun = (self.overrun_runs > 0).then(|| {
            let took = millis(self.overrun_ms);
            (limits.tier(took), Why::Overrun { took })
        });
        match (timed, overrun) {
            (Some(timed), Some(overrun)) if overrun.0 > timed.0 => Some(overrun),
            (None, overrun) => overrun,
            (timed, _) => timed,
        }
    }

    /// 90th percentile of the durations; `None` with fewer than [`MIN_RUNS`].
    fn p90(&self) -> Option<Duration> {
        if self.durations_ms.len() < MIN_RUNS {
            return None;
        }
        self.durations_ms.percentile(90).map(millis)
    }

    /// The tier for `duration`, with the bounds moved away from the present tier (hysteresis).
    fn settle(&self, duration: Duration, limits: &Limits) -> Tier {
        let Some(now) = self.tier else {
            return limits.tier(duration);
        };
        let bound = |bound: Duration, below: Tier| {
            if now <= below { bound.saturating_mul(11) / 10 } else { bound.saturating_mul(9) / 10 }
        };
        Limits {
            inline_max: bound(limits.inline_max, Tier::Inline),
            pooled_max: bound(limits.pooled_max, Tier::Pooled),
            ..*limits
        }
        .tier(duration)
    }

    /// Stores the tier; true if it has changed.
    pub(super) fn placed(&mut self, tier: Tier) -> bool {
        self.tier.replace(tier) != Some(tier)
    }

    pub(super) fn used(&mut self, now: u64) {
        // The clock may go back: keep the latest time.
        self.last_used = self.last_used.max(now);
    }

    pub(super) fn success(&mut self, ms: u32, peak_kb: Option<u32>, now: u64) {
        self.runs = self.runs.saturating_add(1);
        self.durations_ms.push(ms);
        if let Some(kb) = peak_kb {
            push(&mut self.peaks_kb, kb, PEAKS);
        }
        self.overrun_runs = self.overrun_runs.saturating_sub(1);
        self.since_crash = self.since_crash.saturating_add(1);
        self.forgive(now);
    }

    pub(super) fn failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Counts a crash; true if it quarantines the class.
    pub(super) fn crash(&mut self, now: u64) -> bool {
        self.forgive(now);
        self.crashes = self.crashes.saturating_add(1);
        self.since_crash = 0;
        push(&mut self.recent_crashes, now, QUARANTINE_CRASHES);
        let newly = !self.quarantined && self.recent_crashes.len() >= QUARANTINE_CRASHES;
        self.quarantined |= newly;
        newly
    }

    pub(super) fn overrun(&mut self, ms: u32) {
        let earlier = if self.overrun_runs > 0 { self.overrun_ms } else { 0 };
        self.overrun_ms = earlier.max(ms);
        // One more: the run that overran may itself succeed, and does not count.
        self.overrun_runs = OVERRUN_RUNS + 1;
    }

    pub(super) fn lift(&mut self) -> bool {
        self.recent_crashes.clear();
        std::mem::take(&mut self.quarantined)
    }

    /// Drops forgiven crashes. Success in quarantine does not prove that the class is safe beside others, so without an
    /// operator only [`FORGIVING_SECS`] without a crash end a quarantine.
    fn forgive(&mut self, now: u64) {
        let old = |crash: u64| now.saturating_sub(crash) > FORGIVING_SECS;
        if self.quarantined {
            if self.recent_crashes.iter().all(|crash| old(*crash)) {
                self.lift();
            }
        } else if self.since_crash >= FORGIVING_RUNS {
            self.recent_crashes.clear();
        } else {
            self.recent_crashes.retain(|crash| !old(*crash));
        }
    }

    /// Enforces the bounds on a history that was read from a file.
    pub(super) fn bounded(mut self) -> Self {
        keep_last(&mut self.peaks_kb, PEAKS);
        keep_last(&mut self.recent_crashes, QUARANTINE_CRASHES);
        self.overrun_runs = self.overrun_runs.min(OVERRUN_RUNS + 1);
        self
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used
    }
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// Appends a value and keeps the last `max`.
fn push<T>(values: &mut Vec<T>, value: T, max: usize) {
    values.push(value);
    keep_last(values, max);
}

fn keep_last<T>(values: &mut Vec<T>, max: usize) {
    values.drain(..values.len().saturating_sub(max));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::DURATIONS;
    use super::*;

    proptest! {
        #[test]
        fn windows_hold_the_newest_and_no_more(
            values in prop::collection::vec((any::<u32>(), any::<Option<u32>>()), 0..100)
        ) {
            let mut class = ClassHistory::default();
            for (ms, kb) in &values {
                class.success(*ms, *kb, 0);
            }
            prop_assert_eq!(class.durations_ms.len(), values.len().min(DURATIONS));
            prop_assert!(class.peaks_kb.len() <= PEAKS);
            prop_assert!(class.growth_kb() <= class.peak_kb().unwrap_or(0));
            prop_assert_eq!(class.summary().runs, values.len() as u64);
        }
    }
}
