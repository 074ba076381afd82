//! A Redis server of each test's own, on a private socket, gone with the test.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Commands, Connection};
use tempfile::TempDir;

use super::{Fixture, LEASE};
use crate::backend::{RedisBackend, RedisSettings, Reservation, epoch_seconds};
use kqueue_config::Pop;

super::suite!(RedisFixture);

/// Put before every key, as Laravel's skeleton does.
pub(super) const PREFIX: &str = "shop_database_";

pub(super) struct RedisFixture {
    dir: TempDir,
    server: Child,
}

impl Drop for RedisFixture {
    fn drop(&mut self) {
        self.stop();
    }
}

impl RedisFixture {
    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub(super) fn settings(&self) -> RedisSettings {
        RedisSettings {
            names: Default::default(),
            host: self.socket().to_str().unwrap().to_owned(),
            port: 0,
            username: None,
            password: None,
            database: 2,
            prefix: PREFIX.to_owned(),
            cluster: false,
            retry_after: Some(LEASE),
            migration_batch_size: -1,
        }
    }

    /// The app's own connection.
    pub(super) fn redis(&self) -> Connection {
        let url = format!("unix://{}?db=2", self.socket().display());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }

    pub(super) fn key(queue: &str) -> String {
        format!("{PREFIX}queues:{queue}")
    }

    /// The bytes by which PHP knows a reserved job.
    pub(super) fn member(job: &Reservation) -> &[u8] {
        job.receipt.encode().body.unwrap()
    }

    fn stop(&mut self) {
        // The server may be gone already; that is what was wanted.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Starts a server in `dir`. It dies with the thread that started it, whatever becomes of the test.
fn spawn(dir: &TempDir) -> Child {
    let socket = dir.path().join("redis.sock");
    let mut server = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "redis-server", "--port", "0"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--unixsocket")
        .arg(&socket)
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("setpriv (util-linux) and redis-server are needed for this test");
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        if let Some(status) = server.try_wait().unwrap() {
            panic!("redis-server ended: {status}");
        }
        assert!(start.elapsed() < Duration::from_secs(10), "no redis-server");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

impl Fixture for RedisFixture {
    type Backend = RedisBackend;

    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = spawn(&dir);
        Self { dir, server }
    }

    fn maker(&self) -> impl Fn() -> RedisBackend + Send + Clone + 'static {
        let settings = self.settings();
        move || RedisBackend::connect(settings.clone(), Pop::Safe).unwrap()
    }

    async fn push(&self, queue: &str, payload: &[u8]) {
        let list = Self::key(queue);
        redis::pipe()
            .atomic()
            .rpush(&list, payload)
            .rpush(format!("{list}:notify"), 1)
            .exec(&mut self.redis())
            .unwrap();
    }

    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64) {
        let key = format!("{}:delayed", Self::key(queue));
        let () = self.redis().zadd(key, payload, due).unwrap();
    }

    async fn peek(&self, queue: &str) -> Vec<Vec<u8>> {
        self.redis().lrange(Self::key(queue), 0, -1).unwrap()
    }

    async fn expire(&self, job: &mut Reservation) {
        let key = format!("{}:reserved", Self::key(&job.queue));
        let () = self.redis().zadd(key, Self::member(job), epoch_seconds() - 1).unwrap();
    }

    fn attempts(job: &Reservation) -> i64 {
        let message: serde_json::Value = serde_json::from_slice(Self::member(job)).unwrap();
        message["attempts"].as_i64().unwrap()
    }

    async fn go_away(&mut self) {
        self.stop();
    }

    async fn come_back(&mut self) {
        self.server = spawn(&self.dir);
    }
}

/// Reserves at most `max` jobs of `default`.
pub(super) async fn take(backend: &RedisBackend, max: usize) -> crate::backend::Reserved {
    backend.reserve(&["default".to_owned()], max).await.unwrap()
}
