//! The declaration of a key: its name, meaning and default, who sets it, and which program reads it. Pure.

use serde_json::Value;

use super::error::{At, Error};
use super::keys::{Merged, Settings};
use super::raw::{Origin, Raw};

/// The default of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// This, written as on the command line.
    Is(&'static str),
    /// Computed from the machine or from other keys, as the key's text says; this value if memory is ample and no
    /// related key is set.
    WorkedOut(&'static str),
    /// None; this is an example of a value.
    None(&'static str),
}

impl DefaultValue {
    /// The default or the example, as text.
    pub fn text(self) -> &'static str {
        match self {
            DefaultValue::Is(text) | DefaultValue::WorkedOut(text) | DefaultValue::None(text) => text,
        }
    }
}

/// Which stages may set a key. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// The config file alone.
    File,
    /// The command line too.
    CommandLine,
    /// The app's own `config/kqueue.php` too.
    App,
}

/// A program that reads a key, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The generator of units and the coordinator, from the file: on `systemctl daemon-reload`.
    Root,
    /// The unit of a pooled worker, from the file: whenever it starts.
    Worker,
    /// The runtime, once at its start.
    Start,
    /// The runtime, at its start and on each reload.
    Live,
}

/// One key of the config file.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it is for, as lines of text.
    pub doc: &'static [&'static str],
    /// Its default.
    pub default: DefaultValue,
    /// Which stages may set it.
    pub set_by: SetBy,
    /// Which programs read it.
    pub(crate) readers: &'static [Reader],
    /// Placeholder for the value in usage lines.
    pub metavar: &'static str,
    /// Whether it is a switch.
    pub switch: bool,
    /// All accepted values, if they are a small set of keywords.
    pub words: &'static [&'static str],
    /// Reads text of the command line.
    pub(crate) literal: fn(&str) -> Raw,
    pub(crate) want: fn() -> String,
    pub(crate) set: fn(&mut Merged, &Raw, Origin) -> bool,
    pub(crate) pin: fn(&mut Merged, &Settings),
    pub(crate) origin: fn(&Merged) -> Option<&Origin>,
    pub(crate) show: fn(&Settings) -> Value,
    pub(crate) differs: fn(&Settings, &Settings) -> bool,
    pub(crate) keep: fn(&mut Settings, &Settings),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("default", &self.default).finish_non_exhaustive()
    }
}

impl Key {
    /// Sets the value in `merged`, in place of an earlier one.
    ///
    /// # Errors
    /// [`Error::Value`] or [`Error::Empty`] if the key does not accept it.
    pub(crate) fn set(&self, merged: &mut Merged, raw: &Raw, origin: Origin) -> Result<(), Error> {
        if (self.set)(merged, raw, origin.clone()) {
            return Ok(());
        }
        let at = At { key: self.name, origin };
        let example = (self.literal)(self.default.text());
        let fix = match &at.origin {
            Origin::Flag => at.spell(self.default.text()),
            _ => at.spell(example),
        };
        if matches!(raw, Raw::Text(text) if text.trim().is_empty()) {
            return Err(Error::Empty { at, want: (self.want)(), fix });
        }
        Err(Error::Value { at, what: format!("expected {}, got {raw}", (self.want)()), fix })
    }

    /// The value in use: null where there is none or the runtime does not read the key, seconds for a duration, MB
    /// or bytes for a size. Written into a file as TOML it is read as the same value.
    pub fn show(&self, settings: &Settings) -> Value {
        match self.is_read_by(Reader::Live) || self.is_read_by(Reader::Start) {
            true => (self.show)(settings),
            false => Value::Null,
        }
    }

    /// The default or example as TOML.
    pub fn example(&self) -> String {
        (self.literal)(self.default.text()).to_string()
    }

    /// The values it accepts, as text.
    pub fn takes(&self) -> String {
        (self.want)()
    }

    /// Whether this program reads it.
    pub fn is_read_by(&self, reader: Reader) -> bool {
        self.readers.contains(&reader)
    }

    /// Whether its value differs between two settings.
    pub fn differs(&self, one: &Settings, other: &Settings) -> bool {
        (self.differs)(one, other)
    }

    /// Whether root's programs compute its default too: the app's own settings, which they do not read, must not change
    /// it.
    pub(crate) fn is_pinned(&self) -> bool {
        matches!(self.default, DefaultValue::WorkedOut(_)) && self.set_by != SetBy::App
    }

    /// Its other name, in `queue:work`.
    pub fn alias(&self) -> Option<&'static str> {
        match self.name {
            "queues" => Some("queue"),
            "worker_memory" => Some("memory"),
            _ => None,
        }
    }
}
