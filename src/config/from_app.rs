//! Settings from the app's own `config/kqueue.php`: they apply where neither the command line nor the config file sets
//! a key.
//!
//! They arrive once PHP has booted, and are written by whoever deploys the app. So they cannot set keys that are needed
//! before, or that limit the app's units. An invalid one is skipped; the others apply.

use serde_json::{Map, Value};

use super::key::{Key, SetBy};
use super::keys::{KEYS, key};
use super::load::Loaded;
use super::raw::{Origin, Raw};
use super::resolve;
use super::surroundings::Surroundings;

/// `loaded` with the app's settings, and a message for each of them that is refused.
pub fn with_app(loaded: &Loaded, said: &Map<String, Value>, here: &Surroundings) -> (Loaded, Vec<String>) {
    let mut whole = loaded.clone();
    let mut refused = Vec::new();
    for (name, value) in said {
        let done = match key(name) {
            _ if value.is_null() => Ok(()),
            None => Err(format!("{}: {name}: no such setting; `kqueue config example` lists them", Origin::App)),
            Some(key) => add(&mut whole, key, value, here),
        };
        refused.extend(done.err());
    }
    (whole, refused)
}

fn add(whole: &mut Loaded, key: &'static Key, value: &Value, here: &Surroundings) -> Result<(), String> {
    if whole.origin(key).is_some_and(|origin| matches!(origin, Origin::Flag | Origin::File { .. })) {
        return Ok(());
    }
    if key.set_by != SetBy::App {
        let fix = format!("set it in /etc/kqueue/{}.toml or on the command line", whole.settings.app);
        return Err(format!("{}: {}: cannot be set by the app; {fix}", Origin::App, key.name));
    }
    let mut merged = whole.merged.clone();
    key.set(&mut merged, &raw(key, value), Origin::App).map_err(|error| error.to_string())?;
    let old = &whole.settings;
    for pinned in KEYS.iter().filter(|key| key.is_pinned()) {
        (pinned.pin)(&mut merged, old);
    }
    let settings = resolve::resolve(old.app.clone(), merged.clone(), whole.file.as_deref(), old.limits, here);
    whole.settings = settings.map_err(|error| error.to_string())?;
    whole.merged = merged;
    Ok(())
}

/// Text is parsed as on the command line: values from the environment are text in PHP.
fn raw(key: &Key, value: &Value) -> Raw {
    match value {
        Value::Bool(value) => Raw::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Raw::Int(whole),
            (None, Some(float)) => Raw::Float(float),
            (None, None) => Raw::Other("a number that is too large"),
        },
        Value::String(text) => (key.literal)(text),
        Value::Array(list) => Raw::List(list.iter().map(|value| raw(key, value)).collect()),
        Value::Object(_) => Raw::Other("an associative array"),
        Value::Null => Raw::Other("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::DefaultValue;
    use super::*;

    /// The file that the Composer package publishes.
    const PUBLISHED: &str = include_str!("../php/package/config/kqueue.php");

    #[test]
    fn the_published_file_has_every_key_and_its_default() {
        let line = |key: &Key| {
            let text = key.default.text();
            let value = match (key.literal)(text) {
                _ if matches!(key.default, DefaultValue::None(_)) => {
                    format!("[{}]", text.split(',').map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "))
                }
                Raw::Text(text) if text.parse::<u32>().is_err() => format!("'{text}'"),
                _ => text.to_owned(),
            };
            format!("// '{}' => {value},", key.name)
        };
        let expected: Vec<String> = KEYS.iter().filter(|key| key.set_by == SetBy::App).map(line).collect();
        let written: Vec<&str> = PUBLISHED.lines().map(str::trim).filter(|line| line.starts_with("// '")).collect();
        assert_eq!(written, expected);
    }
}
