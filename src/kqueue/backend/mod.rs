//! Queue backends: Laravel's own queues, reserved from and settled in Laravel's own bytes and tables.
//!
//! A backend serves one queue connection of the app, with settings that PHP has resolved. It writes exactly what stock
//! `queue:work` would have written, so both can work one queue side by side.
//! This module may touch the network and the app's database file; it knows nothing of workers or PHP.
//!
#![doc = include_str!("README.md")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;

use kqueue_config::Pop;

mod database;
mod head;
mod horizon;
mod listing;
mod native;
mod others;
mod receipt;
mod redis;
mod row;
mod settings;
mod sqlite;
mod sqs;
mod trouble;
mod wait;

#[cfg(test)]
mod conformance;

pub use database::{DatabaseBackend, DatabaseSettings};
pub use listing::{DEEP, Listed, Listing, PAGE, Page};
pub use native::{NativeBackend, popped};
pub use others::{LOOK, Others};
pub use receipt::{Encoded, Receipt};
#[cfg(test)]
use redis::{NodeSettings, SentinelSettings, TlsSettings};
pub use redis::{RedisBackend, RedisSettings};
pub use settings::{ConnectionSettings, Names, SqliteSettings};
pub use sqlite::SqliteBackend;
pub use sqs::{SqsBackend, SqsSettings};
pub use wait::Wait;

/// Bytes of payloads after which one call takes no more jobs; the last one may exceed it.
const BUDGET: usize = 16 << 20;
/// Bytes of the largest payload that is run. Larger ones are set aside: a few of them would exhaust the memory.
const LARGEST: usize = 128 << 20;

/// Error of backends that cannot store what hosts share.
const NOT_KEPT: &str = "only redis and database connections can store shared limits; remove `shared`";

/// A job that is ours until its lease ends: Laravel's "reserved".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Name of the queue as it was asked for, such as `default`.
    pub queue: String,
    /// The payload as it was popped: `getRawBody()` of the job in PHP. Never re-serialised.
    pub payload: Bytes,
    /// Identifies the reservation to the backend.
    pub receipt: Receipt,
}

impl Reservation {
    /// The reservation with an empty payload, for calls that only need the receipt: payloads may be large.
    pub fn without_payload(&self) -> Self {
        Self { queue: self.queue.clone(), payload: Bytes::new(), receipt: self.receipt.clone() }
    }
}

/// A queued message that Laravel could not run, and that was moved out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The queue it came from.
    pub queue: String,
    /// Where it is now, for the log: `queue NAME:broken`.
    pub now: String,
    /// Why it cannot be run, for the log.
    pub why: String,
    /// Its size in bytes.
    pub bytes: usize,
}

impl SetAside {
    /// On the queue `NAME:broken` of the same connection.
    fn beside(queue: &str, why: String, bytes: usize) -> Self {
        Self { queue: queue.to_owned(), now: format!("queue {queue}:broken"), why, bytes }
    }
}

/// What one call of [`QueueBackend::next_batch`] found.
#[derive(Debug, Default)]
pub struct Reserved {
    /// Jobs that are now reserved by us, in the order in which they are to run.
    pub jobs: Vec<Reservation>,
    /// Messages that were moved out of the way.
    pub set_aside: Vec<SetAside>,
}

impl Reserved {
    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.set_aside.is_empty()
    }
}

/// Sizes of one queue, as Laravel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSize {
    /// Jobs that could run now.
    pub pending: u64,
    /// Jobs that are not due yet.
    pub delayed: u64,
    /// Jobs that a worker has reserved.
    pub reserved: u64,
}

/// Capabilities in which backends differ. Callers must not assume anything beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Jobs come in the order in which they were pushed, and unreserved jobs come first again.
    pub ordered: bool,
    /// [`QueueBackend::sizes`] counts. Otherwise it estimates.
    pub exact_sizes: bool,
    /// Unreserving a job restores it as it was. Otherwise the attempt stays counted.
    pub unreserve: bool,
    /// An expired lease can still be renewed as long as no other worker has reserved the job.
    pub revives: bool,
    /// Jobs that one call can reserve at most.
    pub max_batch: usize,
    /// Longest duration of one reservation, including all renewals; `None` is unlimited.
    pub max_lease: Option<Duration>,
    /// The store does not announce pushes, so the app should announce them at [`DOORBELL`].
    pub doorbell: bool,
    /// Best duration of one wait for jobs: a longer one may take longer to end, and shorter ones may cost more calls.
    pub poll: Duration,
}

