//! Looks at the file for free rows, and waits for changes of it while there are none.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteBackend;
use crate::backend::horizon::{Coming, Horizon, MOST, Seen};
use crate::backend::trouble::Trouble;
use crate::backend::{BackendError, check_queues, epoch, epoch_seconds};

/// A look that takes longer is followed by a scan.
pub(super) const LONG: Duration = Duration::from_millis(2);
/// Interval at which a waiting call polls the file for changes: grows from the first to the second.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const SLOWEST_LOOK: Duration = Duration::from_millis(100);

/// State of the file: changes with each commit of another connection, and of those of ours that settle jobs.
pub(super) type Version = (i64, u64);

/// What the looks at a table have found out about it.
pub(super) struct Looks {
    long: Duration,
    /// Whether the last look at the whole table took longer than `long`.
    is_long: Cell<bool>,
    /// Result of the last scan of a long table.
    horizon: RefCell<Option<Horizon>>,
    /// The last row before the horizon as of that scan.
    last: Cell<i64>,
    /// The file's version before that scan.
    scanned: Cell<Option<Version>>,
}

impl Looks {
    pub(super) fn new(long: Duration) -> Self {
        Self {
            long,
            is_long: Cell::new(false),
            horizon: RefCell::new(None),
            last: Cell::new(0),
            scanned: Cell::new(None),
        }
    }

    /// Remembers a row as free again.
    pub(super) fn freed(&self, name: &str, id: i64) {
        if let Some(horizon) = &mut *self.horizon.borrow_mut() {
            horizon.freed(name, id);
        }
    }

    /// The next look reads the whole table.
    pub(super) fn forget(&self) {
        self.horizon.take();
        self.scanned.set(None);
    }

    /// The remembered rows of a queue that are free, up to `max` of them, and the id up to which other rows need not be
    /// read.
    pub(super) fn known(&self, which: usize, now: i64, max: usize) -> (Vec<i64>, i64) {
        let horizon = self.horizon.borrow();
        let Some(seen) = &*horizon else { return (Vec::new(), i64::MIN) };
        // 0 is before all rows, also those that were moved before the first one and have ids below 1.
        (seen.due(which, now, max), Some(seen.past(which)).filter(|past| *past > 0).unwrap_or(i64::MIN))
    }

    /// Forgets rows, after an attempt to reserve them.
    pub(super) fn tried(&self, which: usize, ids: &[i64]) {
        if let Some(horizon) = &mut *self.horizon.borrow_mut() {
            horizon.tried(which, ids);
        }
    }

    fn holds(&self, names: &[String]) -> bool {
        self.horizon.borrow().as_ref().is_some_and(|horizon| horizon.holds(names, epoch_seconds()))
    }

    /// A look took this long.
    fn took(&self, cost: Duration) {
        if cost > self.long && self.horizon.borrow().is_none() {
            self.is_long.set(true);
        }
    }

    /// Whether a look at an unchanged file can find nothing new: rows before the horizon may have been freed after the
    /// scan.
    fn is_exhausted(&self, names: &[String], version: Version) -> bool {
        self.horizon.borrow().is_none() || self.scanned.get() == Some(version) || self.holds(names)
    }
}

