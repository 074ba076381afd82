//! Laravel's jobs table in a SQLite file of the app.
//!
//! One connection, so that our short write transactions never wait for each other. The file's journal mode is the app's
//! choice and is left unchanged. Accesses no other file.

use std::cell::Cell;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection, Transaction};

use super::listing::CUT;
use super::row::{self, Row};
use super::trouble::{Trouble, limits_table};
use super::{
    BackendError, Capabilities, DEEP, LOOK, Listed, Listing, Names, Others, PAGE, Page, QueueBackend, QueueSize,
    Receipt, Reservation, Reserved, SqliteSettings, Wait, check_queues, epoch, epoch_seconds,
};

mod file;
mod look;
mod statements;
mod take;

use file::File;
use look::{LONG, Looks};
use statements::Statements;
use take::Taken;

/// Queues of one jobs table.
pub struct SqliteBackend {
    file: File,
    names: Names,
    sql: Statements,
    retry_after: i64,
    /// Number of transactions that settled jobs: `data_version` does not change with our own commits.
    settled: Cell<u64>,
    looks: Looks,
}

impl std::fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteBackend").field("retry_after", &self.retry_after).finish_non_exhaustive()
    }
}

impl SqliteBackend {
    /// A backend for these settings. Opens the file on the first call.
    ///
    /// # Errors
    /// [`BackendError::Settings`] for an in-memory database (visible only to the process that created it), for a URI
    /// instead of a path, and for a missing `retry_after`.
    pub fn connect(settings: SqliteSettings) -> Result<Self, BackendError> {
        let path = settings.path;
        if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") {
            return Err(BackendError::Settings(format!(
                "SQLite database `{path}`: a database in memory cannot be shared between \
                 processes; use a file"
            )));
        }
        if path.starts_with("file:") {
            return Err(BackendError::Settings(format!(
                "SQLite database `{path}`: give the path of the file, not a URI"
            )));
        }
        let Some(retry_after) = settings.retry_after else {
            return Err(BackendError::Settings(
                "the database queue connection needs a number of seconds as `retry_after`".to_owned(),
            ));
        };
        Ok(Self {
            sql: Statements::new(&format!("{}{}", settings.prefix, settings.table)),
            file: File::new(path),
            names: settings.names,
            retry_after,
            settled: Cell::new(0),
            looks: Looks::new(LONG),
        })
    }

    /// Treats every table as a long one.
    #[cfg(test)]
    pub(super) fn with_long_table(mut self) -> Self {
        self.looks = Looks::new(Duration::ZERO);
        self
    }

    /// Names of these queues in the table.
    fn names(&self, queues: &[String]) -> Vec<String> {
        queues.iter().map(|queue| self.names.of(queue, "").into_owned()).collect()
    }

    /// Reserves the jobs that are available now. Not cancel-safe.
    pub(super) async fn reserve(&self, queues: &[String], max: usize) -> Result<Reserved, BackendError> {
        check_queues(queues)?;
        if max == 0 {
            return Ok(Reserved::default());
        }
        let found = self.file.with(async |connection| self.reserve_in(connection, queues, max).await).await;
        match found {
            Err(Trouble::Busy(_)) => Ok(Reserved::default()),
            other => Ok(other?),
        }
    }

    /// Runs one guarded statement for each job, in one transaction. `false` where it matched no row.
    async fn settle(&self, jobs: &[Reservation], sql: &str, first: Option<Value>) -> Result<Vec<bool>, BackendError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let hits = self
            .file
            .with(async |connection| {
                let mut work = begin(connection).await?;
                let mut hits = Vec::with_capacity(jobs.len());
                for job in jobs {
                    let (id, reserved_at, attempts) = row_key(job);
                    let query = sqlx::query(AssertSqlSafe(sql)).bind(id).bind(reserved_at).bind(attempts);
                    let query: sqlx::query::Query<'_, Sqlite, SqliteArguments> = match &first {
                        Some(Value::Number(number)) => query.bind(*number),
                        Some(Value::Text(text)) => query.bind(text.clone()),
                        None => query,
                    };
                    hits.push(query.execute(&mut *work).await?.rows_affected() == 1);
                }
                work.commit().await?;
                Ok(hits)
            })
            .await?;
        self.settled.set(self.settled.get().wrapping_add(1));
        Ok(hits)
    }
}

