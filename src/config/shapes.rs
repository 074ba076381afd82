//! Value types of the keys: one type for each shape, parsed the same way from the file and the command line.
//!
//! Pure. A shape validates one value by itself; what depends on other keys or on the disk is checked in `resolve`.

mod numbers;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Raw;
use super::units;
pub use numbers::{Capacity, Count, Priority, Whole};

/// The type of a key's value: how it is parsed, shown and described.
pub trait Shape {
    /// The parsed value.
    type Value;

    /// Placeholder for the value in usage lines.
    const METAVAR: &'static str;

    /// All accepted values, if the type is a small set of keywords.
    const WORDS: &'static [&'static str] = &[];

    /// Completes "expected …" in an error.
    fn want() -> String;

    /// Parses `raw`; `None` if it is not what [`Shape::want`] describes.
    fn read(raw: &Raw) -> Option<Self::Value>;

    /// The value as `kqueue config check` shows it, and as a config file takes it.
    fn show(value: &Self::Value) -> Value;

    /// Turns text of the command line into a raw value.
    fn literal(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }
}

/// A duration of at least `MIN_MS` milliseconds.
#[derive(Debug)]
pub struct Time<const MIN_MS: u64>;

fn seconds(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => json!(duration.as_secs()),
        _ => json!(duration.as_secs_f64()),
    }
}

fn duration(raw: &Raw) -> Option<Duration> {
    let duration = match raw {
        Raw::Int(secs) => Duration::from_secs(u64::try_from(*secs).ok()?),
        Raw::Float(secs) => Duration::try_from_secs_f64(*secs).ok()?,
        Raw::Text(text) => units::duration(text)?,
        _ => return None,
    };
    (duration <= units::LONGEST).then_some(duration)
}

impl<const MIN_MS: u64> Shape for Time<MIN_MS> {
    type Value = Duration;
    const METAVAR: &'static str = "DURATION";

    fn want() -> String {
        let least = match MIN_MS {
            0 => String::new(),
            ms => format!(" of at least {ms} ms"),
        };
        format!("a duration{least}, at most a year (seconds, or a string such as \"500ms\", \"2h 30min\")")
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        duration(raw).filter(|d| *d >= Duration::from_millis(MIN_MS))
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &Self::Value) -> Value {
        seconds(*value)
    }
}

/// A duration; 0 means no limit.
#[derive(Debug)]
pub struct TimeLimit;

impl Shape for TimeLimit {
    type Value = Option<Duration>;
    const METAVAR: &'static str = Time::<0>::METAVAR;

    fn want() -> String {
        Time::<0>::want()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        Time::<0>::read(raw).map(|limit| (!limit.is_zero()).then_some(limit))
    }

    fn literal(text: &str) -> Raw {
        Time::<0>::literal(text)
    }

    fn show(value: &Self::Value) -> Value {
        seconds(value.unwrap_or_default())
    }
}

/// Whole seconds; 0 means no limit. PHP's alarm takes no fractions.
#[derive(Debug)]
pub struct Timeout;

impl Shape for Timeout {
    type Value = Option<Duration>;
    const METAVAR: &'static str = "DURATION";

    fn want() -> String {
        "whole seconds, at most a year, or 0 for no limit (a number, or a string such as \"5min\")".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let duration = duration(raw).filter(|d| d.subsec_nanos() == 0)?;
        Some((!duration.is_zero()).then_some(duration))
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &Self::Value) -> Value {
        seconds(value.unwrap_or_default())
    }
}

/// Memory in whole MB, at least `MIN`.
#[derive(Debug)]
pub struct Megabytes<const MIN: u32>;

impl<const MIN: u32> Shape for Megabytes<MIN> {
    type Value = u32;
    const METAVAR: &'static str = "MB";

