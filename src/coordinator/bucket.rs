//! A token bucket: so many at once, so many a second after that.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Bucket {
    size: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
    dropped: u64,
}

impl Bucket {
    /// Full at first.
    pub(super) fn new(size: u32, per_second: u32, now: Instant) -> Self {
        Self { size: size.into(), per_second: per_second.into(), tokens: size.into(), at: now, dropped: 0 }
    }

    /// Takes one, and tells how many there were none for since the last. None when there is none.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        self.fill(now);
        if self.tokens < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }

    /// Counts one that nobody asked for, as there was no need to.
    pub(super) fn leave_out(&mut self) {
        self.dropped += 1;
    }

    /// Takes so many, on credit where there are fewer, and tells how long it takes to pay that back.
    pub(super) fn spend(&mut self, tokens: u32, now: Instant) -> Duration {
        self.fill(now);
        self.tokens -= f64::from(tokens);
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }

    /// Whether nothing has been taken lately.
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