/// Additional parameter of a statement: its `?4`.
enum Value {
    Number(i64),
    Text(String),
}

async fn begin(connection: &mut SqliteConnection) -> sqlx::Result<Transaction<'_, Sqlite>> {
    // Not deferred: upgrading a read lock fails at once, whatever the busy timeout, if another connection wrote
    // meanwhile.
    sqlx::Connection::begin_with(connection, "BEGIN IMMEDIATE").await
}

/// Guard parameters of a reserved row: id, reserved_at, attempts. Match no row for a job of another backend.
fn row_key(job: &Reservation) -> (i64, i64, i64) {
    Row::of(&job.receipt).map_or((i64::MIN, 0, 0), |row| (row.id, row.reserved_at, row.attempts))
}

#[async_trait(?Send)]
impl QueueBackend for SqliteBackend {
    fn driver(&self) -> &'static str {
        row::DRIVER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { doorbell: true, ..Capabilities::ALL }
    }

    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        wait.first(async |limit| self.wait(queues, limit).await, self.reserve(queues, max)).await
    }

    fn decode(&self, header: Option<&RawValue>, _: &Bytes) -> Option<Receipt> {
        Row::decode(header)
    }

    fn lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(u64::try_from(self.retry_after).unwrap_or(0)))
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        let now = epoch_seconds();
        let held = self.settle(jobs, &self.sql.renew, Some(Value::Number(now))).await?;
        for (job, held) in jobs.iter_mut().zip(&held) {
            if let Some(row) = Row::of(&job.receipt).filter(|_| *held) {
                job.receipt = Row { reserved_at: now, ..row }.receipt();
            }
        }
        Ok(held)
    }

    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        // The rows keep their ids, and so their places before all later rows.
        let held = self.settle(jobs, &self.sql.unreserve, None).await?;
        for (job, _) in jobs.iter().zip(&held).filter(|(_, held)| **held) {
            self.looks.freed(&self.names.of(&job.queue, ""), row_key(job).0);
        }
        Ok(held)
    }

    fn unmovable(&self, _: &[String], _: &str) -> Option<String> {
        None
    }

    async fn requeue(&self, jobs: &[Reservation], to: &str) -> Result<Vec<bool>, BackendError> {
        let to = Value::Text(self.names.of(to, "").into_owned());
        let held = self.settle(jobs, &self.sql.requeue, Some(to)).await?;
        // A moved row may precede all known rows of that queue.
        self.forget();
        Ok(held)
    }

    fn forget(&self) {
        self.looks.forget();
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.settle(jobs, &self.sql.delete, None).await
    }

    async fn next_of_others(&self, queue: &str, mut others: Others) -> Result<(Reserved, Others), BackendError> {
        let found = self.file.with(async |connection| {
            let rows = sqlx::query(AssertSqlSafe(self.sql.behind.clone()))
                .bind(epoch_seconds())
                .bind(self.names.of(queue, "").into_owned())
                .bind(i64::try_from(others.at).unwrap_or(i64::MAX))
                .bind(LOOK as i64)
                .bind(CUT as i64)
                .fetch_all(&mut *connection)
                .await?;
            let seen = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            let seen: Vec<(i64, Option<Vec<u8>>)> = seen.collect::<sqlx::Result<_>>()?;
            others.went_by(seen.iter().map(|(id, _)| *id));
            let picked = others.pick(seen, |(_, payload)| payload.as_deref().unwrap_or_default());
            let mut found = Reserved::default();
            if !picked.is_empty() {
                let ids: Vec<i64> = picked.iter().map(|(id, _)| *id).collect();
                let mut work = begin(connection).await?;
                self.take(&mut work, queue, Taken::These(&ids), ids.len(), &mut found).await?;
                work.commit().await?;
            }
            Ok(found)
        });
        match found.await {
            Err(Trouble::Busy(_)) => Ok((Reserved::default(), others)),
            found => Ok((found?, others)),
        }
    }

    async fn kept(&self, name: &str) -> Result<(Option<String>, u64), BackendError> {
        let kept = self.file.with(async |connection| {
            let query = sqlx::query_scalar(AssertSqlSafe(self.sql.kept.clone())).bind(name.to_owned());
            query.fetch_optional(&mut *connection).await
        });
        let kept = kept.await.map_err(|trouble| limits_table(trouble.into(), &self.sql.limits))?;
        // All users of the file run on this machine, so its clock is the common one.
        Ok((kept, u64::try_from(epoch().as_millis()).unwrap_or(u64::MAX)))
    }

    async fn keep(&self, name: &str, seen: Option<&str>, text: &str, _: Duration) -> Result<bool, BackendError> {
        let sql = if seen.is_some() { &self.sql.keep } else { &self.sql.keep_first };
        let kept = self.file.with(async |connection| {
            let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(name.to_owned()).bind(text.to_owned());
            query.bind(seen.map(str::to_owned)).execute(&mut *connection).await
        });
        let kept = kept.await.map_err(|trouble| limits_table(trouble.into(), &self.sql.limits))?;
        Ok(kept.rows_affected() == 1)
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        check_queues(queues)?;
        let now = epoch_seconds();
        let sizes = self
            .file
            .with(async |connection| {
                let mut sizes = Vec::with_capacity(queues.len());
                for queue in queues {
                    let row = sqlx::query(AssertSqlSafe(self.sql.sizes.clone()))
                        .bind(now)
                        .bind(self.names.of(queue, "").into_owned())
                        .fetch_one(&mut *connection)
                        .await?;
                    let count = |at: usize| row.try_get::<i64, _>(at).map(|n| u64::try_from(n).unwrap_or(0));
                    sizes.push(QueueSize { pending: count(0)?, delayed: count(1)?, reserved: count(2)? });
                }
                Ok(sizes)
            })
            .await?;
        Ok(sizes)
    }

    fn unlisted(&self) -> Option<&'static str> {
        None
    }

    async fn list(&self, queue: &str, which: Listing, first: usize, most: usize) -> Result<Page, BackendError> {
        let most = most.min(PAGE).min(DEEP.saturating_sub(first));
        let sql = match which {
            Listing::Waiting => &self.sql.waiting,
            Listing::Delayed => &self.sql.delayed,
        };
        let mut jobs = self
            .file
            .with(async |connection| {
                let rows = sqlx::query(AssertSqlSafe(sql.clone()))
                    .bind(epoch_seconds())
                    .bind(self.names.of(queue, "").into_owned())
                    // One extra row shows whether there are more.
                    .bind(most as i64 + 1)
                    .bind(first as i64)
                    .bind(CUT as i64)
                    .fetch_all(&mut *connection)
                    .await?;
                rows.iter().map(listed).collect::<sqlx::Result<Vec<_>>>()
            })
            .await?;
        let more = jobs.len() > most && first + most < DEEP;
        jobs.truncate(most);
        Ok(Page { jobs, more })
    }

    async fn oldest(&self, queues: &[String]) -> Result<Vec<Option<u64>>, BackendError> {
        let oldest = self
            .file
            .with(async |connection| {
                let mut oldest = Vec::with_capacity(queues.len());
                for queue in queues {
                    let first: Option<i64> = sqlx::query_scalar(AssertSqlSafe(self.sql.oldest.clone()))
                        .bind(epoch_seconds())
                        .bind(self.names.of(queue, "").into_owned())
                        .fetch_one(&mut *connection)
                        .await?;
                    oldest.push(
                        first.and_then(|first| u64::try_from(first).ok()).map(|first| first.saturating_mul(1000)),
                    );
                }
                Ok(oldest)
            })
            .await?;
        Ok(oldest)
    }
}

/// Reads a row of [`Statements::waiting`] or [`Statements::delayed`].
fn listed(row: &SqliteRow) -> sqlx::Result<Listed> {
    let number = |at: usize| row.try_get::<i64, _>(at);
    Ok(Listed {
        payload: row.try_get::<Vec<u8>, _>(0)?.into(),
        bytes: usize::try_from(number(1)?).unwrap_or(0),
        attempts: u32::try_from(number(2)?).ok(),
        available: u64::try_from(number(3)?).ok(),
    })
}
