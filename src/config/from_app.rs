//! Settings that the app itself makes, in its `config/kqueue.php`: they count where neither the command line nor
//! the config file says anything.
//!
//! They come when PHP has booted, and from whoever deploys the app. So what is needed before, and what bounds
//! the app's units, is not theirs to set. What is wrong with one of them costs that one alone.

use serde_json::{Map, Value};

use super::load::Loaded;
use super::raw::{Origin, Raw};
use super::surroundings::Surroundings;
use super::{Key, key, resolve};

/// Keys that are taken from the app.
const APPS: &[&str] = &[
    "queues",
    "default_tier",
    "inline_max_duration",
    "pooled_max_duration",
    "pool_min_idle",
    "pool_size",
    "max_concurrent_inline",
    "max_concurrent_pooled",
    "max_waiting",
    "max_waiting_bytes",
    "tries",
    "timeout",
    "backoff",
    "force",
    "worker_max_jobs",
    "worker_max_time",
    "worker_memory",
    "isolated_memory_max",
    "crash",
    "pop",
    "ack",
    "renew",
    "horizon",
    "property_hints",
    "timeout_grace",
];

/// Keys that are worked out from others, and by which root's own programs have made the app's units: they stay as
/// they are without the app.
const PINNED: &[&str] = &["pool_max_size", "worker_memory_max"];

/// `loaded` with what the app says, and a line for each of its settings that does not count.
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
    if key.origin(&whole.merged).is_some_and(|origin| matches!(origin, Origin::Flag | Origin::File { .. })) {
        return Ok(());
    }
    if !APPS.contains(&key.name) {
        let fix = format!("set it in /etc/kqueue/{}.toml or on the command line", whole.settings.app);
        return Err(format!("{}: {}: not taken from the app; {fix}", Origin::App, key.name));
    }
    let mut merged = whole.merged.clone();
    key.set(&mut merged, &raw(key, value), Origin::App).map_err(|error| error.to_string())?;
    let old = &whole.settings;
    for name in PINNED {
        let Some(pinned) = super::key(name).filter(|key| key.origin(&merged).is_none()) else { continue };
        let value = raw(pinned, &pinned.show(old));
        pinned.set(&mut merged, &value, Origin::Default).map_err(|error| error.to_string())?;
    }
    let limits =
        resolve::Limits { stop_when_empty: old.stop_when_empty, max_jobs: old.max_jobs, max_time: old.max_time };
    let settings = resolve::resolve(old.app.clone(), merged.clone(), whole.file.as_deref(), limits, here);
    whole.settings = settings.map_err(|error| error.to_string())?;
    whole.merged = merged;
    Ok(())
}

/// Text is read as on the command line: what comes from the environment is all text to PHP.
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
        Value::Object(_) => Raw::Other("an array with keys"),
        Value::Null => Raw::Other("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DefaultValue, KEYS};
    use super::*;

    /// What the Composer package publishes.
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
        let expected: Vec<String> = KEYS.iter().filter(|key| APPS.contains(&key.name)).map(line).collect();
        let written: Vec<&str> = PUBLISHED.lines().map(str::trim).filter(|line| line.starts_with("// '")).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn names_are_names_of_keys() {
        assert!(APPS.iter().chain(PINNED).all(|name| key(name).is_some()));
        assert!(APPS.iter().all(|name| !PINNED.contains(name)));
    }
}
