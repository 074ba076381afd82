//! Settings of one queue connection, as PHP resolved them and printed them in JSON.
//!
//! Nothing is read from the app's files: PHP sends the values that Laravel itself would use. Numbers that Laravel takes
//! from the environment may be strings; both forms are accepted. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{BackendError, DatabaseSettings, RedisSettings, SqsSettings};

/// Names under which the app's queue object stores its queues: keys in Redis, values in a column, URLs in SQS.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Names {
    /// Stored names of the queues that PHP was asked about.
    #[serde(default)]
    exact: BTreeMap<String, String>,
    /// Prefix of all other names; `None` is that of Laravel's own class.
    #[serde(default)]
    before: Option<String>,
    /// Suffix of all other names.
    #[serde(default)]
    after: Option<String>,
}

impl Names {
    /// Stored name of a queue, if PHP was asked about it.
    pub(super) fn exact(&self, queue: &str) -> Option<&str> {
        self.exact.get(queue).map(String::as_str)
    }

    /// Stored name of a queue; `before` is the prefix that Laravel's own class uses.
    pub(super) fn of<'a>(&'a self, queue: &'a str, before: &str) -> Cow<'a, str> {
        match self.exact.get(queue) {
            Some(name) => name.into(),
            None => {
                let before = self.before.as_deref().unwrap_or(before);
                format!("{before}{queue}{}", self.after.as_deref().unwrap_or_default()).into()
            }
        }
    }
}

/// One queue connection of the app: an object with `driver`, and for the driver `database` also `engine`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "serde_json::Value")]
pub enum ConnectionSettings {
    /// `{"driver": "redis", …}`.
    Redis(Box<RedisSettings>),
    /// `{"driver": "database", "engine": "sqlite", …}`.
    Sqlite(SqliteSettings),
    /// `{"driver": "database", "engine": "mysql", …}`, or `mariadb` or `pgsql`.
    Database(Box<DatabaseSettings>),
    /// `{"driver": "sqs", …}`.
    Sqs(SqsSettings),
    /// Any other queue that `queue:work` can work: one of another driver, or of an app's own class with its own way of
    /// reserving, which kqueue would bypass.
    Native,
    /// A connection that no worker can work. [`super::open`] returns the reason.
    Unsupported {
        /// The driver as PHP named it.
        driver: String,
        /// The database engine, if the driver has one.
        engine: Option<String>,
    },
}

/// A jobs table in a SQLite file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The database file.
    pub path: String,
    /// Name of the jobs table, without the prefix.
    #[serde(default = "default_table")]
    pub table: String,
    /// Seconds after which a reservation ends. Laravel has no "never" here.
    #[serde(default, deserialize_with = "optional_number")]
    pub retry_after: Option<i64>,
    /// The connection's table prefix.
    #[serde(default)]
    pub prefix: String,
    /// Stored names of its queues.
    #[serde(default)]
    pub names: Names,
}

impl ConnectionSettings {
    /// Native if only the app's own code can get the credentials: then its workers pop the jobs, too.
    fn of_sqs(settings: SqsSettings) -> Self {
        match settings.provider.as_deref() {
            None | Some("ecs" | "instance") => Self::Sqs(settings),
            Some(_) => Self::Native,
        }
    }
}

impl TryFrom<serde_json::Value> for ConnectionSettings {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(|v| v.as_str()).map(str::to_owned);
        let driver = text("driver").ok_or("the queue connection has no `driver`")?;
        let engine = text("engine");
        if value.get("own").is_some() {
            return Ok(Self::Native);
        }
        let of = |e: serde_json::Error| format!("settings of the queue connection: {e}");

        match (driver.as_str(), engine.as_deref()) {
            ("redis", _) => serde_json::from_value(value).map(Self::Redis).map_err(of),
            ("database", Some("sqlite")) => serde_json::from_value(value).map(Self::Sqlite).map_err(of),
            ("database", Some("mysql" | "mariadb" | "pgsql")) => {
                serde_json::from_value(value).map(Self::Database).map_err(of)
            }
            ("sqs", _) => serde_json::from_value(value).map(Self::of_sqs).map_err(of),
            ("sync" | "deferred" | "background" | "null", _) | ("database", None) => {
                Ok(Self::Unsupported { driver, engine })
            }
            _ => Ok(Self::Native),
        }
    }
}

/// Error for a driver that cannot be served: one line with the reason and the fix.
pub(super) fn unsupported(driver: &str, engine: Option<&str>) -> BackendError {
    BackendError::Settings(match (driver, engine) {
        ("sync" | "deferred" | "background", _) => format!(
            "the driver `{driver}` runs jobs inside the process that dispatches them, so there is \
             nothing for kqueue to run: set QUEUE_CONNECTION to a redis or database connection"
        ),
        ("null", _) => "the driver `null` discards jobs: set QUEUE_CONNECTION to a redis or \
             database connection"
            .to_owned(),
        ("database", None) => "the database queue connection has no `engine`: the app's config/database.php does not \
             define its database connection"
            .to_owned(),
        _ => format!(
            "kqueue does not support the driver `{driver}`: set QUEUE_CONNECTION to a redis or database connection"
        ),
    })
}

fn default_table() -> String {
    "jobs".to_owned()
}

pub(super) fn all() -> i64 {
    -1
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

impl Number {
    fn value<E: serde::de::Error>(self) -> Result<i64, E> {
        match self {
            Self::Number(n) => Ok(n),
            Self::Text(text) => text.trim().parse().map_err(|_| E::custom(format!("`{text}` is not a whole number"))),
        }
    }
}

pub(super) fn optional_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Option::<Number>::deserialize(from)?.map(Number::value).transpose()
}

pub(super) fn number_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(optional_number(from)?.unwrap_or(0))
}

pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(optional_number(from)?.unwrap_or(-1))
}
