//! Exponential backoff.

use std::time::Duration;

/// Consecutive failures, and the delays that follow from them.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    /// Whether the first retry is immediate.
    at_once: bool,
    failures: u32,
}

impl Backoff {
    /// Delays that double with each failure, from `first` up to `last`.
    pub const fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, at_once: false, failures: 0 }
    }

    /// The same, but the delay after the first failure is zero.
    pub const fn after_one(first: Duration, last: Duration) -> Self {
        Self { at_once: true, ..Self::new(first, last) }
    }

    /// Counts a failure and returns the delay before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let doublings = match (self.failures, self.at_once) {
            (0, true) => None,
            (failures, at_once) => Some(failures - u32::from(at_once)),
        };
        self.failures = self.failures.saturating_add(1);
        doublings.map_or(Duration::ZERO, |times| self.first.saturating_mul(1 << times.min(20)).min(self.last))
    }

    /// Resets the count after a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Consecutive failures so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_last_and_start_over_with_success() {
        let (first, last) = (Duration::from_millis(100), Duration::from_millis(1000));
        let delays = |backoff: &mut Backoff| [(); 7].map(|()| backoff.failed().as_millis());
        let mut backoff = Backoff::new(first, last);
        assert_eq!(delays(&mut backoff), [100, 200, 400, 800, 1000, 1000, 1000]);
        backoff.succeeded();
        assert_eq!((backoff.failures(), backoff.failed()), (0, first));
        assert_eq!(delays(&mut Backoff::after_one(first, last)), [0, 100, 200, 400, 800, 1000, 1000]);
        let mut long = Backoff { failures: u32::MAX, ..backoff };
        assert_eq!(long.failed(), last);
    }
}
