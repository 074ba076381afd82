//! Laravel's jobs table in MySQL, MariaDB or PostgreSQL.
//!
//! One session for all calls, each of which is short: one or two round trips. Rows are changed exactly as by Laravel's
//! own class. May access the network; knows nothing of PHP.

use std::cell::RefCell;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::horizon::Horizon;
use super::row::{self, Row};
use super::trouble::Trouble;
use super::{
    BackendError, Capabilities, DEEP, Listed, Listing, Others, PAGE, Page, QueueBackend, QueueSize, Receipt,
    Reservation, Reserved, Wait, check_queues, epoch_seconds,
};

mod dialect;
mod ear;
mod link;
mod look;
mod others;
pub(super) mod session;
pub(super) mod settings;
mod shared;
mod take;
mod trouble;

use dialect::Free;
use ear::Ear;
use link::Link;
use look::{Pace, Work};
use session::{Answer, Cell};
pub use settings::DatabaseSettings;
use settings::Engine;

/// A look that takes longer is followed by a scan.
const LONG: Duration = Duration::from_millis(50);
/// Jobs that one request settles at most.
const MOST_SETTLED: usize = 500;

/// Queues of one jobs table.
pub struct DatabaseBackend {
    link: Link,
    retry_after: i64,
    pace: Pace,
    /// Listener for notifications of new jobs, if the app sends them.
    ear: Option<Ear>,
    /// Whether a look at the table takes longer than `long`.
    is_long: std::cell::Cell<bool>,
    long: Duration,
    /// Result of the last full scan of a long table.
    horizon: RefCell<Option<Horizon>>,
}

impl std::fmt::Debug for DatabaseBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseBackend").field("settings", self.link.settings()).finish_non_exhaustive()
    }
}

impl DatabaseBackend {
    /// A backend for these settings. Connects on the first call.
    ///
    /// # Errors
    /// [`BackendError::Settings`] for a missing `retry_after`.
    pub fn connect(settings: DatabaseSettings) -> Result<Self, BackendError> {
        let Some(retry_after) = settings.retry_after else {
            return Err(BackendError::Settings(
                "the database queue connection needs a number of seconds as `retry_after`".to_owned(),
            ));
        };
        let listens = settings.engine == Engine::Postgres && settings.notified;
        Ok(Self {
            link: Link::new(settings),
            retry_after,
            pace: Pace::new(),
            ear: listens.then(Ear::new),
            is_long: std::cell::Cell::new(false),
            long: LONG,
            horizon: RefCell::new(None),
        })
    }

    /// Treats every table as a long one.
    #[cfg(test)]
    pub(super) fn with_long_table(mut self) -> Self {
        self.long = Duration::ZERO;
        self
    }

    /// Name of a queue in the table.
    fn name(&self, queue: &str) -> String {
        self.link.settings().names.of(queue, "").into_owned()
    }

    fn names(&self, queues: &[String]) -> Vec<String> {
        queues.iter().map(|queue| self.name(queue)).collect()
    }

