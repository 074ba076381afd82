//! Laravel's jobs table in a SQLite file of the app.
//!
//! One connection, so that our short write transactions never wait for each other. The file's journal mode is the app's
//! choice and is left unchanged. Accesses no other file.

use std::cell::Cell;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection, Transaction};

use super::head::why_broken;
use super::listing::CUT;
use super::row::{self, Row};
use super::trouble::{Trouble, limits_table};
use super::{
    BUDGET, BackendError, Capabilities, DEEP, LARGEST, LOOK, Listed, Listing, Names, Others, PAGE, Page, QueueBackend,
    QueueSize, Receipt, Reservation, Reserved, SetAside, SqliteSettings, Wait, check_queues, epoch, epoch_seconds,
};

mod file;
mod statements;

use file::File;
use statements::Statements;

/// Messages that one call sets aside at most.
const MOST_ASIDE: usize = 100;
/// Interval at which a waiting call polls the file for changes: grows from the first to the second.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const SLOWEST_LOOK: Duration = Duration::from_millis(100);

/// Queues of one jobs table.
pub struct SqliteBackend {
    file: File,
    names: Names,
    sql: Statements,
    retry_after: i64,
    /// Number of transactions that settled jobs: `data_version` does not change with our own commits.
    settled: Cell<u64>,
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
        })
    }

    /// Reserves jobs of one queue; sets aside messages that are not jobs. `true` if the call has reached its limit of
    /// bytes or set-aside messages, and there may be more.
    async fn take(
        &self,
        work: &mut Transaction<'_, Sqlite>,
        queue: &str,
        sql: &str,
        max: usize,
        found: &mut Reserved,
    ) -> sqlx::Result<bool> {
        let now = epoch_seconds();
        let mut carried: usize = found.jobs.iter().map(|job| job.payload.len()).sum();
        while found.jobs.len() < max {
            let wanted = max - found.jobs.len();
            let mut rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
                .bind(now)
                .bind(self.names.of(queue, "").into_owned())
                .bind(now.saturating_sub(self.retry_after))
                .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
                .bind(BUDGET as i64)
                .bind(LARGEST as i64)
                .fetch_all(&mut **work)
                .await?
                .iter()
                .map(|row| reservation(queue, row))
                .collect::<sqlx::Result<Vec<_>>>()?;
            let got = rows.len();
            // RETURNING guarantees no order.
            rows.sort_by_key(|(job, _)| row_key(job).0);

            for job in rows {
                let (job, bytes) = job;
                let large = || format!("it is larger than {LARGEST} bytes");
                let why = if bytes > LARGEST { Some(large()) } else { why_broken(&job.payload) };
                let Some(why) = why else {
                    carried += bytes;
                    found.jobs.push(job);
                    continue;
                };
                sqlx::query(AssertSqlSafe(self.sql.set_aside.clone()))
                    .bind(format!("{}:broken", self.names.of(queue, "")))
                    .bind(row_key(&job).0)
                    .execute(&mut **work)
                    .await?;
                found.set_aside.push(SetAside::beside(queue, why, bytes));
            }
            if found.set_aside.len() >= MOST_ASIDE || carried >= BUDGET {
                return Ok(true);
            }
            if got == 0 {
                break;
            }
        }
        Ok(false)
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

    /// Returns when there may be work in one of `queues`, or after `limit`, whichever is first. Cancel-safe.
    pub(super) async fn wait(&self, queues: &[String], limit: Duration) -> Result<(), BackendError> {
        check_queues(queues)?;
        let start = Instant::now();
        let mut look = FIRST_LOOK;
        let mut seen: Option<(i64, u64)> = None;
        let mut due: Option<i64> = None;
        loop {
            let cost = Instant::now();
            // The version is read first: a commit after that shows as a new version.
            let looked = self
                .file
                .with(async |connection| {
                    let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut *connection).await?;
                    let version = (version, self.settled.get());
                    if seen == Some(version) {
                        return Ok((version, due));
                    }
                    Ok((version, self.next_due(connection, queues).await?))
                })
                .await;
            match looked {
                Ok((version, next)) => (seen, due) = (Some(version), next),
                Err(Trouble::Busy(_)) => {}
                Err(e) => return Err(e.into()),
            }
            if due.is_some_and(|due| due <= epoch_seconds()) {
                return Ok(());
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            // A table that is slow to scan is polled less often.
            let pause = look.max(cost.elapsed() * 10).min(left);
            let pause = due.map_or(pause, |due| pause.min(until(due)));
            tokio::time::sleep(pause).await;
            look = (look + look / 4).min(SLOWEST_LOOK);
        }
    }

    async fn reserve_in(
        &self,
        connection: &mut SqliteConnection,
        queues: &[String],
        max: usize,
    ) -> sqlx::Result<Reserved> {
        let mut found = Reserved::default();
        // Reads first: the write lock is taken only when there is work.
        if !self.ready(connection, queues).await? {
            return Ok(found);
        }
        let mut work = begin(connection).await?;
        for queue in queues {
            if self.take(&mut work, queue, &self.sql.reserve, max, &mut found).await? || found.jobs.len() >= max {
                break;
            }
        }
        work.commit().await?;
        Ok(found)
    }

    /// Whether a row can be reserved now.
    async fn ready(&self, connection: &mut SqliteConnection, queues: &[String]) -> sqlx::Result<bool> {
        let now = epoch_seconds();
        for queue in queues {
            let row: Option<i64> = sqlx::query_scalar(AssertSqlSafe(self.sql.ready.clone()))
                .bind(now)
                .bind(self.names.of(queue, "").into_owned())
                .bind(now.saturating_sub(self.retry_after))
                .fetch_optional(&mut *connection)
                .await?;
            if row.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Earliest epoch second at which a row of these queues can be reserved; `None` if there is no row.
    async fn next_due(&self, connection: &mut SqliteConnection, queues: &[String]) -> sqlx::Result<Option<i64>> {
        let mut next: Option<i64> = None;
        for queue in queues {
            let due: Option<i64> = sqlx::query_scalar(AssertSqlSafe(self.sql.next_due.clone()))
                .bind(self.retry_after)
                .bind(self.names.of(queue, "").into_owned())
                .fetch_one(&mut *connection)
                .await?;
            next = next.into_iter().chain(due).min();
        }
        Ok(next)
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

/// A reserved row, and the size of its payload in bytes. A payload over [`LARGEST`] is not read and left empty.
fn reservation(queue: &str, row: &SqliteRow) -> sqlx::Result<(Reservation, usize)> {
    let bytes: Option<i64> = row.try_get(6)?;
    let reservation = Reservation {
        queue: queue.to_owned(),
        payload: row.try_get::<Option<Vec<u8>>, _>(1)?.unwrap_or_default().into(),
        receipt: Row {
            id: row.try_get(0)?,
            attempts: row.try_get(3)?,
            reserved_at: row.try_get(2)?,
            available_at: row.try_get(4)?,
            created_at: row.try_get(5)?,
        }
        .receipt(),
    };
    Ok((reservation, usize::try_from(bytes.unwrap_or(0)).unwrap_or(0)))
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
        self.settle(jobs, &self.sql.unreserve, None).await
    }

    fn unmovable(&self, _: &[String], _: &str) -> Option<String> {
        None
    }

    async fn requeue(&self, jobs: &[Reservation], to: &str) -> Result<Vec<bool>, BackendError> {
        let to = Value::Text(self.names.of(to, "").into_owned());
        self.settle(jobs, &self.sql.requeue, Some(to)).await
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
                self.take(&mut work, queue, &self.sql.reserve_these(&ids), ids.len(), &mut found).await?;
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

/// Time until just after an epoch second begins.
fn until(due: i64) -> Duration {
    let due = Duration::from_secs(u64::try_from(due).unwrap_or(0));
    due.saturating_sub(epoch()) + Duration::from_millis(1)
}