impl Capabilities {
    /// Capabilities of a store that keeps jobs in order and announces pushes.
    pub const ALL: Self = Self {
        ordered: true,
        exact_sizes: true,
        unreserve: true,
        revives: true,
        max_batch: usize::MAX,
        max_lease: None,
        doorbell: false,
        poll: Duration::from_secs(1),
    };
}

/// Socket in the app's runtime directory that the app's package notifies after a push.
pub const DOORBELL: &str = "bell.sock";

/// Error of a backend call.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The server or the file cannot be used now; trying again later makes sense.
    #[error("{target}: {reason}")]
    Unavailable {
        /// The server or file: `redis at 127.0.0.1:6379`, `/srv/shop/database.sqlite`.
        target: String,
        /// Error message of the client library.
        reason: String,
    },
    /// The server or the file is available, but lacks a table. Work resumes by itself once the table exists.
    #[error("{target}: {reason}; {fix}")]
    NoTable {
        /// The server or file, as above.
        target: String,
        /// Its error message.
        reason: String,
        /// How to create the table.
        fix: String,
    },
    /// The connection's settings cannot work; only the operator can fix them.
    #[error("{0}")]
    Settings(String),
    /// The server refuses the credentials or the database. The settings may be wrong, or the server.
    #[error("{what}; {fix}")]
    Refused {
        /// The server and its error message.
        what: String,
        /// What to change unless the server is wrong.
        fix: &'static str,
    },
}

/// Creates the backend of one queue connection, which connects on its first call.
///
/// # Errors
/// [`BackendError::Settings`], in one line that says what to change, for a connection that kqueue cannot serve.
pub fn open(settings: ConnectionSettings, pop: Pop) -> Result<Box<dyn QueueBackend>, BackendError> {
    match settings {
        ConnectionSettings::Redis(redis) => Ok(Box::new(RedisBackend::connect(*redis, pop)?)),
        ConnectionSettings::Sqlite(sqlite) => Ok(Box::new(SqliteBackend::connect(sqlite)?)),
        ConnectionSettings::Database(database) => Ok(Box::new(DatabaseBackend::connect(*database)?)),
        ConnectionSettings::Sqs(sqs) => Ok(Box::new(SqsBackend::connect(sqs, pop)?)),
        ConnectionSettings::Native => Ok(Box::new(NativeBackend)),
        ConnectionSettings::Unsupported { driver, engine } => Err(settings::unsupported(&driver, engine.as_deref())),
    }
}

/// Refuses empty names, and names that Laravel's Redis queue uses for the parts of another queue.
///
/// # Errors
/// [`BackendError::Settings`], in one line.
pub fn check_queues(queues: &[String]) -> Result<(), BackendError> {
    for queue in queues {
        let taken = [":delayed", ":reserved", ":notify"].iter().find(|suffix| queue.ends_with(*suffix));
        if let Some(suffix) = taken {
            return Err(BackendError::Settings(format!(
                "queue `{queue}`: the suffix `{suffix}` is reserved for parts of another queue; rename it"
            )));
        }
        if queue.is_empty() {
            return Err(BackendError::Settings("a queue has an empty name".to_owned()));
        }
    }
    Ok(())
}

/// The wall clock since the epoch, by which delayed jobs become due.
pub fn now() -> Duration {
    epoch()
}

/// The wall clock since the epoch: the clock that Laravel's workers on this host use too.
fn epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// [`epoch`] in whole seconds, Laravel's granularity.
fn epoch_seconds() -> i64 {
    i64::try_from(epoch().as_secs()).unwrap_or(i64::MAX)
}

/// One queue connection of the app. Every backend passes the same conformance suite.
#[async_trait(?Send)]
pub trait QueueBackend {
    /// Laravel's name of the driver: PHP selects the job class by it, and the ledger records it with each receipt.
    fn driver(&self) -> &'static str;

    /// Whether workers pop jobs themselves, so that this backend never reserves any.
    fn is_native(&self) -> bool {
        false
    }

    /// What this backend can do. Constant.
    fn capabilities(&self) -> Capabilities;

    /// Refuses queues with names that this backend cannot serve.
    ///
    /// # Errors
    /// [`BackendError::Settings`], in one line.
    fn check_queues(&self, queues: &[String]) -> Result<(), BackendError> {
        check_queues(queues)
    }

