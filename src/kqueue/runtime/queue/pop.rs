//! Native pop: what workers say that look for jobs by themselves.

use bytes::Bytes;

use crate::backend::{self, BackendError};
use crate::runtime::Runtime;
use kqueue_core::schedule::{Event, WorkerId};
use kqueue_core::wire::{Popped, ToWorker};

impl Runtime {
    /// A worker may look for a job, in the queues that are open.
    pub fn let_pop(&mut self, worker: WorkerId) {
        let frame = ToWorker::Pop { queues: &self.schedule.open_queues(&self.app.queues) }.encode();
        if let Some(worker) = self.processes.workers.get(&worker) {
            worker.send(frame);
        }
    }

    /// A worker has found a job, and waits to be told to run it.
    pub fn popped(&mut self, worker: WorkerId, popped: Popped) {
        if !self.queue.backend.is_native() {
            return self.broke(worker, "a job of its own");
        }
        let Popped { queue, payload, bytes, id, attempts } = popped;
        let reservation = backend::popped(queue, Bytes::from(payload), attempts);
        let (properties, schedule) = (self.settings.property_hints, &self.schedule);
        let mut job = self.held.admit(reservation, properties, |class| schedule.is_missing(class));
        job.bytes = bytes;
        if let Some(record) = self.held.get_mut(job.id).filter(|record| record.uuid.is_empty()) {
            record.uuid = id.unwrap_or_default();
        }
        self.queue_said(None);
        self.tell(Event::Popped { worker, job });
    }

    /// A worker is back without a job, and says why where it could not look.
    pub fn looked(&mut self, worker: WorkerId, fault: Option<String>) {
        if self.schedule.is_looking(worker) {
            if fault.is_some() {
                self.tell(Event::PopFailed(worker));
            }
            self.queue_said(fault);
        }
    }

    /// The queue has answered a worker, or not.
    fn queue_said(&mut self, fault: Option<String>) {
        let target = format!("connection {}", self.app.connection);
        let answer = fault.map_or(Ok(()), |reason| Err(BackendError::Unavailable { target, reason }));
        if let Err(error) = self.answer(answer) {
            self.fail(error);
        }
    }
}
