//! Receipts identify reservations. Only their backend creates and reads them; to all other code they are opaque.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::QueueBackend;

/// Data by which a backend identifies a reservation. Each backend has its own type.
pub(super) trait ReceiptData: Any + fmt::Debug {
    /// Laravel's name of the driver whose job class takes it.
    fn driver(&self) -> &str;
    /// What PHP builds its job object from besides the payload, as JSON.
    fn header(&self) -> Option<&RawValue> {
        None
    }
    /// Binary part of the receipt.
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

/// Identifies a reservation to its backend, by the same values as Laravel's own ack.
#[derive(Clone)]
pub struct Receipt(Rc<dyn ReceiptData>);

/// A receipt as stored in the ledger and sent to PHP.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// Laravel's name of the driver.
    pub driver: &'a str,
    /// JSON.
    pub header: Option<&'a RawValue>,
    /// Bytes, shared and never copied.
    pub body: Option<&'a Bytes>,
}

impl Receipt {
    /// A receipt of a backend's own data.
    pub(super) fn new(data: impl ReceiptData) -> Self {
        Self(Rc::new(data))
    }

    /// The backend's own data; `None` for a receipt of another backend, which holds no reservation here.
    pub(super) fn read<T: ReceiptData>(&self) -> Option<&T> {
        (&*self.0 as &dyn Any).downcast_ref()
    }

    /// All parts of the receipt, as [`Self::decode`] reads them.
    pub fn encode(&self) -> Encoded<'_> {
        Encoded { driver: self.0.driver(), header: self.0.header(), body: self.0.body() }
    }

    /// A receipt from its parts. `driver` is empty where a former version did not record it: there the format decides.
    /// A receipt that `backend` cannot read is kept unchanged, and is "no longer ours" to the backend: the app may have
    /// changed its connection while one of its jobs was running.
    pub fn decode(backend: &dyn QueueBackend, driver: &str, header: Option<&RawValue>, body: Bytes) -> Self {
        let ours = driver.is_empty() || driver == backend.driver();
        let read = ours.then(|| backend.decode(header, &body)).flatten();
        read.unwrap_or_else(|| {
            Self::new(Foreign { driver: driver.to_owned(), header: header.map(RawValue::to_owned), body })
        })
    }

    /// Attempts including this one; `None` where the payload counts the previous ones.
    pub fn attempts(&self) -> Option<u32> {
        self.0.attempts()
    }

    /// Epoch seconds from which the job was available for this attempt, where the queue keeps that.
    pub fn available_at(&self) -> Option<u64> {
        self.0.available_at()
    }

    /// Bytes of memory held in addition to the payload.
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

/// A receipt of another backend than the one in use.
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