    /// Waits until there may be work in one of `queues`, at most for the limit of `wait`, and reserves up to `max` jobs
    /// from them, strictly in that order. Delayed jobs that are due and expired reservations are made available first.
    ///
    /// A lost race or a lock held by another worker is "no job now", never an error. Fewer than `max` does not mean
    /// that there are no more: a reply is bounded in bytes too. An empty reply may come before the wait is over.
    ///
    /// To end the wait early, use [`Wait::end`], which loses no job. The future itself is not cancel-safe: jobs
    /// reserved by a call whose future was dropped come back when their lease ends.
    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError>;

    /// Scans jobs further back in a queue, and reserves those that `others` picks, out of order. Scans a bounded number
    /// of jobs; the next scan continues from there. Returns none where the backend does not support this.
    async fn next_of_others(&self, _queue: &str, others: Others) -> Result<(Reserved, Others), BackendError> {
        Ok((Reserved::default(), Others { is_through: true, ..others }))
    }

    /// Reads a receipt that this backend has encoded, in this process or an earlier one; `None` if it is not one.
    fn decode(&self, header: Option<&RawValue>, body: &Bytes) -> Option<Receipt>;

    /// How long a reservation lasts without renewal (`retry_after`); `None` if this backend never lets it expire.
    fn lease(&self) -> Option<Duration>;

    /// Restarts each lease. Returns one entry for each job, in order: `false` where the reservation is no longer ours.
    /// A renewed [`Receipt`] is updated in place.
    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError>;

    /// Returns jobs that were never passed to PHP to the head of their queues, in the order given, unchanged and with
    /// no attempt counted, as far as the [`Capabilities`] allow. `false` where the reservation was no longer ours.
    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError>;

    /// Why jobs of these queues cannot be moved to queue `to` atomically, neither lost nor duplicated; `None` if they
    /// can.
    fn unmovable(&self, _from: &[String], _to: &str) -> Option<String> {
        Some("jobs of this connection cannot be moved to another queue".to_owned())
    }

    /// Moves jobs that were never passed to PHP to the end of another queue (in a database: to the place that their ids
    /// give them there), unchanged and with no attempt counted. `false` where the reservation was no longer ours. Only
    /// where [`QueueBackend::unmovable`] is `None`; elsewhere jobs return to their own queues.
    async fn requeue(&self, jobs: &[Reservation], _to: &str) -> Result<Vec<bool>, BackendError> {
        self.unreserve(jobs).await
    }

    /// Discards what is cached about queue contents, after jobs were moved by hand.
    fn forget(&self) {}

    /// Removes finished jobs. `false` where the reservation was no longer ours.
    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError>;

    /// The sizes of `queues`, in order.
    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError>;

    /// Why jobs cannot be listed; `None` if they can.
    fn unlisted(&self) -> Option<&'static str> {
        Some("jobs of this queue cannot be listed")
    }

    /// Unreserved jobs of a queue from index `first` on: at most `most` and [`PAGE`] of them, and fewer where they are
    /// large. Changes nothing, and reads a bounded number of bytes. Lists no jobs beyond index [`DEEP`].
    async fn list(&self, _queue: &str, _which: Listing, _first: usize, _most: usize) -> Result<Page, BackendError> {
        Ok(Page::default())
    }

    /// The text that hosts share under a name, if any, and the server's time in milliseconds since the epoch.
    ///
    /// # Errors
    /// [`BackendError::Settings`] if this backend cannot store any.
    async fn kept(&self, _name: &str) -> Result<(Option<String>, u64), BackendError> {
        Err(BackendError::Settings(NOT_KEPT.to_owned()))
    }

    /// Stores a shared text under a name, for at least the given time, if the current one is still `seen`
    /// (compare-and-swap). `false` if it is not.
    async fn keep(&self, _name: &str, _seen: Option<&str>, _text: &str, _for: Duration) -> Result<bool, BackendError> {
        Err(BackendError::Settings(NOT_KEPT.to_owned()))
    }

    /// For each of `queues`, since when its longest-waiting job has waited: milliseconds since 1970, where that is
    /// known.
    async fn oldest(&self, queues: &[String]) -> Result<Vec<Option<u64>>, BackendError> {
        let mut oldest = Vec::with_capacity(queues.len());
        for queue in queues {
            let first = self.list(queue, Listing::Waiting, 0, 1).await?;
            oldest.push(first.jobs.first().and_then(Listed::ready_at));
        }
        Ok(oldest)
    }
}
