//! The usual hour: pooled workers are kept before an hour in which, by the record of former days, pooled jobs come. A
//! sleeping app is not woken for them.

use super::Now;
use super::machine::Schedule;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Seconds before an hour at which its expectation is computed: enough to boot a few workers.
const AHEAD: u64 = 300;

/// An hour for which an expectation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// Its first second, since 1970.
    hour: u64,
}

impl Usual {
    /// The first hour still to be computed at this time (seconds since 1970).
    pub fn after(epoch: u64) -> Self {
        Self { hour: (epoch + AHEAD) / HOUR * HOUR + HOUR }
    }

    /// When its expectation is to be computed: five minutes before it begins (seconds since 1970).
    pub fn at(self) -> u64 {
        self.hour.saturating_sub(AHEAD)
    }

    /// The same hour of former days (1, 2, 3 and 7 days ago), by its first second since 1970.
    pub fn before(self) -> [u64; 4] {
        [1, 2, 3, 7].map(|days| self.hour.saturating_sub(days * DAY))
    }

    /// Whether pooled jobs are expected, given their number in each hour of [`Usual::before`]: if some ran on two of
    /// the last three days, or a week ago. A day without records counts as one without jobs.
    pub fn expects(runs: [u64; 4]) -> bool {
        let [days @ .., week] = runs;
        days.iter().filter(|runs| **runs > 0).count() >= 2 || week > 0
    }

    /// Milliseconds from this time (seconds since 1970) to the end of the hour.
    pub fn lasts(self, epoch: u64) -> u64 {
        (self.hour + HOUR).saturating_sub(epoch) * 1_000
    }
}

impl Schedule {
    /// Pooled jobs usually come within this many milliseconds.
    pub(super) fn expect_pooled(&mut self, now: Now, within: u64) {
        self.pool_is_used(Now { ms: now.ms.saturating_add(within), ..now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hour_is_looked_at_once_a_little_before_it_begins() {
        let noon = 20_000 * DAY + 12 * HOUR;
        let mut now = noon - AHEAD - 1;
        for hour in [noon, noon + HOUR, noon + 2 * HOUR] {
            let usual = Usual::after(now);
            assert_eq!((usual.hour, usual.at()), (hour, hour - AHEAD));
            assert!(usual.at() > now);
            now = usual.at();
        }
        assert_eq!(Usual::after(noon).hour, noon + HOUR);
        assert_eq!(Usual { hour: noon }.before()[0], noon - DAY);
        assert_eq!(Usual { hour: noon }.before()[3], noon - 7 * DAY);
        assert_eq!(Usual { hour: noon }.lasts(noon - AHEAD), (HOUR + AHEAD) * 1_000);
    }

    #[test]
    fn usual_is_what_came_on_most_days_or_a_week_ago() {
        assert!(Usual::expects([3, 1, 0, 0]));
        assert!(Usual::expects([0, 1, 9, 0]));
        assert!(Usual::expects([0, 0, 0, 1]));
        assert!(!Usual::expects([500, 0, 0, 0]), "once is no habit");
        assert!(!Usual::expects([0; 4]), "nothing is known");
    }
}
