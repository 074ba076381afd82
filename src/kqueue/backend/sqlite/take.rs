//! Reserves rows, and sets aside those that are not jobs.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection, Transaction};

use super::{SqliteBackend, begin, row_key};
use crate::backend::head::why_broken;
use crate::backend::row::Row;
use crate::backend::{BUDGET, LARGEST, Reservation, Reserved, SetAside, epoch_seconds};

/// Messages that one call sets aside at most.
const MOST_ASIDE: usize = 100;

/// Which rows of a queue are to be reserved.
#[derive(Clone, Copy)]
pub(super) enum Taken<'a> {
    /// Those with these ids.
    These(&'a [i64]),
    /// Those with greater ids.
    After(i64),
}

impl SqliteBackend {
    pub(super) async fn reserve_in(
        &self,
        connection: &mut SqliteConnection,
        queues: &[String],
        max: usize,
    ) -> sqlx::Result<Reserved> {
        let mut found = Reserved::default();
        // Reads first: the write lock is taken only when there is work.
        if !self.ready(connection, &self.names(queues)).await? {
            return Ok(found);
        }
        let mut work = begin(connection).await?;
        let taken = async {
            for (which, queue) in queues.iter().enumerate() {
                if self.take_queue(&mut work, which, queue, max, &mut found).await? {
                    break;
                }
            }
            work.commit().await
        };
        if let Err(error) = taken.await {
            // Rows that count as tried are free still.
            self.looks.forget();
            return Err(error);
        }
        Ok(found)
    }

    /// Reserves jobs of one queue: those that are known to be due, then those behind the horizon. `true` if the call has
    /// reached one of its limits.
    async fn take_queue(
        &self,
        work: &mut Transaction<'_, Sqlite>,
        which: usize,
        queue: &str,
        max: usize,
        found: &mut Reserved,
    ) -> sqlx::Result<bool> {
        let (due, past) = self.looks.known(which, epoch_seconds(), max - found.jobs.len());
        if !due.is_empty() {
            if self.take(work, queue, Taken::These(&due), max, found).await? {
                return Ok(true);
            }
            self.looks.tried(which, &due);
        }
        Ok(self.take(work, queue, Taken::After(past), max, found).await? || found.jobs.len() >= max)
    }

    /// Reserves jobs of one queue; sets aside messages that are not jobs. `true` if the call has reached its limit of
    /// bytes or set-aside messages, and there may be more.
    pub(super) async fn take(
        &self,
        work: &mut Transaction<'_, Sqlite>,
        queue: &str,
        which: Taken<'_>,
        max: usize,
        found: &mut Reserved,
    ) -> sqlx::Result<bool> {
        let (sql, past) = match which {
            Taken::These(ids) => (self.sql.reserve_these(ids), i64::MIN),
            Taken::After(past) => (self.sql.reserve.clone(), past),
        };
        let now = epoch_seconds();
        let mut carried: usize = found.jobs.iter().map(|job| job.payload.len()).sum();
        while found.jobs.len() < max {
            let wanted = max - found.jobs.len();
            let mut rows = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(now)
                .bind(self.names.of(queue, "").into_owned())
                .bind(now.saturating_sub(self.retry_after))
                .bind(past)
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
