//! The jobs that are ours: what is known of each, and the ledger that outlives the runtime.

pub mod ledger;
pub mod record;
pub mod takeover;
