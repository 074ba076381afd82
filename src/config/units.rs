//! Durations as systemd writes them and sizes as PHP and systemd write them. Pure.

use std::time::Duration;

/// Maximum duration: a longer one is a typing error, and could overflow clock arithmetic.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads `500ms`, `30s`, `5min`, `1h`, `2h 30min`, `1.5h` or a bare number of seconds.
/// `None` where it is no duration; there are no negative ones.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "us" | "usec" | "µs" | "μs" => 1e-6,
            "ms" | "msec" => 1e-3,
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            _ => return None,
        };
        rest = rest[letters..].trim_start();
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
    }
    Some(total)
}

/// Reads `512K`, `64M`, `1G` (also `64MB`, `64MiB`; always powers of 1024) or a bare number, which counts units of
/// `bare` bytes. Returns bytes; `None` where it is no size.
pub fn size(text: &str, bare: u64) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
        "" => bare,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases: &[(&str, Option<u64>)] = &[
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("30", Some(30_000)),
            ("0.5", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("5min", Some(300_000)),
            ("5 min", Some(300_000)),
            ("2h 30min", Some(9_000_000)),
            ("2h30min", Some(9_000_000)),
            (" 1d ", Some(86_400_000)),
            ("1w", Some(604_800_000)),
            ("0", Some(0)),
            ("", None),
            ("soon", None),
            ("5 parsecs", None),
            ("-1s", None),
            ("1s-", None),
            ("1..5s", None),
            ("inf", None),
            ("99999999999999999999999999w", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        let cases: &[(&str, u64, Option<u64>)] = &[
            ("64M", 1, Some(64 << 20)),
            ("64 MB", 1, Some(64 << 20)),
            ("1G", 1, Some(1 << 30)),
            ("1gib", 1, Some(1 << 30)),
            ("128", 1 << 20, Some(128 << 20)),
            ("128", 1, Some(128)),
            ("512K", 1, Some(512 << 10)),
            ("", 1, None),
            ("M", 1, None),
            ("-1M", 1, None),
            ("1X", 1, None),
            ("99999999999T", 1, None),
        ];
        for (text, bare, bytes) in cases {
            assert_eq!(size(text, *bare), *bytes, "{text:?}");
        }
    }
}
