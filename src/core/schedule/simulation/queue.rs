//! The simulated queue, and the calls for its jobs.

use super::model::*;
use super::world::{QUEUES, RETRY_AFTER, World};
use crate::schedule::{Cancel, Event, JobId, JobSpec, WorkerId};

impl World {
    /// Calls for jobs as the runtime does: one call at a time, and with a pause after an empty one.
    pub(super) fn reserve(&mut self) {
        if self.reserving || self.exited.is_some() {
            return;
        }
        let all: Vec<String> = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
        let queues: Vec<String> = self.schedule.open_queues(&all).into_iter().cloned().collect();
        let more = queues.iter().any(|queue| !self.asked.contains(queue));
        if queues.is_empty() || !more && self.dry.is_some_and(|until| self.now < until) {
            return;
        }
        let count = self.schedule.wanted(self.clock());
        if count == 0 {
            return;
        }
        self.reserving = true;
        self.asked.clone_from(&queues);
        let settled = self.schedule.settled();
        let at = self.now + self.latency();
        self.at(at, Next::Pop { settled, count, queues });
    }

    /// Resets the state of calls: none is under way.
    pub fn idle_queue(&mut self) {
        self.reserving = false;
        self.dry = None;
    }

    pub(super) fn pop(&mut self, settled: u64, count: usize, queues: &[String]) {
        let mut found = Vec::new();
        for queue in QUEUES.iter().filter(|queue| queues.iter().any(|open| open == *queue)) {
            let waiting = self.queue.get_mut(queue).expect("known");
            let take = waiting.len().min(count - found.len());
            found.extend(waiting.drain(..take));
        }
        let at = self.now + self.latency();
        if found.is_empty() {
            self.at(at, Next::Tell(Event::Empty { settled }));
            return;
        }
        let mut specs = Vec::new();
        for uid in found {
            specs.push(self.reserve_one(uid));
        }
        self.at(at, Next::Tell(Event::Reserved(specs)));
    }

    fn reserve_one(&mut self, uid: Uid) -> JobSpec {
        let id = self.next_job;
        self.next_job += 1;
        let message = &mut self.messages[uid];
        message.place = Place::Reserved(id);
        message.attempts += 1;
        let front = std::mem::take(&mut message.front);
        self.reservations.insert(id, Reservation { uid, ..Default::default() });
        JobSpec {
            id,
            class: self.classes[message.class].name.to_owned(),
            wrapper: None,
            queue: message.queue.to_owned(),
            bytes: message.bytes,
            timeout: message.timeout,
            hints: crate::payload::Hints { priority: message.priority, ..Default::default() },
            // Tenants where queues have names.
            tenant: (!self.schedule.config.queues.is_empty()).then_some(uid as u64 % 4),
            key: None,
            // The runtime remembers cancellations over reservations.
            cancel: message.cancelled.then(|| Cancel { by: "somebody".to_owned(), delete: false }),
            front,
        }
    }

    /// The job that a looking process pops, in the order of the queues.
    pub fn find(&mut self, worker: WorkerId) -> Option<JobSpec> {
        let may = &self.processes[&worker].queues;
        let open = |queue: &&&str| !self.paused.contains(**queue) && may.iter().any(|open| open == **queue);
        let found = QUEUES.iter().filter(open).find_map(|queue| {
            let waiting = self.queue.get_mut(queue).expect("known");
            (!waiting.is_empty()).then(|| waiting.remove(0))
        })?;
        Some(self.reserve_one(found))
    }

    /// A popped job that is never reported.
    pub fn unseen(&mut self, job: JobId) {
        let held = self.reservations.get_mut(&job).expect("known");
        held.end.get_or_insert(End::Unseen);
        let uid = held.uid;
        if self.messages[uid].place == Place::Reserved(job) {
            self.messages[uid].place = Place::Delayed;
            self.at(self.now + RETRY_AFTER, Next::Back(uid));
        }
    }

    pub(super) fn given(&mut self, jobs: &[JobId]) {
        for job in jobs.iter().rev() {
            let Reservation { uid, to, .. } = self.reservations[job];
            let message = &mut self.messages[uid];
            if message.place == Place::Reserved(*job) {
                message.place = Place::Queue;
                message.attempts -= 1;
                assert!(message.attempts >= 0);
                message.queue = to.unwrap_or(message.queue);
                let queue = self.queue.get_mut(message.queue).expect("known");
                queue.insert(if to.is_some() { queue.len() } else { 0 }, uid);
            }
        }
        self.dry = None;
    }
}
