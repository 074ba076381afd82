//! Messages of connected processes that concern no other component.

use super::Processes;
use crate::workers::{Outbox, Peer, WorkerProcess};
use kqueue_core::schedule::{JobId, StopReason, WorkerId};
use kqueue_core::wire::coordinator::Unit;
use kqueue_core::wire::{Mode, ToWorker};

impl Processes {
    /// Handles the Hello of a process. The kernel's peer credentials must be those of a process that we, or the
    /// template, started. Returns its worker id; `met_again`: whether it has served an earlier runtime.
    pub fn hello(
        &mut self,
        number: WorkerId,
        mode: Mode,
        met_again: bool,
        peer: Peer,
        outbox: Outbox,
    ) -> Option<WorkerId> {
        if mode == Mode::Template && number == 0 && self.templates.expects(peer.pid) {
            self.greet(&outbox, Mode::Template);
            self.templates.connected(peer.pid, outbox);
            return None;
        }
        let own = std::process::id() as i32;
        // A pooled worker that is a unit knows its unit's number only.
        let is_unit = self.outlive() && mode == Mode::Pooled;
        let id = if is_unit { self.by_unit(number, peer.pid).unwrap_or(0) } else { number };
        let known = self.workers.get_mut(&id).filter(|worker| {
            worker.mode == mode
                && worker.outbox.is_none()
                && worker.closed.is_none()
                && (worker.pid == Some(peer.pid)
                    || is_unit
                    || kqueue_system::processes::descends_from(peer.pid, worker.pid.unwrap_or(own)))
        });
        let Some(worker) = known else {
            tracing::warn!(
                "refused process {} on the worker socket: it claims to be {mode} worker {id}, which we did not start",
                peer.pid
            );
            return None;
        };
        // Where `php` is a wrapper, the peer is a child of the process that we started.
        worker.pid = Some(peer.pid);
        worker.outbox = Some(outbox.clone());
        if !met_again && !worker.forked {
            self.greet(&outbox, mode);
        }
        Some(id)
    }

    /// Sends the first frame to a process that was started and not forked.
    fn greet(&self, outbox: &Outbox, mode: Mode) {
        outbox.send(self.recipe.welcome(mode));
    }

    /// The worker that uses this number in its messages: its id, or the number of its unit.
    pub fn speaker(&self, number: WorkerId, pid: i32) -> Option<WorkerId> {
        let is_it = |worker: &WorkerProcess| worker.pid == Some(pid);
        if self.workers.get(&number).is_some_and(is_it) {
            return Some(number);
        }
        let unit = Some(Unit::Worker(u32::try_from(number).ok()?));
        self.workers.iter().find(|(_, worker)| worker.unit == unit && is_it(worker)).map(|(id, _)| *id)
    }

    /// The worker in the unit of this number, if the peer process is in that unit.
    fn by_unit(&self, number: WorkerId, pid: i32) -> Option<WorkerId> {
        let unit = Unit::Worker(u32::try_from(number).ok()?);
        if !self.units.as_ref()?.manager.holds(&unit, &self.recipe.settings().app, pid) {
            return None;
        }
        self.workers.iter().find(|(_, worker)| worker.unit.as_ref() == Some(&unit)).map(|(id, _)| *id)
    }

    /// The job of a worker.
    pub fn job_of(&self, id: WorkerId) -> Option<JobId> {
        self.workers.get(&id)?.job
    }

    /// A worker has finished its job.
    pub fn finished_job(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.job = None;
        if worker.forked {
            self.templates.worked(id);
        }
    }

    /// A worker has claimed a job that was sent ahead to it. False if the worker is unknown.
    pub fn goes_on_with(&mut self, id: WorkerId, job: JobId, memory_mb: Option<u32>) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        worker.take(job);
        worker.memory_mb = memory_mb;
        true
    }

    /// The job of this worker wants SIGTERM when its end is waited for.
    pub fn is_interruptible(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.interruptible = worker.job;
        }
    }

    /// The app did not boot in this worker.
    pub fn boot_failed(&mut self, id: WorkerId, why: String) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.boot_failure = Some(why);
        }
    }

    /// A worker has sent a message that workers must not send: kills it.
    pub fn broke_protocol(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.fault = Some("an unexpected message".to_owned());
        if let Some(pid) = worker.pid {
            self.launcher.kill(pid);
        }
    }

    /// Lets an isolated process exit, since the result of its job is recorded.
    pub fn release_isolated(&self, id: WorkerId) {
        let isolated = self.workers.get(&id).is_some_and(|worker| worker.mode == Mode::Isolated);
        if isolated && self.outlive() {
            self.stop(id, StopReason::Idle.as_str());
        }
    }

    /// Requests the declarations of classes from the template, or else from an idle worker. Without either, no request
    /// is made.
    pub fn inspect(&self, classes: &[String], properties: bool, idle: impl FnOnce() -> Option<WorkerId>) {
        let frame = ToWorker::Inspect { classes, properties }.encode();
        if !self.templates.send(frame.clone())
            && let Some(worker) = idle()
        {
            self.send(worker, frame);
        }
    }
}
