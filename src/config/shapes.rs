//! What the value of a key may be: one type for each shape, read the same from file and command line.
//!
//! Pure. A shape checks one value alone; what depends on other keys or on the disk is checked in `resolve`.

use std::path::PathBuf;
use std::time::Duration;

use super::raw::Raw;
use super::settings::{Ack, Crash, DefaultTier, LauncherKind, Pop, Start};
use super::units;

/// A value that a key can have.
pub trait Shape: Sized {
    /// What stands for the value in usage lines.
    const METAVAR: &'static str;

    /// All that it can be, where that is a few words.
    const WORDS: &'static [&'static str] = &[];

    /// Completes "expected …" in an error.
    fn want() -> String;

    /// The value, or `None` where `raw` is not what [`Shape::want`] says.
    fn read(raw: &Raw) -> Option<Self>;

    /// How text of the command line is read.
    fn literal(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u32, const MAX: u32>(pub u32);

impl<const MIN: u32, const MAX: u32> Shape for Count<MIN, MAX> {
    const METAVAR: &'static str = "N";

    fn want() -> String {
        match MAX {
            u32::MAX => format!("a whole number, {MIN} or more"),
            _ => format!("a whole number from {MIN} to {MAX}"),
        }
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Int(n) => u32::try_from(*n).ok().filter(|n| (MIN..=MAX).contains(n)).map(Self),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }
}

/// A whole number without an upper bound of note: `--max-jobs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub u64);

impl Shape for Whole {
    const METAVAR: &'static str = "N";

    fn want() -> String {
        "a whole number, 0 or more".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Int(n) => u64::try_from(*n).ok().map(Self),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }
}

/// A duration of at least `MIN_MS` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN_MS: u64>(pub Duration);

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
    const METAVAR: &'static str = "DURATION";

    fn want() -> String {
        let least = match MIN_MS {
            0 => String::new(),
            ms => format!(" of at least {ms} ms"),
        };
        format!("a duration{least} and at most a year (seconds, or a string such as \"500ms\", \"2h 30min\")")
    }

    fn read(raw: &Raw) -> Option<Self> {
        duration(raw).filter(|d| *d >= Duration::from_millis(MIN_MS)).map(Self)
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }
}

/// Whole seconds, 0 being without limit: PHP's alarm knows no fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<Duration>);

impl Shape for Timeout {
    const METAVAR: &'static str = "DURATION";

    fn want() -> String {
        "whole seconds, at most a year, 0 being without limit (a number, or a string such as \"5min\")".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        let duration = duration(raw).filter(|d| d.subsec_nanos() == 0)?;
        Some(Self((!duration.is_zero()).then_some(duration)))
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }
}

/// Memory in whole MB, at least `MIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Megabytes<const MIN: u32>(pub u32);

impl<const MIN: u32> Shape for Megabytes<MIN> {
    const METAVAR: &'static str = "MB";

    fn want() -> String {
        format!("whole MB, {MIN} or more (a number, or a string such as \"64M\", \"1G\")")
    }

    fn read(raw: &Raw) -> Option<Self> {
        const MB: u64 = 1 << 20;
        let mb = match raw {
            Raw::Int(mb) => u64::try_from(*mb).ok()?,
            Raw::Text(text) => units::size(text, MB).filter(|b| b.is_multiple_of(MB))? / MB,
            _ => return None,
        };
        // 16 TB: beyond any machine, and far from overflow when turned into bytes.
        u32::try_from(mb).ok().filter(|mb| (MIN..=1 << 24).contains(mb)).map(Self)
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub usize);

impl Shape for Bytes {
    const METAVAR: &'static str = "SIZE";

    fn want() -> String {
        "bytes (a whole number, or a string such as \"64M\", \"1G\")".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Int(bytes) => usize::try_from(*bytes).ok().map(Self),
            Raw::Text(text) => usize::try_from(units::size(text, 1)?).ok().map(Self),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }
}

/// A name: not empty, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

impl Shape for Name {
    const METAVAR: &'static str = "NAME";

    fn want() -> String {
        "a name (a string that is not empty)".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Text(text) if is_name(text) => Some(Self(text.trim().to_owned())),
            _ => None,
        }
    }
}

/// A file mode creation mask, as the shell writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

impl Shape for Umask {
    const METAVAR: &'static str = "MASK";

    fn want() -> String {
        "an octal mask as a string (such as \"0002\", \"027\")".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Text(text) if (1..=4).contains(&text.len()) && text.chars().all(|c| c.is_digit(8)) => {
                u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777).map(Self)
            }
            _ => None,
        }
    }
}

/// Names in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Shape for Names {
    const METAVAR: &'static str = "NAMES";

    fn want() -> String {
        "a list of names (such as [\"high\", \"default\"]) or names with commas between them".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        let names = match raw {
            // A comma would make two queues of a name in `queue:work` too.
            Raw::List(list) => list
                .iter()
                .map(|raw| Name::read(raw).map(|name| name.0).filter(|name| !name.contains(',')))
                .collect::<Option<Vec<_>>>()?,
            Raw::Text(text) => {
                text.split(',').map(|name| is_name(name).then(|| name.trim().to_owned())).collect::<Option<Vec<_>>>()?
            }
            _ => return None,
        };
        Some(Self(names))
    }
}

/// Arguments of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Shape for Words {
    const METAVAR: &'static str = "ARGS";

    fn want() -> String {
        "a list of arguments (such as [\"-d\", \"opcache.enable_cli=1\"]) or a string split at spaces".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
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
        // No argument of a process can hold a NUL.
        (!words.iter().any(|word| word.contains('\0'))).then_some(Self(words))
    }
}

/// Seconds before each retry, kept as Laravel's `--backoff` takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff(pub String);

impl Shape for Backoff {
    const METAVAR: &'static str = "SECONDS";

    fn want() -> String {
        "whole seconds, or several for one retry after the other (such as [1, 5, 10] or \"1,5,10\")".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
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
        (!texts.is_empty()).then(|| Self(texts.join(",")))
    }
}

impl Shape for PathBuf {
    const METAVAR: &'static str = "PATH";

    fn want() -> String {
        "a path".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Text(text) if !text.is_empty() && !text.contains('\0') => Some(PathBuf::from(text)),
            _ => None,
        }
    }
}

impl Shape for bool {
    const METAVAR: &'static str = "BOOL";
    const WORDS: &'static [&'static str] = &["true", "false"];

    fn want() -> String {
        "true or false".into()
    }

    fn read(raw: &Raw) -> Option<Self> {
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
}

macro_rules! choice {
    ($type:ident, $($word:literal => $variant:ident),+) => {
        impl $type {
            /// The word for it in the config file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl Shape for $type {
            const METAVAR: &'static str = "WORD";
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn want() -> String {
                Self::WORDS.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
            }

            fn read(raw: &Raw) -> Option<Self> {
                match raw {
                    Raw::Text(text) => match text.as_str() {
                        $($word => Some(Self::$variant),)+
                        _ => None,
                    },
                    _ => None,
                }
            }
        }
    };
}

choice!(LauncherKind, "auto" => Auto, "coordinator" => Coordinator, "user" => User, "process" => Process);
choice!(Start, "fork" => Fork, "spawn" => Spawn);
choice!(DefaultTier, "auto" => Auto, "inline" => Inline, "pooled" => Pooled, "isolated" => Isolated);
choice!(Crash, "replay" => Replay, "laravel" => Laravel);
choice!(Pop, "safe" => Safe, "strict" => Strict);
choice!(Ack, "auto" => Auto, "laravel" => Laravel);
