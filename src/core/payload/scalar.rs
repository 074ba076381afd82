//! Reads single values from JSON text, as leniently as PHP does.

use std::time::Duration;

use serde_json::value::RawValue;

/// Truncates `text` to at most `max` bytes, on a character boundary.
pub(crate) fn bounded(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A string, truncated to `max` bytes; `None` for anything else and for an empty one.
pub(super) fn text(raw: Option<&RawValue>, max: usize) -> Option<String> {
    let raw = raw?.get();
    if !raw.starts_with('"') {
        return None;
    }
    // An escape that PHP rejects (a lone surrogate) is an error here too.
    let text: String = serde_json::from_str(raw).ok()?;
    match bounded(&text, max) {
        "" => None,
        cut if cut.len() < text.len() => Some(cut.to_owned()),
        _ => Some(text),
    }
}

/// An integer, from an integer, a float (its fraction is dropped, as by PHP's cast to int) or a string that contains
/// either.
pub(super) fn integer(raw: Option<&RawValue>) -> Option<i64> {
    with_number(raw, |number| match number.parse::<i64>() {
        Ok(integer) => Some(integer),
        Err(_) => whole(number.parse().ok()?),
    })
}

/// An integer that is not negative and fits `T`.
pub(super) fn unsigned<T: TryFrom<i64>>(raw: Option<&RawValue>) -> Option<T> {
    let number = integer(raw).filter(|number| *number >= 0)?;
    T::try_from(number).ok()
}

/// Seconds as Laravel passes them to PHP's alarm: a value of 0 or below, or above `u32`, is no limit, returned as 0.
/// Booleans and the empty string are converted as by PHP. `None` for anything else: the default applies.
pub(super) fn alarm(raw: Option<&RawValue>) -> Option<u32> {
    match raw?.get() {
        "true" => Some(1),
        "false" | "\"\"" => Some(0),
        _ => integer(raw).map(|seconds| u32::try_from(seconds.max(0)).unwrap_or(0)),
    }
}

/// A boolean, or the number 0 or 1.
pub(super) fn boolean(raw: Option<&RawValue>) -> Option<bool> {
    match raw?.get() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Seconds as a duration, with fractions.
pub(super) fn seconds(raw: Option<&RawValue>) -> Option<Duration> {
    with_number(raw, |number| duration(number.parse().ok()?))
}

/// Seconds as a duration; `None` when negative, not finite or too large.
pub(super) fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// The integer part of a float; `None` when it is not finite or does not fit `i64`.
pub(super) fn whole(number: f64) -> Option<i64> {
    // 2^63 is the first float that does not fit; every float below it does.
    let fits = number.is_finite() && number.abs() < 9_223_372_036_854_775_808.0;
    fits.then_some(number as i64)
}

/// Passes the text of a number, from a JSON number or string, to `read`.
fn with_number<T>(raw: Option<&RawValue>, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let raw = raw?.get();
    match raw.as_bytes().first()? {
        b'-' | b'0'..=b'9' => read(raw),
        // A number is never longer; longer strings are not parsed.
        b'"' if raw.len() <= 64 => read(serde_json::from_str::<String>(raw).ok()?.trim()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn numbers_survive_a_trip_through_redis() {
        for (text, expected) in [
            ("33", Some(33)),
            ("33.0", Some(33)),
            ("33.9", Some(33)),
            ("3.3e+1", Some(33)),
            ("\"33\"", Some(33)),
            ("\" 33 \"", Some(33)),
            ("\"33.5\"", Some(33)),
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("1.2345678901235e+16", Some(12_345_678_901_235_000)),
            ("1e400", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("\"inf\"", None),
            ("\"nan\"", None),
            ("\"\"", None),
            ("\"1,5,10\"", None),
            ("null", None),
            ("true", None),
            ("[]", None),
            ("{}", None),
        ] {
            assert_eq!(integer(Some(&raw(text))), expected, "{text}");
        }
        assert_eq!(integer(None), None);
        assert_eq!(unsigned::<u32>(Some(&raw("-1"))), None);
        assert_eq!(unsigned::<u32>(Some(&raw("4294967296"))), None);
        assert_eq!(unsigned::<u32>(Some(&raw("4294967295"))), Some(u32::MAX));
    }

    #[test]
    fn an_alarm_that_is_not_above_0_is_none() {
        for (text, expected) in [
            ("8", Some(8)),
            ("\"8\"", Some(8)),
            ("8.5", Some(8)),
            ("\"8.5\"", Some(8)),
            ("0.5", Some(0)),
            ("0", Some(0)),
            ("-1", Some(0)),
            ("-0.5", Some(0)),
            ("\"-1\"", Some(0)),
            ("\"\"", Some(0)),
            ("false", Some(0)),
            ("true", Some(1)),
            ("4294967296", Some(0)),
            ("null", None),
            ("[1]", None),
            ("\"soon\"", None),
        ] {
            assert_eq!(alarm(Some(&raw(text))), expected, "{text}");
        }
    }

    #[test]
    fn seconds_are_finite_and_not_negative() {
        assert_eq!(seconds(Some(&raw("0.25"))), Some(Duration::from_millis(250)));
        assert_eq!(seconds(Some(&raw("\"12\""))), Some(Duration::from_secs(12)));
        assert_eq!(seconds(Some(&raw("0"))), Some(Duration::ZERO));
        assert_eq!(seconds(Some(&raw("-0.1"))), None);
        assert_eq!(seconds(Some(&raw("1e300"))), None);
    }

    #[test]
    fn booleans_are_strict_but_for_0_and_1() {
        assert_eq!(boolean(Some(&raw("true"))), Some(true));
        assert_eq!(boolean(Some(&raw("0"))), Some(false));
        assert_eq!(boolean(Some(&raw("\"no\""))), None);
        assert_eq!(boolean(Some(&raw("null"))), None);
    }

    #[test]
    fn text_is_cut_on_a_character() {
        assert_eq!(text(Some(&raw("\"aé\"")), 2).as_deref(), Some("a"));
        assert_eq!(text(Some(&raw("\"a\\u00e9\"")), 3).as_deref(), Some("aé"));
        assert_eq!(text(Some(&raw("\"\"")), 3), None);
        assert_eq!(text(Some(&raw("\"\\ud800\"")), 3), None);
        assert_eq!(text(Some(&raw("7")), 3), None);
    }
}
