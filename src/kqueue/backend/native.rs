//! Queues that none of the other backends serves: pooled workers pop jobs themselves, through Laravel's own connection,
//! and Laravel settles them. This backend makes no calls of its own.
#![doc = include_str!("native.md")]

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::receipt::ReceiptData;
use super::{BackendError, Capabilities, QueueBackend, QueueSize, Receipt, Reservation, Reserved, Wait, check_queues};

/// Driver name of such jobs for PHP and the ledger.
const DRIVER: &str = "native";

/// See the module.
#[derive(Debug)]
pub struct NativeBackend;

/// Receipt of a job that only its worker holds.
#[derive(Debug, Deserialize, Serialize)]
struct Popped {
    /// Attempts including this one, where the driver counts them.
    #[serde(default)]
    attempts: Option<u32>,
    #[serde(skip)]
    header: Option<Box<RawValue>>,
}

impl ReceiptData for Popped {
    fn driver(&self) -> &str {
        DRIVER
    }

    fn header(&self) -> Option<&RawValue> {
        self.header.as_deref()
    }

    fn attempts(&self) -> Option<u32> {
        self.attempts
    }
}

/// The reservation of a job that a worker has popped.
pub fn popped(queue: String, payload: Bytes, attempts: Option<u32>) -> Reservation {
    let mut receipt = Popped { attempts, header: None };
    // A number always serialises.
    receipt.header = serde_json::value::to_raw_value(&receipt).ok();
    Reservation { queue, payload, receipt: Receipt::new(receipt) }
}

#[async_trait(?Send)]
impl QueueBackend for NativeBackend {
    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn is_native(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ordered: false, exact_sizes: false, doorbell: true, ..Capabilities::ALL }
    }

    /// Accepts any non-empty name: the app's own class decides which ones are valid.
    fn check_queues(&self, queues: &[String]) -> Result<(), BackendError> {
        match queues.iter().any(String::is_empty) {
            true => check_queues(&[String::new()]),
            false => Ok(()),
        }
    }

    async fn next_batch(&self, _: &[String], _: usize, _: &Wait) -> Result<Reserved, BackendError> {
        Ok(Reserved::default())
    }

    fn decode(&self, header: Option<&RawValue>, _: &Bytes) -> Option<Receipt> {
        let attempts = header.and_then(|header| serde_json::from_str::<Popped>(header.get()).ok())?.attempts;
        Some(popped(String::new(), Bytes::new(), attempts).receipt)
    }

    fn lease(&self) -> Option<Duration> {
        None
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        Ok(vec![true; jobs.len()])
    }

    /// Makes no call: workers report the jobs that they hold to the next runtime.
    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        Ok(vec![true; jobs.len()])
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        Ok(vec![true; jobs.len()])
    }

    async fn sizes(&self, _: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        Ok(Vec::new())
    }

    fn unlisted(&self) -> Option<&'static str> {
        Some("the connection's driver cannot list jobs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_outlives_the_runtime() {
        let taken = popped("a".to_owned(), Bytes::from_static(b"{}"), Some(3)).receipt;
        let encoded = taken.encode();
        assert_eq!((encoded.driver, encoded.header.map(RawValue::get)), (DRIVER, Some(r#"{"attempts":3}"#)));
        let again = Receipt::decode(&NativeBackend, encoded.driver, encoded.header, Bytes::new());
        assert_eq!((again.attempts(), &again), (Some(3), &taken));
    }
}
