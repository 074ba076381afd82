//! Whether a queued message is a job at all. Pure.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why no Laravel could run this payload: it is not a JSON object with a string `job`. `None` if one could.
pub(super) fn why_broken(payload: &[u8]) -> Option<String> {
    let mut parser = serde_json::Deserializer::from_slice(payload);
    match serde::Deserializer::deserialize_any(&mut parser, Head) {
        Ok(true) => parser.end().err().map(|e| format!("it is not JSON: {e}")),
        Ok(false) => Some("it is not a JSON object with a string `job`".to_owned()),
        Err(e) if e.is_data() => Some("it is not a JSON object with a string `job`".to_owned()),
        Err(e) => Some(format!("it is not JSON: {e}")),
    }
}

/// Reads past everything but `job`, without building any of it.
struct Head;

impl<'de> Visitor<'de> for Head {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut job = false;
        // The last of equal keys counts, as in PHP.
        while let Some(key) = map.next_key::<String>()? {
            if key == "job" {
                job = map.next_value::<&RawValue>()?.get().starts_with('"');
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(job)
    }
}

#[cfg(test)]
mod tests {
    use super::why_broken;

    #[test]
    fn fuzz_heads() {
        let seeds = crate::fuzz::files("tests/fixtures/payloads");
        crate::fuzz::fuzz("heads", &seeds.iter().map(Vec::as_slice).collect::<Vec<_>>(), |input| {
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
}
