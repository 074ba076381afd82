//! The file: opened when needed, made where it is not there, set aside where it cannot be used.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

use super::buffer::Batch;
use super::names::Names;
use super::{FILE, prune, write};

/// The version of the tables.
pub const VERSION: i64 = 1;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes that the file may have without any job in it, and for each job that it may hold.
const ROOM: (u64, u64) = (64 << 20, 1 << 10);
/// What a lock of somebody else's may delay us.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Steps of SQLite's between two looks at the clock.
const STEPS: i32 = 10_000;

/// Why history cannot be read or written now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be used; its path and why.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file's path.
        path: String,
        /// Why.
        reason: String,
    },
    /// There is no more room, on the disk or in what the file may have.
    #[error("{path}: no room is left")]
    Full {
        /// The file's path.
        path: String,
    },
    /// It takes too long to find what was asked for.
    #[error("history takes too long to answer; ask for less")]
    Slow,
}

/// An open file and which one it is.
pub struct Open {
    /// The one connection.
    pub connection: SqliteConnection,
    /// Numbers of names.
    pub names: Names,
    /// Attempts in it: that did not end well, and that did.
    pub counts: [i64; 2],
    /// When it was last looked at whether there is too much in it.
    pub pruned: Option<Instant>,
    device: u64,
    inode: u64,
}

/// The file, open or not.
pub struct File {
    path: PathBuf,
    open: Option<Open>,
    /// Attempts of each kind that it holds at the most.
    pub jobs: usize,
    /// Pages that it may have, where that does not follow from the number of jobs.
    pub pages: Option<u64>,
    /// What was said of it last.
    said: Option<HistoryError>,
    /// When the runtime began: what an earlier one has left open ended by then.
    began: u64,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("said", &self.said).finish_non_exhaustive()
    }
}

impl File {
    /// In this directory. Opens nothing yet.
    pub fn new(directory: &Path, jobs: usize, began: u64) -> Self {
        Self { path: directory.join(FILE), open: None, jobs, pages: None, said: None, began }
    }

    /// Says what is wrong with it, once, and that it is fine again.
    pub fn tell(&mut self, now: Option<HistoryError>) {
        match (&self.said, &now) {
            (Some(before), Some(now)) if std::mem::discriminant(before) == std::mem::discriminant(now) => {}
            (_, Some(error)) => {
                tracing::warn!(
                    "{error}; what happens is kept in memory, as far as there is room, until it can be written"
                )
            }
            (Some(_), None) => tracing::info!("{}: history is written again", self.path.display()),
            (None, None) => {}
        }
        self.said = now;
    }

    /// Runs `work` on the open file. One that turns out to be unreadable is set aside, and `work` runs once more on a new one.
    pub async fn with<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Open) -> sqlx::Result<T>,
    ) -> Result<T, HistoryError> {
        for again in [true, false] {
            let mut open = self.opened().await?;
            let error = match work(&mut open).await {
                Ok(value) => {
                    self.open = Some(open);
                    return Ok(value);
                }
                Err(error) => error,
            };
            match fault(&error) {
                Fault::Broken if again => self.set_aside(&error.to_string()),
                Fault::Full => {
                    return Err(HistoryError::Full { path: self.path.display().to_string() });
                }
                Fault::Slow => {
                    self.open = Some(open);
                    return Err(HistoryError::Slow);
                }
                _ => return Err(self.unusable(&error)),
            }
        }
        Err(self.unusable(&"it cannot be read"))
    }

    /// Writes a batch. Where there is no room, the oldest of what is there makes some.
    pub async fn write(&mut self, batch: &Batch, now_ms: u64) -> Result<(), HistoryError> {
        let jobs = self.jobs;
        let mut written = self.with(async |open| write::write(open, batch, jobs, now_ms).await).await;
        if matches!(written, Err(HistoryError::Full { .. })) {
            let pruned = self.with(async |open| prune::quarter(&mut open.connection).await).await;
            self.open = None;
            if pruned.is_ok() {
                written = self.with(async |open| write::write(open, batch, jobs, now_ms).await).await;
            }
        }
        self.tell(written.clone().err());
        written
    }

    /// Reads, for as long as that may take.
    pub async fn read<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Open) -> sqlx::Result<T>,
    ) -> Result<T, HistoryError> {
        let until = Instant::now() + PATIENCE;
        self.with(async |open| {
            open.connection.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() < until);
            let read = work(open).await;
            open.connection.lock_handle().await?.remove_progress_handler();
            read
        })
        .await
    }

    /// Closes it, so that all is in the one file.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = open.connection.close().await;
        }
    }

    async fn opened(&mut self) -> Result<Open, HistoryError> {
        // SQLite goes on happily in a file that was deleted or replaced.
        let there = fs::metadata(&self.path).ok();
        let same = |open: &Open| there.as_ref().is_some_and(|at| (at.dev(), at.ino()) == (open.device, open.inode));
        if let Some(open) = self.open.take().filter(same) {
            return Ok(open);
        }
        match self.connect().await {
            Err(error) if fault(&error) == Fault::Broken => {
                self.set_aside(&error.to_string());
                self.connect().await.map_err(|error| self.unusable(&error))
            }
            other => other.map_err(|error| self.unusable(&error)),
        }
    }

    async fn connect(&mut self) -> sqlx::Result<Open> {
        let path = &self.path;
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        }
        if !path.exists() {
            // They would be taken for those of the new file.
            for beside in ["-wal", "-shm"] {
                let _ = fs::remove_file(beside_of(path, beside));
            }
        }
        // SQLite gives its other files the mode of this one.
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .page_size(PAGE as u32)
            .auto_vacuum(sqlx::sqlite::SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(false)
            .pragma("cache_size", "-1024")
            .pragma("journal_size_limit", (4 << 20).to_string())
            .statement_cache_capacity(40)
            .disable_statement_logging()
            .connect()
            .await?;
        let pages = self.pages.unwrap_or((ROOM.0 + ROOM.1 * self.jobs as u64) / PAGE);
        sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).execute(&mut connection).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
        let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master").fetch_one(&mut connection).await?;
        match (version, tables) {
            (VERSION, _) => {}
            (0, 0) => {
                sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
            }
            (other, _) => return Err(sqlx::Error::Configuration(format!("it has version {other}").into())),
        }
        let rows: Vec<(i64, i64)> =
            sqlx::query_as("SELECT well, COUNT(*) FROM jobs GROUP BY well").fetch_all(&mut connection).await?;
        let count = |well: i64| rows.iter().find(|(kind, _)| *kind == well).map_or(0, |(_, count)| *count);
        sqlx::query("UPDATE events SET ended = ?1 WHERE ended IS NULL AND grade = 2 AND id < ?2")
            .bind(self.began as i64)
            .bind(super::buffer::first_id(self.began))
            .execute(&mut connection)
            .await?;
        let at = fs::metadata(path)?;
        Ok(Open {
            connection,
            names: Names::default(),
            counts: [count(0), count(1)],
            pruned: None,
            device: at.dev(),
            inode: at.ino(),
        })
    }

    /// Keeps what cannot be used beside the new one, for whoever wants to look at it.
    fn set_aside(&mut self, why: &str) {
        self.open = None;
        let aside = beside_of(&self.path, ".unreadable");
        let moved = fs::rename(&self.path, &aside);
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside_of(&self.path, beside));
        }
        match moved {
            Ok(()) => {
                tracing::warn!("{}: {why}; it is now {}, and history begins anew", self.path.display(), aside.display())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{}: {why}; it cannot be set aside: {error}", self.path.display()),
        }
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> HistoryError {
        HistoryError::Unusable { path: self.path.display().to_string(), reason: reason.to_string() }
    }
}

