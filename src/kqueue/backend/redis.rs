//! Laravel's Redis queue: the same keys, the same bytes and the same effects as its own scripts.
//!
//! One script call takes a batch of jobs. Waiting blocks on the `:notify` lists of all queues at once, on a
//! connection of its own. May access the network; knows nothing of PHP.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::listing::CUT;
use super::{
    BUDGET, BackendError, Capabilities, DEEP, LARGEST, Listed, Listing, Names, Others, PAGE, Page, QueueBackend,
    QueueSize, Receipt, Reservation, Reserved, SetAside, Wait, check_queues, epoch, epoch_seconds,
};
use kqueue_config::Pop;

mod access;
mod address;
mod blocking;
mod certificate;
mod cluster;
mod connection;
mod link;
mod member;
mod others;
mod returns;
mod sentinel;
mod servers;
mod settings;
mod shared;
pub(super) mod slot;
mod tls;

use blocking::Blocking;
use link::Lua;
use member::{DRIVER, Member, bounded, by_queue, member};
use servers::Servers;
pub use settings::RedisSettings;
#[cfg(test)]
pub(super) use settings::{NodeSettings, SentinelSettings, TlsSettings};

/// Due jobs that one script call moves if the app sets no limit: larger chunks would block the server for too long.
const CHUNK: i64 = 1000;
/// Bytes in one call from which on its connection is closed afterwards: connection buffers never shrink.
const HEAVY: usize = 4 << 20;
/// Messages that one script call sets aside at most.
const MOST_ASIDE: usize = 100;

/// Queues of one Redis connection of the app. Needs Redis 6 or later.
pub struct RedisBackend {
    servers: Servers,
    prefix: String,
    names: Names,
    retry_after: Option<i64>,
    migration_batch_size: i64,
    strict: bool,
    reserve: Lua,
    renew: Lua,
    unreserve: Lua,
    list: Lua,
    behind: Lua,
    forward: Lua,
    share: Lua,
    blocking: Blocking,
    /// Notify tokens that our BLPOP took, by queue: the next reserve removes that many fewer from the list.
    taken: RefCell<HashMap<String, usize>>,
    /// Queues with a key of the wrong type: not waited for until a reserve succeeds again.
    unusable: RefCell<HashSet<String>>,
}

impl std::fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBackend")
            .field("prefix", &self.prefix)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

/// Keys of one queue.
struct Keys {
    list: String,
    delayed: String,
    reserved: String,
    notify: String,
    broken: String,
}

/// State of a queue after a reserve script.
#[derive(PartialEq, Eq)]
enum Left {
    /// All due jobs were moved, and no more jobs are available or wanted.
    Done,
    /// More jobs are due than were moved.
    More,
    /// The reply has reached its limit of bytes or set-aside messages; there may be more jobs.
    Full,
}

impl RedisBackend {
    /// A backend for these settings. Connects on the first call.
    ///
    /// # Errors
    /// [`BackendError::Settings`] for an invalid host, and for TLS files that cannot be used.
    pub fn connect(settings: RedisSettings, pop: Pop) -> Result<Self, BackendError> {
        Ok(Self {
            servers: Servers::new(&settings)?,
            prefix: settings.prefix,
            names: settings.names,
            retry_after: settings.retry_after,
            migration_batch_size: settings.migration_batch_size,
            strict: pop == Pop::Strict,
            reserve: Lua::reserving(include_str!("redis/reserve.lua")),
            renew: Lua::new(include_str!("redis/renew.lua")),
            unreserve: Lua::new(include_str!("redis/unreserve.lua")),
            list: Lua::new(include_str!("redis/list.lua")),
            behind: Lua::new(include_str!("redis/behind.lua")),
            forward: Lua::new(include_str!("redis/forward.lua")),
            share: Lua::new(include_str!("redis/share.lua")),
            blocking: Blocking::default(),
            taken: RefCell::default(),
            unusable: RefCell::default(),
        })
    }

    fn keys(&self, queue: &str) -> Keys {
        let list = format!("{}{}", self.prefix, self.names.of(queue, "queues:"));
        Keys {
            delayed: format!("{list}:delayed"),
            reserved: format!("{list}:reserved"),
            notify: format!("{list}:notify"),
            broken: format!("{list}:broken"),
            list,
        }
    }

    /// Score of a reservation made now: epoch seconds at which its lease ends. Without `retry_after` it is now, as in
    /// Laravel.
    fn lease_end(&self) -> i64 {
        epoch_seconds().saturating_add(self.retry_after.unwrap_or(0))
    }

