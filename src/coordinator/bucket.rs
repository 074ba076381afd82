//! A token bucket: so many at once, so many a second after that.

use std::time::Instant;

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
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.size);
        if self.tokens < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
