//! Parses points in time: how long ago, or when.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use kqueue_config::duration;

/// The placeholder for a time in usage lines.
pub(in crate::cli) const TIME: &str = "TIME";

/// Parses `1h` or `30min` as that long ago, `14:00` as today, `2026-11-30` and `2026-11-30 14:00` as they are. Returns
/// seconds since 1970.
///
/// # Errors
/// The accepted forms.
pub(in crate::cli) fn parse(text: &str) -> Result<u64, String> {
    at(text, &Zoned::now())
}

/// The time that many seconds ago, in seconds since 1970: a default of `--since`.
pub(in crate::cli) fn ago(seconds: u64) -> u64 {
    epoch(Timestamp::now()).saturating_sub(seconds)
}

fn at(text: &str, now: &Zoned) -> Result<u64, String> {
    let text = text.trim();
    if let Some(ago) = duration(text) {
        return Ok(epoch(now.timestamp()).saturating_sub(ago.as_secs()));
    }
    let zone = now.time_zone();
    let civil: Option<DateTime> = text
        .parse::<Time>()
        .map(|time| now.date().to_datetime(time))
        .or_else(|_| text.parse::<Date>().map(|date| date.to_datetime(Time::midnight())))
        .ok();
    // "2026-11-30" alone parses as a date and time too.
    let civil = text.parse::<DateTime>().ok().or(civil);
    let zoned = civil.and_then(|civil| civil.to_zoned(TimeZone::clone(zone)).ok());
    zoned.map(|at| epoch(at.timestamp())).ok_or_else(|| {
        "expected how long ago (30min, 1h, 7d) or when (14:00, 2026-11-30, \"2026-11-30 14:00\")".to_owned()
    })
}

fn epoch(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let now = "2026-11-30T15:30:00[UTC]".parse::<Zoned>().unwrap();
        let epoch_of = |text: &str| at(text, &now).unwrap();
        let now_epoch = epoch(now.timestamp());
        for (text, ago) in [
            ("1h", 3_600),
            ("1h 30min", 5_400),
            ("7d", 604_800),
            ("90", 90),
            ("15:00", 1_800),
            ("15:29:50", 10),
            ("2026-11-30", 55_800),
            ("2026-11-30 15:00", 1_800),
            ("2026-11-29T15:30", 86_400),
        ] {
            assert_eq!(now_epoch - epoch_of(text), ago, "{text}");
        }
        for text in ["", "yesterday", "25:00", "2026-13-01"] {
            assert!(at(text, &now).unwrap_err().contains("30min"), "{text}");
        }
    }
}
