//! The tables of the config file: what is said of one class or of one queue. Pure.
//!
//! As the keys at the top are in `keys`, those of a table are declared once, here: parser, example, man page and
//! `kqueue config check` are made from [`TABLES`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{At, Error};
use super::rate::{Rate, Rates};
use super::raw::{Origin, Raw};
use super::settings::DefaultTier;
use super::shapes::{Capacity, Count, Megabytes, Shape};

/// What is said of one class or queue. What is not said is without limit, or as at the top of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Jobs at once.
    pub max_concurrent: Option<usize>,
    /// Starts in a time.
    pub rate: Option<Rate>,
    /// Starts at once after a time without any.
    pub burst: Option<u32>,
    /// Reserved jobs of a queue that may wait for a limit.
    pub max_waiting: Option<usize>,
    /// The share of a queue.
    pub weight: Option<u32>,
    /// Where jobs of a class run that declare nothing.
    pub tier: Option<DefaultTier>,
    /// MB for a job of a class that declares none.
    pub memory_max: Option<u32>,
}

/// What is said of each class and each queue, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Of classes, by their names without a backslash before them.
    pub class: BTreeMap<String, Bounds>,
    /// Of queues.
    pub queue: BTreeMap<String, Bounds>,
}

impl Tables {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.class.is_empty() && self.queue.is_empty()
    }
}

/// One kind of table.
pub struct Table {
    /// The first part of its head: `class` of `[class."App\\Jobs\\Import"]`.
    pub name: &'static str,
    /// What it is for, as lines of text.
    pub doc: &'static [&'static str],
    /// An example of the other part, as it is written in TOML.
    pub example: &'static str,
    /// Its keys.
    pub keys: &'static [&'static TableKey],
    of: fn(&mut Tables) -> &mut BTreeMap<String, Bounds>,
    read: fn(&Tables) -> &BTreeMap<String, Bounds>,
}

/// One key of a table.
pub struct TableKey {
    /// Its name.
    pub name: &'static str,
    /// What it is for, as lines of text.
    pub doc: &'static [&'static str],
    /// An example of a value, written as in the file.
    pub example: &'static str,
    /// What values it takes, in words.
    pub takes: fn() -> String,
    set: fn(&mut Bounds, &Raw) -> bool,
    show: fn(&Bounds) -> Option<Value>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableKey").field("name", &self.name).finish_non_exhaustive()
    }
}

