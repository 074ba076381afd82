//! Jobs are reserved as far as there is room for them, and become ours.

use std::time::Instant;

use super::Runtime;
use super::held::{HeldJobs, Reading};
use super::queue::Demand;
use crate::backend::Reservation;
use kqueue_config::Settings;
use kqueue_core::schedule::{Event, JobId, JobSpec};

impl Runtime {
    /// Makes the calls that are due: those that settle jobs, and, if the schedule has room, one that reserves some.
    pub(super) fn work_queue(&mut self) {
        // Whether the queue is empty is asked once more, now that nobody can put anything back.
        let last_look = self.settings.limits.stop_when_empty && self.schedule.job_count() == 0;
        if self.queue.waits_for(|queue| last_look || !self.schedule.may_run(queue)) {
            self.queue.look_again();
        }
        // What is held back no longer is asked for at once, and not when something else has come.
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
        if !self.queue.may_reserve(Instant::now()) {
            return;
        }
        let jobs = self.schedule.wanted(self.now());
        if jobs > 0 && !open.is_empty() {
            let queues = open.into_iter().cloned().collect();
            self.queue.reserve(Demand { jobs, queues, settled: self.schedule.settled() });
        }
    }

    /// Makes records of jobs that were reserved.
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

/// Whose the jobs are that are ours, as far as a limit of their class counts for each of these by `by`. Of what is done
/// with, nothing can be said any more.
pub(super) fn keys<'a>(held: &HeldJobs, by: impl Fn(&str) -> Option<&'a str>) -> Vec<(JobId, Option<u64>)> {
    let known = held.iter().filter(|(_, record)| !record.reservation.payload.is_empty());
    known.filter_map(|(id, record)| Some((id, record.value_of(by(&record.class)?)))).collect()
}

/// What of a payload counts by the settings.
pub(super) fn reading(settings: &Settings) -> Reading<'_> {
    Reading { properties: settings.property_hints, fair_by: settings.fair_by.as_deref() }
}
