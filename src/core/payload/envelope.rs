//! The outside of a queued message: Laravel's keys, and kqueue's own.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::hints::Hints;
use super::scalar;

/// Levels of nesting past which no PHP reads a payload: the depth that `json_decode` is documented with,
/// which Laravel leaves as it is. PHP 8.2 stops one level short of it; that is left to Laravel, because to
/// set aside a job that can run is worse than to hand over one that cannot.
pub const MAX_DEPTH: usize = 512;

/// Bytes to which every name read from a payload is cut: names become keys of maps and fields of logs.
pub const MAX_NAME: usize = 512;

/// Tags that are read of one payload.
pub const MAX_TAGS: usize = 16;
/// Bytes of a tag that are read.
pub const MAX_TAG: usize = 100;
/// Bytes of a list of tags past which none is read.
const MAX_TAGS_TEXT: usize = 64 << 10;

/// The `job` of every message that carries an object.
const OBJECT_JOB: &str = "Illuminate\\Queue\\CallQueuedHandler@call";

/// Why a message is no job: Laravel could not run it either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The text is no JSON, or not UTF-8. Holds where, and never what: payloads are private.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but no object.
    #[error("not a JSON object")]
    NotObject,
    /// It is nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels, which PHP does not read")]
    TooDeep,
    /// It does not say what to run.
    #[error("no `job` in it, or one that is not a string")]
    NoJob,
}

/// What a message says about itself. Names are cut to [`MAX_NAME`] bytes; an empty name is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// `uuid`, or Redis' `id` where there is none.
    pub uuid: Option<String>,
    /// `displayName`: what operators see.
    pub display_name: Option<String>,
    /// `job`: `Class@method`, the same for every object job.
    pub job: String,
    /// `data.commandName`: class of the object, or of the framework's wrapper around it.
    pub command_name: Option<String>,
    /// `timeout`: seconds that a run may take; 0 is without limit.
    pub timeout: Option<u32>,
    /// `maxTries`: attempts before the job fails; 0 is without limit.
    pub max_tries: Option<u32>,
    /// `retryUntil`: epoch seconds.
    pub retry_until: Option<u64>,
    /// `attempts`: attempts counted so far. Redis only: other drivers keep it beside the payload.
    pub attempts: Option<u32>,
    /// `createdAt`: epoch seconds of the dispatch; Laravel 12.11 and later.
    pub created_at: Option<u64>,
    /// `delay`: seconds from the dispatch; Laravel 12.11 and later.
    pub delay: Option<u64>,
    /// `pushedAt`: epoch milliseconds of the dispatch, by Horizon.
    pub pushed_at: Option<u64>,
    /// `tags`: at most [`MAX_TAGS`] of them, each cut to [`MAX_TAG`] bytes.
    pub tags: Vec<String>,
    /// What this one job declares in its `kqueue` key.
    pub declared: Hints,
    /// What it declares by the properties of its serialised command.
    pub properties: Hints,
    /// The delay that its serialised command asks for, read where nothing else says it.
    pub own_delay: OwnDelay,
    /// The class that a package's wrapper says it carries, where `displayName` does not.
    pub carried: Option<String>,
}

/// The `delay` of a serialised command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnDelay {
    /// There is none.
    #[default]
    None,
    /// This many.
    Seconds(u64),
    /// It is a date, or cannot be read.
    Unknown,
}

/// Whether it stands for a payload that Laravel (13.9 and later) keeps in the app's cache, and reads from there itself.
pub fn is_pointer(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Pointer {
        #[serde(rename = "@pointer")]
        _at: String,
    }
    payload.starts_with(b"{") && serde_json::from_slice::<Pointer>(payload).is_ok()
}

/// Jobs of packages that carry what the app wrote, which is named by their property `actionClass`.
const WRAPPERS: [&str; 3] = [
    "Lorisleiva\\Actions\\Decorators\\JobDecorator",
    "Lorisleiva\\Actions\\Decorators\\UniqueJobDecorator",
    "Spatie\\QueueableAction\\ActionJob",
];

