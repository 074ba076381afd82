//! Reserves jobs as far as the schedule has room for them, and records them.

use std::time::Instant;

use super::Runtime;
use super::held::{HeldJobs, Reading};
use super::queue::Demand;
use crate::backend::Reservation;
use kqueue_config::Settings;
use kqueue_core::schedule::{Event, JobId, JobSpec};

impl Runtime {
    /// Makes the queue calls that are due: those that settle jobs, and, if the schedule has room, one that reserves
    /// some.
    pub(super) fn work_queue(&mut self) {
        // With `--stop-when-empty` the queue is checked once more, now that no job can be given back.
        let last_look = self.settings.limits.stop_when_empty && self.schedule.job_count() == 0;
        if self.queue.waits_for(|queue| last_look || !self.schedule.may_run(queue)) {
            self.queue.look_again();
        }
        // A queue that has opened is included at once, and not only when another job has come.
        let open = self.schedule.open_queues(&self.app.queues);
        if self.queue.waits_without(&open) {
            self.queue.look_again();
        }
        self.queue.settle();
        match (self.settings.fair_by.clone(), self.schedule.room_for_others()) {
            (Some(by), Some(room)) => {
                let open: Vec<String> = open.iter().map(|queue| (*queue).clone()).collect();
                let known = || self.schedule.waiting_of_each();
                self.queue.look_behind(Instant::now(), &open, &by, known, room);
            }
            _ => self.queue.look_no_more(),
        }
        if open.is_empty() || self.schedule.is_down() {
            self.queue.is_closed(Instant::now(), &self.app.queues);
        }
        if !self.queue.may_reserve(Instant::now()) {
            return;
        }
        let jobs = self.schedule.wanted(self.now());
        if jobs > 0 && !open.is_empty() {
            let queues = open.into_iter().cloned().collect();
            self.queue.reserve(Demand { jobs, queues, settled: self.schedule.settled() });
        }
    }

    /// Records reserved jobs.
    pub(super) fn admit(&mut self, jobs: Vec<Reservation>) {
        let (held, schedule, settings) = (&mut self.held, &self.schedule, self.settings.clone());
        let reading = reading(&settings);
        let (cancels, fronts) = (&self.service.cancels, &mut self.service.fronts);
        let admit = |reservation| {
            let spec = held.admit(reservation, reading, |class| schedule.is_missing(class));
            let Some(record) = held.get_mut(spec.id) else { return spec };
            record.front = fronts.take(&record.uuid);
            let key = schedule.is_limited_by(&spec.class).and_then(|by| record.value_of(by));
            JobSpec { cancel: cancels.of(&record.uuid), key, front: record.front, ..spec }
        };
        let specs = jobs.into_iter().map(admit).collect();
        self.tell(Event::Reserved(specs));
    }
}

/// The keys of held jobs, for classes with a limit per key: `by` names the payload value of a class. Finished jobs
/// without a payload are left out.
pub(super) fn keys<'a>(held: &HeldJobs, by: impl Fn(&str) -> Option<&'a str>) -> Vec<(JobId, Option<u64>)> {
    let known = held.iter().filter(|(_, record)| !record.reservation.payload.is_empty());
    known.filter_map(|(id, record)| Some((id, record.value_of(by(&record.class)?)))).collect()
}

/// The parts of a payload that are used by these settings.
pub(super) fn reading(settings: &Settings) -> Reading<'_> {
    Reading { properties: settings.property_hints, fair_by: settings.fair_by.as_deref() }
}
