//! The ledger: the held jobs and where they run, in a file that outlives the runtime.
//!
//! A log of frames: u32 length, u32 length of the header (both big endian), a JSON header, and for a job its payload
//! and the bytes of its receipt. The entries of one turn of the runtime's loop are written with one call, before any
//! frame of that turn can reach a process: so the ledger is never behind what a process does. It is not synced: it need
//! survive the runtime only, since a crash of the machine leaves no process to take over. It is compacted once most of
//! it concerns jobs that have left.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::{Encoded, QueueBackend, Receipt, Reservation};
use kqueue_core::schedule::{JobId, JobKind, WorkerId};
use kqueue_core::wire::coordinator::Unit;
use kqueue_core::wire::{Mode, Parts, frames};

/// File size in bytes below which it is never compacted.
const SMALL: u64 = 1 << 20;
/// The file may be this many times as long as the entries of living jobs.
const SLACK: u64 = 4;
/// Maximum bytes of one entry: enough for a payload twice, and more than Redis allows.
const ENTRY: usize = 1 << 30;

/// The process that a job was given to.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Given {
    pub worker: WorkerId,
    pub mode: Mode,
    /// Its unit, if it has one of its own.
    pub unit: Option<Unit>,
    pub pid: i32,
    /// Milliseconds since 1970.
    pub at: u64,
    pub kind: JobKind,
}

/// A job held by an earlier runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub reservation: Reservation,
    /// The process that it was given to; `None` if it was waiting.
    pub given: Option<Given>,
    /// Finished, and to be removed from the queue by the runtime.
    pub acked: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    /// A job was reserved.
    Job {
        id: JobId,
        #[serde(borrow)]
        queue: Cow<'a, str>,
        /// Driver of the receipt; absent in entries of former versions.
        #[serde(borrow, default)]
        driver: Cow<'a, str>,
        /// The receipt's header, under the name that former versions use.
        row: Option<&'a RawValue>,
        /// Bytes of the payload. The receipt's body follows it.
        payload: usize,
    },
    /// The job was given to a process.
    Run { id: JobId, to: Given },
    /// The job was taken back, or never reached that process.
    Back { id: JobId },
    /// The job is finished, and to be removed by the runtime.
    Ack { id: JobId },
    /// The jobs are no longer held.
    End { ids: Vec<JobId> },
}

/// The open ledger file, and entries not yet written.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    pending: Parts,
    size: u64,
    /// Bytes of each living job's entry.
    living: BTreeMap<JobId, u64>,
    live: u64,
    failed: bool,
}

impl Ledger {
    /// Reads the jobs that an earlier runtime left, decodes their receipts with `backend`, and continues the same file.
    ///
    /// # Errors
    /// When the directory or the file cannot be used; with its path.
    pub fn open(directory: &Path, backend: &dyn QueueBackend) -> io::Result<(Self, BTreeMap<JobId, Held>)> {
        let path = directory.join("ledger");
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(at)?;
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes).map_err(at)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        let held = read(&bytes, backend);
        let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(at)?;
        let mut ledger = Self {
            file,
            size: bytes.len() as u64,
            pending: Parts::default(),
            living: BTreeMap::new(),
            live: 0,
            failed: false,
            path,
        };
        ledger.rewrite(held.iter().map(|(id, held)| (*id, held)));
        Ok((ledger, held))
    }

    pub fn job(&mut self, id: JobId, reservation: &Reservation) {
        let before = self.pending.len();
        note_job(&mut self.pending, id, reservation);
        let bytes = (self.pending.len() - before) as u64;
        self.live += bytes;
        self.living.insert(id, bytes);
    }

    pub fn run(&mut self, id: JobId, to: Given) {
        note(&mut self.pending, &Line::Run { id, to }, &[]);
    }

    pub fn back(&mut self, id: JobId) {
        note(&mut self.pending, &Line::Back { id }, &[]);
    }

    pub fn ack(&mut self, id: JobId) {
        note(&mut self.pending, &Line::Ack { id }, &[]);
    }

    pub fn end(&mut self, ids: Vec<JobId>) {
        let mut known = false;
        for id in &ids {
            if let Some(bytes) = self.living.remove(id) {
                self.live -= bytes;
                known = true;
            }
        }
        if known {
            note(&mut self.pending, &Line::End { ids }, &[]);
        }
    }

    /// Writes the pending entries. True when the file should be compacted.
    pub fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let pending = std::mem::take(&mut self.pending);
        let result = write(&pending, &mut self.file);
        self.size += pending.len() as u64;
        self.tell(result);
        if self.living.is_empty() && self.size > SMALL / 16 && self.file.set_len(0).is_ok() {
            self.size = 0;
        }
        self.size > SMALL && self.size > SLACK * self.live
    }

    /// Compacts the file to these jobs.
    pub fn rewrite<'a>(&mut self, held: impl Iterator<Item = (JobId, &'a Held)>) {
        let mut bytes = Parts::default();
        self.living.clear();
        self.live = 0;
        for (id, held) in held {
            let before = bytes.len();
            note_job(&mut bytes, id, &held.reservation);
            self.living.insert(id, (bytes.len() - before) as u64);
            self.live += (bytes.len() - before) as u64;
            if let Some(to) = held.given.clone() {
                note(&mut bytes, &Line::Run { id, to }, &[]);
            }
            if held.acked {
                note(&mut bytes, &Line::Ack { id }, &[]);
            }
        }
        let new = self.path.with_extension("new");
        let result = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| write(&bytes, &mut file))
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| fs::OpenOptions::new().append(true).open(&self.path))
            .map(|file| self.file = file);
        if result.is_ok() {
            self.size = bytes.len() as u64;
        }
        self.tell(result);
    }

    /// Logs the first of several failed writes. They are not fatal: without a ledger, jobs come back after retry_after.
    fn tell(&mut self, result: io::Result<()>) {
        match result {
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(
                    "{}: {error}; after a restart, held jobs may come back only after retry_after",
                    self.path.display()
                );
            }
            Ok(()) => self.failed = false,
            Err(_) => {}
        }
    }
}