impl Envelope {
    /// Reads a payload. Only what Laravel could not run is an error.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Broken> {
        let keys: Keys = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
            Category::Data => Broken::NotObject,
            _ => Broken::NotJson(error.to_string()),
        })?;
        if too_deep(bytes) {
            return Err(Broken::TooDeep);
        }
        Self::of(keys)
    }

    /// Reads the beginning of a payload that is larger: what its first keys say. Nothing of what is behind them is checked.
    pub fn parse_head(bytes: &[u8]) -> Option<Self> {
        let mut keys = Keys::default();
        // It always ends with an error, where the text does.
        let _ =
            serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_slice(bytes), FillInto(&mut keys));
        Self::of(keys).ok()
    }

    fn of(keys: Keys<'_>) -> Result<Self, Broken> {
        let job = scalar::text(keys.job, MAX_NAME).ok_or(Broken::NoJob)?;
        // A string job's data is whatever it was given: only an object can have the keys.
        let data = keys
            .data
            .filter(|data| data.get().starts_with('{'))
            .and_then(|data| serde_json::from_str::<Data>(data.get()).ok())
            .unwrap_or_default();
        let properties = data.command.map_or_else(Hints::default, |command| Hints::from_command(command.get()));
        let declared = keys.kqueue.map_or_else(Hints::default, |kqueue| Hints::from_json(kqueue.get()));
        let own_delay = match (keys.pushed_at, keys.created_at) {
            (Some(_), None) => own_delay(data.command),
            _ => OwnDelay::None,
        };
        let command_name = scalar::text(data.command_name, MAX_NAME);
        let wraps = command_name.as_deref().is_some_and(|class| WRAPPERS.contains(&class));
        let carried = data
            .command
            .filter(|_| wraps)
            .and_then(|command| super::php::text_property(command.get(), "actionClass"))
            .filter(|class| class.len() <= MAX_NAME && is_class_name(class));
        Ok(Self {
            uuid: identity(keys.uuid).or_else(|| identity(keys.id)),
            display_name: scalar::text(keys.display_name, MAX_NAME),
            job,
            command_name,
            timeout: scalar::alarm(keys.timeout),
            max_tries: scalar::unsigned(keys.max_tries),
            retry_until: scalar::unsigned(keys.retry_until),
            attempts: scalar::unsigned(keys.attempts),
            created_at: scalar::unsigned(keys.created_at),
            delay: scalar::unsigned(keys.delay),
            pushed_at: scalar::seconds(keys.pushed_at).map(|at| at.as_millis() as u64),
            tags: tags(keys.tags),
            declared,
            properties,
            own_delay,
            carried,
        })
    }

    /// When it was dispatched, as far as it says so: milliseconds since 1970.
    pub fn dispatched_at(&self) -> Option<u64> {
        self.pushed_at.or(self.created_at.map(|at| at.saturating_mul(1000)))
    }

    /// When its first attempt could have begun, as far as it says so: milliseconds since 1970. Laravel says of what it
    /// delays for how long together with when it was dispatched; where Horizon alone says when, a delay is in the job.
    pub fn due_at(&self) -> Option<u64> {
        let delay = match (self.created_at, self.delay, self.own_delay) {
            (_, Some(delay), _) => delay,
            (Some(_), None, _) | (None, None, OwnDelay::None) => 0,
            (None, None, OwnDelay::Seconds(delay)) => delay,
            (None, None, OwnDelay::Unknown) => return None,
        };
        Some(self.dispatched_at()?.saturating_add(delay.saturating_mul(1000)))
    }

    /// The name under which the job's history is kept and its class is reflected, at most [`MAX_NAME`]
    /// bytes; and the one to take instead if PHP knows no class of that name.
    ///
    /// - A plain job: its class. `displayName` may hold anything, even an id per job; where it looks like another
    ///   class, the job may be a package's wrapper around that class, which only PHP can tell.
    /// - What the framework wraps (listener, mailable, notification, broadcast, closure, Artisan command):
    ///   `displayName`, which there names what is inside. All wrappers live in `Illuminate\`.
    /// - A string job: its `job`.
    pub fn classes(&self) -> (&str, Option<&str>) {
        if self.job != OBJECT_JOB {
            return (&self.job, None);
        }
        let shown = self.display_name.as_deref();
        match self.command_name.as_deref() {
            Some(class) if !class.starts_with("Illuminate\\") => {
                let inner = shown.filter(|name| *name != class && name.contains('\\') && is_class_name(name));
                inner.or(self.carried.as_deref()).map_or((class, None), |inner| (inner, Some(class)))
            }
            wrapper => (shown.or(wrapper).unwrap_or(&self.job), None),
        }
    }

    /// What this one job declares; its properties only where they count.
    pub fn hints(&self, properties: bool) -> Hints {
        if properties { self.declared.merge(&self.properties) } else { self.declared }
    }
}

/// Whether a text can be the name of a class. Closures and the like have names that are none.
pub fn is_class_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'\\' || byte >= 0x80)
}

/// Names that are texts, out of a list of anything. One that is not a list has none.
fn tags(raw: Option<&RawValue>) -> Vec<String> {
    let Some(raw) = raw.filter(|raw| raw.get().len() <= MAX_TAGS_TEXT && raw.get().starts_with('[')) else {
        return Vec::new();
    };
    let all: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    all.into_iter().filter_map(|tag| scalar::text(Some(tag), MAX_TAG)).take(MAX_TAGS).collect()
}

