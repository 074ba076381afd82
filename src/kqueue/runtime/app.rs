//! The app's description of itself.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::service::horizon::Horizon;

/// The app as it is known to the runtime.
#[derive(Debug)]
pub(super) struct App {
    /// Name of the queue connection.
    pub connection: String,
    /// The connection's default queue, worked if the settings name none.
    pub own_queue: String,
    /// The queues to work, in order.
    pub queues: Vec<String>,
    /// The app's description of its connection.
    pub backend: Value,
    /// Whether the runtime may remove finished jobs itself.
    pub ack: bool,
    /// Whether the settings allow that, where the connection does.
    pub may_ack: bool,
    /// Whether PHP has pcntl, and so timeouts by alarm.
    pub signals: bool,
}

/// A template's description of its app after booting.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    pub laravel: String,
    pub php: String,
    pub fork: bool,
    pub signals: bool,
    /// Why the setup code in the app's `artisan` is not run, if so.
    #[serde(default)]
    pub artisan: Option<String>,
    pub connection: String,
    pub queue: String,
    pub backend: Value,
    /// Present if the queue is Horizon's.
    #[serde(default)]
    pub horizon: Option<Horizon>,
    /// `settings` of the app's `config/kqueue.php`.
    pub settings: Map<String, Value>,
}

impl Description {
    /// Whether the queue is Laravel's own class, without overrides by the app.
    pub fn is_plain(&self) -> bool {
        self.backend.get("plain").and_then(Value::as_bool).unwrap_or(false)
    }
}
