//! Queue backends: Laravel's own queues, reserved from and settled in Laravel's own bytes and tables.
//!
//! A backend knows one connection of the app, with settings that PHP has resolved. Whatever it writes is
//! exactly what stock `queue:work` would have written, so both can work one queue side by side.
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
/// Bytes of the largest payload that is run. Larger ones are set aside: a few of them would fill any machine.
const LARGEST: usize = 128 << 20;

/// Why hosts cannot keep anything here.
const NOT_KEPT: &str = "only Redis and databases can keep what hosts share; take `shared` away";

/// A job that is ours until its lease ends: Laravel's "reserved".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Name of the queue as it was asked for, such as `default`.
    pub queue: String,
    /// The payload as it was popped: `getRawBody()` of the job in PHP. Never re-serialised.
    pub payload: Bytes,
    /// How the backend finds it again.
    pub receipt: Receipt,
}

impl Reservation {
    /// As far as it is needed to find it again: payloads may be large.
    pub fn without_payload(&self) -> Self {
        Self { queue: self.queue.clone(), payload: Bytes::new(), receipt: self.receipt.clone() }
    }
}

/// A queued message that no Laravel could run, and that was moved out of the way.
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
    /// Jobs that are now ours, in the order in which they are to run.
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
    /// Jobs whose time has not come.
    pub delayed: u64,
    /// Jobs that some worker holds.
    pub reserved: u64,
}

/// What a backend can do, where backends differ. Whoever uses one asks, and assumes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Jobs come in the order in which they were pushed, and what is given back comes first again.
    pub ordered: bool,
    /// [`QueueBackend::sizes`] counts. Otherwise it estimates.
    pub exact_sizes: bool,
    /// A job that is given back is as it was. Otherwise an attempt stays counted.
    pub unreserve: bool,
    /// A lease that has run out can still be renewed, while nobody else has the job.
    pub revives: bool,
    /// Jobs that one call can bring at the most.
    pub max_batch: usize,
    /// How long one reservation can last, all renewals included; `None` is for ever.
    pub max_lease: Option<Duration>,
    /// A push is announced by nobody, so that it is worth while to be told of it at [`DOORBELL`].
    pub doorbell: bool,
    /// How long one wait for jobs is best: a longer one may take longer to end, and shorter ones may cost more.
    pub poll: Duration,
}

impl Capabilities {
    /// Of a store in which Laravel itself keeps the order, and that announces what is pushed.
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

/// The socket in the app's runtime directory at which the app's package rings after a push.
pub const DOORBELL: &str = "bell.sock";

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The server or the file cannot be used now; trying again later makes sense.
    #[error("{target}: {reason}")]
    Unavailable {
        /// What could not be reached: `redis at 127.0.0.1:6379`, `/srv/shop/database.sqlite`.
        target: String,
        /// The error as the client library put it.
        reason: String,
    },
    /// The server or the file is there, and a table in it is not. Once it is, work goes on by itself.
    #[error("{target}: {reason}; {fix}")]
    NoTable {
        /// What was asked, as above.
        target: String,
        /// What it said.
        reason: String,
        /// How to make the table.
        fix: String,
    },
    /// The connection's settings cannot work; only the operator can mend them.
    #[error("{0}")]
    Settings(String),
    /// The server refuses the credentials or the database: it may be the one that is wrong.
    #[error("{what}; {fix}")]
    Refused {
        /// Which server, and what it says.
        what: String,
        /// What to change if the server is right.
        fix: &'static str,
    },
}

/// The backend for one queue connection. Nothing is connected to before the first call.
///
/// # Errors
/// [`BackendError::Settings`], in one line that says what to change, for what kqueue cannot serve.
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

/// Refuses names that Laravel's Redis queue uses for the parts of another queue.
///
/// # Errors
/// [`BackendError::Settings`], in one line.
pub fn check_queues(queues: &[String]) -> Result<(), BackendError> {
    for queue in queues {
        let taken = [":delayed", ":reserved", ":notify"].iter().find(|suffix| queue.ends_with(*suffix));
        if let Some(suffix) = taken {
            return Err(BackendError::Settings(format!(
                "queue `{queue}`: a name that ends in `{suffix}` is a part of another queue; rename it"
            )));
        }
        if queue.is_empty() {
            return Err(BackendError::Settings("a queue has an empty name".to_owned()));
        }
    }
    Ok(())
}

