//! A job as the runtime knows it: all that the schedule need not know.

use std::time::{Duration, Instant};

use super::epoch_ms;
use super::ledger::Given;
use crate::backend::{Receipt, Reservation};
use kqueue_core::payload::{Envelope, Hints, is_pointer, value_of};
use kqueue_core::schedule::{JobId, JobSpec, WorkerId};
use kqueue_core::wire::coordinator::UnitEnd;

/// What of a payload counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// What the job itself declares by its properties.
    pub properties: bool,
    /// The name of what says whose it is.
    pub fair_by: Option<&'a str>,
}

/// A reserved job, with all that the schedule need not know.
#[derive(Debug)]
pub struct Record {
    pub reservation: Reservation,
    pub uuid: String,
    pub class: String,
    /// What it is called by if that is no class.
    pub wrapper: Option<String>,
    pub attempt: u32,
    /// The tags in its payload.
    pub tags: Vec<String>,
    /// Seconds that it may run, where its payload says so; 0 is without limit.
    pub timeout: Option<u32>,
    /// When it was dispatched, or else became ours: milliseconds since 1970, as those that follow.
    pub queued: u64,
    /// When this attempt could have begun.
    pub ready: u64,
    /// When it began.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// The process that it was given to.
    pub worker: Option<WorkerId>,
    /// When it was handed to a process to be run.
    pub delivered: Option<Instant>,
    /// How long it ran, once its process has died.
    pub took: Option<Duration>,
    /// It is removed from the queue, or about to be.
    pub acked: bool,
    /// A renewal found that it is no longer ours.
    pub lost: bool,
    /// It is about to be given back.
    pub returning: bool,
    /// An operator has put it in front of others: the last number that said so.
    pub front: u64,
    /// The queue that an operator wants it in.
    pub to: Option<String>,
    /// Where it runs, as the ledger has it.
    pub given: Option<Given>,
    /// What the unit used in which it ran.
    pub usage: Option<Usage>,
    /// What PHP said that it used.
    pub said: Usage,
    /// KiB of memory that its processes were seen to have at most.
    pub seen_kb: Option<u64>,
}

impl Record {
    /// What is read of a payload, `reading` says.
    pub fn new(reservation: Reservation, reading: Reading<'_>) -> (Self, JobSpecParts) {
        // A backend in strict mode passes on what it found: Laravel itself says then what is wrong with it.
        let envelope = Envelope::parse(&reservation.payload).ok();
        let is_elsewhere = envelope.is_none() && is_pointer(&reservation.payload);
        let unknown = if is_elsewhere { "(payload elsewhere)" } else { "(no job)" };
        let (class, wrapper) = envelope.as_ref().map_or((unknown, None), Envelope::classes);
        let (class, wrapper) = (class.to_owned(), wrapper.map(str::to_owned));
        let counted = || envelope.as_ref().and_then(|envelope| envelope.attempts).unwrap_or(0) + 1;
        let attempt = reservation.receipt.attempts().unwrap_or_else(counted);
        let now = epoch_ms();
        let (queued, ready) = times(now, attempt, &reservation.receipt, envelope.as_ref());
        let parts = JobSpecParts {
            // What the job itself says is known to Laravel alone, which ends it.
            timeout: if is_elsewhere { Some(0) } else { envelope.as_ref().and_then(|envelope| envelope.timeout) },
            hints: envelope.as_ref().map(|envelope| envelope.hints(reading.properties)).unwrap_or_default(),
            tenant: reading.fair_by.and_then(|name| value_of(&reservation.payload, name)),
        };
        let timeout = envelope.as_ref().and_then(|envelope| envelope.timeout);
        let (uuid, tags) = envelope.map(|envelope| (envelope.uuid, envelope.tags)).unwrap_or_default();
        let record = Self {
            uuid: uuid.unwrap_or_default(),
            reservation,
            class,
            wrapper,
            attempt,
            tags,
            timeout,
            queued,
            ready,
            started: None,
            ended: None,
            worker: None,
            delivered: None,
            took: None,
            acked: false,
            lost: false,
            returning: false,
            front: 0,
            to: None,
            given: None,
            usage: None,
            said: Usage::default(),
            seen_kb: None,
        };
        (record, parts)
    }

