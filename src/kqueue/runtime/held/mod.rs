//! The jobs that are ours: what is known of each, and the ledger that outlives the runtime.

pub mod ledger;
pub mod record;
pub mod takeover;

use std::collections::{BTreeMap, HashMap};

use kqueue_core::schedule::{Finished, JobId, WorkerId};

use ledger::Ledger;
use record::Record;

/// See the module.
pub struct HeldJobs {
    pub records: HashMap<JobId, Record>,
    /// Where processes outlive us, so does what is known of their jobs.
    pub ledger: Option<Ledger>,
    /// Isolated jobs that have ended, whose units have not yet: they are logged once what these used is known.
    pub stories: HashMap<WorkerId, (Record, Finished)>,
    pub next_job: JobId,
    /// Jobs that left, by how they left.
    pub tally: BTreeMap<&'static str, u64>,
}

impl HeldJobs {
    /// Nothing is held yet. Jobs are numbered from `first`.
    pub fn new(ledger: Option<Ledger>, first: JobId) -> Self {
        Self { records: HashMap::new(), ledger, stories: HashMap::new(), next_job: first, tally: BTreeMap::new() }
    }
}
