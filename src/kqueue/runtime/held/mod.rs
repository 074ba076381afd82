//! The jobs that are ours: what is known of each, and the ledger that outlives the runtime, kept in step with it.
//!
//! Knows nothing of processes, of the queue's calls or of the schedule; touches the ledger's file alone.

pub mod ledger;
pub mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kqueue_core::schedule::{Finished, JobId, JobSpec, WorkerId};

use crate::backend::{Receipt, Reservation};
use ledger::{Given, Held, Ledger};
pub use record::Reading;
use record::Record;

/// What an earlier runtime has left, once it is ours.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Finished jobs, which are to be removed from the queue.
    pub finished: Vec<(JobId, Reservation)>,
    /// Jobs that waited, and are to be given back.
    pub waiting: Vec<JobId>,
    /// Jobs that ran, where, and for how many milliseconds by now.
    pub running: Vec<(JobSpec, Given, u64)>,
}

/// See the module.
#[derive(Debug)]
pub struct HeldJobs {
    records: HashMap<JobId, Record>,
    /// Where processes outlive us, so does what is known of their jobs.
    ledger: Option<Ledger>,
    /// Isolated jobs that have ended, whose units have not yet: they are logged once what these used is known.
    unlogged: HashMap<WorkerId, (Record, Finished)>,
    next: JobId,
    /// Jobs that left, by how they left.
    tally: BTreeMap<&'static str, u64>,
}

