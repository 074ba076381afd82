//! A window of the last durations of a class, with percentiles.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Number of durations that are kept.
pub const DURATIONS: usize = 32;

/// The last [`DURATIONS`] durations in milliseconds. Percentiles are read more often than durations are added, so they
/// are also kept sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u32>", into = "Vec<u32>")]
pub(super) struct Durations {
    /// Newest last.
    window: VecDeque<u32>,
    /// The same values in ascending order.
    sorted: Vec<u32>,
}

impl Durations {
    /// Adds the newest, and drops the oldest if there are more than [`DURATIONS`].
    pub fn push(&mut self, ms: u32) {
        let oldest = if self.window.len() >= DURATIONS { self.window.pop_front() } else { None };
        if let Some(Ok(at)) = oldest.map(|oldest| self.sorted.binary_search(&oldest)) {
            self.sorted.remove(at);
        }
        self.window.push_back(ms);
        let at = self.sorted.partition_point(|other| *other < ms);
        self.sorted.insert(at, ms);
    }

    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The nearest-rank percentile: the lowest duration that `percent` of them do not exceed.
    pub fn percentile(&self, percent: usize) -> Option<u32> {
        let rank = (self.sorted.len() * percent).div_ceil(100);
        self.sorted.get(rank.max(1) - 1).copied()
    }
}

impl From<Vec<u32>> for Durations {
    /// Keeps the newest [`DURATIONS`].
    fn from(window: Vec<u32>) -> Self {
        let mut durations = Self::default();
        let excess = window.len().saturating_sub(DURATIONS);
        window.into_iter().skip(excess).for_each(|ms| durations.push(ms));
        durations
    }
}

impl From<Durations> for Vec<u32> {
    fn from(durations: Durations) -> Self {
        durations.window.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = u32>) -> Durations {
        values.into_iter().collect::<Vec<_>>().into()
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let thirty = of(1..=30);
        assert_eq!(thirty.percentile(90), Some(27));
        assert_eq!(thirty.percentile(50), Some(15));
        assert_eq!(of([1, 2, 3]).percentile(90), Some(3));
        assert_eq!(of([1, 2, 3]).percentile(50), Some(2));
        // One slow run of ten does not affect the 90th percentile; one of nine does.
        assert_eq!(of([9, 1, 1, 1, 1, 1, 1, 1, 1, 1]).percentile(90), Some(1));
        assert_eq!(of([1, 1, 1, 1, 9, 1, 1, 1, 1]).percentile(90), Some(9));
        assert_eq!(of([7]).percentile(90), Some(7));
        assert_eq!(of([]).percentile(90), None);
    }

    proptest! {
        #[test]
        fn at_least_that_share_is_not_above_the_percentile(
            values in prop::collection::vec(0..50_u32, 1..100),
            percent in 1..=100_usize,
        ) {
            let found = of(values.clone()).percentile(percent).unwrap();
            let newest = &values[values.len().saturating_sub(DURATIONS)..];
            let covered = |bound: &dyn Fn(u32) -> bool| newest.iter().filter(|v| bound(**v)).count() * 100;
            prop_assert!(covered(&|v| v <= found) >= percent * newest.len());
            // And no smaller value has that share.
            prop_assert!(covered(&|v| v < found) < percent * newest.len());
        }

        #[test]
        fn holds_the_newest_and_no_more(values in prop::collection::vec(any::<u32>(), 0..100)) {
            let durations = of(values.clone());
            let newest = &values[values.len().saturating_sub(DURATIONS)..];
            let mut sorted = newest.to_vec();
            sorted.sort_unstable();
            prop_assert_eq!(&durations.sorted, &sorted);
            prop_assert_eq!(durations.len(), newest.len());
            prop_assert_eq!(&Vec::from(durations)[..], newest);
        }
    }
}
