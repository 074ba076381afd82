//! What the table `[alerts]` says: which alerts there are, and who is told. Pure.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::rate::Rate;
use super::raw::Raw;
use super::shapes::Shape;

/// Alerts and their targets. What is not said is not watched, or not told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alerts {
    /// A job that could run has waited for longer.
    pub wait: Option<Duration>,
    /// A queue has grown by more jobs within ten minutes.
    pub backlog_growth: Option<u32>,
    /// So many jobs failed for good in a time.
    pub failure_rate: Option<Rate>,
    /// So many processes went past their memory in a time.
    pub oom_rate: Option<Rate>,
    /// So many processes died in a time.
    pub crash_rate: Option<Rate>,
    /// The app has been degraded for longer.
    pub degraded: Option<Duration>,
    /// The coordinator has not answered for longer.
    pub coordinator_gone: Option<Duration>,
    /// The runtime has been down for longer.
    pub down: Option<Duration>,
    /// A program and its arguments.
    pub command: Option<Vec<String>>,
    /// A URL.
    pub webhook: Option<String>,
    /// The file with the secret that signs what goes to the webhook.
    pub webhook_secret: Option<PathBuf>,
    /// Addresses.
    pub mail: Option<Vec<String>>,
    /// The program that takes mail.
    pub sendmail: Option<PathBuf>,
}

impl Alerts {
    /// Whether anything is watched.
    #[must_use]
    pub fn watch(&self) -> bool {
        let Self { wait, backlog_growth, failure_rate, oom_rate, crash_rate, degraded, coordinator_gone, down, .. } =
            self;
        [wait, degraded, coordinator_gone, down].iter().any(|time| time.is_some())
            || [failure_rate, oom_rate, crash_rate].iter().any(|rate| rate.is_some())
            || backlog_growth.is_some()
    }

    /// Whether anybody but the journal is told.
    #[must_use]
    pub fn tell(&self) -> bool {
        self.command.is_some() || self.webhook.is_some() || self.mail.is_some()
    }
}

/// A program and its arguments.
#[derive(Debug)]
pub struct Program;

impl Shape for Program {
    type Value = Vec<String>;
    const METAVAR: &'static str = "ARGS";

    fn want() -> String {
        "a program by its whole path, and its arguments (a list such as [\"/usr/local/bin/page\", \"--team\", \"shop\"])".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let Raw::List(list) = raw else { return None };
        let word = |raw: &Raw| match raw {
            Raw::Text(text) if !text.contains('\0') => Some(text.clone()),
            _ => None,
        };
        let words = list.iter().map(word).collect::<Option<Vec<_>>>()?;
        words.first().is_some_and(|program| program.starts_with('/')).then_some(words)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// A file, by its whole path.
#[derive(Debug)]
pub struct WholePath;

impl Shape for WholePath {
    type Value = PathBuf;
    const METAVAR: &'static str = "PATH";

    fn want() -> String {
        "a whole path (that begins with /)".into()
    }

    fn read(raw: &Raw) -> Option<PathBuf> {
        PathBuf::read(raw).filter(|path| path.is_absolute())
    }

    fn show(value: &PathBuf) -> Value {
        json!(value)
    }
}

/// The name of a credential, or a file by its whole path.
#[derive(Debug)]
pub struct Secret;

impl Shape for Secret {
    type Value = PathBuf;
    const METAVAR: &'static str = "PATH";

    fn want() -> String {
        "the whole path of a file, or the name of a systemd credential".into()
    }

    fn read(raw: &Raw) -> Option<PathBuf> {
        PathBuf::read(raw).filter(|path| path.is_absolute() || path.components().count() == 1 && !path.ends_with(".."))
    }

    fn show(value: &PathBuf) -> Value {
        json!(value)
    }
}

/// Where a webhook is.
#[derive(Debug)]
pub struct Url;

impl Shape for Url {
    type Value = String;
    const METAVAR: &'static str = "URL";

    fn want() -> String {
        "a URL (a string such as \"https://alerts.example/kqueue\"), without user and password".into()
    }

    fn read(raw: &Raw) -> Option<String> {
        let Raw::Text(text) = raw else { return None };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#');
        (plain && !host.is_empty() && !host.contains('@') && text.len() <= 2000).then(|| text.clone())
    }

    fn show(value: &String) -> Value {
        json!(value)
    }
}

/// Addresses of mail.
#[derive(Debug)]
pub struct Addresses;

impl Shape for Addresses {
    type Value = Vec<String>;
    const METAVAR: &'static str = "ADDRESSES";

    fn want() -> String {
        "a list of addresses (such as [\"ops@shop.example\"])".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let one = |raw: &Raw| match raw {
            Raw::Text(text) if is_address(text) => Some(text.clone()),
            _ => None,
        };
        let all = match raw {
            Raw::List(list) if (1..=20).contains(&list.len()) => list.iter().map(one).collect::<Option<Vec<_>>>()?,
            text => vec![one(text)?],
        };
        Some(all)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// Whether this is an address, or a user of this machine: nothing that a header gives a meaning of its own.
fn is_address(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-@".contains(&byte);
    let (user, host) = text.split_once('@').unwrap_or((text, "here"));
    (1..=254).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !user.is_empty()
        && !host.is_empty()
        && !host.contains('@')
}
