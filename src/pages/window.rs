//! The span of time that a page is about.

use crate::format::{input_time, read_time};
use crate::{Moment, Query};

/// Spans that can be chosen: a word, its seconds, and how many points a chart of it has.
const SPANS: &[(&str, u64, u32)] =
    &[("1h", 3_600, 60), ("6h", 21_600, 72), ("24h", 86_400, 96), ("7d", 604_800, 84), ("30d", 2_592_000, 90)];

/// From when to when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The word for its length.
    pub word: &'static str,
    /// From when.
    pub since: u64,
    /// Up to when.
    pub until: u64,
    /// Points of a chart of it, at the most.
    pub points: u32,
    /// It ends now, and moves on.
    pub is_now: bool,
}

impl Window {
    /// By `span` and `end` of a query: the last hour where there are none.
    pub fn of(query: &Query, moment: &Moment) -> Self {
        let asked = query.get("span").unwrap_or_default();
        let known = SPANS.iter().find(|(word, ..)| *word == asked).or(SPANS.first());
        let (word, length, points) = known.copied().unwrap_or(("1h", 3_600, 60));
        let now = moment.now / 1000;
        let end = query.get("end").and_then(|text| read_time(text, &moment.zone)).filter(|end| *end < now);
        let until = end.unwrap_or(now);
        Self { word, since: until.saturating_sub(length), until, points, is_now: end.is_none() }
    }

    /// Seconds of it.
    pub fn seconds(&self) -> u64 {
        self.until.saturating_sub(self.since)
    }

    /// The words that can be chosen.
    pub fn words() -> impl Iterator<Item = &'static str> {
        SPANS.iter().map(|(word, ..)| *word)
    }

    /// `end` of the same span, half of it earlier or later; empty for one that would end now or later.
    pub fn moved(&self, later: bool, moment: &Moment) -> String {
        let half = self.seconds() / 2;
        let end = if later { self.until.saturating_add(half) } else { self.until.saturating_sub(half) };
        if end * 1000 >= moment.now { String::new() } else { end.to_string() }
    }

    /// `end` of this one, for a link.
    pub fn end(&self) -> String {
        if self.is_now { String::new() } else { self.until.to_string() }
    }

    /// `end` of this one, for a field.
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
