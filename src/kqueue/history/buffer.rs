//! Records not yet written to the file. Bounded; no disk, no clock.

use std::collections::{BTreeMap, VecDeque};

use kqueue_control::{Happening, Job, JobState, JobsFilter};
use kqueue_core::schedule::Outcome;

use super::attempt::{Attempt, is_class, is_wanted, state};
use super::tally::{CLASSES, Sample, Samples, Span};

/// Maximum unwritten attempts of each kind: ended well, and others.
const MOST: usize = 10_000;
/// Maximum unwritten events.
const EVENTS: usize = 1_000;
/// Maximum minutes of unwritten figures: more than pass between two successful writes.
const MINUTES: usize = 10;
/// Maximum queues whose sizes are kept.
const QUEUES: usize = 100;

/// The id of a record: milliseconds since 1970, followed by a counter of [`COUNT`] bits.
pub type Id = i64;

/// Bits of the counter.
const COUNT: u32 = 20;

/// The lowest id of that time, in milliseconds since 1970.
pub fn first_id(ms: u64) -> Id {
    i64::try_from(ms.min(1 << 42)).unwrap_or(0) << COUNT
}

/// The time of an id, in milliseconds since 1970.
pub fn ms_of(id: Id) -> u64 {
    u64::try_from(id >> COUNT).unwrap_or(0)
}

/// How important an event is: each grade is bounded separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Happens all the time.
    Routine,
    /// Worth asking for.
    Notable,
    /// Notable, and lasting until an end.
    Lasting,
}

/// An event, or the end of one.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new event.
    New(Id, Happening, Grade),
    /// The event with this id was over at this time, in milliseconds since 1970.
    Over(Id, u64),
}

/// The contents of one write.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Attempts that ended well.
    pub well: VecDeque<(Id, Attempt)>,
    /// Other attempts.
    pub bad: VecDeque<(Id, Attempt)>,
    /// Figures by minute (its start in seconds since 1970).
    pub minutes: BTreeMap<u64, Span>,
    /// The same from earlier writes that failed.
    pub again: BTreeMap<u64, Span>,
    /// Sizes of queues by minute.
    pub samples: BTreeMap<u64, Samples>,
    /// Events.
    pub events: VecDeque<Event>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.well.is_empty()
            && self.bad.is_empty()
            && self.minutes.is_empty()
            && self.again.is_empty()
            && self.samples.is_empty()
            && self.events.is_empty()
    }

    /// Figures by minute. A minute may occur twice.
    pub fn spans(&self) -> impl Iterator<Item = (u64, &Span)> {
        self.minutes.iter().chain(&self.again).map(|(minute, span)| (*minute, span))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Records waiting to be written.
    pub batch: Batch,
    /// Figures since the start, of all that was taken for writing or dropped.
    totals: Span,
    /// Permanently failed jobs of the last hour, by minute.
    failed: BTreeMap<u64, u64>,
    count: Id,
    /// Maximum attempts of each kind; `None` if history is off.
    jobs: Option<usize>,
}

impl Buffer {
    /// Sets the maximum attempts of each kind; `None` keeps only figures since the start.
    pub fn configure(&mut self, jobs: Option<usize>) {
        self.jobs = jobs;
        if jobs.is_none() {
            self.take();
        }
    }

    /// Whether history is on.
    pub fn is_on(&self) -> bool {
        self.jobs.is_some()
    }

    fn id(&mut self, ms: u64) -> Id {
        self.count = (self.count + 1) & ((1 << COUNT) - 1);
        first_id(ms) + self.count
    }

    /// Records an attempt.
    pub fn attempt(&mut self, attempt: Attempt) {
        let minute = attempt.ended / 60_000 * 60;
        if attempt.outcome == Outcome::Failed {
            *self.failed.entry(minute).or_default() += 1;
        }
        // With history off, minutes need not be kept apart.
        let most = if self.is_on() { MINUTES } else { 1 };
        if !self.batch.minutes.contains_key(&minute) && self.batch.minutes.len() >= most {
            self.forget_minute();
        }
        self.batch.minutes.entry(minute).or_default().record(&attempt);
        let Some(jobs) = self.jobs else { return };
        let id = self.id(attempt.ended);
        let kept = if attempt.well { &mut self.batch.well } else { &mut self.batch.bad };
        // Those beyond the bound would be pruned right after the write.
        if kept.len() >= jobs.min(MOST) {
            kept.pop_front();
        }
        if jobs > 0 {
            kept.push_back((id, attempt));
        }
    }

    fn forget_minute(&mut self) {
        if let Some((_, span)) = self.batch.minutes.pop_first() {
            self.totals.add(&span, CLASSES);
        }
    }

    /// Permanently failed jobs since then: seconds since 1970. Forgets earlier ones.
    pub fn failed_since(&mut self, seconds: u64) -> u64 {
        self.failed = self.failed.split_off(&(seconds / 60 * 60));
        self.failed.values().sum()
    }

    /// Adds failures that an earlier runtime counted, as `(minute, jobs)`.
    pub fn had_failed(&mut self, minutes: Vec<(u64, u64)>) {
        for (minute, failed) in minutes {
            *self.failed.entry(minute).or_default() += failed;
        }
        self.failed_since(self.failed.keys().last().map_or(0, |last| last.saturating_sub(3_600)));
    }

