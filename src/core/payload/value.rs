//! The value of a message under a name chosen by the app, such as `tenant_id`: the key of per-value limits.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::php::{self, Scalar};

/// A hash of the value that a payload has for `name`: a top-level key, else the text after `name:` in one of its tags,
/// else a property of the serialised command. `None` if there is no number, string or boolean. A number and a string
/// of the same text have the same hash: `7` and `"7"`.
pub fn value_of(payload: &[u8], name: &str) -> Option<u64> {
    let keys: BTreeMap<String, &RawValue> = serde_json::from_slice(payload).ok()?;
    let key = keys.get(name).and_then(|raw| scalar(raw.get()));
    let value = key.or_else(|| tagged(keys.get("tags")?, name)).or_else(|| property(keys.get("data")?, name))?;
    Some(hash(&value))
}

/// 64-bit FNV-1a. Must not change: hosts with different builds of kqueue have to agree on it.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A JSON string, number or boolean as text.
fn scalar(json: &str) -> Option<String> {
    match json.bytes().next()? {
        b'"' => serde_json::from_str(json).ok(),
        b'[' | b'{' | b'n' => None,
        _ => Some(json.to_owned()),
    }
}

fn tagged(tags: &RawValue, name: &str) -> Option<String> {
    // Tags may be of any type: the app's code returns them.
    let tags: Vec<&RawValue> = serde_json::from_str(tags.get()).ok()?;
    let tags = tags.into_iter().filter_map(|tag| scalar(tag.get()));
    tags.into_iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
}

fn property(data: &RawValue, name: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        command: &'a RawValue,
    }
    let Data { command } = serde_json::from_str(data.get()).ok()?;
    if !command.get().contains(name) {
        return None;
    }
    let command: String = serde_json::from_str(command.get()).ok()?;
    let [number] = php::properties(command.as_bytes(), [name])?;
    match number {
        Some(Scalar::Int(number)) => Some(number.to_string()),
        Some(Scalar::Float(number)) => Some(number.to_string()),
        Some(Scalar::Bool(value)) => Some(value.to_string()),
        Some(Scalar::Null) => None,
        None => php::text_of(command.as_bytes(), name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload: &str) -> Option<u64> {
        value_of(payload.as_bytes(), "tenant_id")
    }

    fn command(properties: &str) -> String {
        let command = format!("O:1:\"T\":1:{{{properties}}}");
        serde_json::json!({ "job": "x", "data": { "command": command } }).to_string()
    }

    #[test]
    fn by_key_by_tag_and_by_property() {
        let seven = of(r#"{"tenant_id":7}"#);
        // The value of FNV-1a for "7".
        assert_eq!(seven, Some(0xaf63_aa4c_8601_9796));
        assert_eq!(of(r#"{"tenant_id":"7"}"#), seven);
        assert_eq!(of(r#"{"tags":["App\\User:1","tenant_id:7"]}"#), seven);
        assert_eq!(of(&command("s:9:\"tenant_id\";i:7;")), seven);
        assert_eq!(of(&command("s:9:\"tenant_id\";s:1:\"7\";")), seven);
        assert_eq!(of(&command("s:12:\"\0*\0tenant_id\";i:7;")), seven);
        assert_ne!(of(r#"{"tenant_id":8}"#), seven);
        // A key of the payload takes precedence over a tag.
        assert_eq!(of(r#"{"tenant_id":7,"tags":["tenant_id:8"]}"#), seven);
    }

    #[test]
    fn what_says_nothing_is_nobodys() {
        for payload in [
            "",
            "[]",
            "{}",
            "no json",
            r#"{"tenant_id":null}"#,
            r#"{"tenant_id":[7]}"#,
            r#"{"tags":"tenant_id:7"}"#,
            r#"{"tags":[["tenant_id:7"]]}"#,
            r#"{"data":{"command":"encrypted tenant_id"}}"#,
            r#"{"data":[]}"#,
        ] {
            assert_eq!(of(payload), None, "{payload}");
        }
        assert_eq!(of(&command("s:5:\"other\";s:9:\"tenant_id\";")), None);
        assert_eq!(of(&command("s:9:\"tenant_id\";N;")), None);
    }
}