    /// One call of the reserve script on one queue. Appends to `found`.
    async fn take(&self, queue: &str, wanted: usize, found: &mut Reserved) -> Result<Left, BackendError> {
        let keys = self.keys(queue);
        let chunked = self.migration_batch_size < 0;
        let most_due = if chunked { CHUNK } else { self.migration_batch_size };
        let taken = self.taken.borrow_mut().remove(queue).unwrap_or(0);
        let all = [keys.list, keys.delayed, keys.reserved, keys.notify, keys.broken];

        let (left, jobs, aside): (i64, Vec<Vec<u8>>, Vec<Vec<u8>>) = self
            .servers
            .script(&self.reserve, &all, |cmd| {
                cmd.arg(epoch_seconds())
                    .arg(self.lease_end())
                    .arg(wanted)
                    .arg(most_due)
                    .arg(u8::from(chunked))
                    .arg(u8::from(self.retry_after.is_some()))
                    .arg(u8::from(self.strict))
                    .arg(taken)
                    .arg(BUDGET)
                    .arg(MOST_ASIDE)
                    .arg(LARGEST);
            })
            .await?;

        self.forget_heavy(jobs.iter().map(Vec::len).sum()).await;
        let mut jobs = jobs.into_iter().map(Bytes::from);
        while let (Some(payload), Some(reserved)) = (jobs.next(), jobs.next()) {
            let receipt = Member::receipt(reserved);
            found.jobs.push(Reservation { queue: queue.to_owned(), payload, receipt });
        }
        let mut aside = aside.into_iter();
        while let (Some(bytes), Some(why)) = (aside.next(), aside.next()) {
            let bytes = String::from_utf8_lossy(&bytes).parse().unwrap_or(0);
            let why = String::from_utf8_lossy(&why).into_owned();
            if self.strict && bytes <= LARGEST {
                tracing::warn!(queue, bytes, "a queued message was lost: {why}");
                continue;
            }
            found.set_aside.push(SetAside::beside(queue, why, bytes));
        }
        Ok(match left {
            0 => Left::Done,
            1 => Left::More,
            _ => Left::Full,
        })
    }

    /// Closes the shared connections after a call that carried [`HEAVY`] bytes or more.
    async fn forget_heavy(&self, bytes: usize) {
        if bytes >= HEAVY {
            self.servers.forget().await;
        }
    }

    /// Marks a queue as unusable if `error` is a key of the wrong type. `false` for any other error.
    fn leave_out(&self, queue: &str, error: &BackendError) -> bool {
        let is_wrong_type = error.to_string().contains("WRONGTYPE");
        if is_wrong_type && self.unusable.borrow_mut().insert(queue.to_owned()) {
            let Keys { list, .. } = self.keys(queue);
            tracing::error!(
                "queue {queue} cannot be processed: the Redis key {list} or one of {list}:* has the wrong type; other \
                 queues are not affected; fix: rename or delete that key"
            );
        }
        is_wrong_type
    }

    /// Marks a queue as usable again.
    fn take_in(&self, queue: &str) {
        if self.unusable.borrow_mut().remove(queue) {
            tracing::info!("queue {queue} is processed again");
        }
    }

