//! Native pop: workers pop jobs by themselves, and report them.

use bytes::Bytes;

use super::Runtime;
use super::admit::reading;
use crate::backend;
use kqueue_core::schedule::{Event, WorkerId};
use kqueue_core::wire::{Popped, ToWorker};

impl Runtime {
    /// Has a worker pop a job from the open queues.
    pub(super) fn let_pop(&mut self, worker: WorkerId) {
        let queues = self.schedule.queues_to_pop(&self.app.queues);
        self.processes.send(worker, ToWorker::Pop { queues: &queues }.encode());
    }

    /// A worker has popped a job, and waits for the order to run it.
    pub(super) fn popped(&mut self, worker: WorkerId, popped: Popped) {
        if !self.queue.is_native() {
            return self.processes.broke_protocol(worker);
        }
        let Popped { queue, payload, bytes, id, attempts } = popped;
        let reservation = backend::popped(queue, Bytes::from(payload), attempts);
        let schedule = &self.schedule;
        let mut job = self.held.admit(reservation, reading(&self.settings), |class| schedule.is_missing(class));
        job.bytes = bytes;
        if let Some(record) = self.held.get_mut(job.id).filter(|record| record.uuid.is_empty()) {
            record.uuid = id.unwrap_or_default();
        }
        self.queue.worker_heard(None);
        self.tell(Event::Popped { worker, job });
    }

    /// A worker has popped no job. `fault`: why the queue could not be read, if so.
    pub(super) fn looked(&mut self, worker: WorkerId, fault: Option<String>) {
        if self.schedule.is_looking(worker) {
            if fault.is_some() {
                self.tell(Event::PopFailed(worker));
            }
            let fault = fault.map(|reason| (format!("connection {}", self.app.connection), reason));
            self.queue.worker_heard(fault);
        }
    }
}
