//! Reserves rows of one queue, and sets aside those that are not jobs.

use bytes::Bytes;

use super::dialect::{Free, budget};
use super::link::Ready;
use super::session::Answer;
use super::settings::Engine;
use super::{DatabaseBackend, numbers};
use crate::backend::head::why_broken;
use crate::backend::row::Row;
use crate::backend::{BUDGET, LARGEST, Reservation, Reserved, SetAside};

/// Messages that one call sets aside at most.
const MOST_ASIDE: usize = 100;
/// Rows that one statement reserves at most.
const MOST_TAKEN: usize = 500;
/// Bytes in one call from which on its session is closed afterwards: connection buffers never shrink.
const HEAVY: usize = 4 << 20;

impl DatabaseBackend {
    /// Reserves jobs of one queue: those that the horizon knows to be due, then those behind it. `true` if the call has
    /// reached one of its limits.
    pub(super) async fn take_queue(
        &self,
        ready: &mut Ready,
        which: usize,
        queue: &str,
        name: &str,
        max: usize,
        found: &mut Reserved,
    ) -> sqlx::Result<bool> {
        let mut free = self.free(name, 0);
        let mut due = Vec::new();
        if let Some(horizon) = &*self.horizon.borrow() {
            due = horizon.due(which, free.now, (max - found.jobs.len()).min(MOST_TAKEN));
            free.past = horizon.past(which);
        }
        if !due.is_empty() {
            if self.take(ready, queue, Free { only: &due, ..free }, max, found).await? {
                return Ok(true);
            }
            if let Some(horizon) = &mut *self.horizon.borrow_mut() {
                horizon.tried(which, &due);
            }
        }
        Ok(self.take(ready, queue, free, max, found).await? || found.jobs.len() >= max)
    }

    /// Reserves jobs of one queue; sets aside messages that are not jobs. `true` if the call has reached its limit of
    /// bytes or set-aside messages, and there may be more.
    pub(super) async fn take(
        &self,
        ready: &mut Ready,
        queue: &str,
        free: Free<'_>,
        max: usize,
        found: &mut Reserved,
    ) -> sqlx::Result<bool> {
        let mut carried: usize = found.jobs.iter().map(|job| job.payload.len()).sum();
        while found.jobs.len() < max {
            let wanted = (max - found.jobs.len()).min(MOST_TAKEN);
            let rows = self.take_rows(ready, &free, wanted, budget(carried)).await?;
            let (got, mut broken) = (rows.len(), Vec::new());
            for TakenRow { row, bytes, payload } in rows {
                let large = || format!("it is larger than {LARGEST} bytes");
                let why = if bytes > LARGEST { Some(large()) } else { why_broken(&payload) };
                match why {
                    None => {
                        carried += bytes;
                        found.jobs.push(Reservation { queue: queue.to_owned(), payload, receipt: row.receipt() });
                    }
                    Some(why) => broken.push((row, SetAside::beside(queue, why, bytes))),
                }
            }
            ready.heavy |= carried >= HEAVY;
            let was_clean = broken.is_empty();
            self.set_aside(ready, free.queue, broken, found).await?;
            if found.set_aside.len() >= MOST_ASIDE || carried >= BUDGET {
                return Ok(true);
            }
            if got == 0 || (got < wanted && was_clean) {
                break;
            }
        }
        Ok(false)
    }

    async fn take_rows(
        &self,
        ready: &mut Ready,
        free: &Free<'_>,
        max: usize,
        budget: usize,
    ) -> sqlx::Result<Vec<TakenRow>> {
        if self.link.settings().engine == Engine::Postgres {
            let answers = ready.session.run(ready.dialect.reserve(free, max, budget)).await?;
            let mut rows = taken(answers)?;
            // RETURNING guarantees no order.
            rows.sort_by_key(|taken| taken.row.id);
            return Ok(rows);
        }
        let locked = ready.session.run(ready.dialect.lock(free, max)).await?;
        let (mut ids, mut total) = (Vec::new(), 0);
        for row in locked.into_iter().flat_map(|answer| answer.rows) {
            if total >= budget {
                break;
            }
            let [id, bytes] = numbers(&row)?;
            ids.push(id);
            total += usize::try_from(bytes).unwrap_or(0);
        }
        if ids.is_empty() {
            ready.session.run("ROLLBACK".to_owned()).await?;
            return Ok(Vec::new());
        }
        taken(ready.session.run(ready.dialect.take(&ids, free.now)).await?)
    }

    /// Moves reserved rows that are not jobs to the queue `NAME:broken`.
    async fn set_aside(
        &self,
        ready: &mut Ready,
        name: &str,
        broken: Vec<(Row, SetAside)>,
        found: &mut Reserved,
    ) -> sqlx::Result<()> {
        if broken.is_empty() {
            return Ok(());
        }
        let aside = format!("{name}:broken");
        let statements: Vec<_> = broken.iter().map(|(row, _)| ready.dialect.requeue(*row, &aside)).collect();
        ready.session.run(ready.dialect.transaction(&statements)).await?;
        found.set_aside.extend(broken.into_iter().map(|(_, said)| said));
        Ok(())
    }
}

/// A reserved row, and the size of its payload in bytes. A payload over [`LARGEST`] is not read and left empty.
struct TakenRow {
    row: Row,
    bytes: usize,
    payload: Bytes,
}

/// Reads the results of [`super::dialect::Dialect::reserve`] and [`super::dialect::Dialect::take`].
fn taken(answers: Vec<Answer>) -> sqlx::Result<Vec<TakenRow>> {
    let rows = answers.into_iter().flat_map(|answer| answer.rows);
    rows.map(|cells| {
        let [id, attempts, reserved_at, available_at, created_at, bytes] = numbers(&cells)?;
        Ok(TakenRow {
            row: Row { id, attempts, reserved_at, available_at, created_at },
            bytes: usize::try_from(bytes).unwrap_or(0),
            payload: cells.into_iter().next_back().flatten().unwrap_or_default(),
        })
    })
    .collect()
}
