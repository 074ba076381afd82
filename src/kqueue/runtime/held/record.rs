//! The runtime's record of a job: all that the schedule need not know.

use std::time::{Duration, Instant};

use super::epoch_ms;
use super::ledger::Given;
use crate::backend::{Receipt, Reservation};
use kqueue_core::payload::{Envelope, Hints, is_pointer, value_of};
use kqueue_core::schedule::{JobId, JobSpec, WorkerId};
use kqueue_core::wire::coordinator::UnitEnd;

/// Which parts of a payload are used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// Hints that the job declares by its properties.
    pub properties: bool,
    /// Name of the payload value that identifies the tenant (`fair_by`).
    pub fair_by: Option<&'a str>,
}

/// A reserved job.
#[derive(Debug)]
pub struct Record {
    pub reservation: Reservation,
    pub uuid: String,
    pub class: String,
    /// Class of the wrapper, the job's name if `class` does not exist.
    pub wrapper: Option<String>,
    pub attempt: u32,
    /// The tags in its payload.
    pub tags: Vec<String>,
    /// Timeout in seconds, where the payload has one; 0 is without limit.
    pub timeout: Option<u32>,
    /// When it was dispatched, or else reserved: milliseconds since 1970, as are the following ones.
    pub queued: u64,
    /// When this attempt was due to start.
    pub ready: u64,
    /// When this attempt began.
    pub started: Option<u64>,
    /// When this attempt ended.
    pub ended: Option<u64>,
    /// The process that it was given to.
    pub worker: Option<WorkerId>,
    /// When it was delivered to a process to be run.
    pub delivered: Option<Instant>,
    /// Run time, once its process has died.
    pub took: Option<Duration>,
    /// Removed from the queue, or about to be.
    pub acked: bool,
    /// A renewal found that the reservation is lost.
    pub lost: bool,
    /// About to be given back.
    pub returning: bool,
    /// Sequence number of an operator's last order to move it to the front; 0 if none.
    pub front: u64,
    /// The queue that an operator moves it to.
    pub to: Option<String>,
    /// The process that it was given to, as in the ledger.
    pub given: Option<Given>,
    /// Usage of the unit that it ran in.
    pub usage: Option<Usage>,
    /// Usage reported by PHP.
    pub said: Usage,
    /// Peak memory in KiB, as sampled from its processes.
    pub seen_kb: Option<u64>,
}

impl Record {
    /// Parses the payload as far as `reading` says.
    pub fn new(reservation: Reservation, reading: Reading<'_>) -> (Self, JobSpecParts) {
        // A backend in strict mode passes on malformed payloads: Laravel then reports the error itself.
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
            // The timeout in a payload stored elsewhere is known to Laravel alone, which enforces it.
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

    /// Notes that the job is delivered to this process to be run.
    pub fn begins(&mut self, worker: WorkerId) {
        self.delivered = Some(Instant::now());
        self.took = None;
        (self.started, self.worker) = (Some(epoch_ms()), Some(worker));
    }

    /// Usage reported by PHP, in KiB and microseconds; that of a unit of its own takes precedence.
    pub fn used(&mut self, peak_kib: u32, cpu_usec: Option<u64>) {
        let memory_peak = (peak_kib > 0).then_some(u64::from(peak_kib) << 10);
        self.said = Usage { memory_peak, cpu_usec };
    }

    /// Peak memory in bytes and processor time in microseconds, as far as known.
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

    /// The payload's value of this name; `None` where it has none.
    pub fn value_of(&self, name: &str) -> Option<u64> {
        value_of(&self.reservation.payload, name)
    }

    /// The class does not exist: the record is named after its wrapper.
    pub fn class_is_missing(&mut self) {
        if let Some(wrapper) = self.wrapper.take() {
            self.class = wrapper;
        }
    }
}

/// When a job was dispatched, and when this attempt was due. Times in whole seconds are taken as the end of that
/// second, but never later than now: so no wait is shown where there was none.
fn times(now: u64, attempt: u32, receipt: &Receipt, envelope: Option<&Envelope>) -> (u64, u64) {
    let whole = |ms: u64| if ms.is_multiple_of(1000) { ms.saturating_add(999) } else { ms };
    let dispatched = envelope.and_then(Envelope::dispatched_at);
    let due = envelope.filter(|_| attempt <= 1).and_then(Envelope::due_at);
    let available = receipt.available_at().map(|seconds| seconds.saturating_mul(1000));
    // A queue's availability time holds for each attempt, and is in whole seconds.
    let ready = match (available, due) {
        (Some(available), Some(due)) if due / 1000 == available / 1000 => due,
        (Some(available), _) => available,
        (None, due) => due.unwrap_or(now),
    };
    let ready = whole(ready).min(now);
    (dispatched.unwrap_or(ready).min(now), ready)
}

/// Parts of a payload that only the schedule needs.
pub struct JobSpecParts {
    timeout: Option<u32>,
    hints: Hints,
    tenant: Option<u64>,
}

/// Peak memory in bytes and processor time in microseconds, where known.
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
