//! The table `[alerts]`: conditions and targets. Pure.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::rate::Rate;
use super::raw::Raw;
use super::shapes::Shape;

/// Alerts and their targets. An absent condition is not watched; an absent target is not notified.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alerts {
    /// A due job has waited for longer than this.
    pub wait: Option<Duration>,
    /// A queue has grown by more jobs than this within ten minutes.
    pub backlog_growth: Option<u32>,
    /// This many jobs failed for good within a period.
    pub failure_rate: Option<Rate>,
    /// This many processes exceeded their memory limit within a period.
    pub oom_rate: Option<Rate>,
    /// This many processes died within a period.
    pub crash_rate: Option<Rate>,
    /// The app has been degraded for longer than this.
    pub degraded: Option<Duration>,
    /// The coordinator has not answered for longer than this.
    pub coordinator_gone: Option<Duration>,
    /// The runtime has been down for longer than this.
    pub down: Option<Duration>,
    /// Target: a program and its arguments.
    pub command: Option<Vec<String>>,
    /// Target: the URL of a webhook.
    pub webhook: Option<String>,
    /// The file with the secret that signs requests to the webhook.
    pub webhook_secret: Option<PathBuf>,
    /// Target: mail addresses.
    pub mail: Option<Vec<String>>,
    /// The `sendmail` program.
    pub sendmail: Option<PathBuf>,
}

impl Alerts {
    /// Whether there is any condition.
    #[must_use]
    pub fn watch(&self) -> bool {
        let Self { wait, backlog_growth, failure_rate, oom_rate, crash_rate, degraded, coordinator_gone, down, .. } =
            self;
        [wait, degraded, coordinator_gone, down].iter().any(|time| time.is_some())
            || [failure_rate, oom_rate, crash_rate].iter().any(|rate| rate.is_some())
            || backlog_growth.is_some()
    }

    /// Whether there is any target besides the journal.
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
        "the absolute path of a program, and its arguments (a list such as [\"/usr/local/bin/page\", \"--team\", \"shop\"])".into()
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

/// A file, by its absolute path.
#[derive(Debug)]
pub struct WholePath;

impl Shape for WholePath {
    type Value = PathBuf;
    const METAVAR: &'static str = "PATH";

    fn want() -> String {
        "an absolute path".into()
    }

    fn read(raw: &Raw) -> Option<PathBuf> {
        PathBuf::read(raw).filter(|path| path.is_absolute())
    }

    fn show(value: &PathBuf) -> Value {
        json!(value)
    }
}

/// The name of a credential, or a file by its absolute path.
#[derive(Debug)]
pub struct Secret;

impl Shape for Secret {
    type Value = PathBuf;
    const METAVAR: &'static str = "PATH";

    fn want() -> String {
        "the absolute path of a file, or the name of a systemd credential".into()
    }

    fn read(raw: &Raw) -> Option<PathBuf> {
        PathBuf::read(raw).filter(|path| path.is_absolute() || path.components().count() == 1 && !path.ends_with(".."))
    }

    fn show(value: &PathBuf) -> Value {
        json!(value)
    }
}

/// The URL of a webhook: http or https, without user, password and fragment, of at most 2000 bytes.
#[derive(Debug)]
pub struct Url;

impl Shape for Url {
    type Value = String;
    const METAVAR: &'static str = "URL";

    fn want() -> String {
        "an http or https URL without user, password and fragment (a string such as \"https://alerts.example/kqueue\")"
            .into()
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

/// Mail addresses: one, or a list of 1 to 20.
#[derive(Debug)]
pub struct Addresses;

impl Shape for Addresses {
    type Value = Vec<String>;
    const METAVAR: &'static str = "ADDRESSES";

    fn want() -> String {
        "1 to 20 mail addresses (such as [\"ops@shop.example\"])".into()
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

/// Whether this is a mail address, or a user of this machine, without characters that are special in a header.
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