impl SqliteBackend {
    /// Returns when there may be work in one of `queues`, or after `limit`, whichever is first. Cancel-safe.
    pub(in crate::backend) async fn wait(&self, queues: &[String], limit: Duration) -> Result<(), BackendError> {
        check_queues(queues)?;
        let names = self.names(queues);
        let start = Instant::now();
        let mut look = FIRST_LOOK;
        let mut seen: Option<Version> = None;
        let mut due: Option<i64> = None;
        loop {
            let cost = Instant::now();
            let looked = self
                .file
                .with(async |connection| {
                    // The version is read first: a commit after that shows as a new version.
                    let version = self.version(connection).await?;
                    if seen == Some(version) && self.looks.is_exhausted(&names, version) {
                        return Ok((version, due));
                    }
                    self.scan_if_due(connection, &names).await?;
                    Ok((version, self.next_due(connection, &names).await?))
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

    async fn version(&self, connection: &mut SqliteConnection) -> sqlx::Result<Version> {
        let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await?;
        Ok((version, self.settled.get()))
    }

    /// Whether a row can be reserved now.
    pub(super) async fn ready(&self, connection: &mut SqliteConnection, names: &[String]) -> sqlx::Result<bool> {
        self.scan_if_due(connection, names).await?;
        let now = epoch_seconds();
        let cost = Instant::now();
        let mut is_ready = false;
        for (which, name) in names.iter().enumerate() {
            let (due, past) = self.looks.known(which, now, 1);
            is_ready = !due.is_empty()
                || sqlx::query_scalar::<_, i64>(AssertSqlSafe(self.sql.ready.clone()))
                    .bind(now)
                    .bind(name.clone())
                    .bind(now.saturating_sub(self.retry_after))
                    .bind(past)
                    .fetch_optional(&mut *connection)
                    .await?
                    .is_some();
            if is_ready {
                break;
            }
        }
        self.looks.took(cost.elapsed());
        Ok(is_ready)
    }

    /// Earliest epoch second at which a row of these queues can be reserved; `None` if there is no row.
    async fn next_due(&self, connection: &mut SqliteConnection, names: &[String]) -> sqlx::Result<Option<i64>> {
        let cost = Instant::now();
        let mut next = self.looks.horizon.borrow().as_ref().map(Horizon::next_due).filter(|due| *due < i64::MAX);
        for (which, name) in names.iter().enumerate() {
            let (_, past) = self.looks.known(which, 0, 0);
            let due: Option<i64> = sqlx::query_scalar(AssertSqlSafe(self.sql.next_due.clone()))
                .bind(self.retry_after)
                .bind(name.clone())
                .bind(past)
                .fetch_one(&mut *connection)
                .await?;
            next = next.into_iter().chain(due).min();
        }
        self.looks.took(cost.elapsed());
        Ok(next)
    }

    /// Scans a long table and remembers the result, if the former one is no longer valid.
    async fn scan_if_due(&self, connection: &mut SqliteConnection, names: &[String]) -> sqlx::Result<()> {
        let last = async |connection: &mut SqliteConnection| {
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(self.sql.last.clone())).fetch_one(connection).await
        };
        // A table without that row was emptied, or is that of another file.
        if self.looks.holds(names) && last(&mut *connection).await? >= self.looks.last.get() {
            return Ok(());
        }
        self.looks.forget();
        if !self.looks.is_long.get() {
            return Ok(());
        }
        let version = self.version(connection).await?;
        let cost = Instant::now();
        let last = last(&mut *connection).await?;
        let now = epoch_seconds();
        let mut seen = Vec::with_capacity(names.len());
        for name in names {
            let first: Option<i64> = sqlx::query_scalar(AssertSqlSafe(self.sql.first.clone()))
                .bind(now)
                .bind(name.clone())
                .bind(now.saturating_sub(self.retry_after))
                .fetch_optional(&mut *connection)
                .await?;
            let coming: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(self.sql.coming.clone()))
                .bind(self.retry_after)
                .bind(name.clone())
                .bind(first.map_or(last, |id| id - 1))
                .bind(MOST as i64)
                .fetch_all(&mut *connection)
                .await?;
            let coming = coming.into_iter().map(|(id, due)| Coming { id, due }).collect();
            seen.push(Seen::new(first, last, coming));
        }
        let past = seen.iter().map(Seen::past).max().unwrap_or(0);
        let before = sqlx::query_scalar::<_, i64>(AssertSqlSafe(self.sql.last_before.clone())).bind(past);
        self.looks.last.set(before.fetch_one(&mut *connection).await?);
        let cost = cost.elapsed();
        tracing::debug!("scanned the table in {} ms", cost.as_millis());
        self.looks.is_long.set(cost > self.looks.long);
        self.looks.scanned.set(Some(version));
        self.looks.horizon.replace(Some(Horizon::new(names.to_vec(), seen, cost.max(LONG))));
        Ok(())
    }
}

/// Time until just after an epoch second begins.
fn until(due: i64) -> Duration {
    let due = Duration::from_secs(u64::try_from(due).unwrap_or(0));
    due.saturating_sub(epoch()) + Duration::from_millis(1)
}
