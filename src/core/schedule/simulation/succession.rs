//! One runtime hands over to the next, as under a service manager: lanes end with the first; the second adopts pooled
//! and isolated processes with their jobs.

use std::collections::{BTreeMap, BTreeSet};

use super::model::*;
use super::world::World;
use crate::routing::Tier;
use crate::schedule::{Adopted, AdoptedJob, Cancel, Event, JobSpec, Schedule, WorkerId};

impl World {
    /// The next runtime takes over from the one that has ended.
    pub fn succeed(&mut self) {
        self.forget_the_first();
        let config = self.schedule.config.clone();
        let history = std::mem::take(&mut self.schedule.history);
        let first = std::mem::replace(&mut self.schedule, Schedule::new(config, history));
        self.exited = None;
        self.stopping = None;
        self.handing_over = false;
        self.told = (false, BTreeSet::new());
        self.verifying.clear();
        let waiting: BTreeSet<WorkerId> = self.agenda.values().filter_map(will_be_ready).collect();
        let mut adopted = Vec::new();
        for worker in self.processes.keys().copied().collect::<Vec<_>>() {
            let process = self.processes.get_mut(&worker).expect("it is there");
            self.extra += usize::from(process.off);
            (process.off, process.seen_idle) = (false, false);
            let (tier, doing) = (process.tier, process.doing);
            // A worker that was being killed at the end of the stop has left without its job.
            if let Some(job) = process.seen_job.take_if(|job| !first.jobs.contains_key(job)) {
                self.reservations.get_mut(&job).expect("known").at = None;
            }
            let job = process.seen_job.map(|id| {
                let job = &first.jobs[&id];
                let (class, queue) = (job.class.clone(), job.queue.clone());
                let spec = JobSpec {
                    id,
                    class,
                    wrapper: None,
                    queue,
                    bytes: job.bytes,
                    timeout: job.timeout,
                    hints: job.hints,
                    tenant: job.tenant,
                    key: None,
                    cancel: None,
                    front: 0,
                };
                AdoptedJob { spec, kind: job.kind, ran_ms: self.now.saturating_sub(job.since) }
            });
            let has_none = job.is_none();
            // It would report its popped job again, as if it had just found it.
            let mute = has_none && matches!(doing, Doing::Popping(Some(job)) if self.reservations[&job].end.is_some());
            adopted.push(Adopted { worker, tier, job });
            if mute {
                self.after(0, 500, Next::Killed(worker));
            }
            // A waiting process connects to the next runtime by itself.
            if has_none && doing == Doing::Idle && !waiting.contains(&worker) {
                self.after(0, 500, Next::Tell(Event::Ready { worker, done: None }));
            }
        }
        self.limits.anew = true;
        let running = adopted.iter().filter_map(|one| one.job.as_ref()).map(|job| job.spec.id);
        let cancelled: Vec<_> = running.filter(|id| self.messages[self.reservations[id].uid].cancelled).collect();
        self.tell(Event::Adopted(adopted));
        for job in cancelled {
            let order = Cancel { by: "somebody".to_owned(), delete: false };
            self.tell(Event::Cancel { job, order });
        }
    }

    /// Drops events under way to the first runtime, and processes that ended with it.
    fn forget_the_first(&mut self) {
        // The first runtime gives back jobs of a call still under way.
        let (brought, rest): (BTreeMap<_, _>, _) = std::mem::take(&mut self.agenda)
            .into_iter()
            .partition(|(_, next)| matches!(next, Next::Tell(Event::Reserved(_))));
        self.agenda = rest;
        for (_, next) in brought {
            if let Next::Tell(event) = next {
                self.tell(event);
            }
        }
        let ends = |process: &Process| {
            process.tier == Tier::Inline || process.tier == Tier::Isolated && process.seen_job.is_none()
        };
        let gone: BTreeSet<WorkerId> =
            self.processes.iter().filter(|(_, process)| ends(process)).map(|(worker, _)| *worker).collect();
        for worker in &gone {
            let process = self.processes.remove(worker).expect("it is there");
            if let Some(job) = process.seen_job {
                self.reservations.get_mut(&job).expect("known").at = None;
            }
        }
        for (at, next) in std::mem::take(&mut self.agenda) {
            match next {
                Next::Pop { .. } | Next::Verify(_) | Next::Boot => {}
                Next::Tell(event) => {
                    if speaker(&event).is_some_and(|worker| self.processes.contains_key(&worker)) {
                        self.agenda.insert(at, Next::Tell(event));
                    }
                }
                Next::Started(worker)
                | Next::Booted(worker)
                | Next::Frame(worker, _)
                | Next::Ends(worker, ..)
                | Next::Left(worker)
                | Next::Look(worker)
                | Next::Gone(worker, _)
                | Next::Killed(worker)
                    if !self.processes.contains_key(&worker) => {}
                next => drop(self.agenda.insert(at, next)),
            }
        }
        self.idle_queue();
    }
}

/// The process that sends this event, if any: it sends it again to the next runtime.
fn speaker(event: &Event) -> Option<WorkerId> {
    match event {
        Event::Ready { worker, .. }
        | Event::Stopping { worker, .. }
        | Event::Died { worker, .. }
        | Event::Deleted { worker, .. }
        | Event::Taken(worker)
        | Event::PopFailed(worker)
        | Event::Popped { worker, .. }
        | Event::Gone { worker, .. } => Some(*worker),
        _ => None,
    }
}

fn will_be_ready(next: &Next) -> Option<WorkerId> {
    match next {
        Next::Tell(Event::Ready { worker, .. }) => Some(*worker),
        _ => None,
    }
}