/// The delay that a serialised command asks for.
fn own_delay(command: Option<&RawValue>) -> OwnDelay {
    let Some(command) = command.map(RawValue::get).filter(|command| command.contains("delay")) else {
        return OwnDelay::None;
    };
    // One that is encrypted does not name it, but by chance.
    let command = serde_json::from_str::<String>(command).unwrap_or_default();
    match super::php::properties(command.as_bytes(), ["delay"]) {
        Some([Some(delay)]) => match delay.integer() {
            Some(seconds) => OwnDelay::Seconds(u64::try_from(seconds).unwrap_or(0)),
            None => OwnDelay::None,
        },
        // An object, a text, or no such property.
        _ if command.contains(":\"delay\";") || command.contains("*\0delay\";") => OwnDelay::Unknown,
        _ => OwnDelay::None,
    }
}

/// A `uuid` or `id`. One past the bound is none at all: cut, it could stand for two jobs.
fn identity(raw: Option<&RawValue>) -> Option<String> {
    scalar::text(raw.filter(|raw| raw.get().len() <= MAX_NAME), MAX_NAME)
}

/// True if valid JSON nests deeper than PHP reads.
fn too_deep(json: &[u8]) -> bool {
    // Nearly every payload has too few brackets, strings included; this look is a fraction of the parse.
    let opened = |bytes: &[u8]| bytes.iter().filter(|b| matches!(b, b'[' | b'{')).count();
    if json.len() <= MAX_DEPTH || opened(json) <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The top-level keys, each as the text it has in the payload. Raw, because a wrong type must not be an
/// error, and because serde_json walks over a raw value without recursion and without its limit of 128.
#[derive(Default)]
struct Keys<'a> {
    uuid: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    display_name: Option<&'a RawValue>,
    job: Option<&'a RawValue>,
    timeout: Option<&'a RawValue>,
    max_tries: Option<&'a RawValue>,
    retry_until: Option<&'a RawValue>,
    attempts: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    delay: Option<&'a RawValue>,
    pushed_at: Option<&'a RawValue>,
    tags: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    kqueue: Option<&'a RawValue>,
}

/// The two keys of `data` that an object job has.
#[derive(Default)]
struct Data<'a> {
    command_name: Option<&'a RawValue>,
    command: Option<&'a RawValue>,
}

/// Names of the keys that are read.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Uuid,
    Id,
    DisplayName,
    Job,
    Timeout,
    MaxTries,
    RetryUntil,
    Attempts,
    CreatedAt,
    Delay,
    PushedAt,
    Tags,
    Data,
    Kqueue,
    CommandName,
    Command,
    #[serde(other)]
    Other,
}

/// Something that keeps the values of the keys it knows.
trait Keep<'a>: Default {
    /// Where the value of `key` goes.
    fn slot(&mut self, key: &Key) -> Option<&mut Option<&'a RawValue>>;
}

impl<'a> Keep<'a> for Keys<'a> {
    fn slot(&mut self, key: &Key) -> Option<&mut Option<&'a RawValue>> {
        Some(match key {
            Key::Uuid => &mut self.uuid,
            Key::Id => &mut self.id,
            Key::DisplayName => &mut self.display_name,
            Key::Job => &mut self.job,
            Key::Timeout => &mut self.timeout,
            Key::MaxTries => &mut self.max_tries,
            Key::RetryUntil => &mut self.retry_until,
            Key::Attempts => &mut self.attempts,
            Key::CreatedAt => &mut self.created_at,
            Key::Delay => &mut self.delay,
            Key::PushedAt => &mut self.pushed_at,
            Key::Tags => &mut self.tags,
            Key::Data => &mut self.data,
            Key::Kqueue => &mut self.kqueue,
            Key::CommandName | Key::Command | Key::Other => return None,
        })
    }
}

impl<'a> Keep<'a> for Data<'a> {
    fn slot(&mut self, key: &Key) -> Option<&mut Option<&'a RawValue>> {
        match key {
            Key::CommandName => Some(&mut self.command_name),
            Key::Command => Some(&mut self.command),
            _ => None,
        }
    }
}

/// Fills a [`Keep`] from an object. Of a key given twice the last wins, as in PHP.
struct Fill<K>(std::marker::PhantomData<K>);

impl<'de, K: Keep<'de>> Visitor<'de> for Fill<K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<K, A::Error> {
        let mut kept = K::default();
        FillInto(&mut kept).visit_map(map)?;
        Ok(kept)
    }
}

/// The same, into what is there: it keeps what was read when the text ends.
struct FillInto<'k, K>(&'k mut K);

impl<'de, K: Keep<'de>> Visitor<'de> for FillInto<'_, K> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            match self.0.slot(&key) {
                Some(slot) => *slot = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Keys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fill(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Data<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fill(std::marker::PhantomData))
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
