//! The tables of the config file: what is said of one class or of one queue, and of alerts. Pure.
//!
//! As the keys at the top are in `keys`, those of a table are declared once, here: parser, example, man page and
//! `kqueue config check` are made from [`TABLES`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::alerts::{Addresses, Alerts, Program, Secret, Url, WholePath};
use super::error::{At, Error};
use super::keys::Settings;
use super::rate::{Rate, Rates};
use super::raw::{Origin, Raw};
use super::settings::DefaultTier;
use super::shapes::{Capacity, Count, Megabytes, Name, Priority, Shape, Time, Timeout};

/// What one table says. What is not said is without limit, or as at the top of the file.
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
    /// Where jobs run that declare nothing.
    pub tier: Option<DefaultTier>,
    /// MB for a job that declares none.
    pub memory_max: Option<u32>,
    /// The order of the jobs that declare none.
    pub priority: Option<i32>,
    /// The name of what says for whom a limit of a class counts.
    pub by: Option<String>,
    /// The limits are one for all hosts.
    pub shared: Option<bool>,
    /// What a job may take that declares no timeout; `None` within is without limit.
    pub timeout: Option<Option<Duration>>,
    /// What `wait` of the alerts is for a queue.
    pub alert_wait: Option<Duration>,
    /// What the table of alerts says.
    pub alerts: Alerts,
}

/// What is said of each class and each queue, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Of classes, by their names without a backslash before them.
    pub class: BTreeMap<String, Bounds>,
    /// Of queues.
    pub queue: BTreeMap<String, Bounds>,
    /// Of alerts: under an empty name, where there is that table.
    pub(crate) alerts: BTreeMap<String, Bounds>,
}

impl Tables {
    /// Whether nothing is said of classes and queues.
    pub fn is_empty(&self) -> bool {
        self.class.is_empty() && self.queue.is_empty()
    }

    fn timeout(&self, class: &str, queue: &str) -> Option<Option<Duration>> {
        let of_class = self.class.get(class).and_then(|bounds| bounds.timeout);
        of_class.or_else(|| self.queue.get(queue)?.timeout)
    }

    /// The longest of all timeouts that settings name, this one among them; `None` is without limit.
    pub fn longest(&self, timeout: Option<Duration>) -> Option<Duration> {
        let named = self.class.values().chain(self.queue.values()).filter_map(|bounds| bounds.timeout);
        named.chain([timeout]).try_fold(Duration::ZERO, |longest, timeout| Some(longest.max(timeout?)))
    }

    /// What is said of alerts.
    pub fn alerts(&self) -> Alerts {
        self.alerts.get("").map(|bounds| bounds.alerts.clone()).unwrap_or_default()
    }
}

impl Settings {
    /// Seconds that a job may run that declares no timeout: as is said of its class, else of its queue, or of all; 0 is
    /// without limit.
    pub fn timeout_of(&self, class: &str, queue: &str) -> u64 {
        let told = self.tables.timeout(class, queue).unwrap_or(self.timeout);
        told.map_or(0, |timeout| timeout.as_secs())
    }
}

