//! The envelope of a queued message: Laravel's keys, and kqueue's own.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::hints::Hints;
use super::scalar;

/// Deepest nesting of a payload that PHP decodes: the documented default depth of `json_decode`, which Laravel does
/// not change. PHP 8.2 stops one level earlier; such a payload is left to Laravel, because rejecting a job that can
/// run is worse than passing on one that cannot.
pub const MAX_DEPTH: usize = 512;

/// Bytes to which every name from a payload is truncated: names become map keys and log fields.
pub const MAX_NAME: usize = 512;

/// Maximum number of tags read from one payload.
pub const MAX_TAGS: usize = 16;
/// Bytes to which a tag is truncated.
pub const MAX_TAG: usize = 100;
/// Size of the JSON list of tags above which no tag is read, bytes.
const MAX_TAGS_TEXT: usize = 64 << 10;

/// The `job` of every message with a serialised object.
const OBJECT_JOB: &str = "Illuminate\\Queue\\CallQueuedHandler@call";

/// The reason why a message is not a job. Laravel could not run it either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The text is not JSON, or not UTF-8. Contains the position, never the content: payloads are private.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not an object.
    #[error("not a JSON object")]
    NotObject,
    /// It is nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels, which PHP does not read")]
    TooDeep,
    /// The `job` key is missing, empty or not a string.
    #[error("`job` is missing, empty or not a string")]
    NoJob,
}

/// The fields of a message. Names are truncated to [`MAX_NAME`] bytes; an empty name counts as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// `uuid`, else `id` (Redis).
    pub uuid: Option<String>,
    /// `displayName`: the name shown to operators.
    pub display_name: Option<String>,
    /// `job`: `Class@method`, the same for every object job.
    pub job: String,
    /// `data.commandName`: class of the object, or of the framework's wrapper around it.
    pub command_name: Option<String>,
    /// `timeout`: maximum run time in seconds; 0 is no limit.
    pub timeout: Option<u32>,
    /// `maxTries`: attempts before the job fails; 0 is no limit.
    pub max_tries: Option<u32>,
    /// `retryUntil`: epoch seconds.
    pub retry_until: Option<u64>,
    /// `attempts`: attempts so far. Redis only: other drivers store the count outside the payload.
    pub attempts: Option<u32>,
    /// `createdAt`: epoch seconds of the dispatch; Laravel 12.11 and later.
    pub created_at: Option<u64>,
    /// `delay`: seconds from the dispatch; Laravel 12.11 and later.
    pub delay: Option<u64>,
    /// `pushedAt`: epoch milliseconds of the dispatch, by Horizon.
    pub pushed_at: Option<u64>,
    /// `tags`: at most [`MAX_TAGS`], each truncated to [`MAX_TAG`] bytes.
    pub tags: Vec<String>,
    /// The hints that this job declares in its `kqueue` key.
    pub declared: Hints,
    /// The hints that it declares by properties of its serialised command.
    pub properties: Hints,
    /// The `delay` of its serialised command, read only if there is `pushedAt` but no `createdAt`.
    pub own_delay: OwnDelay,
    /// The class inside a package's wrapper job, from its `actionClass` property.
    pub carried: Option<String>,
}

/// The `delay` of a serialised command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnDelay {
    /// There is none.
    #[default]
    None,
    /// Seconds; a negative value is read as 0.
    Seconds(u64),
    /// It is a date, or cannot be read.
    Unknown,
}

/// Whether this is a pointer to a payload that Laravel (13.9 and later) keeps in the app's cache and reads from there
/// itself.
pub fn is_pointer(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Pointer {
        #[serde(rename = "@pointer")]
        _at: String,
    }
    payload.starts_with(b"{") && serde_json::from_slice::<Pointer>(payload).is_ok()
}

/// Job classes of packages that wrap a class of the app, named by their property `actionClass`.
const WRAPPERS: [&str; 3] = [
    "Lorisleiva\\Actions\\Decorators\\JobDecorator",
    "Lorisleiva\\Actions\\Decorators\\UniqueJobDecorator",
    "Spatie\\QueueableAction\\ActionJob",
];

impl Envelope {
    /// Reads a payload. Only a payload that Laravel could not run is an error.
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

