//! A received message as a receipt.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message as Answer, MessageSystemAttributeName};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::backend::receipt::{Receipt, ReceiptData};
use crate::backend::{Reservation, epoch};

/// Laravel's name of the driver.
pub(super) const DRIVER: &str = "sqs";
/// Longest time for which SQS hides a received message, including all renewals.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Margin for our clock lagging behind that of SQS, and for the duration of a request.
const SLACK: Duration = Duration::from_secs(10);

/// Fields of a message for Laravel's job class, except the body, by their API names.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Fields {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody", skip_serializing_if = "Option::is_none")]
    md5_of_body: Option<String>,
    attributes: Attributes,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    approximate_receive_count: String,
}

/// The receipt's header, as stored in the ledger and sent to PHP.
#[derive(Debug, Deserialize, Serialize)]
struct Header {
    message: Fields,
    /// Epoch seconds at which it was received: SQS holds it for twelve hours from then.
    received: u64,
}

/// A message that is ours until it is visible again.
#[derive(Clone, Debug)]
pub(super) struct Message {
    header: Rc<Header>,
    json: Rc<RawValue>,
    /// When it becomes visible again; unknown for a message that an earlier runtime received.
    until: Option<Instant>,
    /// It has been deleted or given back. SQS would report success for every repetition.
    settled: Rc<Cell<bool>>,
}

impl Message {
    /// A received message, hidden for `lease` from now on. `None` without an id, a receipt handle or a receive count.
    pub(super) fn received(answer: &Answer, lease: Duration) -> Option<Self> {
        let count = answer.attributes()?.get(&MessageSystemAttributeName::ApproximateReceiveCount)?;
        let message = Fields {
            message_id: answer.message_id()?.to_owned(),
            receipt_handle: answer.receipt_handle()?.to_owned(),
            md5_of_body: answer.md5_of_body().map(str::to_owned),
            attributes: Attributes { approximate_receive_count: count.clone() },
        };
        let message = Self::of_header(Header { message, received: epoch().as_secs() })?;
        Some(message.hidden_for(lease))
    }

    fn of_header(header: Header) -> Option<Self> {
        let json = to_raw_value(&header).ok()?;
        Some(Self { header: Rc::new(header), json: json.into(), until: None, settled: Rc::default() })
    }

    /// The message of a job; `None` for a job of another backend.
    pub(super) fn of(job: &Reservation) -> Option<&Self> {
        job.receipt.read()
    }

    /// Reads a receipt from its header in the ledger.
    pub(super) fn decode(header: Option<&RawValue>) -> Option<Receipt> {
        let header = serde_json::from_str(header?.get()).ok()?;
        Self::of_header(header).map(Self::receipt)
    }

    /// The same message, hidden for `lease` from now on.
    pub(super) fn hidden_for(&self, lease: Duration) -> Self {
        Self { until: Instant::now().checked_add(lease), ..self.clone() }
    }

    pub(super) fn receipt(self) -> Receipt {
        Receipt::new(self)
    }

    pub(super) fn handle(&self) -> &str {
        &self.header.message.receipt_handle
    }

    pub(super) fn id(&self) -> &str {
        &self.header.message.message_id
    }

    /// Number of times it has been received, including this one.
    pub(super) fn count(&self) -> u32 {
        self.header.message.attributes.approximate_receive_count.parse().unwrap_or(1)
    }

    /// Whether it is visible again, as far as we know: then another consumer may have it.
    pub(super) fn has_lapsed(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.get()
    }

    pub(super) fn settle(&self) {
        self.settled.set(true);
    }

    /// Remaining time for which SQS can keep it hidden.
    pub(super) fn left(&self) -> Duration {
        let held = epoch().saturating_sub(Duration::from_secs(self.header.received));
        (LONGEST - SLACK).saturating_sub(held)
    }
}

impl ReceiptData for Message {
    fn driver(&self) -> &str {
        DRIVER
    }

    fn header(&self) -> Option<&RawValue> {
        Some(&self.json)
    }

    fn attempts(&self) -> Option<u32> {
        Some(self.count())
    }
}

#[cfg(test)]
impl Message {
    /// The same message, received `age` earlier.
    pub(super) fn aged(&self, age: Duration) -> Receipt {
        let Header { message, received } = serde_json::from_str(self.json.get()).unwrap();
        let received = received - age.as_secs();
        Self { until: self.until, ..Self::of_header(Header { message, received }).unwrap() }.receipt()
    }

    /// The same message, visible again.
    pub(super) fn lapsed(&self) -> Receipt {
        Self { until: Some(Instant::now()), ..self.clone() }.receipt()
    }
}