/// One kind of table.
pub struct Table {
    /// The first part of its head: `class` of `[class."App\\Jobs\\Import"]`.
    pub name: &'static str,
    /// What it is for, as lines of text.
    pub doc: &'static [&'static str],
    /// An example of the other part, as it is written in TOML; empty where there is none, and the table is one.
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
    ($($(#[doc = $doc:literal])+ $const:ident, $([$in:ident])? $name:ident: $shape:ty, $example:literal;)+) => {
        $(static $const: TableKey = TableKey {
            name: stringify!($name),
            doc: &[$($doc),+],
            example: $example,
            takes: <$shape as Shape>::want,
            set: |bounds, raw| {
                bounds.$($in.)?$name = <$shape as Shape>::read(raw);
                bounds.$($in.)?$name.is_some()
            },
            show: |bounds| bounds.$($in.)?$name.as_ref().map(<$shape as Shape>::show),
        };)+
    };
}

table_keys! {
    /// Maximum number of concurrent jobs. Further jobs wait with no attempt counted, and other jobs pass them.
    MAX_CONCURRENT, max_concurrent: Capacity<1, 10000>, "2";
    /// Maximum number of jobs that start per second, minute or hour. An isolated job counts when its process is
    /// requested.
    RATE, rate: Rates, "\"30/m\"";
    /// Number of jobs that may start at once after a period without starts. The default is the rate per second, at
    /// least 1.
    BURST, burst: Count<1, 1000000>, "5";
    /// Maximum number of reserved jobs of the queue that wait for a limit, if that is less than the queue's part of the
    /// top-level `max_waiting`.
    MAX_WAITING, max_waiting: Capacity<1, 1000000>, "20";
    /// The queue's share of all starts, relative to the other queues that have jobs. If no queue has a weight, the
    /// order of `queues` is strict; if one has, the weight of the others is 1. `weights` at the top of the file sets
    /// several.
    WEIGHT, weight: Count<1, 1000>, "5";
    /// `default_tier` for these jobs; that of a class takes precedence over that of a queue.
    TIER, tier: DefaultTier, "\"pooled\"";
    /// Order among the jobs of one queue that wait for the same tier: higher numbers first; the default is 0. A
    /// priority that the job declares takes precedence, then that of its class.
    PRIORITY, priority: Priority, "5";
    /// Memory limit, in MB, of a job that declares no `maxMemory`; that of a class takes precedence over that of a
    /// queue. If it is above that of a pooled worker, the job runs isolated.
    MEMORY_MAX, memory_max: Megabytes<32>, "1024";
    /// A key of the payload, a tag `NAME:VALUE` or a property: the limits apply to each of its values separately.
    BY, by: Name, "\"tenant_id\"";
    /// Share the limits between all hosts that set this. The queue's server keeps them: Redis, or a database (in a
    /// table with the name of the jobs table plus `_limits`). While it does not answer, no job under these limits
    /// starts.
    SHARED, shared: bool, "true";
    /// Timeout of jobs that declare none, instead of the top-level `timeout`; that of a class takes precedence over
    /// that of a queue.
    TIMEOUT, timeout: Timeout, "\"10min\"";
    /// `wait` of `[alerts]` for the queue.
    ALERT_WAIT, alert_wait: Time<1000>, "\"10min\"";
    /// A due job has waited for longer than this, in any queue. `alert_wait` of a queue takes precedence.
    WAIT, [alerts] wait: Time<1000>, "\"60s\"";
    /// A queue has grown by more jobs than this within ten minutes.
    BACKLOG_GROWTH, [alerts] backlog_growth: Count<1, 1000000000>, "1000";
    /// At least this many jobs failed for good in a second, minute or hour.
    FAILURE_RATE, [alerts] failure_rate: Rates, "\"20/m\"";
    /// At least this many processes were killed by the kernel at the memory limit of their unit.
    OOM_RATE, [alerts] oom_rate: Rates, "\"3/h\"";
    /// At least this many PHP processes died.
    CRASH_RATE, [alerts] crash_rate: Rates, "\"5/m\"";
    /// The app has been degraded for longer than this: it runs, but its jobs do not.
    DEGRADED, [alerts] degraded: Time<1000>, "\"1min\"";
    /// The coordinator has not answered for longer than this.
    COORDINATOR_GONE, [alerts] coordinator_gone: Time<1000>, "\"30s\"";
    /// The runtime has failed and not recovered for longer than this. `kqueue-alert@APP.service` sends this alert.
    DOWN, [alerts] down: Time<1000>, "\"30s\"";
    /// A program that gets each message as JSON on its standard input, run as the app's user. Its timeout is 30 s.
    COMMAND, [alerts] command: Program, "[\"/usr/local/bin/page\", \"--team\", \"shop\"]";
    /// The URL to which each message is sent by HTTP POST, as JSON. Failed requests are retried for half an hour.
    WEBHOOK, [alerts] webhook: Url, "\"https://alerts.example/kqueue\"";
    /// The secret that signs each request: HMAC-SHA256 of the body in hexadecimal, in the header `X-Kqueue-Signature`
    /// after `sha256=`. A file that the app's user can read, or a systemd credential (`LoadCredential=` of the app's
    /// units).
    WEBHOOK_SECRET, [alerts] webhook_secret: Secret, "\"/etc/kqueue/shop.secret\"";
    /// The addresses to which each message is sent by mail.
    MAIL, [alerts] mail: Addresses, "[\"ops@shop.example\"]";
    /// The sendmail program, called with `-i -t`; by default `/usr/sbin/sendmail`. Most kinds need `setuid = true`.
    SENDMAIL, [alerts] sendmail: WholePath, "\"/usr/sbin/sendmail\"";
}

/// Every kind of table.
pub static TABLES: &[Table] = &[
    Table {
        name: "class",
        doc: &[
            " Limits, tier and defaults of a class of jobs: the job's own class, or that of the listener, mailable or",
            " notification that it carries.",
        ],
        example: "\"App\\\\Jobs\\\\Import\"",
        keys: &[&MAX_CONCURRENT, &RATE, &BURST, &BY, &SHARED, &PRIORITY, &TIER, &MEMORY_MAX, &TIMEOUT],
        of: |tables| &mut tables.class,
        read: |tables| &tables.class,
    },
    Table {
        name: "queue",
        doc: &[
            " Limits of a queue, its weight, tier and defaults for its jobs, and the maximum wait before an alert. The",
            " table of a job's class takes precedence.",
        ],
        example: "mail",
        keys: &[
            &MAX_CONCURRENT,
            &RATE,
            &BURST,
            &SHARED,
            &MAX_WAITING,
            &WEIGHT,
            &PRIORITY,
            &TIER,
            &MEMORY_MAX,
            &TIMEOUT,
            &ALERT_WAIT,
        ],
        of: |tables| &mut tables.queue,
        read: |tables| &tables.queue,
    },
    Table {
        name: "alerts",
        doc: &[
            " Conditions and targets of alerts. Each alert is reported once when it begins and once when it is over, to the",
            " journal and the targets. A condition without a key is not watched. `kqueue alert APP test` tests the targets.",
        ],
        example: "",
        keys: &[
            &WAIT,
            &BACKLOG_GROWTH,
            &FAILURE_RATE,
            &OOM_RATE,
            &CRASH_RATE,
            &DEGRADED,
            &COORDINATOR_GONE,
            &DOWN,
            &COMMAND,
            &WEBHOOK,
            &WEBHOOK_SECRET,
            &MAIL,
            &SENDMAIL,
        ],
        of: |tables| &mut tables.alerts,
        read: |tables| &tables.alerts,
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

    /// Whether there is one of it, and not one for each class or queue.
    pub fn is_single(&self) -> bool {
        self.example.is_empty()
    }

    /// How the head of the table of this class or queue is written.
    pub fn head(&self, name: &str) -> String {
        if self.is_single() {
            return format!("[{}]", self.name);
        }
        let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let name = if bare { name.to_owned() } else { format!("\"{}\"", escaped(name)) };
        format!("[{}.{name}]", self.name)
    }

    /// An example of a head.
    pub fn example_head(&self) -> String {
        match self.is_single() {
            true => self.head(""),
            false => format!("[{}.{}]", self.name, self.example),
        }
    }

    /// What is said of which classes or queues.
    pub fn read<'a>(&self, tables: &'a Tables) -> &'a BTreeMap<String, Bounds> {
        (self.read)(tables)
    }
}