    fn want() -> String {
        format!("whole MB, {MIN} or more (a number, or a string such as \"64M\", \"1G\")")
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        const MB: u64 = 1 << 20;
        let mb = match raw {
            Raw::Int(mb) => u64::try_from(*mb).ok()?,
            Raw::Text(text) => units::size(text, MB).filter(|b| b.is_multiple_of(MB))? / MB,
            _ => return None,
        };
        // 16 TB: beyond any machine, and far from overflow when turned into bytes.
        u32::try_from(mb).ok().filter(|mb| (MIN..=1 << 24).contains(mb))
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// A number of bytes.
#[derive(Debug)]
pub struct Bytes;

impl Shape for Bytes {
    type Value = usize;
    const METAVAR: &'static str = "SIZE";

    fn want() -> String {
        "bytes (a whole number, or a string such as \"64M\", \"1G\")".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Int(bytes) => usize::try_from(*bytes).ok(),
            Raw::Text(text) => usize::try_from(units::size(text, 1)?).ok(),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// A name: not empty, without control characters.
#[derive(Debug)]
pub struct Name;

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

impl Shape for Name {
    type Value = String;
    const METAVAR: &'static str = "NAME";

    fn want() -> String {
        "a name (a string that is not empty)".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Text(text) if is_name(text) => Some(text.trim().to_owned()),
            _ => None,
        }
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// A file mode creation mask, as the shell writes it.
#[derive(Debug)]
pub struct Umask;

impl Shape for Umask {
    type Value = u32;
    const METAVAR: &'static str = "MASK";

    fn want() -> String {
        "an octal mask as a string (such as \"0002\", \"027\")".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Text(text) if (1..=4).contains(&text.len()) && text.chars().all(|c| c.is_digit(8)) => {
                u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777)
            }
            _ => None,
        }
    }

    fn show(value: &Self::Value) -> Value {
        json!(format!("{value:04o}"))
    }
}

/// Names in order.
#[derive(Debug)]
pub struct Names;

impl Shape for Names {
    type Value = Vec<String>;
    const METAVAR: &'static str = "NAMES";

    fn want() -> String {
        "a list of names (such as [\"high\", \"default\"]) or names separated by commas".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let names = match raw {
            // `queue:work` splits names at commas, so a name must not contain one.
            Raw::List(list) => {
                list.iter().map(|raw| Name::read(raw).filter(|name| !name.contains(','))).collect::<Option<Vec<_>>>()?
            }
            Raw::Text(text) => {
                text.split(',').map(|name| is_name(name).then(|| name.trim().to_owned())).collect::<Option<Vec<_>>>()?
            }
            _ => return None,
        };
        Some(names)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// Arguments of a command.
#[derive(Debug)]
pub struct Words;

impl Shape for Words {
    type Value = Vec<String>;
    const METAVAR: &'static str = "ARGS";

    fn want() -> String {
        "a list of arguments (such as [\"-d\", \"opcache.enable_cli=1\"]) or a string split at spaces".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let words: Vec<String> = match raw {
            Raw::List(list) => list
                .iter()
                .map(|raw| match raw {
                    Raw::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect::<Option<_>>()?,
            Raw::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            _ => return None,
        };
        // No argument of a process can contain a NUL.
        (!words.iter().any(|word| word.contains('\0'))).then_some(words)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// Seconds before each retry, kept as Laravel's `--backoff` takes them.
#[derive(Debug)]
pub struct Backoff;

impl Shape for Backoff {
    type Value = String;
    const METAVAR: &'static str = "SECONDS";

    fn want() -> String {
        "whole seconds, or a list with one value per retry (such as [1, 5, 10] or \"1,5,10\")".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let one = |raw: &Raw| match raw {
            Raw::Int(secs) => u32::try_from(*secs).ok(),
            _ => None,
        };
        let secs: Vec<u32> = match raw {
            Raw::Int(_) => vec![one(raw)?],
            Raw::List(list) => list.iter().map(one).collect::<Option<_>>()?,
            Raw::Text(text) => text.split(',').map(|s| s.trim().parse().ok()).collect::<Option<_>>()?,
            _ => return None,
        };
        let texts: Vec<String> = secs.iter().map(u32::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

impl Shape for PathBuf {
    type Value = Self;
    const METAVAR: &'static str = "PATH";

    fn want() -> String {
        "a path".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Text(text) if !text.is_empty() && !text.contains('\0') => Some(PathBuf::from(text)),
            _ => None,
        }
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

impl Shape for bool {
    type Value = Self;
    const METAVAR: &'static str = "BOOL";
    const WORDS: &'static [&'static str] = &["true", "false"];

    fn want() -> String {
        "true or false".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        match text {
            "true" => Raw::Bool(true),
            "false" => Raw::Bool(false),
            _ => Raw::Text(text.to_owned()),
        }
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}
