//! Types of settings.

use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Raw;
use super::shapes::Shape;

/// What starts PHP processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LauncherKind {
    /// Chosen by what is available.
    #[default]
    Auto,
    /// The coordinator, which asks systemd.
    Coordinator,
    /// The user's own service manager.
    User,
    /// None: plain child processes.
    Process,
}

/// How lanes and isolated jobs get their PHP process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Forked from a template process in which the app is already booted.
    #[default]
    Fork,
    /// A new PHP process each, for apps that cannot fork.
    Spawn,
}

/// The tier of jobs that declare nothing for kqueue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultTier {
    /// Chosen by kqueue.
    #[default]
    Auto,
    /// All inline.
    Inline,
    /// All pooled.
    Pooled,
    /// All isolated.
    Isolated,
}

/// What happens to a job whose PHP process died under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crash {
    /// The true cause is thrown inside Laravel at once: the job is retried or failed by its own rules.
    #[default]
    Replay,
    /// As stock Laravel: the job stays reserved until `retry_after`.
    Laravel,
}

/// How jobs are taken off Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pop {
    /// A payload that is no job is moved to the queue `NAME:broken`.
    #[default]
    Safe,
    /// Laravel's own script, which loses such a payload.
    Strict,
}

/// Who removes a finished job from the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// The runtime, in batches, where that is the same as Laravel's own ack; Laravel elsewhere.
    #[default]
    Auto,
    /// Always Laravel, on the app's own connection.
    Laravel,
}

macro_rules! choice {
    ($type:ident, $($word:literal => $variant:ident),+) => {
        impl $type {
            /// Its keyword in the config file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl Shape for $type {
            type Value = Self;
            const METAVAR: &'static str = "WORD";
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn want() -> String {
                Self::WORDS.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
            }

            fn read(raw: &Raw) -> Option<Self::Value> {
                match raw {
                    Raw::Text(text) => match text.as_str() {
                        $($word => Some(Self::$variant),)+
                        _ => None,
                    },
                    _ => None,
                }
            }

            fn show(value: &Self::Value) -> Value {
                json!(value.as_str())
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

/// Limits of one run, set only on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `--stop-when-empty`.
    pub stop_when_empty: bool,
    /// `--max-jobs`: jobs after which the runtime ends; 0 is without limit.
    pub max_jobs: u64,
    /// `--max-time`: time after which the runtime ends; zero is without limit.
    pub max_time: Duration,
}