    /// It is handed to this process, to be run.
    pub fn begins(&mut self, worker: WorkerId) {
        self.delivered = Some(Instant::now());
        self.took = None;
        (self.started, self.worker) = (Some(epoch_ms()), Some(worker));
    }

    /// What PHP says that it used; that of a unit of its own counts instead.
    pub fn used(&mut self, peak_kib: u32, cpu_usec: Option<u64>) {
        let memory_peak = (peak_kib > 0).then_some(u64::from(peak_kib) << 10);
        self.said = Usage { memory_peak, cpu_usec };
    }

    /// Bytes of memory that it had at its peak, and microseconds of processor time that it took, as far as is known.
    pub fn usage(&self) -> Usage {
        let unit = self.usage.clone().unwrap_or_default();
        Usage {
            memory_peak: unit.memory_peak.or(self.said.memory_peak).max(self.seen_kb.map(|kb| kb << 10)),
            cpu_usec: unit.cpu_usec.or(self.said.cpu_usec),
        }
    }

    pub fn spec(&self, id: JobId, JobSpecParts { timeout, hints, tenant }: JobSpecParts) -> JobSpec {
        let Self { class, wrapper, reservation: Reservation { queue, payload, receipt }, .. } = self;
        let bytes = payload.len() + receipt.bytes();
        let (class, wrapper) = (class.clone(), wrapper.clone());
        JobSpec {
            id,
            class,
            wrapper,
            queue: queue.clone(),
            bytes,
            timeout,
            hints,
            tenant,
            key: None,
            cancel: None,
            front: 0,
        }
    }

    /// What its payload has for a name; `None` where it has nothing.
    pub fn value_of(&self, name: &str) -> Option<u64> {
        value_of(&self.reservation.payload, name)
    }

    /// What the job calls itself is no class.
    pub fn class_is_missing(&mut self) {
        if let Some(wrapper) = self.wrapper.take() {
            self.class = wrapper;
        }
    }
}

/// When a job was dispatched, and when this attempt of it could have begun. What is told in whole seconds counts from
/// their end, but not from later than now: a wait is never shown that there was not.
fn times(now: u64, attempt: u32, receipt: &Receipt, envelope: Option<&Envelope>) -> (u64, u64) {
    let whole = |ms: u64| if ms.is_multiple_of(1000) { ms.saturating_add(999) } else { ms };
    let dispatched = envelope.and_then(Envelope::dispatched_at);
    let due = envelope.filter(|_| attempt <= 1).and_then(Envelope::due_at);
    let available = receipt.available_at().map(|seconds| seconds.saturating_mul(1000));
    // A queue that says when a job was available says so of each attempt, and in whole seconds.
    let ready = match (available, due) {
        (Some(available), Some(due)) if due / 1000 == available / 1000 => due,
        (Some(available), _) => available,
        (None, due) => due.unwrap_or(now),
    };
    let ready = whole(ready).min(now);
    (dispatched.unwrap_or(ready).min(now), ready)
}

/// What only the schedule needs of a payload.
pub struct JobSpecParts {
    timeout: Option<u32>,
    hints: Hints,
    tenant: Option<u64>,
}

/// What is told of a job only once its unit is gone, and with it all that the unit has to say.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub memory_peak: Option<u64>,
    pub cpu_usec: Option<u64>,
}

impl From<&UnitEnd> for Usage {
    fn from(end: &UnitEnd) -> Self {
        Self { memory_peak: end.memory_peak, cpu_usec: end.cpu_usec }
    }
}