fn beside_of(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Kinds of errors that make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is no file of ours: not SQLite's, of another version, damaged.
    Broken,
    /// There is no room.
    Full,
    /// It was interrupted.
    Slow,
    Other,
}

fn fault(error: &sqlx::Error) -> Fault {
    if matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::ColumnDecode { .. }) {
        return Fault::Broken;
    }
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    // Of an extended code the low byte is the primary one.
    match code.map(|code| code & 0xff) {
        // SQLITE_CORRUPT, SQLITE_NOTADB.
        Some(11 | 26) => Fault::Broken,
        // It has other tables than those of its version.
        Some(1) if ["no such table", "no such column"].iter().any(|said| error.to_string().contains(said)) => {
            Fault::Broken
        }
        Some(13) => Fault::Full,
        Some(9) => Fault::Slow,
        _ => Fault::Other,
    }
}

/// The tables. Names of classes and queues are numbers in the others. `id` begins with the time: see `buffer.rs`.
const SCHEMA: &str = "
BEGIN;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, tier TEXT, why TEXT);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, well INTEGER NOT NULL, key INTEGER NOT NULL, uuid TEXT NOT NULL, class INTEGER NOT NULL,
    queue INTEGER NOT NULL, tags TEXT, state TEXT NOT NULL, attempt INTEGER NOT NULL, tier TEXT, why TEXT,
    worker INTEGER, queued INTEGER, started INTEGER, ended INTEGER NOT NULL, wait_ms INTEGER, ms INTEGER,
    memory_peak INTEGER, cpu_usec INTEGER, timeout INTEGER, cause TEXT
);
CREATE INDEX jobs_well ON jobs (well);
CREATE INDEX jobs_key ON jobs (key);
CREATE INDEX jobs_class ON jobs (class);
CREATE TABLE figures (
    span INTEGER NOT NULL, at INTEGER NOT NULL, class INTEGER NOT NULL, queue INTEGER NOT NULL,
    done INTEGER NOT NULL, released INTEGER NOT NULL, failed INTEGER NOT NULL, \"left\" INTEGER NOT NULL,
    lost INTEGER NOT NULL, memory_peak INTEGER, cpu_usec INTEGER NOT NULL, wait BLOB NOT NULL, duration BLOB NOT NULL,
    PRIMARY KEY (span, at, class, queue)
) WITHOUT ROWID;
CREATE TABLE sizes (
    span INTEGER NOT NULL, at INTEGER NOT NULL, queue INTEGER NOT NULL, backlog INTEGER NOT NULL, oldest INTEGER,
    PRIMARY KEY (span, at, queue)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, text TEXT NOT NULL, tier TEXT, worker INTEGER, job TEXT,
    ended INTEGER, grade INTEGER NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
";
