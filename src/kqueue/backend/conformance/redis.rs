//! Redis in all setups: a single server, one with TLS, one behind sentinels, a cluster.

use std::path::PathBuf;

use redis::{Commands, Connection};

use super::redis_servers::{Alone, Tls};
use super::{Fixture, LEASE};
use crate::backend::{RedisBackend, RedisSettings, Reservation, epoch_seconds};
use kqueue_config::Pop;

/// Prefix of every key, as in Laravel's skeleton.
pub(super) const PREFIX: &str = "shop_database_";

/// Servers, and how a backend connects to them.
pub(super) trait Served {
    /// Whether its queues have names in braces.
    const BRACES: bool = false;

    /// Starts them; `private` if the test takes them down.
    fn start(private: bool) -> Self;
    fn settings(&self) -> RedisSettings;
    /// A connection of the app to the server of a key.
    fn master(&self, key: &str) -> Connection;
    fn go_away(&mut self);
    fn come_back(&mut self);
}

/// Queues on such servers.
#[derive(Clone)]
pub(super) struct RedisOn<S> {
    pub(super) served: S,
    prefix: String,
}

pub(super) type RedisFixture = RedisOn<Alone>;

mod alone {
    super::super::suite!(super::RedisFixture);
}

mod tls {
    super::super::suite!(super::RedisOn<super::Tls>);
}

impl<S: Served> RedisOn<S> {
    pub(super) fn of(served: S) -> Self {
        // Other tests may use the same servers.
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let prefix = if S::BRACES { format!("{PREFIX}{count}_") } else { PREFIX.to_owned() };
        Self { served, prefix }
    }

    pub(super) fn settings(&self) -> RedisSettings {
        let names = if S::BRACES { r#"{"before": "queues:{", "after": "}"}"# } else { "{}" };
        RedisSettings {
            prefix: self.prefix.clone(),
            retry_after: Some(LEASE),
            migration_batch_size: -1,
            names: serde_json::from_str(names).unwrap(),
            ..self.served.settings()
        }
    }

    pub(super) fn key(&self, queue: &str) -> String {
        let (name, part) = queue.find(':').map_or((queue, ""), |at| queue.split_at(at));
        let name = if S::BRACES { format!("{{{name}}}") } else { name.to_owned() };
        format!("{}queues:{name}{part}", self.prefix)
    }

    /// A connection of the app to the server of a queue.
    pub(super) fn redis_of(&self, queue: &str) -> Connection {
        self.served.master(&self.key(queue))
    }
}

impl RedisFixture {
    pub(super) fn socket(&self) -> PathBuf {
        self.served.0.socket()
    }

    pub(super) fn redis(&self) -> Connection {
        self.redis_of("")
    }
}

/// The bytes that identify a reserved job in PHP.
pub(super) fn member(job: &Reservation) -> &[u8] {
    job.receipt.encode().body.unwrap()
}

pub(super) fn attempts(job: &Reservation) -> i64 {
    let message: serde_json::Value = serde_json::from_slice(member(job)).unwrap();
    message["attempts"].as_i64().unwrap()
}

impl<S: Served> Fixture for RedisOn<S> {
    type Backend = RedisBackend;

    async fn start() -> Self {
        Self::of(S::start(false))
    }

    async fn start_private() -> Self {
        Self::of(S::start(true))
    }

    fn maker(&self) -> impl Fn() -> RedisBackend + Send + Clone + 'static {
        let settings = self.settings();
        move || RedisBackend::connect(settings.clone(), Pop::Safe).unwrap()
    }

    async fn push(&self, queue: &str, payload: &[u8]) {
        let list = self.key(queue);
        let notify = format!("{list}:notify");
        redis::pipe().atomic().rpush(&list, payload).rpush(notify, 1).exec(&mut self.redis_of(queue)).unwrap();
    }

    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64) {
        let key = format!("{}:delayed", self.key(queue));
        let () = self.redis_of(queue).zadd(key, payload, due).unwrap();
    }

    async fn peek(&self, queue: &str) -> Vec<Vec<u8>> {
        self.redis_of(queue).lrange(self.key(queue), 0, -1).unwrap()
    }

    async fn expire(&self, job: &mut Reservation) {
        let key = format!("{}:reserved", self.key(&job.queue));
        let () = self.redis_of(&job.queue).zadd(key, member(job), epoch_seconds() - 1).unwrap();
    }

    fn attempts(job: &Reservation) -> i64 {
        attempts(job)
    }

    async fn go_away(&mut self) {
        self.served.go_away();
    }

    async fn come_back(&mut self) {
        self.served.come_back();
    }
}

/// Reserves at most `max` jobs of `default`.
pub(super) async fn take(backend: &RedisBackend, max: usize) -> crate::backend::Reserved {
    backend.reserve(&["default".to_owned()], max).await.unwrap()
}
