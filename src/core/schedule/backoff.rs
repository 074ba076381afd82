//! Growing delays for processes that die repeatedly.

use std::time::Duration;

use crate::backoff;

/// Delay after the second death in a row, and the maximum.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Deaths in a row of processes of one tier, and the resulting delay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    deaths: backoff::Backoff,
    until: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { deaths: backoff::Backoff::after_one(DELAYS.0, DELAYS.1), until: 0 }
    }
}

impl Backoff {
    /// A process died before it finished anything. The first one is replaced at once.
    pub fn died(&mut self, now: u64) {
        self.until = now + self.deaths.failed().as_millis() as u64;
    }

    /// A process has worked: resets the delay.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// When the next process may be started (milliseconds), if not now.
    pub fn wait(&self, now: u64) -> Option<u64> {
        (self.until > now).then_some(self.until)
    }

    /// Whether processes of this tier die repeatedly: three times in a row or more.
    pub fn is_failing(&self) -> bool {
        self.deaths.failures() >= 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_nothing_to_half_a_minute_and_end_with_success() {
        let mut backoff = Backoff::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            backoff.died(1000);
            delays.push(backoff.wait(1000).map_or(0, |until| until - 1000));
        }
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert!(backoff.is_failing());
        backoff.worked();
        assert_eq!(backoff.wait(0), None);
    }
}