impl HeldJobs {
    /// Nothing is held yet. Jobs are numbered from `first`.
    pub fn new(ledger: Option<Ledger>, first: JobId) -> Self {
        Self { records: HashMap::new(), ledger, unlogged: HashMap::new(), next: first, tally: BTreeMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of the next job.
    pub fn next(&self) -> JobId {
        self.next
    }

    pub fn get(&self, job: JobId) -> Option<&Record> {
        self.records.get(&job)
    }

    pub fn get_mut(&mut self, job: JobId) -> Option<&mut Record> {
        self.records.get_mut(&job)
    }

    pub fn iter(&self) -> impl Iterator<Item = (JobId, &Record)> {
        self.records.iter().map(|(id, record)| (*id, record))
    }

    /// Takes in a job that was reserved, and says what the schedule is to know of it. `reading`: what of its payload
    /// counts; `is_missing`: whether a class is known not to exist.
    pub fn admit(
        &mut self,
        reservation: Reservation,
        reading: Reading<'_>,
        is_missing: impl FnOnce(&str) -> bool,
    ) -> JobSpec {
        let id = self.next;
        self.next += 1;
        let (mut record, parts) = Record::new(reservation, reading);
        if is_missing(&record.class) {
            record.class_is_missing();
        }
        let spec = record.spec(id, parts);
        if let Some(ledger) = &mut self.ledger {
            ledger.job(id, &record.reservation);
        }
        self.records.insert(id, record);
        spec
    }

    /// Takes over what an earlier runtime has left in the ledger.
    pub fn inherit(&mut self, left: BTreeMap<JobId, Held>, reading: Reading<'_>) -> Inherited {
        self.next = left.keys().last().map_or(self.next, |last| self.next.max(last + 1));
        let mut inherited = Inherited::default();
        for (id, Held { reservation, given, acked }) in left {
            if acked {
                inherited.finished.push((id, reservation.without_payload()));
                continue;
            }
            let (mut record, parts) = Record::new(reservation, reading);
            match given {
                None => inherited.waiting.push(id),
                Some(given) => {
                    let ran_ms = epoch_ms().saturating_sub(given.at);
                    record.delivered = Instant::now().checked_sub(Duration::from_millis(ran_ms));
                    (record.started, record.worker) = (Some(given.at), Some(given.worker));
                    record.given = Some(given.clone());
                    inherited.running.push((record.spec(id, parts), given, ran_ms));
                }
            }
            self.records.insert(id, record);
        }
        inherited
    }

    /// These classes do not exist: what is named after one of them is called by its wrapper.
    pub fn are_missing(&mut self, classes: &[String]) {
        for record in self.records.values_mut().filter(|record| classes.contains(&record.class)) {
            record.class_is_missing();
        }
    }

    /// A job is about to run there.
    pub fn given(&mut self, job: JobId, given: Given) {
        let (Some(ledger), Some(record)) = (&mut self.ledger, self.records.get_mut(&job)) else { return };
        record.given = Some(given.clone());
        ledger.run(job, given);
    }

    /// A job that had been given to a process waits again.
    pub fn waits_again(&mut self, job: JobId) {
        let Some(record) = self.records.get_mut(&job) else { return };
        (record.started, record.worker) = (None, None);
        if let (Some(ledger), true) = (&mut self.ledger, record.given.take().is_some()) {
            ledger.back(job);
        }
    }

    /// Laravel has finished with a job: what is to be removed from the queue, unless it has been given out before.
    pub fn acknowledge(&mut self, job: JobId) -> Option<Reservation> {
        let record = self.records.get_mut(&job).filter(|record| !record.acked)?;
        record.acked = true;
        if let Some(ledger) = &mut self.ledger {
            ledger.ack(job);
        }
        Some(record.reservation.without_payload())
    }

    /// Nobody runs a job again that is done with, unless it was deleted to be failed; and the call that removes it needs
    /// room for as much.
    pub fn forget_payload(&mut self, job: JobId) {
        if let Some(record) = self.records.get_mut(&job) {
            record.reservation.payload.clear();
        }
    }

    /// These were removed from the queue.
    pub fn removed(&mut self, jobs: Vec<JobId>) {
        if let Some(ledger) = &mut self.ledger {
            ledger.end(jobs);
        }
    }

    /// The schedule is done with a job.
    pub fn finish(&mut self, finished: &Finished) -> Option<Record> {
        let mut record = self.records.remove(&finished.job)?;
        record.ended = Some(epoch_ms());
        record.took = record.took.or(record.delivered.map(|at| at.elapsed()));
        *self.tally.entry(finished.outcome.as_str()).or_default() += 1;
        if !record.acked {
            self.removed(vec![finished.job]);
        }
        Some(record)
    }

    /// Keeps what is to be logged of a job until the unit has ended in which it ran.
    pub fn log_later(&mut self, worker: WorkerId, record: Record, finished: Finished) {
        self.unlogged.insert(worker, (record, finished));
    }

    /// What is to be logged now that this worker's unit has ended.
    pub fn unlogged(&mut self, worker: WorkerId) -> Option<(Record, Finished)> {
        self.unlogged.remove(&worker)
    }

    /// All that is still to be logged.
    pub fn all_unlogged(&mut self) -> impl Iterator<Item = (Record, Finished)> + use<> {
        std::mem::take(&mut self.unlogged).into_values()
    }

    /// Jobs that left, by how they left.
    pub fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.tally
    }

    /// Reservations whose leases are to be renewed.
    pub fn leased(&self) -> Vec<(JobId, Reservation)> {
        let held = self.records.iter().filter(|(_, record)| !record.acked && !record.lost && !record.returning);
        held.map(|(id, record)| (*id, record.reservation.without_payload())).collect()
    }

    /// A lease was renewed, or the reservation is not ours any more. True where that is news.
    pub fn renewed(&mut self, job: JobId, receipt: Receipt, ours: bool) -> bool {
        let Some(record) = self.records.get_mut(&job) else { return false };
        if ours {
            record.reservation.receipt = receipt;
            return false;
        }
        // A running job may just have released itself, and is about to say so.
        record.lost = !record.acked;
        if record.lost {
            tracing::debug!("the reservation of {} ({}) is gone", record.class, record.uuid);
        }
        record.lost
    }

    /// A reservation that seemed lost is ours after all.
    pub fn verified(&mut self, job: JobId, receipt: Receipt) {
        if let Some(record) = self.records.get_mut(&job) {
            record.reservation.receipt = receipt;
            record.lost = false;
        }
    }

    /// These are about to be given back: how each is found, what it was, and where operators want it.
    pub fn returning(&mut self, jobs: &[JobId]) -> Vec<(JobId, &Record)> {
        for id in jobs {
            if let Some(record) = self.records.get_mut(id) {
                record.returning = true;
            }
        }
        jobs.iter().filter_map(|id| Some((*id, self.records.get(id)?))).collect()
    }

    /// The process of a job has died: what is to be verified before it is replayed.
    pub fn verify(&mut self, job: JobId) -> Option<Reservation> {
        let record = self.records.get_mut(&job)?;
        record.took = record.took.or(record.delivered.map(|at| at.elapsed()));
        Some(record.reservation.without_payload())
    }

    /// These are back in their queues.
    pub fn returned(&mut self, jobs: Vec<JobId>) {
        for id in &jobs {
            self.records.remove(id);
        }
        self.removed(jobs);
    }

    /// Writes what was noted. Before that, nothing that was noted may become visible to a process. `settling`: whether
    /// finished jobs are on their way out of the queue, which only the ledger knows of.
    pub fn write(&mut self, settling: bool) {
        let Some(ledger) = &mut self.ledger else { return };
        if ledger.flush() && !settling {
            let held: BTreeMap<_, _> = self
                .records
                .iter()
                .map(|(id, record)| {
                    let Record { reservation, given, acked, .. } = record;
                    (*id, Held { reservation: reservation.clone(), given: given.clone(), acked: *acked })
                })
                .collect();
            ledger.rewrite(held.iter().map(|(id, held)| (*id, held)));
        }
    }
}

/// Milliseconds since 1970, as the ledger has them.
pub fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
