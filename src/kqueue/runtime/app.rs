//! What the app says of itself.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::service::horizon::Horizon;

/// The app as it is worked.
#[derive(Debug)]
pub(super) struct App {
    /// The connection that is worked.
    pub connection: String,
    /// The connection's own queue, which is worked where the settings name none.
    pub own_queue: String,
    /// Its queues, in order.
    pub queues: Vec<String>,
    /// What it says of its connection.
    pub backend: Value,
    /// Whether the runtime may remove finished jobs itself.
    pub ack: bool,
    /// Whether the settings let it, where the connection does.
    pub may_ack: bool,
    /// Whether PHP can ring an alarm.
    pub signals: bool,
}

/// What a template says of its app when it has booted.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    pub laravel: String,
    pub php: String,
    pub fork: bool,
    pub signals: bool,
    /// Why what the app's `artisan` sets up is not done, if so.
    #[serde(default)]
    pub artisan: Option<String>,
    pub connection: String,
    pub queue: String,
    pub backend: Value,
    /// Where the queue is Horizon's.
    #[serde(default)]
    pub horizon: Option<Horizon>,
    /// `settings` of the app's `config/kqueue.php`.
    pub settings: Map<String, Value>,
}

impl Description {
    /// Whether the queue is Laravel's own, without anything of the app's in between.
    pub fn is_plain(&self) -> bool {
        self.backend.get("plain").and_then(Value::as_bool).unwrap_or(false)
    }
}
