//! A job as the runtime knows it: all that the schedule need not know.

use std::time::{Duration, Instant};

use super::ledger::Given;
use crate::backend::Reservation;
use kqueue_core::payload::{Envelope, Hints, is_pointer, value_of};
use kqueue_core::schedule::{JobId, JobSpec};
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
    /// Where it runs, as the ledger has it.
    pub given: Option<Given>,
    /// What the unit used in which it ran.
    pub usage: Option<Usage>,
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
        let parts = JobSpecParts {
            // What the job itself says is known to Laravel alone, which ends it.
            timeout: if is_elsewhere { Some(0) } else { envelope.as_ref().and_then(|envelope| envelope.timeout) },
            hints: envelope.as_ref().map(|envelope| envelope.hints(reading.properties)).unwrap_or_default(),
            tenant: reading.fair_by.and_then(|name| value_of(&reservation.payload, name)),
        };
        let record = Self {
            uuid: envelope.and_then(|envelope| envelope.uuid).unwrap_or_default(),
            reservation,
            class,
            wrapper,
            attempt,
            delivered: None,
            took: None,
            acked: false,
            lost: false,
            returning: false,
            given: None,
            usage: None,
        };
        (record, parts)
    }

    pub fn spec(&self, id: JobId, JobSpecParts { timeout, hints, tenant }: JobSpecParts) -> JobSpec {
        let Self { class, wrapper, reservation: Reservation { queue, payload, receipt }, .. } = self;
        let bytes = payload.len() + receipt.bytes();
        let (class, wrapper) = (class.clone(), wrapper.clone());
        JobSpec { id, class, wrapper, queue: queue.clone(), bytes, timeout, hints, tenant }
    }

    /// What the job calls itself is no class.
    pub fn class_is_missing(&mut self) {
        if let Some(wrapper) = self.wrapper.take() {
            self.class = wrapper;
        }
    }
}

/// What only the schedule needs of a payload.
pub struct JobSpecParts {
    timeout: Option<u32>,
    hints: Hints,
    tenant: Option<u64>,
}

/// What is told of a job only once its unit is gone, and with it all that the unit has to say.
#[derive(Clone, Debug)]
pub struct Usage {
    pub memory_peak: Option<u64>,
    pub cpu_usec: Option<u64>,
}

impl From<&UnitEnd> for Usage {
    fn from(end: &UnitEnd) -> Self {
        Self { memory_peak: end.memory_peak, cpu_usec: end.cpu_usec }
    }
}
