//! The held jobs: their records, and the ledger that outlives the runtime, kept in step with them.
//!
//! Independent of processes, queue calls and the schedule; does no I/O but to the ledger's file.

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

/// The jobs of an earlier runtime, after they were taken over.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Finished jobs, to be removed from the queue.
    pub finished: Vec<(JobId, Reservation)>,
    /// Waiting jobs, to be given back.
    pub waiting: Vec<JobId>,
    /// Running jobs, their processes, and for how many milliseconds they have run.
    pub running: Vec<(JobSpec, Given, u64)>,
}

/// See the module.
#[derive(Debug)]
pub struct HeldJobs {
    records: HashMap<JobId, Record>,
    /// Present where processes outlive the runtime.
    ledger: Option<Ledger>,
    /// Isolated jobs that have ended while their units have not: logged once the usage of the unit is known.
    unlogged: HashMap<WorkerId, (Record, Finished)>,
    next: JobId,
    /// Settled jobs, by outcome.
    tally: BTreeMap<&'static str, u64>,
}

impl HeldJobs {
    /// Holds no job yet. Job ids start at `first`.
    pub fn new(ledger: Option<Ledger>, first: JobId) -> Self {
        Self { records: HashMap::new(), ledger, unlogged: HashMap::new(), next: first, tally: BTreeMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The id of the next job.
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

    /// Records a reserved job, and returns its spec for the schedule. `reading`: which parts of the payload are used;
    /// `is_missing`: whether a class is known not to exist.
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

    /// Takes over the jobs that an earlier runtime left in the ledger.
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

    /// These classes do not exist: jobs named after them are recorded under the class of their wrapper.
    pub fn are_missing(&mut self, classes: &[String]) {
        for record in self.records.values_mut().filter(|record| classes.contains(&record.class)) {
            record.class_is_missing();
        }
    }

    /// Notes that a job is about to run in a process.
    pub fn given(&mut self, job: JobId, given: Given) {
        let (Some(ledger), Some(record)) = (&mut self.ledger, self.records.get_mut(&job)) else { return };
        record.given = Some(given.clone());
        ledger.run(job, given);
    }

    /// Notes that a job which was given to a process waits again.
    pub fn waits_again(&mut self, job: JobId) {
        let Some(record) = self.records.get_mut(&job) else { return };
        (record.started, record.worker) = (None, None);
        if let (Some(ledger), true) = (&mut self.ledger, record.given.take().is_some()) {
            ledger.back(job);
        }
    }

    /// Laravel has finished with a job. Returns the reservation to remove from the queue, unless it was returned
    /// before.
    pub fn acknowledge(&mut self, job: JobId) -> Option<Reservation> {
        let record = self.records.get_mut(&job).filter(|record| !record.acked)?;
        record.acked = true;
        if let Some(ledger) = &mut self.ledger {
            ledger.ack(job);
        }
        Some(record.reservation.without_payload())
    }

    /// Frees the payload of a finished job: it is not run again, and the call that removes it needs room for a payload
    /// too. Not for jobs deleted in order to be failed.
    pub fn forget_payload(&mut self, job: JobId) {
        if let Some(record) = self.records.get_mut(&job) {
            record.reservation.payload.clear();
        }
    }

    /// Notes that jobs were removed from the queue.
    pub fn removed(&mut self, jobs: Vec<JobId>) {
        if let Some(ledger) = &mut self.ledger {
            ledger.end(jobs);
        }
    }

    /// Takes out the record of a job that the schedule is done with.
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

    /// Keeps a finished job until the unit that it ran in has ended.
    pub fn log_later(&mut self, worker: WorkerId, record: Record, finished: Finished) {
        self.unlogged.insert(worker, (record, finished));
    }

    /// Takes out the job to be logged now that this worker's unit has ended.
    pub fn unlogged(&mut self, worker: WorkerId) -> Option<(Record, Finished)> {
        self.unlogged.remove(&worker)
    }

    /// Takes out all jobs that are still to be logged.
    pub fn all_unlogged(&mut self) -> impl Iterator<Item = (Record, Finished)> + use<> {
        std::mem::take(&mut self.unlogged).into_values()
    }

    /// Settled jobs, by outcome.
    pub fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.tally
    }

    /// Reservations whose leases are to be renewed.
    pub fn leased(&self) -> Vec<(JobId, Reservation)> {
        let held = self.records.iter().filter(|(_, record)| !record.acked && !record.lost && !record.returning);
        held.map(|(id, record)| (*id, record.reservation.without_payload())).collect()
    }

    /// Notes that a lease was renewed, or that the reservation is lost (`ours` is false). True where the loss is new.
    pub fn renewed(&mut self, job: JobId, receipt: Receipt, ours: bool) -> bool {
        let Some(record) = self.records.get_mut(&job) else { return false };
        if ours {
            record.reservation.receipt = receipt;
            return false;
        }
        // A running job may have released itself just now, with the message still on its way.
        record.lost = !record.acked;
        if record.lost {
            tracing::debug!("the reservation of {} ({}) is gone", record.class, record.uuid);
        }
        record.lost
    }

    /// Notes that a reservation which seemed lost is still held.
    pub fn verified(&mut self, job: JobId, receipt: Receipt) {
        if let Some(record) = self.records.get_mut(&job) {
            record.reservation.receipt = receipt;
            record.lost = false;
        }
    }

    /// Marks jobs as being given back, and returns their records.
    pub fn returning(&mut self, jobs: &[JobId]) -> Vec<(JobId, &Record)> {
        for id in jobs {
            if let Some(record) = self.records.get_mut(id) {
                record.returning = true;
            }
        }
        jobs.iter().filter_map(|id| Some((*id, self.records.get(id)?))).collect()
    }

    /// The process of a job has died. Returns the reservation to verify before the job is replayed.
    pub fn verify(&mut self, job: JobId) -> Option<Reservation> {
        let record = self.records.get_mut(&job)?;
        record.took = record.took.or(record.delivered.map(|at| at.elapsed()));
        Some(record.reservation.without_payload())
    }

    /// Forgets jobs that are back in their queues.
    pub fn returned(&mut self, jobs: Vec<JobId>) {
        for id in &jobs {
            self.records.remove(id);
        }
        self.removed(jobs);
    }

    /// Writes the pending ledger entries; until then, nothing they are about may become visible to a process.
    /// `settling`: whether removals are under way, which only the ledger knows of, so that it must not be compacted.
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

/// Milliseconds since 1970, as in the ledger.
pub fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
