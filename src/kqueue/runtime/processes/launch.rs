//! Launching processes, delivering jobs to them, stopping and killing them.

use std::time::Instant;

use super::{Answer, ProcessEvent, Processes};
use crate::launch::UnitError;
use crate::workers::{Tickets, WorkerProcess};
use kqueue_core::schedule::{Cause, JobId, JobKind, WorkerId};
use kqueue_core::wire::coordinator::{Unit, UnitLimits};
use kqueue_core::wire::{Mode, Parts, ToWorker};

/// A job on its way to a process.
#[derive(Debug)]
pub struct Delivery {
    pub job: JobId,
    pub kind: JobKind,
    pub frame: Parts,
    /// Memory in MB that the job declares as its maximum.
    pub memory_mb: Option<u32>,
    /// Where processes are units: the scope for a process that runs this job alone, entered before delivery.
    pub scope: Option<Scope>,
}

/// Name and limits of a scope.
#[derive(Debug)]
pub struct Scope {
    /// The job's UUID, part of the name.
    pub uuid: String,
    pub limits: UnitLimits,
}

impl Processes {
    /// Launches a process as its mode and the app allow: forked, as a unit, or started.
    pub fn launch(&mut self, worker: WorkerId, mode: Mode) {
        let forked = self.recipe.forking.is_on() && mode != Mode::Pooled;
        let directory = &self.recipe.settings().runtime_dir;
        let mut process = WorkerProcess::new(mode, forked);
        if mode == Mode::Lane {
            process.tickets = Tickets::create(directory, worker)
                .inspect_err(|error| tracing::warn!("cannot create the ticket pipe of lane {worker}: {error}"))
                .ok();
        }
        if forked {
            let own = self.printing.outputs.of_fork(directory, worker);
            process.own = own
                .inspect_err(|error| tracing::warn!("{mode} worker {worker} shares its template's output: {error}"))
                .ok();
        }
        self.workers.insert(worker, process);
        if forked {
            self.fork(worker, mode);
        } else if mode == Mode::Pooled && self.outlive() {
            self.start_unit(worker);
        } else {
            self.start_process(worker, mode);
        }
    }

    /// Starts a process without blocking the loop.
    pub(super) fn start_process(&mut self, worker: WorkerId, mode: Mode) {
        let order = self.recipe.order(worker, mode);
        let launcher = self.launcher.clone();
        let answer = self.answer.clone();
        tokio::task::spawn_local(async move {
            let result = launcher.start(&order).await;
            let _ = answer.send(Answer::Started { worker, result }).await;
        });
    }

    /// Delivers a job to a process. [`ProcessEvent::Given`] reports that the process is about to read it.
    pub fn deliver(&mut self, id: WorkerId, mut delivery: Delivery) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.take(delivery.job);
        worker.memory_mb = delivery.memory_mb;
        if let Some(scope) = delivery.scope.take() {
            self.scope(id, scope, delivery);
            return;
        }
        self.weigh(id);
        self.send_job(id, delivery);
        self.memory.arm();
    }

    fn send_job(&mut self, id: WorkerId, Delivery { job, kind, frame, .. }: Delivery) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !worker.send(frame) {
            // The connection has just closed: the schedule must hear that the job was not read.
            worker.closed.get_or_insert((Instant::now(), true)).1 = true;
        }
        self.events.push_back(ProcessEvent::Given { worker: id, job, kind });
    }

    /// Handles the reply to a scope request: delivers the job, or gives the process up. One that has popped its job
    /// runs it regardless.
    pub(super) fn scoped(&mut self, id: WorkerId, delivery: Delivery, result: Result<(), UnitError>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Err(error) = result else { return self.send_job(id, delivery) };
        let runs = matches!(worker.unit, Some(Unit::Worker(_)));
        self.events.push_back(ProcessEvent::NotScoped { job: delivery.job, error, runs });
        if runs {
            worker.bounds = None;
            self.send_job(id, delivery);
        } else {
            self.not_scoped(id);
        }
    }

    /// Sends a lane a job ahead, which it may claim later. False if it cannot be offered.
    pub fn send_ahead(&mut self, id: WorkerId, job: JobId, frame: Parts) -> bool {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.tickets.is_some()) else { return false };
        // The frame goes first: a lane that claims the ticket has the frame, or waits for it.
        worker.send(frame) && worker.tickets.as_mut().is_some_and(|tickets| tickets.offer(job))
    }

    /// Takes back jobs that were sent ahead and not claimed.
    pub fn recall(&mut self, id: WorkerId) -> Vec<JobId> {
        let tickets = self.workers.get_mut(&id).and_then(|worker| worker.tickets.as_mut());
        tickets.map(Tickets::take_back).unwrap_or_default()
    }

    /// Sends a process a frame other than a job. False if it is not connected.
    pub fn send(&self, id: WorkerId, frame: Parts) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.send(frame))
    }

    /// Asks a process to stop. False if it is not connected.
    pub fn stop(&self, id: WorkerId, reason: &str) -> bool {
        self.send(id, ToWorker::Stop { reason }.encode())
    }

    /// Kills a process and its descendants. One that is not started yet is gone at once.
    pub fn kill(&mut self, id: WorkerId, cause: &Cause) {
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.pid.is_some() || worker.unit.is_some() {
            if worker.bounds.is_some() {
                self.end_process(worker.bounds.as_ref(), None);
            }
            return self.end_process(worker.unit.as_ref(), worker.pid);
        }
        let forked = self.workers.remove(&id).is_some_and(|worker| worker.forked);
        if forked && matches!(cause, Cause::Boot(_)) {
            self.fork_unanswered(id);
        }
        self.gone(id, cause.clone());
    }

    /// Puts a process into a scope of its own before its job is delivered. A pooled worker's service keeps its unit as
    /// well.
    fn scope(&mut self, id: WorkerId, Scope { uuid, limits }: Scope, delivery: Delivery) {
        let (Some(side), Some(worker)) = (&self.units, self.workers.get_mut(&id)) else { return };
        let Some(pid) = worker.pid else { return };
        let name = side.scope_name(id, &uuid);
        let place = if worker.unit.is_some() { &mut worker.bounds } else { &mut worker.unit };
        *place = Some(Unit::Scope(name.clone()));
        let (manager, answer) = (side.manager.clone(), self.answer.clone());
        *self.orders.entry("scope").or_default() += 1;
        tokio::task::spawn_local(async move {
            let result = manager.scope(&name, pid, &limits).await;
            let _ = answer.send(Answer::Scoped { worker: id, delivery, result }).await;
        });
    }

    /// A process could not be put into its scope. It has not read its job, which goes to another process.
    fn not_scoped(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.unit = None;
        worker.closed = Some((Instant::now(), true));
        worker.outbox = None;
        if let Some(pid) = worker.pid {
            self.launcher.kill(pid);
        }
        self.settle_ends();
    }
}
