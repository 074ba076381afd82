//! A backend with minimal capabilities: shows that the suite requires no more than the capabilities promise.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::sqlite::SqliteFixture;
use super::{Fixture, LEASE};
use crate::backend::row::Row;
use crate::backend::{
    BackendError, Capabilities, QueueBackend, QueueSize, Receipt, Reservation, Reserved, SqliteBackend, Wait,
    epoch_seconds,
};

super::suite!(LeastFixture);

/// Jobs per call, as with SQS.
const BATCH: usize = 10;

/// A SQLite backend with reduced capabilities.
struct Least {
    inner: SqliteBackend,
    path: String,
}

#[async_trait(?Send)]
impl QueueBackend for Least {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ordered: false,
            exact_sizes: false,
            unreserve: false,
            revives: false,
            max_batch: BATCH,
            max_lease: Some(Duration::from_secs(12 * 3600)),
            doorbell: false,
            poll: Duration::from_secs(1),
        }
    }

    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        let mut found = self.inner.next_batch(queues, max.min(BATCH), wait).await?;
        found.jobs.chunk_by_mut(|one, next| one.queue == next.queue).for_each(<[_]>::reverse);
        Ok(found)
    }

    fn decode(&self, header: Option<&RawValue>, body: &Bytes) -> Option<Receipt> {
        self.inner.decode(header, body)
    }

    fn lease(&self) -> Option<Duration> {
        self.inner.lease()
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        let over =
            |job: &Reservation| Row::of(&job.receipt).is_none_or(|row| row.reserved_at + LEASE <= epoch_seconds());
        let mut held = Vec::new();
        for job in jobs.chunks_mut(1) {
            held.extend(if over(&job[0]) { vec![false] } else { self.inner.renew(job).await? });
        }
        Ok(held)
    }

    /// The attempt stays counted.
    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        let gone = |e: sqlx::Error| BackendError::Unavailable { target: self.path.clone(), reason: e.to_string() };
        let mut held = Vec::new();
        for job in jobs {
            let mut connection = SqliteConnectOptions::new().filename(&self.path).connect().await.map_err(gone)?;
            let row = Row::of(&job.receipt);
            let sql = "UPDATE jobs SET reserved_at = NULL WHERE id = ? AND attempts = ? AND reserved_at IS NOT NULL";
            let query = sqlx::query(sql).bind(row.map(|row| row.id)).bind(row.map(|row| row.attempts));
            held.push(query.execute(&mut connection).await.map_err(gone)?.rows_affected() == 1);
        }
        Ok(held)
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.inner.delete(jobs).await
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        let sizes = self.inner.sizes(queues).await?;
        Ok(sizes.into_iter().map(|size| QueueSize { pending: size.pending + 1, ..size }).collect())
    }
}

struct LeastFixture(SqliteFixture);

impl Fixture for LeastFixture {
    type Backend = Least;

    async fn start() -> Self {
        Self(SqliteFixture::start().await)
    }

    fn maker(&self) -> impl Fn() -> Least + Send + Clone + 'static {
        let (make, path) = (self.0.maker(), self.0.path().to_str().unwrap().to_owned());
        move || Least { inner: make(), path: path.clone() }
    }

    async fn push(&self, queue: &str, payload: &[u8]) {
        self.0.push(queue, payload).await;
    }

    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64) {
        self.0.push_delayed(queue, payload, due).await;
    }

    async fn peek(&self, queue: &str) -> Vec<Vec<u8>> {
        self.0.peek(queue).await
    }

    async fn expire(&self, job: &mut Reservation) {
        self.0.expire(job).await;
    }

    fn attempts(job: &Reservation) -> i64 {
        SqliteFixture::attempts(job)
    }

    async fn go_away(&mut self) {
        self.0.go_away().await;
    }

    async fn come_back(&mut self) {
        self.0.come_back().await;
    }
}
