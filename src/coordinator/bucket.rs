//! A token bucket: a burst, then a rate per second.

use std::time::{Duration, Instant};

/// A token bucket that also counts what was dropped.
#[derive(Debug)]
pub(super) struct Bucket {
    size: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
    dropped: u64,
}

impl Bucket {
    /// A full bucket of `size` tokens, refilled at `per_second`.
    pub(super) fn new(size: u32, per_second: u32, now: Instant) -> Self {
        Self { size: size.into(), per_second: per_second.into(), tokens: size.into(), at: now, dropped: 0 }
    }

    /// Takes one token and returns the number of drops since the last token taken. `None`, and one more drop, if there
    /// is no
    /// token.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        self.fill(now);
        if self.tokens < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }

    /// Counts a drop without asking for a token.
    pub(super) fn leave_out(&mut self) {
        self.dropped += 1;
    }

    /// Takes tokens, going into debt if there are fewer; returns the time until the debt is paid off.
    pub(super) fn spend(&mut self, tokens: u32, now: Instant) -> Duration {
        self.fill(now);
        self.tokens -= f64::from(tokens);
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }

    /// Whether the bucket has refilled completely.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.size
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.size);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn credit_is_paid_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 5, start);
        assert_eq!(bucket.spend(10, start), Duration::ZERO);
        assert_eq!(bucket.spend(5, start), Duration::from_secs(1));
        assert_eq!(bucket.spend(5, start + Duration::from_secs(1)), Duration::from_secs(1));
        assert!(!bucket.is_full(start + Duration::from_secs(3)));
        assert!(bucket.is_full(start + Duration::from_secs(5)));
        assert_eq!(bucket.spend(1, start + Duration::from_secs(600)), Duration::ZERO);
        assert_eq!(bucket.spend(10, start + Duration::from_secs(600)), Duration::from_millis(200));
    }

    #[test]
    fn a_burst_then_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2, start);
        assert_eq!([(); 3].map(|()| bucket.take(start)), [Some(0); 3]);
        assert_eq!([(); 2].map(|()| bucket.take(start)), [None; 2]);
        assert_eq!(bucket.take(start + Duration::from_millis(600)), Some(2));
        assert_eq!(bucket.take(start + Duration::from_millis(700)), None);
        assert_eq!([(); 4].map(|()| bucket.take(start + Duration::from_secs(60)).is_some()), [true, true, true, false]);
    }
}
