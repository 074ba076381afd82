//! What one runtime leaves to the next: notes in the ledger, and what a new runtime makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::runtime::Runtime;
use crate::runtime::held::ledger::{Given, Held};
use crate::runtime::held::record::Record;
use crate::runtime::queue::without_payload;
use crate::workers::Worker;
use kqueue_core::routing::Tier;
use kqueue_core::schedule::{Adopted, AdoptedJob, Cause, Event, JobId, JobKind, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_core::wire::coordinator::{Listed, Unit};

impl Runtime {
    /// Notes where a job is about to run.
    pub fn note_given(&mut self, id: WorkerId, job: JobId, kind: JobKind) {
        let (Some(ledger), Some(worker), Some(record)) =
            (&mut self.held.ledger, self.processes.workers.get(&id), self.held.records.get_mut(&job))
        else {
            return;
        };
        let (mode, unit, pid) = (worker.mode, worker.unit.clone(), worker.pid.unwrap_or(0));
        let given = Given { worker: id, mode, unit, pid, at: epoch_ms(), kind };
        record.given = Some(given.clone());
        ledger.run(job, given);
    }

    /// Notes that jobs are ours no more.
    pub fn note_ended(&mut self, jobs: Vec<JobId>) {
        if let Some(ledger) = &mut self.held.ledger {
            ledger.end(jobs);
        }
    }

    /// Notes that a job that had been given to a process waits again.
    pub fn note_back(&mut self, job: JobId) {
        if let (Some(ledger), Some(record)) = (&mut self.held.ledger, self.held.records.get_mut(&job))
            && record.given.take().is_some()
        {
            ledger.back(job);
        }
    }

    /// Writes what was noted. Before that, nothing that was noted may become visible to a process.
    pub fn write_ledger(&mut self) {
        let Some(ledger) = &mut self.held.ledger else { return };
        let settling = self.queue.acks.sending.is_some() || !self.queue.acks.pending.is_empty();
        if ledger.flush() && !settling {
            let held: BTreeMap<_, _> = self
                .held
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

    /// Meets again what an earlier runtime has left: finished jobs are removed, waiting ones go back, and those
    /// that run are ours again. `units` is what is there of the app's units.
    pub fn take_over(&mut self, held: BTreeMap<JobId, Held>, units: &[Listed]) {
        let there: BTreeMap<&Unit, &Listed> = units.iter().map(|listed| (&listed.unit, listed)).collect();
        self.held.next_job = held.keys().last().map_or(self.held.next_job, |last| self.held.next_job.max(last + 1));
        let (mut met, mut dead, mut adopted) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut numbers =
            held.values().filter_map(|held| held.given.as_ref()).map(|given| given.worker).max().unwrap_or(0);
        let (mut back, mut running, mut removed) = (0, 0, 0);
        for (id, Held { reservation, given, acked }) in held {
            if acked {
                removed += 1;
                self.queue.acks.pending.push((id, without_payload(&reservation)));
                continue;
            }
            let (mut record, parts) = Record::new(reservation, self.settings.property_hints);
            let Some(given) = given else {
                back += 1;
                self.held.records.insert(id, record);
                self.give_back(vec![id]);
                continue;
            };
            running += 1;
            let ran_ms = epoch_ms().saturating_sub(given.at);
            record.delivered = Instant::now().checked_sub(Duration::from_millis(ran_ms));
            record.given = Some(given.clone());
            let spec = record.spec(id, parts);
            self.held.records.insert(id, record);
            let mut worker = Worker::new(given.mode, false);
            worker.job = Some(id);
            worker.last = Some(id);
            worker.pid = Some(given.pid).filter(|pid| *pid > 0);
            worker.unit = given.unit.clone();
            // The number of a unit may have come to another process since.
            let same = |listed: &&&Listed| listed.pid == 0 || given.pid == 0 || listed.pid == given.pid;
            let alive = given.unit.as_ref().and_then(|unit| there.get(unit)).filter(same);
            match alive {
                Some(listed) => {
                    worker.pid = Some(listed.pid).filter(|pid| *pid > 0).or(worker.pid);
                    met.insert(listed.unit.clone());
                }
                // How a unit ended may still be known.
                None if given.unit.as_ref().is_some_and(|unit| !there.contains_key(unit)) => {}
                None => {
                    worker.unit = None;
                    dead.push(given.worker);
                }
            }
            self.processes.workers.insert(given.worker, worker);
            let job = AdoptedJob { spec, kind: given.kind, ran_ms };
            adopted.push(Adopted { worker: given.worker, tier: tier(given.mode), job: Some(job) });
        }
        // Workers without a job dial us by themselves; a scope without one is about to end.
        for listed in units.iter().filter(|listed| !met.contains(&listed.unit)) {
            if let (Unit::Worker(_), "active" | "activating") = (&listed.unit, listed.state.as_str()) {
                numbers += 1;
                let mut worker = Worker::new(Mode::Pooled, false);
                worker.pid = Some(listed.pid).filter(|pid| *pid > 0);
                worker.unit = Some(listed.unit.clone());
                self.processes.workers.insert(numbers, worker);
                adopted.push(Adopted { worker: numbers, tier: Tier::Pooled, job: None });
            }
        }
        if back + running + removed > 0 || !self.processes.workers.is_empty() {
            tracing::info!(
                "taking over: {running} running jobs, {removed} finished, {back} that waited go back; {} processes are there",
                self.processes.workers.len() - dead.len()
            );
        }
        adopted.iter().for_each(|one| self.read_output_of_unit(one.worker));
        self.tell(Event::Adopted(adopted));
        for worker in dead {
            self.processes.workers.remove(&worker);
            self.tell(Event::Gone { worker, cause: Cause::Orphaned, unread: false });
        }
        self.watch_units();
    }

    /// The worker in the unit of this number, where the process that says so is in that unit.
    pub fn by_unit(&self, number: WorkerId, pid: i32) -> Option<WorkerId> {
        let unit = Unit::Worker(u32::try_from(number).ok()?);
        if !kqueue_system::systemd::process::is_in(pid, &unit.name(&self.settings.app)) {
            return None;
        }
        self.processes.workers.iter().find(|(_, worker)| worker.unit.as_ref() == Some(&unit)).map(|(id, _)| *id)
    }

    /// A process that has served an earlier runtime is back, and names the last job that it was given.
    pub fn met_again(&mut self, id: WorkerId, last: JobId) {
        let Some(worker) = self.processes.workers.get_mut(&id) else { return };
        let Some(job) = worker.job.filter(|job| *job != last) else { return };
        // What we have it down for never reached it.
        worker.job = None;
        self.note_back(job);
        self.tell(Event::Unsent(id));
    }
}

fn tier(mode: Mode) -> Tier {
    match mode {
        Mode::Lane | Mode::Template | Mode::Horizon => Tier::Inline,
        Mode::Pooled => Tier::Pooled,
        Mode::Isolated => Tier::Isolated,
    }
}

fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