/// The wall clock since the epoch, by which delayed jobs are due here.
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
    /// Laravel's name of the driver: by it PHP picks its job class, and the ledger knows whose a receipt is.
    fn driver(&self) -> &'static str;

    /// Whether workers pop by themselves: nothing is ever reserved here.
    fn is_native(&self) -> bool {
        false
    }

    /// What it can do. Asked at any time, and always answered alike.
    fn capabilities(&self) -> Capabilities;

    /// Refuses queues whose names it cannot work.
    ///
    /// # Errors
    /// [`BackendError::Settings`], in one line.
    fn check_queues(&self, queues: &[String]) -> Result<(), BackendError> {
        check_queues(queues)
    }

    /// Waits until there may be work in one of `queues`, at most as long as `wait` says, and reserves up to `max` jobs
    /// from them, strictly in that order, after making due what is due: delayed jobs whose time has come and
    /// reservations whose lease ran out.
    ///
    /// A lost race or a lock held by another worker is "no job now", never an error. Fewer than `max` does not mean
    /// that there are no more: an answer is bounded in bytes too. None may come before the wait is over.
    ///
    /// To end it early, use [`Wait::end`]: that loses no job. The future itself is not cancel-safe: jobs reserved by a
    /// call whose future was dropped come back when their lease ends.
    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError>;

    /// Looks for jobs of others behind those of a queue that come next, and reserves what `others` picks of it, out of their
    /// order. Looks at a bounded number of jobs; the next look goes on from there. None where there is no such order.
    async fn next_of_others(&self, _queue: &str, others: Others) -> Result<(Reserved, Others), BackendError> {
        Ok((Reserved::default(), Others { is_through: true, ..others }))
    }

    /// Reads a receipt that it has made itself, in this process or an earlier one; `None` if it is none.
    fn decode(&self, header: Option<&RawValue>, body: &Bytes) -> Option<Receipt>;

    /// How long a reservation lasts without renewal (`retry_after`); `None` when it never expires by us.
    fn lease(&self) -> Option<Duration>;

    /// Starts each lease anew. The answer has one entry for each job, in order: `false` where the
    /// reservation is no longer ours. A renewed [`Receipt`] is updated in place.
    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError>;

    /// Puts jobs that PHP has never seen back at the head of their queues, in the order given, as they
    /// were, with no attempt counted; as far as its [`Capabilities`] go. `false` where the reservation was no
    /// longer ours.
    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError>;

    /// Why jobs of these queues cannot go to queue `to` in one step, in which none is lost or there twice; `None` where they can.
    fn unmovable(&self, _from: &[String], _to: &str) -> Option<String> {
        Some("jobs of this queue cannot be put into another one".to_owned())
    }

    /// Puts jobs that PHP has never seen at the end of another queue (in a database, where their age puts them there), as they
    /// were, with no attempt counted. `false` where the reservation was no longer ours. Only where
    /// [`QueueBackend::unmovable`] has nothing to say; elsewhere they go back where they were.
    async fn requeue(&self, jobs: &[Reservation], _to: &str) -> Result<Vec<bool>, BackendError> {
        self.unreserve(jobs).await
    }

    /// Somebody has moved jobs in the queue by hand: what is remembered of it counts no longer.
    fn forget(&self) {}

    /// Removes finished jobs. `false` where the reservation was no longer ours.
    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError>;

    /// The sizes of `queues`, in order.
    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError>;

    /// Why jobs of these queues cannot be listed, where that is so.
    fn unlisted(&self) -> Option<&'static str> {
        Some("jobs of this queue cannot be listed")
    }

    /// Jobs of a queue that nobody has reserved, from the one at place `first` on: at most `most` and [`PAGE`] of them,
    /// and fewer where they are large. Changes nothing, and reads a bounded number of bytes. None behind [`DEEP`].
    async fn list(&self, _queue: &str, _which: Listing, _first: usize, _most: usize) -> Result<Page, BackendError> {
        Ok(Page::default())
    }

    /// What hosts keep here under a name, if anything, and the server's time in milliseconds.
    ///
    /// # Errors
    /// [`BackendError::Settings`] where nothing can be kept.
    async fn kept(&self, _name: &str) -> Result<(Option<String>, u64), BackendError> {
        Err(BackendError::Settings(NOT_KEPT.to_owned()))
    }

    /// Keeps a text under a name, for so long at the least, if what is there is what was seen. `false` where it is not.
    async fn keep(&self, _name: &str, _seen: Option<&str>, _text: &str, _for: Duration) -> Result<bool, BackendError> {
        Err(BackendError::Settings(NOT_KEPT.to_owned()))
    }

    /// For each of `queues`, since when the job has waited that has waited for longest: milliseconds since 1970, where
    /// that is known.
    async fn oldest(&self, queues: &[String]) -> Result<Vec<Option<u64>>, BackendError> {
        let mut oldest = Vec::with_capacity(queues.len());
        for queue in queues {
            let first = self.list(queue, Listing::Waiting, 0, 1).await?;
            oldest.push(first.jobs.first().and_then(Listed::ready_at));
        }
        Ok(oldest)
    }
}