fn write(parts: &Parts, file: &mut File) -> io::Result<()> {
    parts.iter().try_for_each(|part| file.write_all(part))
}

fn note_job(into: &mut Parts, id: JobId, Reservation { queue, payload, receipt }: &Reservation) {
    let Encoded { driver, header, body } = receipt.encode();
    let line = Line::Job { id, queue: queue.into(), driver: driver.into(), row: header, payload: payload.len() };
    match body {
        Some(body) => note(into, &line, &[payload, body]),
        None => note(into, &line, &[payload]),
    }
}

fn note(into: &mut Parts, line: &Line<'_>, body: &[&Bytes]) {
    // Plain fields always serialise.
    let header = serde_json::to_vec(line).unwrap_or_default();
    let length = 4 + header.len() + body.iter().map(|part| part.len()).sum::<usize>();
    into.put(&(length as u32).to_be_bytes());
    into.put(&(header.len() as u32).to_be_bytes());
    into.put(&header);
    body.iter().for_each(|part| into.share(part));
}

/// Jobs that are still held according to the file. Reading stops at the first malformed entry: the runtime was killed
/// while writing it, so nothing behind it has taken effect.
fn read(mut bytes: &[u8], backend: &dyn QueueBackend) -> BTreeMap<JobId, Held> {
    let mut held = BTreeMap::new();
    while let Some((line, body)) = next(&mut bytes) {
        match line {
            Line::Job { id, queue, driver, row, payload } => {
                let Some((payload, body)) = body.split_at_checked(payload) else { break };
                let receipt = Receipt::decode(backend, &driver, row, Bytes::copy_from_slice(body));
                let payload = Bytes::copy_from_slice(payload);
                let reservation = Reservation { queue: queue.into_owned(), payload, receipt };
                held.insert(id, Held { reservation, given: None, acked: false });
            }
            Line::Run { id, to } => {
                if let Some(held) = held.get_mut(&id) {
                    held.given = Some(to);
                }
            }
            Line::Back { id } => {
                if let Some(held) = held.get_mut(&id) {
                    held.given = None;
                }
            }
            Line::Ack { id } => {
                if let Some(held) = held.get_mut(&id) {
                    held.acked = true;
                }
            }
            Line::End { ids } => ids.iter().for_each(|id| drop(held.remove(id))),
        }
    }
    held
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<(Line<'a>, &'a [u8])> {
    let (frame, rest) = frames::split(bytes).filter(|(frame, _)| frame.len() <= ENTRY)?;
    let (header, body) = frames::split(frame)?;
    *bytes = rest;
    Some((serde_json::from_slice(header).ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend;

    fn backend(settings: &str) -> Box<dyn QueueBackend> {
        backend::open(serde_json::from_str(settings).unwrap(), Default::default()).unwrap()
    }

    /// A backend that does not connect.
    fn on_redis() -> Box<dyn QueueBackend> {
        backend(r#"{"driver": "redis", "host": "localhost", "retry_after": 90}"#)
    }

    fn on_sqlite() -> Box<dyn QueueBackend> {
        backend(r#"{"driver": "database", "engine": "sqlite", "path": "/nowhere", "retry_after": 90}"#)
    }

    const ROW: &str = r#"{"id":5,"attempts":2,"reserved_at":1,"available_at":3,"created_at":4}"#;

    fn reservation(payload: &str, receipt: Receipt) -> Reservation {
        Reservation { queue: "default".to_owned(), payload: Bytes::copy_from_slice(payload.as_bytes()), receipt }
    }

    fn redis(payload: &str) -> Reservation {
        let member = Bytes::from(format!("{payload}+1"));
        reservation(payload, Receipt::decode(&*on_redis(), "redis", None, member))
    }

    fn row(payload: &str) -> Reservation {
        let header = serde_json::from_str(ROW).unwrap();
        reservation(payload, Receipt::decode(&*on_sqlite(), "database", Some(header), Bytes::new()))
    }

    fn open(directory: &Path) -> (Ledger, BTreeMap<JobId, Held>) {
        Ledger::open(directory, &*on_redis()).unwrap()
    }

    fn given(worker: WorkerId) -> Given {
        let unit = Some(Unit::Worker(3));
        Given { worker, mode: Mode::Pooled, unit, pid: 42, at: 1_700_000_000_000, kind: JobKind::Run }
    }

    #[test]
    fn fuzz_ledgers() {
        let mut whole = Parts::default();
        note_job(&mut whole, 7, &redis("payload"));
        note(&mut whole, &Line::Run { id: 7, to: given(3) }, &[]);
        note(&mut whole, &Line::Back { id: 7 }, &[]);
        note(&mut whole, &Line::Ack { id: 7 }, &[]);
        note(&mut whole, &Line::End { ids: vec![7, 8] }, &[]);
        let backend = on_sqlite();
        kqueue_fuzz::fuzz("ledgers", &[&whole.to_vec()], |input| drop(read(input, &*backend)));
    }

    #[test]
    fn what_one_runtime_notes_the_next_one_reads() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, held) = open(directory.path());
        assert!(held.is_empty());
        for id in 1..=5 {
            ledger.job(id, &redis(&format!("job {id} \0\u{ff}")));
        }
        ledger.job(6, &row("row"));
        ledger.run(2, given(9));
        ledger.run(3, given(10));
        ledger.back(3);
        ledger.ack(4);
        ledger.end(vec![1, 5, 77]);
        ledger.flush();
        drop(ledger);

        for _ in 0..2 {
            let (_, held) = open(directory.path());
            assert_eq!(held.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 6]);
            assert_eq!(held[&2].given, Some(given(9)));
            assert_eq!(held[&2].reservation, redis("job 2 \0\u{ff}"));
            assert_eq!(held[&3].given, None);
            assert!(held[&4].acked && !held[&3].acked);
            // A receipt of another connection's driver is kept unchanged.
            assert_eq!(held[&6].reservation, row("row"));
        }
    }

    /// Bytes as written by version 0.1.0, which an upgraded runtime may find.
    #[test]
    fn the_ledger_of_a_former_version_is_read() {
        let entry = |header: &str, body: &str| {
            let length = (4 + header.len() + body.len()) as u32;
            let head = [length.to_be_bytes(), (header.len() as u32).to_be_bytes()].concat();
            [&head, header.as_bytes(), body.as_bytes()].concat()
        };
        let on_row = entry(&format!(r#"{{"job":{{"id":1,"queue":"default","row":{ROW},"payload":3}}}}"#), "row");
        let on_member = entry(r#"{"job":{"id":2,"queue":"default","row":null,"payload":3}}"#, "onetwo");
        let given = r#"{"worker":9,"mode":"pooled","unit":{"worker":3},"pid":42,"at":1700000000000,"kind":"run"}"#;
        let run = entry(&format!(r#"{{"run":{{"id":2,"to":{given}}}}}"#), "");
        let former = [on_row, on_member, run].concat();

        let held = read(&former, &*on_sqlite());
        assert_eq!(held[&1].reservation, row("row"));
        assert_eq!(held[&1].reservation.receipt.attempts(), Some(2));
        let held = read(&former, &*on_redis());
        let member = Receipt::decode(&*on_redis(), "redis", None, Bytes::from_static(b"two"));
        assert_eq!(held[&2].reservation, reservation("one", member));
        assert_eq!(held[&2].given, Some(super::tests::given(9)));
        // A receipt of another driver is held too, though that driver is not known.
        assert_eq!(held[&1].reservation.receipt.encode().header.map(RawValue::get), Some(ROW));
        assert_eq!(held[&1].reservation.receipt.attempts(), None);
    }

    #[test]
    fn one_that_was_cut_is_read_up_to_there() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = open(directory.path());
        ledger.job(1, &redis("one"));
        ledger.job(2, &redis("two"));
        ledger.flush();
        let path = directory.path().join("ledger");
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let held = open(directory.path()).1;
            assert!(held.len() <= 1, "{cut}");
        }
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(open(directory.path()).1.is_empty());
    }

    #[test]
    fn it_does_not_grow_with_what_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = open(directory.path());
        let keep = Held { reservation: redis("kept"), given: Some(given(1)), acked: false };
        ledger.job(1, &keep.reservation);
        ledger.run(1, given(1));
        let mut rewritten = 0;
        for id in 2..20_000 {
            ledger.job(id, &redis(&"x".repeat(300)));
            ledger.end(vec![id]);
            if ledger.flush() {
                ledger.rewrite([(1, &keep)].into_iter());
                rewritten += 1;
            }
        }
        assert!(rewritten > 0);
        assert!(fs::metadata(directory.path().join("ledger")).unwrap().len() <= SMALL + 1024);
        drop(ledger);
        assert_eq!(open(directory.path()).1, BTreeMap::from([(1, keep)]));
    }
}
