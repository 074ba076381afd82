//! Takeover of an earlier runtime's jobs: finished ones are removed, waiting ones given back, running ones adopted.

use std::collections::{BTreeMap, BTreeSet};

use kqueue_core::routing::Tier;
use kqueue_core::schedule::{Adopted, AdoptedJob, Cause, Event, JobId, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_core::wire::coordinator::{Listed, Unit};

use super::Runtime;
use super::admit::reading;
use super::held::Inherited;
use super::held::ledger::{Given, Held};
use crate::workers::WorkerProcess;

impl Runtime {
    /// Takes over the jobs `left` in the ledger; `units`: the app's existing units.
    pub(super) fn take_over(&mut self, left: BTreeMap<JobId, Held>, units: &[Listed]) {
        let there: BTreeMap<&Unit, &Listed> = units.iter().map(|listed| (&listed.unit, listed)).collect();
        let Inherited { finished, waiting, running } = self.held.inherit(left, reading(&self.settings));
        let counts = (running.len(), finished.len(), waiting.len());
        self.queue.remove(finished);
        self.give_back(&waiting);
        let mut last = running.iter().map(|(_, given, _)| given.worker).max().unwrap_or(0);
        let (mut met, mut dead, mut adopted) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (spec, given, ran_ms) in running {
            let (worker, alive) = process_of(spec.id, &given, &there);
            match alive {
                Some(listed) => drop(met.insert(listed.unit.clone())),
                None if worker.unit.is_none() => dead.push(given.worker),
                None => {}
            }
            self.processes.workers.insert(given.worker, worker);
            let tier = given.mode.tier().unwrap_or(Tier::Inline);
            let job = Some(AdoptedJob { spec, kind: given.kind, ran_ms });
            adopted.push(Adopted { worker: given.worker, tier, job });
        }
        // Workers without a job reconnect by themselves; a scope without one is about to end.
        for listed in units.iter().filter(|listed| !met.contains(&listed.unit)) {
            if let (Unit::Worker(_), "active" | "activating") = (&listed.unit, listed.state.as_str()) {
                last += 1;
                let mut worker = WorkerProcess::new(Mode::Pooled, false);
                worker.pid = Some(listed.pid).filter(|pid| *pid > 0);
                worker.unit = Some(listed.unit.clone());
                self.processes.workers.insert(last, worker);
                adopted.push(Adopted { worker: last, tier: Tier::Pooled, job: None });
            }
        }
        if counts != (0, 0, 0) || !self.processes.workers.is_empty() {
            let (running, removed, back) = counts;
            let there = self.processes.workers.len() - dead.len();
            tracing::info!(
                "taking over: jobs running {running}, finished {removed}, waiting to be given back {back}; \
                 processes {there}"
            );
        }
        adopted.iter().for_each(|one| self.processes.read_output_of_unit(one.worker));
        let jobs: Vec<JobId> = adopted.iter().filter_map(|one| one.job.as_ref()).map(|job| job.spec.id).collect();
        self.tell(Event::Adopted(adopted));
        self.cancel_adopted(&jobs);
        for worker in dead {
            self.processes.workers.remove(&worker);
            self.tell(Event::Gone { worker, cause: Cause::Orphaned, unread: false });
        }
        self.processes.watch_units();
    }

    /// A process that served an earlier runtime has reconnected, and names the last job that it was given.
    pub(super) fn met_again(&mut self, id: WorkerId, last: JobId) {
        let Some(worker) = self.processes.workers.get_mut(&id) else { return };
        let Some(job) = worker.job.filter(|job| *job != last) else { return };
        // The job that the ledger names never reached it.
        worker.job = None;
        self.held.waits_again(job);
        self.tell(Event::Unsent(id));
    }
}

/// The process that has this job according to the ledger, and its unit if that exists. The worker has no unit if its
/// process is known to be gone; one whose unit has ended keeps it, since its exit status may still be known.
fn process_of<'a>(
    job: JobId,
    given: &Given,
    there: &BTreeMap<&Unit, &'a Listed>,
) -> (WorkerProcess, Option<&'a Listed>) {
    let mut worker = WorkerProcess::new(given.mode, false);
    worker.take(job);
    worker.pid = Some(given.pid).filter(|pid| *pid > 0);
    worker.unit = given.unit.clone();
    let listed = given.unit.as_ref().and_then(|unit| there.get(unit)).copied();
    // The number of the unit may be in use by another process by now.
    let alive = listed.filter(|listed| listed.pid == 0 || given.pid == 0 || listed.pid == given.pid);
    match (alive, listed) {
        (Some(listed), _) => worker.pid = Some(listed.pid).filter(|pid| *pid > 0).or(worker.pid),
        (None, None) if given.unit.is_some() => {}
        (None, _) => worker.unit = None,
    }
    (worker, alive)
}

#[cfg(test)]
mod tests {
    use kqueue_core::schedule::JobKind;

    use super::*;

    fn given(unit: Option<Unit>, pid: i32) -> Given {
        Given { worker: 7, mode: Mode::Pooled, unit, pid, at: 0, kind: JobKind::Run }
    }

    fn listed(number: u32, pid: i32) -> Listed {
        Listed { unit: Unit::Worker(number), state: "active".to_owned(), pid, memory: None }
    }

    #[test]
    fn a_process_is_met_again_in_its_unit() {
        let units = [listed(1, 40), listed(2, 0)];
        let there: BTreeMap<&Unit, &Listed> = units.iter().map(|listed| (&listed.unit, listed)).collect();
        let of = |unit: Option<u32>, pid| {
            let (worker, alive) = process_of(3, &given(unit.map(Unit::Worker), pid), &there);
            assert_eq!((worker.job, worker.last), (Some(3), Some(3)));
            (worker.pid, worker.unit.is_some(), alive.is_some())
        };
        assert_eq!(of(Some(1), 40), (Some(40), true, true));
        // A process whose id was not known yet is the one in the unit now.
        assert_eq!(of(Some(1), 0), (Some(40), true, true));
        assert_eq!(of(Some(2), 41), (Some(41), true, true));
        // Another process is in the unit by now, or it had no unit: this one is gone.
        assert_eq!(of(Some(1), 41), (Some(41), false, false));
        assert_eq!(of(None, 41), (Some(41), false, false));
        // The result of a unit that has ended may still be known.
        assert_eq!(of(Some(9), 41), (Some(41), true, false));
    }
}