    /// Groups of jobs that one call can settle, each job with its index in `jobs`.
    fn groups<'a>(&self, jobs: &'a [Reservation]) -> Vec<Vec<(usize, &'a Reservation)>> {
        let keys: Vec<String> = jobs.iter().map(|job| self.keys(&job.queue).list).collect();
        let groups = self.servers.groups(keys.iter().map(String::as_str)).into_iter();
        groups.map(|group| group.into_iter().filter_map(|at| Some((at, jobs.get(at)?))).collect()).collect()
    }

    fn usable(&self, queues: &[String]) -> Vec<String> {
        let unusable = self.unusable.borrow();
        queues.iter().filter(|queue| !unusable.contains(*queue)).cloned().collect()
    }

    /// Reserves the jobs that are available now. Not cancel-safe.
    pub(super) async fn reserve(&self, queues: &[String], max: usize) -> Result<Reserved, BackendError> {
        check_queues(queues)?;
        let mut found = Reserved::default();
        for queue in queues {
            loop {
                let wanted = max.saturating_sub(found.jobs.len());
                if wanted == 0 {
                    return Ok(found);
                }
                let taken = self.take(queue, wanted, &mut found).await;
                if taken.is_ok() {
                    self.take_in(queue);
                }
                match taken {
                    Ok(Left::Done) => break,
                    Ok(Left::More) => {}
                    Ok(Left::Full) => return Ok(found),
                    Err(e) if self.leave_out(queue, &e) => break,
                    // Jobs that are already reserved must not be lost with the error; the next call will report it.
                    Err(e) if found.jobs.is_empty() && found.set_aside.is_empty() => return Err(e),
                    Err(e) => {
                        tracing::debug!(queue, "reserved fewer jobs than requested: {e}");
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Returns when there may be work in one of `queues`, or after `limit`, whichever is first. Cancel-safe: dropping
    /// it closes the blocking connections.
    pub(super) async fn wait(&self, queues: &[String], limit: Duration) -> Result<(), BackendError> {
        check_queues(queues)?;
        let start = Instant::now();
        let queues = &self.usable(queues);
        if queues.is_empty() {
            tokio::time::sleep(limit).await;
            return Ok(());
        }
        loop {
            // Notify tokens are hints: another worker may have taken the token of a job that is still queued, and
            // delayed jobs have none. The lists decide; blocking only reduces the latency.
            if self.ready(queues).await? {
                return Ok(());
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            // Jobs become due on whole seconds, so a look right after each second misses none, not even jobs that are
            // delayed during the wait.
            if self.block(queues, left.min(to_next_second())).await? {
                return Ok(());
            }
        }
    }

    /// Whether a reserve would find a job, or a due job to move.
    async fn ready(&self, queues: &[String]) -> Result<bool, BackendError> {
        let now = epoch_seconds();
        let mut calls = Vec::new();
        for queue in queues {
            let keys = self.keys(queue);
            calls.push(call("LLEN", keys.list));
            // With a batch size of 0 due jobs are never moved, so they are not work.
            if self.migration_batch_size == 0 {
                continue;
            }
            let mut due = |key| {
                let (key, mut count) = call("ZCOUNT", key);
                count.arg("-inf").arg(now);
                calls.push((key, count));
            };
            due(keys.delayed);
            if self.retry_after.is_some() {
                due(keys.reserved);
            }
        }
        // A key of the wrong type counts as work: the reserve reports it.
        Ok(self.servers.counts(calls).await?.iter().any(|count| count.is_none_or(|count| count > 0)))
    }

    /// Blocks until there is a token for one of `queues`, for `limit` at most, and takes it. `false` without one.
    async fn block(&self, queues: &[String], limit: Duration) -> Result<bool, BackendError> {
        let notify: Vec<String> = queues.iter().map(|q| self.keys(q).notify).collect();
        let Some(key) = self.blocking.first(&self.servers, &notify, limit).await? else {
            return Ok(false);
        };
        if let Some((queue, _)) = queues.iter().zip(&notify).find(|(_, notify)| notify.as_bytes() == key) {
            *self.taken.borrow_mut().entry(queue.clone()).or_default() += 1;
        }
        Ok(true)
    }
}

#[async_trait(?Send)]
impl QueueBackend for RedisBackend {
    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        wait.first(async |limit| self.wait(queues, limit).await, self.reserve(queues, max)).await
    }

    fn decode(&self, header: Option<&RawValue>, body: &Bytes) -> Option<Receipt> {
        (header.is_none() && !body.is_empty()).then(|| Member::receipt(body.clone()))
    }

    fn lease(&self) -> Option<Duration> {
        self.retry_after.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)))
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        let mut held = Vec::with_capacity(jobs.len());
        for group in self.groups(jobs) {
            let (queues, indexes) = by_queue(&group);
            let keys: Vec<String> = queues.iter().map(|q| self.keys(q).reserved).collect();
            let answer: Vec<i64> = self
                .servers
                .script(&self.renew, &keys, |cmd| {
                    // Without `retry_after` there is no lease to extend.
                    match self.retry_after {
                        Some(_) => cmd.arg(self.lease_end()),
                        None => cmd.arg(""),
                    };
                    for ((_, job), index) in group.iter().zip(&indexes) {
                        cmd.arg(index + 1).arg(member(job));
                    }
                })
                .await?;
            self.forget_heavy(group.iter().map(|(_, job)| member(job).len()).sum()).await;
            held.extend(group.iter().map(|(at, _)| *at).zip(answer));
        }
        Ok(in_order(held))
    }

    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.put_back(jobs, None).await
    }

    fn unmovable(&self, from: &[String], to: &str) -> Option<String> {
        let apart = from.iter().find(|queue| !self.is_beside(queue, to))?;
        let why = "are in different slots of the cluster: jobs cannot be moved between them atomically";
        Some(format!("queues {apart} and {to} {why}"))
    }

    async fn requeue(&self, jobs: &[Reservation], to: &str) -> Result<Vec<bool>, BackendError> {
        // If any of them cannot be moved in one step, all go back to their own queues.
        let can = jobs.iter().all(|job| self.is_beside(&job.queue, to));
        self.put_back(jobs, can.then_some(to)).await
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        let mut removed = Vec::with_capacity(jobs.len());
        // Bounded, since the client library keeps three copies of a request.
        for jobs in bounded(jobs) {
            let remove = |job: &Reservation| {
                let (key, mut zrem) = call("ZREM", self.keys(&job.queue).reserved);
                zrem.arg(member(job));
                (key, zrem)
            };
            let calls: Vec<_> = jobs.iter().map(remove).collect();
            let answers = self.servers.counts(calls).await?;
            self.forget_heavy(jobs.iter().map(|job| member(job).len()).sum()).await;
            removed.extend(answers.into_iter().map(|answer| answer == Some(1)));
        }
        Ok(removed)
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        check_queues(queues)?;
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let size = |queue: &String| {
            let keys = self.keys(queue);
            [call("LLEN", keys.list), call("ZCARD", keys.delayed), call("ZCARD", keys.reserved)]
        };
        let calls: Vec<_> = queues.iter().flat_map(size).collect();
        let counts = self.servers.counts(calls).await?;
        // Fails the whole call: the caller can ask for the other queues one by one.
        let broken = counts.iter().position(Option::is_none).map(|at| at / 3);
        if let Some(queue) = broken.and_then(|at| queues.get(at)) {
            let node = self.servers.node(&self.keys(queue).list).await?;
            return Err(node.link.unavailable(&format!("WRONGTYPE: a key of queue {queue} has an unexpected type")));
        }
        let counts: Vec<u64> = counts.into_iter().map(|n| u64::try_from(n.unwrap_or(0)).unwrap_or(0)).collect();
        Ok(counts
            .as_chunks()
            .0
            .iter()
            .map(|&[pending, delayed, reserved]| QueueSize { pending, delayed, reserved })
            .collect())
    }

    fn unlisted(&self) -> Option<&'static str> {
        None
    }

    async fn next_of_others(&self, queue: &str, others: Others) -> Result<(Reserved, Others), BackendError> {
        self.take_of_others(queue, others).await
    }

    async fn kept(&self, name: &str) -> Result<(Option<String>, u64), BackendError> {
        self.kept_of(name).await
    }

    async fn keep(&self, name: &str, seen: Option<&str>, text: &str, time: Duration) -> Result<bool, BackendError> {
        self.keep_of(name, seen, text, time).await
    }

    async fn list(&self, queue: &str, which: Listing, first: usize, most: usize) -> Result<Page, BackendError> {
        let keys = self.keys(queue);
        let (key, kind) = match which {
            Listing::Waiting => (keys.list, "list"),
            Listing::Delayed => (keys.delayed, "set"),
        };
        let most = most.min(PAGE).min(DEEP.saturating_sub(first));
        let (all, parts): (usize, Vec<Bytes>) = self
            .servers
            .script(&self.list, &[key], |cmd| {
                cmd.arg(kind).arg(first).arg(most).arg(CUT).arg(BUDGET);
            })
            .await?;
        let text = |part: &Bytes| str::from_utf8(part).unwrap_or_default().to_owned();
        let listed = |part: &[Bytes; 3]| Listed {
            payload: part[0].clone(),
            bytes: text(&part[1]).parse().unwrap_or(0),
            attempts: None,
            available: text(&part[2]).parse::<f64>().ok().map(|due| due as u64),
        };
        let jobs: Vec<_> = parts.as_chunks::<3>().0.iter().map(listed).collect();
        Ok(Page { more: all > first + jobs.len() && first + jobs.len() < DEEP, jobs })
    }
}

/// Time until just after the wall clock's next whole second.
fn to_next_second() -> Duration {
    Duration::from_millis(1001 - u64::from(epoch().subsec_millis()))
}

/// A command on a key, and the key.
fn call(command: &str, key: String) -> (String, redis::Cmd) {
    let mut cmd = redis::cmd(command);
    cmd.arg(&key);
    (key, cmd)
}

/// Replies by job, from pairs of a job's index and its reply: `true` for 1.
fn in_order(mut held: Vec<(usize, i64)>) -> Vec<bool> {
    held.sort_unstable();
    held.into_iter().map(|(_, n)| n == 1).collect()
}