    /// Records an event; returns its id.
    pub fn happened(&mut self, event: Happening, grade: Grade) -> Id {
        let id = self.id(event.at);
        self.event(Event::New(id, event, grade));
        id
    }

    /// Records that this event was over at this time, in milliseconds since 1970.
    pub fn over(&mut self, id: Id, ms: u64) {
        self.event(Event::Over(id, ms));
    }

    fn event(&mut self, event: Event) {
        if !self.is_on() {
            return;
        }
        if self.batch.events.len() >= EVENTS {
            self.batch.events.pop_front();
        }
        self.batch.events.push_back(event);
    }

    /// Records the size of a queue at this time, in milliseconds since 1970.
    pub fn sized(&mut self, ms: u64, Sample { queue, backlog, oldest }: Sample) {
        if !self.is_on() {
            return;
        }
        let samples = self.batch.samples.entry(ms / 60_000 * 60).or_default();
        if samples.len() < QUEUES || samples.contains_key(&queue) {
            let most = samples.entry(queue).or_default();
            *most = (most.0.max(backlog), most.1.max(oldest));
        }
        while self.batch.samples.len() > MINUTES {
            self.batch.samples.pop_first();
        }
    }

    /// Takes all that waits to be written.
    pub fn take(&mut self) -> Batch {
        for span in self.batch.minutes.values() {
            self.totals.add(span, CLASSES);
        }
        std::mem::take(&mut self.batch)
    }

    /// Puts back a batch that could not be written, within the bounds.
    pub fn put_back(&mut self, mut batch: Batch) {
        let Some(jobs) = self.jobs else { return };
        for (kept, new) in [(&mut batch.well, &mut self.batch.well), (&mut batch.bad, &mut self.batch.bad)] {
            kept.append(new);
            let over = kept.len().saturating_sub(jobs.min(MOST));
            kept.drain(..over);
            std::mem::swap(kept, new);
        }
        std::mem::swap(&mut batch.events, &mut self.batch.events);
        self.batch.events.append(&mut batch.events);
        let over = self.batch.events.len().saturating_sub(EVENTS);
        self.batch.events.drain(..over);
        // Kept apart from new figures, which are not counted in the totals yet.
        for (minute, span) in batch.minutes.into_iter().chain(batch.again) {
            self.batch.again.entry(minute).or_default().add(&span, usize::MAX);
        }
        while self.batch.again.len() > MINUTES {
            self.batch.again.pop_first();
        }
        for (minute, samples) in batch.samples {
            let known = self.batch.samples.entry(minute).or_default();
            for (queue, (backlog, oldest)) in samples {
                let most = known.entry(queue).or_default();
                *most = (most.0.max(backlog), most.1.max(oldest));
            }
        }
        while self.batch.samples.len() > MINUTES {
            self.batch.samples.pop_first();
        }
    }

    /// Figures since the start.
    pub fn totals(&self) -> Span {
        let mut totals = self.totals.clone();
        self.batch.minutes.values().for_each(|span| totals.add(span, CLASSES));
        totals
    }

    /// The attempts that match the filter and have an id below `before`, the latest first.
    pub fn find(&self, filter: &JobsFilter, before: Option<Id>, limit: usize) -> Vec<(Id, Job)> {
        let of = |kept: &VecDeque<(Id, Attempt)>| -> Vec<(Id, Job)> {
            let fit = kept
                .iter()
                .rev()
                .filter(|(id, attempt)| before.is_none_or(|before| *id < before) && may_fit(attempt, filter));
            let jobs = fit.map(|(id, attempt)| (*id, attempt.job())).filter(|(_, job)| is_wanted(job, filter));
            jobs.take(limit).collect()
        };
        let mut found = of(&self.batch.well);
        found.extend(of(&self.batch.bad));
        found.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        found.truncate(limit);
        found
    }

    /// The attempts of one job.
    pub fn of(&self, uuid: &str) -> Vec<(Id, Job)> {
        let of = self.batch.well.iter().chain(&self.batch.bad).filter(|(_, attempt)| attempt.uuid == uuid);
        of.map(|(id, attempt)| (*id, attempt.job())).collect()
    }

    /// Events not written yet.
    pub fn events(&self) -> Vec<Event> {
        self.batch.events.iter().cloned().collect()
    }

    /// Figures and sizes not written yet.
    pub fn figures(&self) -> Batch {
        let Batch { minutes, again, samples, .. } = &self.batch;
        Batch { minutes: minutes.clone(), again: again.clone(), samples: samples.clone(), ..Batch::default() }
    }
}

/// A cheap check whether an attempt may match; [`is_wanted`] decides.
fn may_fit(attempt: &Attempt, filter: &JobsFilter) -> bool {
    let wanted = match filter.state {
        None | Some(JobState::Recent) => true,
        Some(wanted) => state(attempt.outcome) == wanted,
    };
    wanted
        && filter.class.as_ref().is_none_or(|class| is_class(&attempt.class, class))
        && filter.queue.as_ref().is_none_or(|queue| attempt.queue == *queue)
        && filter.tag.as_ref().is_none_or(|tag| attempt.tags.contains(tag))
}
