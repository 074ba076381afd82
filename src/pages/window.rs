//! The time range of a page.

use crate::format::{input_time, read_time};
use crate::{Moment, Query};

/// Selectable ranges: name, seconds, and points of a chart.
const SPANS: &[(&str, u64, u32)] =
    &[("1h", 3_600, 60), ("6h", 21_600, 72), ("24h", 86_400, 96), ("7d", 604_800, 84), ("30d", 2_592_000, 90)];

/// A time range, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The name of its length: `1h`.
    pub word: &'static str,
    /// Its start.
    pub since: u64,
    /// Its end.
    pub until: u64,
    /// Maximum points of a chart of it.
    pub points: u32,
    /// It ends now, and moves with time.
    pub is_now: bool,
}

impl Window {
    /// The range given by `span` and `end` of a query; by default the last hour.
    pub fn of(query: &Query, moment: &Moment) -> Self {
        let asked = query.get("span").unwrap_or_default();
        let known = SPANS.iter().find(|(word, ..)| *word == asked).or(SPANS.first());
        let (word, length, points) = known.copied().unwrap_or(("1h", 3_600, 60));
        let now = moment.now / 1000;
        let end = query.get("end").and_then(|text| read_time(text, &moment.zone)).filter(|end| *end < now);
        let until = end.unwrap_or(now);
        Self { word, since: until.saturating_sub(length), until, points, is_now: end.is_none() }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> u64 {
        self.until.saturating_sub(self.since)
    }

    /// The names of all selectable ranges.
    pub fn words() -> impl Iterator<Item = &'static str> {
        SPANS.iter().map(|(word, ..)| *word)
    }

    /// The `end` parameter of the range moved by half its length; empty if it would end now or later.
    pub fn moved(&self, later: bool, moment: &Moment) -> String {
        let half = self.seconds() / 2;
        let end = if later { self.until.saturating_add(half) } else { self.until.saturating_sub(half) };
        if end * 1000 >= moment.now { String::new() } else { end.to_string() }
    }

    /// The `end` parameter of this range, for a link.
    pub fn end(&self) -> String {
        if self.is_now { String::new() } else { self.until.to_string() }
    }

    /// The `end` parameter of this range, for an input field.
    pub fn end_field(&self, moment: &Moment) -> String {
        if self.is_now { String::new() } else { input_time(self.until * 1000, &moment.zone) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn any_query_has_a_window() {
        let moment = Moment { now: 1_767_265_200_000, zone: TimeZone::UTC };
        let of = |text| Window::of(&Query::parse(text), &moment);
        let last = of("span=forever&end=never");
        assert_eq!((last.word, last.seconds(), last.until, last.is_now), ("1h", 3_600, 1_767_265_200, true));
        let past = of("span=6h&end=2026-01-01T03:30");
        assert_eq!((past.seconds(), past.until, past.is_now), (21_600, 1_767_238_200, false));
        assert_eq!(past.moved(true, &moment), (1_767_238_200 + 10_800).to_string());
        assert_eq!(of("end=99999999999").until, 1_767_265_200, "nothing is known of the future");
        assert_eq!(of("end=0").since, 0);
        assert_eq!(last.moved(true, &moment), "");
    }
}
