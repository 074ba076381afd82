//! Whether a queued message is a runnable job. Pure.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why Laravel could not run this payload: it is not a JSON object with a string `job`, or its `timeout` is a fatal
/// error in PHP. `None` if it could.
pub(super) fn why_broken(payload: &[u8]) -> Option<String> {
    let mut parser = serde_json::Deserializer::from_slice(payload);
    match serde::Deserializer::deserialize_any(&mut parser, Head) {
        Ok((true, timeout)) => match parser.end() {
            Err(e) => Some(format!("it is not JSON: {e}")),
            Ok(()) => timeout.is_some_and(is_fatal).then(|| "its `timeout` is not a valid number".to_owned()),
        },
        Ok((false, _)) => Some("it is not a JSON object with a string `job`".to_owned()),
        Err(e) if e.is_data() => Some("it is not a JSON object with a string `job`".to_owned()),
        Err(e) => Some(format!("it is not JSON: {e}")),
    }
}

/// Whether this value is a fatal error at `pcntl_alarm(max($timeout, 0))`, which Laravel calls outside of its error
/// handling: the PHP process would end instead of failing the job.
fn is_fatal(timeout: &RawValue) -> bool {
    // 2^63 exceeds PHP's integers.
    let too_large = |number: f64| number >= 9_223_372_036_854_775_808.0;
    let text = timeout.get();
    match text.as_bytes().first() {
        Some(b'[' | b'{') => true,
        Some(b'-' | b'0'..=b'9') => text.parse().is_ok_and(too_large),
        Some(b'"') => serde_json::from_str::<String>(text).is_ok_and(|text| {
            let number = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
            // Rust also parses names such as `inf` and `nan`; PHP does not.
            let digits = number.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
            match number.parse().ok().filter(|_| digits) {
                Some(number) => too_large(number),
                // PHP compares a non-numeric string with 0 as strings.
                None => text.as_str() >= "0",
            }
        }),
        _ => false,
    }
}

/// Reads `job` and `timeout`; skips all other values without building them.
struct Head;

impl<'de> Visitor<'de> for Head {
    type Value = (bool, Option<&'de RawValue>);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut job, mut timeout) = (false, None);
        // The last of duplicate keys counts, as in PHP.
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "job" => job = map.next_value::<&RawValue>()?.get().starts_with('"'),
                "timeout" => timeout = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((job, timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::why_broken;

    #[test]
    fn fuzz_heads() {
        let seeds = kqueue_fuzz::files("tests/fixtures/payloads");
        kqueue_fuzz::fuzz("heads", &seeds.iter().map(Vec::as_slice).collect::<Vec<_>>(), |input| {
            let _ = why_broken(input);
        });
    }

    #[test]
    fn jobs_are_objects_with_a_string_job() {
        let deep = format!(r#"{{"d":{}1{},"job":"x"}}"#, "[".repeat(400), "]".repeat(400));
        for good in [r#"{"job":"Mail@send"}"#, r#" {"a":[1],"job" : "é\/"} "#, &deep] {
            assert_eq!(why_broken(good.as_bytes()), None, "{good}");
        }
        for bad in ["", "x", "[]", r#"["job"]"#, "1", r#"{"job":1}"#, "{}", r#"{"job":"x"}y"#] {
            assert!(why_broken(bad.as_bytes()).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_timeout_that_ends_php_is_no_timeout() {
        let payload = |timeout: &str| format!(r#"{{"job":"x","timeout":{timeout}}}"#);
        for good in super::super::conformance::TIMEOUTS {
            assert_eq!(why_broken(payload(good).as_bytes()), None, "{good}");
        }
        for bad in super::super::conformance::NO_TIMEOUTS {
            assert!(why_broken(payload(bad).as_bytes()).is_some(), "{bad}");
        }
    }
}
