//! Laravel's Redis queue: the same keys, the same bytes and the same effects as its own scripts.
//!
//! One script call takes a batch of jobs. Waiting blocks on the `:notify` lists of all queues at once, on a
//! connection of its own. May touch the network; knows of no PHP.

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

/// Due jobs that one script call moves where the app sets no limit: larger ones would hold up the server.
const CHUNK: i64 = 1000;
/// Bytes that one call may carry before its connection is closed: buffers stay as large as they once were.
const HEAVY: usize = 4 << 20;
/// Messages that one script call sets aside at the most.
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
    /// Notify tokens that our BLPOP took, by queue: the next reserve leaves as many in the list.
    taken: RefCell<HashMap<String, usize>>,
    /// Queues with a key of the wrong type: left out until the key is gone.
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

/// How a script call left the queue.
#[derive(PartialEq, Eq)]
enum Left {
    /// All was moved that was due, and nothing more is to be had or wanted.
    Done,
    /// More is due than was moved.
    More,
    /// There may be more, but enough for one answer.
    Full,
}

impl RedisBackend {
    /// A backend for these settings. Connects with the first call.
    ///
    /// # Errors
    /// [`BackendError::Settings`] for a host that is none, and for files of TLS that cannot be used.
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

    /// Score of a reservation made now. Without `retry_after` it is now, as Laravel has it.
    fn lease_end(&self) -> i64 {
        epoch_seconds().saturating_add(self.retry_after.unwrap_or(0))
    }

    /// One script call on one queue. What it found is added to `found`.
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

    /// Closes the shared connections after a call that carried this many bytes, if they were many.
    async fn forget_heavy(&self, bytes: usize) {
        if bytes >= HEAVY {
            self.servers.forget().await;
        }
    }

    /// Leaves a queue out that has a key of the wrong type. False if `error` says something else.
    fn leave_out(&self, queue: &str, error: &BackendError) -> bool {
        let is_wrong_type = error.to_string().contains("WRONGTYPE");
        if is_wrong_type && self.unusable.borrow_mut().insert(queue.to_owned()) {
            let Keys { list, .. } = self.keys(queue);
            tracing::error!(
                "queue {queue} cannot be worked: the Redis key {list}, or one of {list}:*, is of another type than \
                 Laravel's; the other queues go on; fix: rename or delete that key"
            );
        }
        is_wrong_type
    }

    /// A queue answers: it may have been left out before.
    fn take_in(&self, queue: &str) {
        if self.unusable.borrow_mut().remove(queue) {
            tracing::info!("queue {queue} can be worked again");
        }
    }

    /// Jobs that one call can settle, each with its place in `jobs`.
    fn groups<'a>(&self, jobs: &'a [Reservation]) -> Vec<Vec<(usize, &'a Reservation)>> {
        let keys: Vec<String> = jobs.iter().map(|job| self.keys(&job.queue).list).collect();
        let groups = self.servers.groups(keys.iter().map(String::as_str)).into_iter();
        groups.map(|group| group.into_iter().filter_map(|at| Some((at, jobs.get(at)?))).collect()).collect()
    }

    fn usable(&self, queues: &[String]) -> Vec<String> {
        let unusable = self.unusable.borrow();
        queues.iter().filter(|queue| !unusable.contains(*queue)).cloned().collect()
    }

    /// Reserves what is there now. Not cancel-safe.
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
                    // What is ours already must not be lost with the error; the next call meets it again.
                    Err(e) if found.jobs.is_empty() && found.set_aside.is_empty() => return Err(e),
                    Err(e) => {
                        tracing::debug!(queue, "reserved less than asked for: {e}");
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Returns when there may be work in one of `queues`, or after `limit`, whichever is first. Cancel-safe, at the
    /// cost of the connection that blocks.
    pub(super) async fn wait(&self, queues: &[String], limit: Duration) -> Result<(), BackendError> {
        check_queues(queues)?;
        let start = Instant::now();
        let queues = &self.usable(queues);
        if queues.is_empty() {
            tokio::time::sleep(limit).await;
            return Ok(());
        }
        loop {
            // Tokens are hints: another worker may have taken the one of a job that is still there, and
            // delayed jobs have none. So the lists decide, and blocking only makes it fast.
            if self.ready(queues).await? {
                return Ok(());
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            // Jobs become due on whole seconds, so looking right after each of them misses none, those
            // included that are delayed by others meanwhile.
            if self.block(queues, left.min(to_next_second())).await? {
                return Ok(());
            }
        }
    }

    /// Whether a reserve would find something, or something to make due.
    async fn ready(&self, queues: &[String]) -> Result<bool, BackendError> {
        let now = epoch_seconds();
        let mut calls = Vec::new();
        for queue in queues {
            let keys = self.keys(queue);
            calls.push(call("LLEN", keys.list));
            // With a batch size of 0 nothing is ever made due, so nothing due is work.
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
        // A key of the wrong type is found by the reserve.
        Ok(self.servers.counts(calls).await?.iter().any(|count| count.is_none_or(|count| count > 0)))
    }

    /// Blocks until a token comes for one of `queues`, at most for `limit`; takes the token.
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
        let why = "are in different slots of the cluster: no job goes from one to the other in one step";
        Some(format!("queues {apart} and {to} {why}"))
    }

    async fn requeue(&self, jobs: &[Reservation], to: &str) -> Result<Vec<bool>, BackendError> {
        // Where that cannot be, they are not lost.
        let can = jobs.iter().all(|job| self.is_beside(&job.queue, to));
        self.put_back(jobs, can.then_some(to)).await
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        let mut removed = Vec::with_capacity(jobs.len());
        // The client library holds what it sends three times.
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
        // Of several queues the others can still be asked each by itself.
        let broken = counts.iter().position(Option::is_none).map(|at| at / 3);
        if let Some(queue) = broken.and_then(|at| queues.get(at)) {
            let node = self.servers.node(&self.keys(queue).list).await?;
            return Err(node.link.unavailable(&format!("WRONGTYPE: a key of queue {queue} holds something else")));
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

/// Time until the wall clock's next whole second, and a little more.
fn to_next_second() -> Duration {
    Duration::from_millis(1001 - u64::from(epoch().subsec_millis()))
}

/// A command on a key, and the key.
fn call(command: &str, key: String) -> (String, redis::Cmd) {
    let mut cmd = redis::cmd(command);
    cmd.arg(&key);
    (key, cmd)
}

/// What was answered for the job at each place, in the order of places.
fn in_order(mut held: Vec<(usize, i64)>) -> Vec<bool> {
    held.sort_unstable();
    held.into_iter().map(|(_, n)| n == 1).collect()
}
