//! Formatting of figures, times and untrusted texts.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kqueue_system::harmless;
use maud::{Markup, html};

use crate::Moment;

/// Default maximum bytes of a text.
const LONGEST: usize = 2_000;

/// An untrusted text as one sanitized line of at most `LONGEST` bytes.
pub fn text(text: &str) -> String {
    harmless::line(text, LONGEST)
}

/// The same, of at most `most` bytes.
pub fn short(text: &str, most: usize) -> String {
    harmless::line(text, most)
}

/// A class name, its namespace smaller than its last part. May wrap after each `\`.
pub fn class(name: &str) -> Markup {
    let name = short(name, 300);
    let (space, own) = name.rfind('\\').map_or(("", name.as_str()), |at| name.split_at(at + 1));
    html! {
        span.class {
            @if !space.is_empty() { span.ns { @for part in space.split_inclusive('\\') { (part) wbr; } } }
            (own)
        }
    }
}

/// Milliseconds as a duration: `340 ms`, `1.5 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub fn span(ms: u64) -> String {
    let (s, min, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let two = |big: u64, unit: &str, small: u64, sub: &str| match small {
        0 => format!("{big} {unit}"),
        small => format!("{big} {unit} {small} {sub}"),
    };
    match () {
        () if ms < 1_000 => format!("{ms} ms"),
        () if s < 10 => format!("{s}.{} s", ms % 1000 / 100),
        () if s < 60 => format!("{s} s"),
        () if min < 60 => two(min, "min", s % 60, "s"),
        () if h < 24 => two(h, "h", min % 60, "min"),
        () => two(d, "d", h % 24, "h"),
    }
}

/// The same for seconds.
pub fn seconds(seconds: f64) -> String {
    span((seconds.max(0.0) * 1000.0) as u64)
}

/// The same, or a dash if unknown.
pub fn known_span(ms: Option<u64>) -> String {
    ms.map_or_else(none, span)
}

/// The placeholder for unknown values: a dash.
pub fn none() -> String {
    "–".to_owned()
}

/// Bytes: `840 KB`, `24 MB`, `1.5 GB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{} MB", bytes / 1_048_576),
        _ => format!("{:.1} GB", bytes as f64 / 1_073_741_824.0),
    }
}

/// The same, or a dash if unknown.
pub fn known_bytes(known: Option<u64>) -> String {
    known.map_or_else(none, bytes)
}

/// A number with its thousands separated by narrow no-break spaces.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A rate: `41`, `1.5`, `0`.
pub fn rate(rate: f64) -> String {
    if !rate.is_finite() || rate < 0.05 {
        return "0".to_owned();
    }
    if rate >= 10.0 { number(rate.round() as u64) } else { format!("{rate:.1}") }
}

/// A share in percent: `0 %`, `0.3 %`, `12 %`.
pub fn percent(part: u64, all: u64) -> String {
    if part == 0 || all == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / all as f64;
    if share < 9.95 { format!("{share:.1} %") } else { format!("{share:.0} %") }
}

/// A time in milliseconds since 1970: only the time of day if it is today, else with the date. A dash if it is out of
/// range.
pub fn time(ms: u64, moment: &Moment) -> Markup {
    let Some((then, now)) = zoned(ms, &moment.zone).zip(zoned(moment.now, &moment.zone)) else {
        return html! { (none()) };
    };
    let shown = if then.date() == now.date() { then.strftime("%H:%M:%S") } else { then.strftime("%b %-d, %H:%M:%S") };
    html! {
        time datetime=(then.timestamp().to_string()) title=(then.strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string()) { (shown.to_string()) }
    }
}

/// The same, or a dash if unknown.
pub fn known_time(ms: Option<u64>, moment: &Moment) -> Markup {
    ms.map_or_else(|| html! { (none()) }, |ms| time(ms, moment))
}

/// A time (milliseconds since 1970) as the label of an axis of `of` milliseconds: the time of day, with the weekday for
/// more than 26 hours, or the date for more than eight days.
pub fn clock(ms: u64, of: u64, zone: &TimeZone) -> String {
    let form = match of {
        0..=93_600_000 => "%H:%M",
        93_600_001..=691_200_000 => "%a %H:%M",
        _ => "%b %-d",
    };
    zoned(ms, zone).map(|then| then.strftime(form).to_string()).unwrap_or_default()
}

/// A time in the format of `<input type="datetime-local">`.
pub fn input_time(ms: u64, zone: &TimeZone) -> String {
    zoned(ms, zone).map(|then| then.strftime("%Y-%m-%dT%H:%M").to_string()).unwrap_or_default()
}

/// Parses what [`input_time`] writes, or seconds since 1970; returns seconds since 1970.
pub fn read_time(text: &str, zone: &TimeZone) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return (seconds < 100_000_000_000).then_some(seconds);
    }
    let then = text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone.clone()).ok()?;
    u64::try_from(then.timestamp().as_second()).ok()
}

fn zoned(ms: u64, zone: &TimeZone) -> Option<jiff::Zoned> {
    let ms = i64::try_from(ms).ok()?;
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes() {
        for (ms, said) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_590, "1.5 s"),
            (12_999, "12 s"),
            (185_000, "3 min 5 s"),
            (7_800_000, "2 h 10 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(ms), said);
        }
        assert_eq!(
            (bytes(840 << 10), bytes(24 << 20), bytes(3 << 29)),
            ("840 KB".into(), "24 MB".into(), "1.5 GB".into())
        );
        assert_eq!((number(999), number(1_234_567)), ("999".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!(
            (rate(0.04), rate(1.26), rate(41.4), rate(f64::NAN)),
            ("0".into(), "1.3".into(), "41".into(), "0".into())
        );
        assert_eq!((percent(0, 0), percent(1, 300), percent(1, 2)), ("0 %".into(), "0.3 %".into(), "50 %".into()));
    }

    #[test]
    fn times_of_any_kind() {
        let moment = Moment { now: 1_767_265_200_000, zone: TimeZone::UTC };
        assert!(time(1_767_265_100_000, &moment).into_string().ends_with(">10:58:20</time>"));
        assert!(time(1_767_165_100_000, &moment).into_string().contains(">Dec 31, 07:11:40<"));
        assert_eq!(time(u64::MAX, &moment).into_string(), "–");
        assert_eq!(read_time("2026-01-01T11:00", &TimeZone::UTC), Some(1_767_265_200));
        assert_eq!(input_time(1_767_265_200_000, &TimeZone::UTC), "2026-01-01T11:00");
        assert_eq!(
            (read_time("1767265200", &TimeZone::UTC), read_time("noon", &TimeZone::UTC)),
            (Some(1_767_265_200), None)
        );
    }

    #[test]
    fn a_class_is_escaped_and_its_last_part_stands_out() {
        let shown = class("App\\<script>\\A\u{1b}\"b").into_string();
        assert_eq!(
            shown,
            "<span class=\"class\"><span class=\"ns\">App\\<wbr>&lt;script&gt;\\<wbr></span>A &quot;b</span>"
        );
    }
}
