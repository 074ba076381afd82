//! What a reservation is found by again: made and read by its backend alone, carried by everybody else.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::QueueBackend;

/// What a backend keeps of a reservation. Each backend has a type of its own.
pub(super) trait ReceiptData: Any + fmt::Debug {
    /// Laravel's name of the driver whose job class takes it.
    fn driver(&self) -> &str;
    /// What PHP builds its job object from besides the payload, as JSON.
    fn header(&self) -> Option<&RawValue> {
        None
    }
    /// The part of it that is bytes.
    fn body(&self) -> Option<&Bytes> {
        None
    }
    /// Attempts including this one, where they are not counted in the payload.
    fn attempts(&self) -> Option<u32> {
        None
    }
    /// Epoch seconds from which the job was available, where the queue keeps that.
    fn available_at(&self) -> Option<u64> {
        None
    }
}

/// Identifies a reservation towards its backend: the identity that Laravel's own ack uses.
#[derive(Clone)]
pub struct Receipt(Rc<dyn ReceiptData>);

/// A receipt as the ledger keeps it, and as PHP is sent it.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// Laravel's name of the driver.
    pub driver: &'a str,
    /// JSON.
    pub header: Option<&'a RawValue>,
    /// Bytes, to be shared and never copied.
    pub body: Option<&'a Bytes>,
}

impl Receipt {
    /// Of a backend's own data.
    pub(super) fn new(data: impl ReceiptData) -> Self {
        Self(Rc::new(data))
    }

    /// What the backend put in; `None` for the receipt of another backend, which holds no reservation here.
    pub(super) fn read<T: ReceiptData>(&self) -> Option<&T> {
        (&*self.0 as &dyn Any).downcast_ref()
    }

    /// All of it. [`Self::decode`] takes it back.
    pub fn encode(&self) -> Encoded<'_> {
        Encoded { driver: self.0.driver(), header: self.0.header(), body: self.0.body() }
    }

    /// A receipt from its parts. The driver is empty where a former version did not note it: there the form
    /// decides. What `backend` cannot read is kept as it is, and is "no longer ours" to it: the app may have changed
    /// its connection while one of its jobs ran on.
    pub fn decode(backend: &dyn QueueBackend, driver: &str, header: Option<&RawValue>, body: Bytes) -> Self {
        let ours = driver.is_empty() || driver == backend.driver();
        let read = ours.then(|| backend.decode(header, &body)).flatten();
        read.unwrap_or_else(|| {
            Self::new(Foreign { driver: driver.to_owned(), header: header.map(RawValue::to_owned), body })
        })
    }

    /// Attempts including this one; `None` where the payload counts those before it.
    pub fn attempts(&self) -> Option<u32> {
        self.0.attempts()
    }

    /// Epoch seconds from which the job was available for this attempt, where the queue keeps that.
    pub fn available_at(&self) -> Option<u64> {
        self.0.available_at()
    }

    /// Bytes that it holds besides the payload.
    pub fn bytes(&self) -> usize {
        self.0.body().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.encode(), other.encode());
        (one.driver, one.header.map(RawValue::get), one.body)
            == (other.driver, other.header.map(RawValue::get), other.body)
    }
}

impl Eq for Receipt {}

/// A receipt that the backend in use did not write.
#[derive(Debug)]
struct Foreign {
    driver: String,
    header: Option<Box<RawValue>>,
    body: Bytes,
}

impl ReceiptData for Foreign {
    fn driver(&self) -> &str {
        &self.driver
    }

    fn header(&self) -> Option<&RawValue> {
        self.header.as_deref()
    }

    fn body(&self) -> Option<&Bytes> {
        Some(&self.body).filter(|body| !body.is_empty())
    }
}