    fn free<'a>(&self, queue: &'a str, past: i64) -> Free<'a> {
        let now = epoch_seconds();
        Free { queue, now, expired: now.saturating_sub(self.retry_after), past, only: &[] }
    }

    /// Reserves the jobs that are available now, from the queues that have work according to `work`, or to a new look
    /// if that is `None`. Not cancel-safe.
    async fn reserve(&self, queues: &[String], max: usize, work: Option<Work>) -> Result<Reserved, BackendError> {
        check_queues(queues)?;
        if max == 0 {
            return Ok(Reserved::default());
        }
        if let Some(ear) = &self.ear {
            ear.drain();
        }
        let names = self.names(queues);
        let work = match work {
            Some(work) => Ok(work),
            None => self.look(&names).await,
        };
        let mut found = Reserved::default();
        let done = match work {
            Ok(work) if !work.contains(&true) => Ok(()),
            Ok(work) => {
                let with_work = names.iter().enumerate().zip(queues).zip(work).filter(|(_, has_work)| *has_work);
                self.link
                    .with(async |ready| {
                        for (((which, name), queue), _) in with_work {
                            if self.take_queue(ready, which, queue, name, max, &mut found).await? {
                                break;
                            }
                        }
                        Ok(())
                    })
                    .await
            }
            Err(trouble) => Err(trouble),
        };
        if found.jobs.is_empty() {
            // Rows that other transactions have locked looked free.
            self.pace.found_nothing(Duration::ZERO, false);
        } else {
            self.pace.found();
        }
        match done {
            // Jobs that are already reserved must not be lost with the error; the next call will report it.
            Err(trouble) if !found.is_empty() => {
                tracing::debug!("reserved fewer jobs than requested: {}", BackendError::from(trouble));
                Ok(found)
            }
            Ok(()) | Err(Trouble::Busy(_)) => Ok(found),
            Err(Trouble::Other(error)) => Err(error),
        }
    }

    /// Runs one guarded statement for each job. `false` where no row was hit, or the job is of another backend.
    async fn settle(
        &self,
        jobs: &[Reservation],
        statement: impl Fn(&dialect::Dialect, Row) -> String,
    ) -> Result<Vec<bool>, BackendError> {
        let rows: Vec<_> = jobs.iter().map(|job| Row::of(&job.receipt)).collect();
        let mut hits = Vec::with_capacity(rows.len());
        for rows in rows.chunks(MOST_SETTLED) {
            let ours: Vec<Row> = rows.iter().flatten().copied().collect();
            let mut answers = if ours.is_empty() {
                Vec::new()
            } else {
                self.link
                    .with(async |ready| {
                        let statements: Vec<_> = ours.iter().map(|row| statement(&ready.dialect, *row)).collect();
                        ready.session.run(ready.dialect.transaction(&statements)).await
                    })
                    .await?
            }
            .into_iter()
            // Skips the answer of the statement that begins the transaction.
            .skip(1);
            hits.extend(rows.iter().map(|row| row.is_some() && answers.next().is_some_and(|answer| answer.hits == 1)));
        }
        Ok(hits)
    }
}

fn row_of(answers: Vec<Answer>) -> Vec<Cell> {
    answers.into_iter().flat_map(|answer| answer.rows).next().unwrap_or_default()
}

/// The first columns of a row, as numbers. NULL is 0.
fn numbers<const N: usize>(row: &[Cell]) -> sqlx::Result<[i64; N]> {
    let mut numbers = [0; N];
    for (number, cell) in numbers.iter_mut().zip(row) {
        let Some(cell) = cell else { continue };
        let text = str::from_utf8(cell).unwrap_or_default();
        *number = text.parse().map_err(|_| sqlx::Error::Protocol(format!("`{text}` is not a number")))?;
    }
    Ok(numbers)
}