macro_rules! table_keys {
    ($($(#[doc = $doc:literal])+ $const:ident, $name:ident: $shape:ty, $example:literal;)+) => {
        $(static $const: TableKey = TableKey {
            name: stringify!($name),
            doc: &[$($doc),+],
            example: $example,
            takes: <$shape as Shape>::want,
            set: |bounds, raw| {
                bounds.$name = <$shape as Shape>::read(raw);
                bounds.$name.is_some()
            },
            show: |bounds| bounds.$name.as_ref().map(<$shape as Shape>::show),
        };)+
    };
}

table_keys! {
    /// Jobs at once. Others wait, hold up none but those of their own kind, and lose no attempt.
    MAX_CONCURRENT, max_concurrent: Capacity<1, 10000>, "2";
    /// Jobs that may start in a second, minute or hour. An isolated job counts when its process is asked for.
    RATE, rate: Rates, "\"30/m\"";
    /// How many of them may start at once after a time without any. The default is what the rate is in a second,
    /// and 1 at the least.
    BURST, burst: Count<1, 1000000>, "5";
    /// Reserved jobs of the queue that may wait for a limit, where that is less than the queue's part of the
    /// `max_waiting` of all.
    MAX_WAITING, max_waiting: Capacity<1, 1000000>, "20";
    /// The queue's share of all starts, beside those of the other queues that have work. Where no queue has a weight, the
    /// order of `queues` is strict; where one has, the others have 1.
    WEIGHT, weight: Count<1, 1000>, "5";
    /// What `default_tier` is for jobs of the class.
    TIER, tier: DefaultTier, "\"pooled\"";
    /// MB for a job of the class that declares no `maxMemory`. More than a pooled worker has makes it isolated.
    MEMORY_MAX, memory_max: Megabytes<32>, "1024";
}

/// Every kind of table.
pub static TABLES: &[Table] = &[
    Table {
        name: "class",
        doc: &[
            " Limits of a class of jobs, and where they run. It is the job's own class, or that of the listener, mailable or",
            " notification that it carries.",
        ],
        example: "\"App\\\\Jobs\\\\Import\"",
        keys: &[&MAX_CONCURRENT, &RATE, &BURST, &TIER, &MEMORY_MAX],
        of: |tables| &mut tables.class,
        read: |tables| &tables.class,
    },
    Table {
        name: "queue",
        doc: &[" Limits of a queue, and its weight."],
        example: "mail",
        keys: &[&MAX_CONCURRENT, &RATE, &BURST, &MAX_WAITING, &WEIGHT],
        of: |tables| &mut tables.queue,
        read: |tables| &tables.queue,
    },
];

/// A value that a table of the file has.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub table: &'static Table,
    /// The class or queue.
    pub name: String,
    pub key: &'static TableKey,
    pub raw: Raw,
    pub origin: Origin,
}

impl Table {
    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Table> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// How the head of the table of this class or queue is written.
    pub fn head(&self, name: &str) -> String {
        let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let name = if bare { name.to_owned() } else { format!("\"{}\"", escaped(name)) };
        format!("[{}.{name}]", self.name)
    }

    /// An example of a head.
    pub fn example_head(&self) -> String {
        format!("[{}.{}]", self.name, self.example)
    }

    /// What is said of which classes or queues.
    pub fn read<'a>(&self, tables: &'a Tables) -> &'a BTreeMap<String, Bounds> {
        (self.read)(tables)
    }
}

impl TableKey {
    /// The value: `None` where there is none.
    pub fn show(&self, bounds: &Bounds) -> Option<Value> {
        (self.show)(bounds)
    }
}

fn escaped(name: &str) -> String {
    name.chars().flat_map(|c| if matches!(c, '\\' | '"') { vec!['\\', c] } else { vec![c] }).collect()
}

impl Said {
    /// Takes the value over.
    ///
    /// # Errors
    /// [`Error::Value`] where the key does not take it.
    pub fn put(&self, tables: &mut Tables) -> Result<(), Error> {
        let bounds = (self.table.of)(tables).entry(self.name.clone()).or_default();
        if (self.key.set)(bounds, &self.raw) {
            return Ok(());
        }
        let at = At { key: self.key.name, origin: self.origin.clone() };
        let what = format!("expected {}, got {}", (self.key.takes)(), self.raw);
        Err(Error::Value { at, what, fix: format!("{} = {}", self.key.name, self.key.example) })
    }

    /// Checks it against what else its table says.
    ///
    /// # Errors
    /// [`Error::Conflict`] where it means nothing.
    pub fn check(&self, tables: &Tables) -> Result<(), Error> {
        let lacks_rate = (self.table.read)(tables).get(&self.name).is_some_and(|bounds| bounds.rate.is_none());
        if self.key.name != BURST.name || !lacks_rate {
            return Ok(());
        }
        Err(Error::Conflict {
            at: At { key: self.key.name, origin: self.origin.clone() },
            what: "there is no rate that it could go with".into(),
            fix: format!("add rate = {} to {}, or leave it out", RATE.example, self.table.head(&self.name)),
        })
    }
}

/// What `new` says otherwise than `old`, each as a line for people.
pub fn differences(old: &Tables, new: &Tables) -> Vec<String> {
    let mut lines = Vec::new();
    for table in TABLES {
        let (old, new) = (table.read(old), table.read(new));
        let none = Bounds::default();
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (before, after) = (old.get(name).unwrap_or(&none), new.get(name).unwrap_or(&none));
            for key in table.keys {
                if key.show(before) != key.show(after) {
                    let value = key.show(after).map_or("no more".to_owned(), |value| format!("= {value}"));
                    lines.push(format!("{} {} {value}", table.head(name), key.name));
                }
            }
        }
    }
    lines
}
