//! Receipts of the backends that keep jobs in Laravel's jobs table.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::receipt::{Receipt, ReceiptData};

/// Laravel's name of the driver, whatever the database.
pub(super) const DRIVER: &str = "database";

/// Columns of a reserved row, except queue and payload.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Row {
    /// Primary key. Not stable across attempts: a release inserts a new row.
    pub id: i64,
    /// Attempts including this one.
    pub attempts: i64,
    /// Epoch seconds at which it was reserved or last renewed.
    pub reserved_at: i64,
    /// Epoch seconds from which it was available.
    pub available_at: i64,
    /// Epoch seconds at which the row was inserted.
    pub created_at: i64,
}

/// A reserved row. Its JSON is made once, for the ledger and for PHP.
#[derive(Debug)]
struct Reserved {
    row: Row,
    header: Box<RawValue>,
}

impl Row {
    /// The row as a receipt.
    pub(super) fn receipt(self) -> Receipt {
        // Plain fields always serialise.
        let header = to_raw_value(&self).unwrap_or_default();
        Receipt::new(Reserved { row: self, header })
    }

    /// The row that a receipt identifies; `None` for a receipt of another backend.
    pub(super) fn of(receipt: &Receipt) -> Option<Self> {
        receipt.read::<Reserved>().map(|reserved| reserved.row)
    }

    /// Reads a receipt from its header in the ledger.
    pub(super) fn decode(header: Option<&RawValue>) -> Option<Receipt> {
        serde_json::from_str::<Self>(header?.get()).ok().map(Self::receipt)
    }
}

impl ReceiptData for Reserved {
    fn driver(&self) -> &str {
        DRIVER
    }

    fn header(&self) -> Option<&RawValue> {
        Some(&self.header)
    }

    fn attempts(&self) -> Option<u32> {
        Some(u32::try_from(self.row.attempts).unwrap_or(u32::MAX))
    }

    fn available_at(&self) -> Option<u64> {
        u64::try_from(self.row.available_at).ok().filter(|at| *at > 0)
    }
}
