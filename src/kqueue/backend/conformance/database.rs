//! A database for each test, on a real server that all tests share, with Laravel's jobs table.

use super::{Fixture, LEASE};
use crate::backend::database::session::{Answer, Session};
use crate::backend::database::settings::{Address, DatabaseSettings, Engine, Tls, TlsMode};
use crate::backend::row::Row;
use crate::backend::{DatabaseBackend, Reservation, epoch_seconds};

pub(super) mod relay;
pub(super) mod server;

use relay::Relay;
use server::Server;

mod mysql {
    super::super::suite!(super::MySqlFixture);
}
mod postgres {
    super::super::suite!(super::PostgresFixture);
}

pub(super) type MySqlFixture = DatabaseFixture<false>;
pub(super) type PostgresFixture = DatabaseFixture<true>;

/// One database, reached through a relay that can be cut.
pub(super) struct DatabaseFixture<const POSTGRES: bool> {
    pub(super) server: &'static Server,
    pub(super) name: String,
    pub(super) relay: Relay,
}

/// The table that Laravel's migration makes.
pub(super) fn table(engine: Engine) -> &'static str {
    match engine {
        Engine::MySql => {
            "CREATE TABLE `jobs` (`id` bigint unsigned not null auto_increment primary key, `queue` varchar(255) not null, \
             `payload` longtext not null, `attempts` tinyint unsigned not null, `reserved_at` int unsigned null, \
             `available_at` int unsigned not null, `created_at` int unsigned not null) \
             default character set utf8mb4 collate 'utf8mb4_unicode_ci'; \
             ALTER TABLE `jobs` ADD INDEX `jobs_queue_index`(`queue`); \
             CREATE TABLE IF NOT EXISTS jobs_limits (name varchar(191) PRIMARY KEY, state text NOT NULL)"
        }
        Engine::Postgres => {
            "CREATE TABLE \"jobs\" (\"id\" bigserial not null primary key, \"queue\" varchar(255) not null, \
             \"payload\" text not null, \"attempts\" smallint not null, \"reserved_at\" integer null, \
             \"available_at\" integer not null, \"created_at\" integer not null); \
             CREATE INDEX \"jobs_queue_index\" on \"jobs\" (\"queue\"); \
             CREATE TABLE IF NOT EXISTS jobs_limits (name varchar(191) PRIMARY KEY, state text NOT NULL)"
        }
    }
}

impl<const POSTGRES: bool> DatabaseFixture<POSTGRES> {
    pub(super) const ENGINE: Engine = if POSTGRES { Engine::Postgres } else { Engine::MySql };

    pub(super) async fn on(server: &'static Server) -> Self {
        let name = server.database().await;
        let fixture = Self { server, relay: Relay::new(server.socket.clone()), name };
        fixture.run(table(Self::ENGINE)).await;
        if POSTGRES {
            fixture
                .run(&format!("ALTER TABLE jobs OWNER TO {0}; ALTER TABLE jobs_limits OWNER TO {0}", fixture.name))
                .await;
        }
        fixture
    }

    pub(super) fn settings(&self) -> DatabaseSettings {
        let address = self.relay.address;
        DatabaseSettings {
            addresses: vec![Address { host: address.ip().to_string(), port: Some(address.port()), socket: None }],
            database: self.name.clone(),
            username: Some(self.name.clone()),
            tls: Tls { mode: TlsMode::Prefer, ..Tls::default() },
            ..server::settings(Self::ENGINE)
        }
    }

    pub(super) fn changed(&self, change: impl FnOnce(&mut DatabaseSettings)) -> DatabaseBackend {
        let mut settings = self.settings();
        change(&mut settings);
        DatabaseBackend::connect(settings).unwrap()
    }

    /// A session of the app.
    pub(super) async fn session(&self) -> Session {
        self.server.session(&self.name).await
    }

    pub(super) async fn run(&self, sql: &str) -> Vec<Answer> {
        self.session().await.run(sql.to_owned()).await.unwrap()
    }

    /// The first column of all rows.
    pub(super) async fn column(&self, sql: &str) -> Vec<Vec<u8>> {
        let rows = self.run(sql).await.into_iter().flat_map(|answer| answer.rows);
        rows.map(|row| row[0].as_deref().unwrap_or_default().to_vec()).collect()
    }

    pub(super) fn text(bytes: &[u8]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if POSTGRES { format!("convert_from('\\x{hex}', 'UTF8')") } else { format!("_utf8mb4 X'{hex}'") }
    }

    pub(super) async fn insert(&self, queue: &str, payload: &[u8], due: i64) {
        self.run(&format!(
            "INSERT INTO jobs (queue, payload, attempts, available_at, created_at) VALUES ({}, {}, 0, {due}, {})",
            Self::text(queue.as_bytes()),
            Self::text(payload),
            epoch_seconds()
        ))
        .await;
    }
}

impl<const POSTGRES: bool> Fixture for DatabaseFixture<POSTGRES> {
    type Backend = DatabaseBackend;

    async fn start() -> Self {
        Self::on(Server::shared(Self::ENGINE)).await
    }

    fn maker(&self) -> impl Fn() -> DatabaseBackend + Send + Clone + 'static {
        let settings = self.settings();
        move || DatabaseBackend::connect(settings.clone()).unwrap()
    }

    async fn push(&self, queue: &str, payload: &[u8]) {
        self.insert(queue, payload, epoch_seconds()).await;
    }

    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64) {
        self.insert(queue, payload, due).await;
    }

    async fn peek(&self, queue: &str) -> Vec<Vec<u8>> {
        let queue = Self::text(queue.as_bytes());
        let sql = format!("SELECT payload FROM jobs WHERE queue = {queue} AND reserved_at IS NULL ORDER BY id");
        let names = if POSTGRES { "" } else { "SET NAMES utf8mb4; " };
        self.column(&format!("{names}{sql}")).await
    }

    async fn expire(&self, job: &mut Reservation) {
        let row = Row { reserved_at: epoch_seconds() - LEASE, ..Row::of(&job.receipt).unwrap() };
        job.receipt = row.receipt();
        self.run(&format!("UPDATE jobs SET reserved_at = {} WHERE id = {}", row.reserved_at, row.id)).await;
    }

    fn attempts(job: &Reservation) -> i64 {
        Row::of(&job.receipt).unwrap().attempts
    }

    async fn go_away(&mut self) {
        self.relay.cut();
    }

    async fn come_back(&mut self) {
        self.relay.mend();
    }
}