    /// Reads the complete keys in the truncated beginning of a payload. Nothing after them is checked. `None` if `job`
    /// is
    /// not among them.
    pub fn parse_head(bytes: &[u8]) -> Option<Self> {
        let mut keys = Keys::default();
        // Always ends with an error at the end of the truncated text.
        let _ =
            serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_slice(bytes), FillInto(&mut keys));
        Self::of(keys).ok()
    }

    fn of(keys: Keys<'_>) -> Result<Self, Broken> {
        let job = scalar::text(keys.job, MAX_NAME).ok_or(Broken::NoJob)?;
        // The data of a string job may be any value: only an object can have the keys.
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

    /// Time of the dispatch in epoch milliseconds, if the payload has it.
    pub fn dispatched_at(&self) -> Option<u64> {
        self.pushed_at.or(self.created_at.map(|at| at.saturating_mul(1000)))
    }

    /// Earliest time of the first attempt in epoch milliseconds, if the payload has it. Laravel writes `delay` together
    /// with `createdAt`; where only Horizon's `pushedAt` is present, the delay is a property of the command.
    pub fn due_at(&self) -> Option<u64> {
        let delay = match (self.created_at, self.delay, self.own_delay) {
            (_, Some(delay), _) => delay,
            (Some(_), None, _) | (None, None, OwnDelay::None) => 0,
            (None, None, OwnDelay::Seconds(delay)) => delay,
            (None, None, OwnDelay::Unknown) => return None,
        };
        Some(self.dispatched_at()?.saturating_add(delay.saturating_mul(1000)))
    }

    /// The name under which the job's history is kept and its class is inspected, at most [`MAX_NAME`] bytes, and the
    /// fallback if PHP knows no class of that name.
    ///
    /// - A plain job: its class. `displayName` may be any text, even an id per job. If it looks like another class, the
    ///   job may be a package's wrapper around that class, which only PHP can check: that class, with the job's own
    ///   class as the fallback. The same for the `actionClass` of a known wrapper.
    /// - A job wrapped by the framework (listener, mailable, notification, broadcast, closure, Artisan command):
    ///   `displayName`, which names the wrapped class. All of these wrappers are in `Illuminate\`.
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

    /// The hints of this job. Its command's properties count only if `properties` is set.
    pub fn hints(&self, properties: bool) -> Hints {
        if properties { self.declared.merge(&self.properties) } else { self.declared }
    }
}

/// Whether a text can be a class name. The display names of closures, for example, are not.
pub fn is_class_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'\\' || byte >= 0x80)
}

/// The strings of a JSON list, within the bounds for tags; empty for anything but a list.
fn tags(raw: Option<&RawValue>) -> Vec<String> {
    let Some(raw) = raw.filter(|raw| raw.get().len() <= MAX_TAGS_TEXT && raw.get().starts_with('[')) else {
        return Vec::new();
    };
    let all: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    all.into_iter().filter_map(|tag| scalar::text(Some(tag), MAX_TAG)).take(MAX_TAGS).collect()
}

/// The delay of a serialised command.
fn own_delay(command: Option<&RawValue>) -> OwnDelay {
    let Some(command) = command.map(RawValue::get).filter(|command| command.contains("delay")) else {
        return OwnDelay::None;
    };
    // An encrypted command contains the name only by chance.
    let command = serde_json::from_str::<String>(command).unwrap_or_default();
    match super::php::properties(command.as_bytes(), ["delay"]) {
        Some([Some(delay)]) => match delay.integer() {
            Some(seconds) => OwnDelay::Seconds(u64::try_from(seconds).unwrap_or(0)),
            None => OwnDelay::None,
        },
        // An object, a string, no such property, or damaged text.
        _ if command.contains(":\"delay\";") || command.contains("*\0delay\";") => OwnDelay::Unknown,
        _ => OwnDelay::None,
    }
}

/// A `uuid` or `id`. One that is too long counts as absent: truncated, it could match two jobs.
fn identity(raw: Option<&RawValue>) -> Option<String> {
    scalar::text(raw.filter(|raw| raw.get().len() <= MAX_NAME), MAX_NAME)
}

/// Whether valid JSON is nested deeper than [`MAX_DEPTH`].
fn too_deep(json: &[u8]) -> bool {
    // Nearly every payload has too few brackets, even counting those in strings; this check costs a fraction of the
    // parse.
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

/// The top-level keys with their raw JSON values: a wrong type must not be an error, and serde_json skips a raw value
/// without recursion and without its depth limit of 128.
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

/// A struct that stores the values of the keys it knows.
trait Keep<'a>: Default {
    /// The field for the value of `key`.
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

/// Fills a [`Keep`] from an object. The last of duplicate keys wins, as in PHP.
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

/// Like [`Fill`], into an existing value: keys read before an error are kept.
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