#[async_trait(?Send)]
impl QueueBackend for DatabaseBackend {
    fn driver(&self) -> &'static str {
        row::DRIVER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { doorbell: true, ..Capabilities::ALL }
    }

    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        let seen = RefCell::new(None);
        let look = async |limit| {
            check_queues(queues)?;
            *seen.borrow_mut() = Some(self.wait(&self.names(queues), limit).await?);
            Ok(())
        };
        let found = wait.first(look, async { self.reserve(queues, max, seen.take()).await }).await;
        if found.is_err() {
            // The next call must ask the server before it returns.
            self.pace.failed();
        }
        found
    }

    fn decode(&self, header: Option<&RawValue>, _: &Bytes) -> Option<Receipt> {
        Row::decode(header)
    }

    fn lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(u64::try_from(self.retry_after).unwrap_or(0)))
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        let now = epoch_seconds();
        let held = self.settle(jobs, |dialect, row| dialect.renew(row, now)).await?;
        for (job, held) in jobs.iter_mut().zip(&held) {
            if let Some(row) = Row::of(&job.receipt).filter(|_| *held) {
                job.receipt = Row { reserved_at: now, ..row }.receipt();
            }
        }
        Ok(held)
    }

    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        // The rows keep their ids, and so their places before all later rows.
        let held = self.settle(jobs, dialect::Dialect::unreserve).await?;
        if let Some(horizon) = &mut *self.horizon.borrow_mut() {
            for (job, _) in jobs.iter().zip(&held).filter(|(_, held)| **held) {
                if let Some(row) = Row::of(&job.receipt) {
                    horizon.freed(&self.name(&job.queue), row.id);
                }
            }
        }
        Ok(held)
    }

    fn unmovable(&self, _: &[String], _: &str) -> Option<String> {
        None
    }

    async fn requeue(&self, jobs: &[Reservation], to: &str) -> Result<Vec<bool>, BackendError> {
        let to = self.name(to);
        let held = self.settle(jobs, |dialect, row| dialect.requeue(row, &to)).await?;
        // A moved row may precede all known rows of that queue.
        self.forget();
        Ok(held)
    }

    fn forget(&self) {
        self.horizon.take();
        self.pace.failed();
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.settle(jobs, dialect::Dialect::delete).await
    }

    async fn next_of_others(&self, queue: &str, others: Others) -> Result<(Reserved, Others), BackendError> {
        self.take_of_others(queue, others).await
    }

    async fn kept(&self, name: &str) -> Result<(Option<String>, u64), BackendError> {
        self.kept_of(name).await
    }

    async fn keep(&self, name: &str, seen: Option<&str>, text: &str, _: Duration) -> Result<bool, BackendError> {
        self.keep_of(name, seen, text).await
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        check_queues(queues)?;
        let (names, now) = (self.names(queues), epoch_seconds());
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let counted = self
            .link
            .with(async |ready| {
                let all: Vec<_> = names.iter().map(|name| ready.dialect.sizes(name, now)).collect();
                let answers = ready.session.run(all.join("; ")).await?;
                answers.into_iter().flat_map(|answer| answer.rows).map(|row| numbers::<3>(&row)).collect()
            })
            .await?;
        let counted: Vec<[i64; 3]> = counted;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let size = |[pending, delayed, reserved]: [i64; 3]| QueueSize {
            pending: count(pending),
            delayed: count(delayed),
            reserved: count(reserved),
        };
        Ok(counted.into_iter().map(size).collect())
    }

    fn unlisted(&self) -> Option<&'static str> {
        None
    }

    async fn list(&self, queue: &str, which: Listing, first: usize, most: usize) -> Result<Page, BackendError> {
        let most = most.min(PAGE).min(DEEP.saturating_sub(first));
        let (name, now) = (self.name(queue), epoch_seconds());
        let rows: Vec<Vec<Cell>> = self
            .link
            .with(async |ready| {
                // One extra row shows whether there are more.
                let sql = ready.dialect.list(&name, now, which, first, most + 1);
                Ok(ready.session.run(sql).await?.into_iter().flat_map(|answer| answer.rows).collect())
            })
            .await?;
        let mut jobs = Vec::with_capacity(rows.len());
        for row in rows {
            let [bytes, attempts, available] = numbers(&row).unwrap_or_default();
            jobs.push(Listed {
                payload: row.into_iter().next_back().flatten().unwrap_or_default(),
                bytes: usize::try_from(bytes).unwrap_or(0),
                attempts: u32::try_from(attempts).ok(),
                available: u64::try_from(available).ok(),
            });
        }
        let more = jobs.len() > most && first + most < DEEP;
        jobs.truncate(most);
        Ok(Page { jobs, more })
    }

    async fn oldest(&self, queues: &[String]) -> Result<Vec<Option<u64>>, BackendError> {
        let (names, now) = (self.names(queues), epoch_seconds());
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let oldest = self
            .link
            .with(async |ready| {
                let all: Vec<_> = names.iter().map(|name| ready.dialect.oldest(name, now)).collect();
                let answers = ready.session.run(all.join("; ")).await?;
                answers.into_iter().flat_map(|answer| answer.rows).map(|row| numbers::<1>(&row)).collect()
            })
            .await?;
        let oldest: Vec<[i64; 1]> = oldest;
        Ok(oldest
            .into_iter()
            .map(|[at]| u64::try_from(at).ok().filter(|at| *at > 0).map(|at| at.saturating_mul(1000)))
            .collect())
    }
}
