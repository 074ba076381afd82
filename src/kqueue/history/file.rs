//! The file: opened on demand, created if missing, set aside if it cannot be used.

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

/// The schema version.
pub const VERSION: i64 = 1;
/// Bytes of a database page.
const PAGE: u64 = 4096;
/// Maximum bytes of the file: without any job in it, and in addition for each job that it may hold.
const ROOM: (u64, u64) = (64 << 20, 1 << 10);
/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of a query.
const PATIENCE: Duration = Duration::from_secs(2);
/// SQLite virtual machine steps between two checks of that timeout.
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
    /// The disk is full, or the file has reached its maximum size.
    #[error("{path}: no space left on the disk or within the size limit of the file")]
    Full {
        /// The file's path.
        path: String,
    },
    /// The query took too long.
    #[error("history query timed out; request less")]
    Slow,
}

/// An open file, with its identity.
pub struct Open {
    /// The one connection.
    pub connection: SqliteConnection,
    /// Ids of names.
    pub names: Names,
    /// Attempts in it, by kind: those that did not end well, and those that did.
    pub counts: [i64; 2],
    /// When rows beyond the bounds were last removed.
    pub pruned: Option<Instant>,
    device: u64,
    inode: u64,
}

/// The file, open or not.
pub struct File {
    path: PathBuf,
    open: Option<Open>,
    /// Maximum attempts of each kind.
    pub jobs: usize,
    /// Maximum pages, if not derived from the number of jobs.
    pub pages: Option<u64>,
    /// The error that was logged last; `None` if it works.
    said: Option<HistoryError>,
    /// When the runtime began, in milliseconds since 1970: events that an earlier one left open ended by then.
    began: u64,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("said", &self.said).finish_non_exhaustive()
    }
}

impl File {
    /// The file in this directory. Does not open it yet.
    pub fn new(directory: &Path, jobs: usize, began: u64) -> Self {
        Self { path: directory.join(FILE), open: None, jobs, pages: None, said: None, began }
    }

    /// Logs an error once, and the recovery from it.
    pub fn tell(&mut self, now: Option<HistoryError>) {
        match (&self.said, &now) {
            (Some(before), Some(now)) if std::mem::discriminant(before) == std::mem::discriminant(now) => {}
            (_, Some(error)) => {
                tracing::warn!("{error}; new records are kept in memory, up to a limit, until they can be written")
            }
            (Some(_), None) => tracing::info!("{}: history is written again", self.path.display()),
            (None, None) => {}
        }
        self.said = now;
    }

    /// Runs `work` on the open file. If the file turns out to be unreadable, it is set aside, and `work` runs once more
    /// on a new one.
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
        Err(self.unusable(&"cannot be read"))
    }

    /// Writes a batch. If the file is full, removes the oldest quarter and tries once more.
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

    /// Runs a query, interrupted after [`PATIENCE`].
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

    /// Closes it, which merges the write-ahead log into the one file.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = open.connection.close().await;
        }
    }

    async fn opened(&mut self) -> Result<Open, HistoryError> {
        // SQLite does not notice that its file was deleted or replaced.
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
            // Leftovers would be taken for the new file's.
            for beside in ["-wal", "-shm"] {
                let _ = fs::remove_file(beside_of(path, beside));
            }
        }
        // SQLite creates its other files with the mode of this one.
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
            (other, _) => return Err(sqlx::Error::Configuration(format!("unsupported version {other}").into())),
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

    /// Renames an unusable file to `*.unreadable`, for inspection.
    fn set_aside(&mut self, why: &str) {
        self.open = None;
        let aside = beside_of(&self.path, ".unreadable");
        let moved = fs::rename(&self.path, &aside);
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside_of(&self.path, beside));
        }
        match moved {
            Ok(()) => {
                tracing::warn!(
                    "{}: {why}; moved it to {} and started a new history",
                    self.path.display(),
                    aside.display()
                )
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{}: {why}; cannot move it aside: {error}", self.path.display()),
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

/// Kinds of errors that are handled differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Not a usable file: not SQLite's, of another version, or damaged.
    Broken,
    /// No space is left.
    Full,
    /// Interrupted by the query timeout.
    Slow,
    Other,
}

fn fault(error: &sqlx::Error) -> Fault {
    if matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::ColumnDecode { .. }) {
        return Fault::Broken;
    }
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    // The low byte of an extended code is the primary one.
    match code.map(|code| code & 0xff) {
        // SQLITE_CORRUPT, SQLITE_NOTADB.
        Some(11 | 26) => Fault::Broken,
        // The schema is not that of its version.
        Some(1) if ["no such table", "no such column"].iter().any(|said| error.to_string().contains(said)) => {
            Fault::Broken
        }
        Some(13) => Fault::Full,
        Some(9) => Fault::Slow,
        _ => Fault::Other,
    }
}

/// The schema. Names of classes and queues are referenced by id. `id` of jobs and events begins with the time: see
/// `buffer.rs`.
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
