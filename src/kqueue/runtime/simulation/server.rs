//! The simulated queue: a list in memory, whose calls fail at times, before or after they have taken effect.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::world::World;
use crate::backend::{self, BackendError, Capabilities, QueueBackend, QueueSize, Receipt, Reservation, Reserved, Wait};

/// Lease of a reservation whose call got no reply, so that no runtime holds it.
const LOST: Duration = Duration::from_millis(300);

/// State of the server.
#[derive(Default)]
pub struct Store {
    pub pending: VecDeque<u64>,
    /// Jobs with the id of their reservation, which tells calls for an earlier reservation apart.
    pub reserved: BTreeMap<u64, u64>,
    reservations: u64,
    /// Reservations whose reply was lost.
    lost: BTreeMap<u64, Instant>,
}

impl Store {
    /// Removes a job that is reserved.
    pub fn remove(&mut self, job: u64) -> bool {
        self.reserved.remove(&job).is_some()
    }

    /// Expires every lease.
    pub fn expire(&mut self) {
        // Lost ones too: from now on, these jobs get new reservations.
        self.lost.clear();
        self.pending.extend(std::mem::take(&mut self.reserved).into_keys());
    }

    /// Marks reservations as held by no runtime: they come back when their leases expire.
    pub fn lose(&mut self, which: impl Fn(u64) -> bool) {
        let now = Instant::now();
        self.lost.extend(self.reserved.keys().filter(|job| which(**job)).map(|job| (*job, now)));
    }

    fn expire_lost(&mut self) {
        let over: Vec<u64> = self.lost.iter().filter(|(_, at)| at.elapsed() > LOST).map(|(job, _)| *job).collect();
        for job in over {
            self.lost.remove(&job);
            if self.reserved.remove(&job).is_some() {
                self.pending.push_back(job);
            }
        }
    }
}

/// The backend of one runtime.
pub struct Server {
    world: Rc<World>,
    era: u64,
    redis: Box<dyn QueueBackend>,
}

impl Server {
    pub fn new(world: Rc<World>, era: u64) -> Self {
        let settings = r#"{"driver": "redis", "host": "localhost", "retry_after": 90}"#;
        Self { world, era, redis: backend::open(serde_json::from_str(settings).unwrap(), Default::default()).unwrap() }
    }

    fn store(&self) -> &RefCell<Store> {
        &self.world.store
    }

    fn receipt(&self, job: u64, reservation: u64) -> Receipt {
        Receipt::decode(&*self.redis, "redis", None, Bytes::from(format!("{job} {reservation}")))
    }

    /// An error at random, for a call that fails before or after its effect.
    fn fails(&self) -> Option<BackendError> {
        let error =
            || BackendError::Unavailable { target: "the server".to_owned(), reason: "as the seed says".to_owned() };
        self.world.chance(self.world.faults.call).then(error)
    }

    async fn each(
        &self,
        jobs: &[Reservation],
        mut one: impl FnMut(&mut Store, u64) -> bool,
    ) -> Result<Vec<bool>, BackendError> {
        self.world.pause(3).await;
        self.world.is_current(self.era).await;
        if let Some(error) = self.fails() {
            return Err(error);
        }
        let settle = |job| {
            let ((job, reservation), mut store) = (numbers(job), self.store().borrow_mut());
            store.reserved.get(&job) == Some(&reservation) && one(&mut store, job)
        };
        let done = jobs.iter().map(settle).collect();
        self.fails().map_or(Ok(done), Err)
    }
}

/// The job of a reservation.
pub fn number(job: &Reservation) -> u64 {
    numbers(job).0
}

fn numbers(job: &Reservation) -> (u64, u64) {
    let encoded = job.receipt.encode();
    let (job, reservation) = std::str::from_utf8(encoded.body.unwrap()).unwrap().split_once(' ').unwrap();
    (job.parse().unwrap(), reservation.parse().unwrap())
}

#[async_trait(?Send)]
impl QueueBackend for Server {
    fn driver(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_batch: 7, ..Capabilities::ALL }
    }

    async fn next_batch(&self, _: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        let look = |limit: Duration| async move {
            let end = Instant::now() + limit;
            while self.store().borrow().pending.is_empty() && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(2)).await;
                self.store().borrow_mut().expire_lost();
            }
            Ok(())
        };
        let reserve = async {
            self.world.pause(3).await;
            self.world.is_current(self.era).await;
            if let Some(error) = self.fails() {
                return Err(error);
            }
            let mut store = self.store().borrow_mut();
            store.expire_lost();
            let count = max.min(store.pending.len());
            let jobs: Vec<u64> = store.pending.drain(..count).collect();
            let first = store.reservations;
            let jobs: Vec<(u64, u64)> = jobs.into_iter().zip(first..).collect();
            store.reservations += jobs.len() as u64;
            store.reserved.extend(jobs.iter().copied());
            if let Some(error) = self.fails() {
                let now = Instant::now();
                store.lost.extend(jobs.iter().map(|(job, _)| (*job, now)));
                return Err(error);
            }
            let jobs = jobs.into_iter().map(|(job, reservation)| Reservation {
                queue: "default".to_owned(),
                payload: self.world.payload(job),
                receipt: self.receipt(job, reservation),
            });
            Ok(Reserved { jobs: jobs.collect(), set_aside: Vec::new() })
        };
        wait.first(look, reserve).await
    }

    fn decode(&self, header: Option<&RawValue>, body: &Bytes) -> Option<Receipt> {
        self.redis.decode(header, body)
    }

    fn lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        self.each(jobs, |store, job| store.reserved.contains_key(&job)).await
    }

    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        let mut front = 0;
        self.each(jobs, |store, job| {
            let ours = store.remove(job);
            if ours {
                store.pending.insert(front, job);
                front += 1;
            }
            ours
        })
        .await
    }

    fn unmovable(&self, _: &[String], _: &str) -> Option<String> {
        None
    }

    /// The other queue is worked as well: its jobs are appended to the same list.
    async fn requeue(&self, jobs: &[Reservation], _: &str) -> Result<Vec<bool>, BackendError> {
        self.each(jobs, |store, job| {
            let ours = store.remove(job);
            store.pending.extend(ours.then_some(job));
            ours
        })
        .await
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.each(jobs, Store::remove).await
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        let pending = self.store().borrow().pending.len() as u64;
        Ok(vec![QueueSize { pending, ..QueueSize::default() }; queues.len()])
    }
}