impl TableKey {
    /// Checks that a value, as it is written in TOML, is one of this key's.
    pub(crate) fn take(&'static self, table: &'static Table, name: &str, text: &str) -> Result<(), Error> {
        let raw = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) => Raw::Text(text.to_owned()),
            None => Raw::number_or_text(text),
        };
        let said = Said { table, name: name.to_owned(), key: self, raw, origin: Origin::Default };
        said.put(&mut Tables::default())
    }

    /// The value: `None` where there is none.
    pub fn show(&self, bounds: &Bounds) -> Option<Value> {
        (self.show)(bounds)
    }
}

/// Whether there is any alert.
fn watched(tables: &Tables) -> bool {
    tables.alerts().watch() || tables.queue.values().any(|of| of.alert_wait.is_some())
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
        let Some(bounds) = (self.table.read)(tables).get(&self.name) else { return Ok(()) };
        let alerts = &bounds.alerts;
        // What it needs beside it.
        let lacks = match self.key.name {
            name if name == BURST.name && bounds.rate.is_none() => ("a rate", &RATE),
            name if name == SHARED.name
                && self.table.name == "queue"
                && bounds.max_concurrent.is_none()
                && bounds.rate.is_none() =>
            {
                ("a limit", &MAX_CONCURRENT)
            }
            name if name == WEBHOOK_SECRET.name && alerts.webhook.is_none() => ("a webhook", &WEBHOOK),
            name if name == SENDMAIL.name && alerts.mail.is_none() => ("a mail address", &MAIL),
            _ if self.table.is_single() && !watched(tables) => ("an alert condition", &WAIT),
            _ => return Ok(()),
        };
        Err(Error::Conflict {
            at: At { key: self.key.name, origin: self.origin.clone() },
            what: format!("has no effect without {}", lacks.0),
            fix: format!(
                "add {} = {} to {}, or leave it out",
                lacks.1.name,
                lacks.1.example,
                self.table.head(&self.name)
            ),
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
                    let value = key.show(after).map_or("removed".to_owned(), |value| format!("= {value}"));
                    lines.push(format!("{} {} {value}", table.head(name), key.name));
                }
            }
        }
    }
    lines
}
