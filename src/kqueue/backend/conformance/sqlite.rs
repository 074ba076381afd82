//! A SQLite file for each test, with Laravel's jobs table.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use super::{Fixture, LEASE};
use crate::backend::row::Row;
use crate::backend::{Reservation, SqliteBackend, SqliteSettings, epoch_seconds};

super::suite!(SqliteFixture);

/// The table that Laravel's migration makes.
pub(super) const TABLE: &str = "CREATE TABLE \"jobs\" (\"id\" integer not null primary key autoincrement, \
     \"queue\" varchar not null, \"payload\" text not null, \"attempts\" integer not null, \
     \"reserved_at\" integer, \"available_at\" integer not null, \"created_at\" integer not null); \
     CREATE INDEX \"jobs_queue_index\" on \"jobs\" (\"queue\"); \
     CREATE TABLE IF NOT EXISTS jobs_limits (name varchar(191) PRIMARY KEY, state text NOT NULL)";

pub(super) struct SqliteFixture {
    pub(super) dir: TempDir,
}

impl SqliteFixture {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("database.sqlite")
    }

    pub(super) fn settings(&self) -> SqliteSettings {
        SqliteSettings {
            names: Default::default(),
            path: self.path().to_str().unwrap().to_owned(),
            table: "jobs".to_owned(),
            retry_after: Some(LEASE),
            prefix: String::new(),
        }
    }

    /// A connection of the app.
    pub(super) async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }

    pub(super) async fn run(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        // If dropped, it would be closed later, and changing the journal mode needs exclusive access.
        connection.close().await.unwrap();
    }

    async fn insert(&self, queue: &str, payload: &[u8], due: i64) {
        let mut connection = self.connect().await;
        sqlx::query("INSERT INTO jobs (queue, payload, attempts, available_at, created_at) VALUES (?, CAST(? AS TEXT), 0, ?, ?)")
            .bind(queue)
            .bind(payload)
            .bind(due)
            .bind(epoch_seconds())
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

impl Fixture for SqliteFixture {
    type Backend = SqliteBackend;

    async fn start() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::File::create(fixture.path()).unwrap();
        fixture.run("PRAGMA journal_mode = WAL").await;
        fixture.run(TABLE).await;
        fixture
    }

    fn maker(&self) -> impl Fn() -> SqliteBackend + Send + Clone + 'static {
        let settings = self.settings();
        move || SqliteBackend::connect(settings.clone()).unwrap()
    }

    async fn push(&self, queue: &str, payload: &[u8]) {
        self.insert(queue, payload, epoch_seconds()).await;
    }

    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64) {
        self.insert(queue, payload, due).await;
    }

    async fn peek(&self, queue: &str) -> Vec<Vec<u8>> {
        let sql = "SELECT CAST(payload AS BLOB) FROM jobs WHERE queue = ? AND reserved_at IS NULL ORDER BY id";
        sqlx::query_scalar(sql).bind(queue).fetch_all(&mut self.connect().await).await.unwrap()
    }

    async fn expire(&self, job: &mut Reservation) {
        let row = Row { reserved_at: epoch_seconds() - LEASE, ..Row::of(&job.receipt).unwrap() };
        job.receipt = row.receipt();
        sqlx::query("UPDATE jobs SET reserved_at = ? WHERE id = ?")
            .bind(row.reserved_at)
            .bind(row.id)
            .execute(&mut self.connect().await)
            .await
            .unwrap();
    }

    fn attempts(job: &Reservation) -> i64 {
        Row::of(&job.receipt).unwrap().attempts
    }

    async fn go_away(&mut self) {
        std::fs::rename(self.path(), self.dir.path().join("away")).unwrap();
    }

    async fn come_back(&mut self) {
        // A new file, as after a restore: a connection to the old one is of no use.
        let _ = std::fs::remove_file(self.dir.path().join("database.sqlite-wal"));
        let _ = std::fs::remove_file(self.dir.path().join("database.sqlite-shm"));
        std::fs::File::create(self.path()).unwrap();
        self.run(TABLE).await;
    }
}
