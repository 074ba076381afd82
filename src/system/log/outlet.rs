//! Log records on their way out: to stderr, or to the journal.
//!
//! A write to a stream that nobody reads blocks for as long as nobody does: a pipe into a stopped program, a terminal
//! after Ctrl-S, the socket of a journal that hangs. So a thread of its own writes, and whoever logs only leaves a record
//! with it. What is held is bounded; what does not fit is dropped, counted, and reported once there is room again.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that are held at the most.
const MOST: usize = 1 << 20;
/// Bytes up to which one write to a pipe is not mixed with those of other processes (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// Where records go.
pub(super) trait Sink: Send + 'static {
    /// Writes records, in order. May block; cannot fail, as there is nowhere to complain.
    fn write(&mut self, records: &[Vec<u8>]);

    /// The record which says that so many were dropped.
    fn dropped(&self, records: u64) -> Vec<u8>;
}

/// Takes records, and never blocks on where they go.
#[derive(Clone, Debug)]
pub(super) struct Outlet(Arc<Handle>);

/// Ends the thread with the last of those who could bring records.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.filled.notify_one();
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There are records to write, or there will be none.
    filled: Condvar,
    /// All records are written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Vec<u8>>,
    /// Bytes of these, and of those that the thread has taken and not written yet.
    bytes: usize,
    /// The thread is writing.
    writing: bool,
    /// Records that were dropped since the last report of it.
    dropped: u64,
    /// There will be no more records.
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole: a panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// Writes to `sink` in a thread of its own.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn to(sink: impl Sink) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Self(Arc::new(Handle(shared.clone())));
        let run = move || write_on(&shared, sink);
        std::thread::Builder::new().name("kqueue-log".to_owned()).spawn(run)?;
        Ok(own)
    }

    /// Leaves a record to be written.
    pub fn send(&self, record: Vec<u8>) {
        let mut state = self.0.0.state();
        // One that is too long for any room is still written while there is nothing else.
        if state.bytes > 0 && state.bytes + record.len() > MOST {
            state.dropped += 1;
        } else {
            state.bytes += record.len();
            state.records.push(record);
            self.0.0.filled.notify_one();
        }
    }

    /// Waits until all is written, but no longer than this. Whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.0.0.state();
        while state.writing || !state.records.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self.0.0.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

/// Each write is one record.
impl Write for Outlet {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.send(record.to_vec());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_on(shared: &Shared, mut sink: impl Sink) {
    while let ControlFlow::Continue((records, dropped)) = next(shared) {
        sink.write(&records);
        // They would have followed what was held.
        if dropped > 0 {
            sink.write(&[sink.dropped(dropped)]);
        }
        let mut state = shared.state();
        state.writing = false;
        state.bytes = state.records.iter().map(Vec::len).sum();
        if state.records.is_empty() {
            shared.emptied.notify_all();
        }
    }
}

/// Waits for records, and takes them all.
fn next(shared: &Shared) -> ControlFlow<(), (Vec<Vec<u8>>, u64)> {
    let mut state = shared.state();
    while state.records.is_empty() {
        if state.closed {
            return ControlFlow::Break(());
        }
        state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    state.writing = true;
    ControlFlow::Continue((std::mem::take(&mut state.records), std::mem::take(&mut state.dropped)))
}

/// A stream of lines, each of them a record.
pub(super) struct Stream<W> {
    out: W,
    /// The line, without its end, for so many that were dropped.
    report: fn(u64) -> String,
}

impl<W: Write + Send + 'static> Stream<W> {
    pub fn new(out: W, report: fn(u64) -> String) -> Self {
        Self { out, report }
    }
}

impl<W: Write + Send + 'static> Sink for Stream<W> {
    fn write(&mut self, records: &[Vec<u8>]) {
        for part in parts(records) {
            // A reader that went away must not end the program.
            let _ = self.out.write_all(&part);
        }
        let _ = self.out.flush();
    }

    fn dropped(&self, records: u64) -> Vec<u8> {
        format!("{}\n", (self.report)(records)).into()
    }
}

/// As many lines together as one write may have, or else a single one.
fn parts(records: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let (first, mut after) = rest.split_first()?;
        let mut part = first.clone();
        while let Some((next, others)) = after.split_first().filter(|(next, _)| part.len() + next.len() <= ATOMIC) {
            part.extend_from_slice(next);
            after = others;
        }
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, pipe};

    use super::*;

    fn report(lines: u64) -> String {
        format!("{lines} dropped")
    }

    #[test]
    fn all_is_written_in_order_before_the_end() {
        let (read, write) = pipe().unwrap();
        let mut lines = Outlet::to(Stream::new(write, report)).unwrap();
        for number in 0..1000 {
            lines.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert!(lines.flush(Duration::from_secs(10)));
        drop(lines);
        let found: Vec<_> = BufReader::new(read).lines().map(Result::unwrap).collect();
        assert_eq!(found, (0..1000).map(|number| format!("line {number}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nobody_and_what_is_lost_is_counted() {
        let (read, write) = pipe().unwrap();
        let mut lines = Outlet::to(Stream::new(write, report)).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        // Twice what the pipe and we can hold.
        let sent = 2 * (MOST + (64 << 10)) / line.len();
        let began = Instant::now();
        for _ in 0..sent {
            lines.write_all(line.as_bytes()).unwrap();
        }
        assert!(!lines.flush(Duration::from_millis(10)), "nobody reads");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(lines.0.0.state().bytes <= MOST);
        // Somebody reads again.
        let reader = std::thread::spawn(move || BufReader::new(read).lines().map(Result::unwrap).collect::<Vec<_>>());
        assert!(lines.flush(Duration::from_secs(10)));
        lines.write_all(b"after\n").unwrap();
        drop(lines);
        let found = reader.join().unwrap();
        let dropped: usize = found.iter().find_map(|line| line.strip_suffix(" dropped")?.parse().ok()).unwrap();
        assert_eq!(found.iter().filter(|line| line.starts_with('x')).count() + dropped, sent);
        assert_eq!(found.last().unwrap(), "after");
    }

    #[test]
    fn a_reader_that_goes_away_holds_up_nobody() {
        let (read, write) = pipe().unwrap();
        drop(read);
        let mut lines = Outlet::to(Stream::new(write, report)).unwrap();
        lines.write_all(b"to nobody\n").unwrap();
        assert!(lines.flush(Duration::from_secs(10)));
    }

    #[test]
    fn parts_are_whole_lines() {
        let line = |byte: u8, length: usize| [vec![byte; length - 1], vec![b'\n']].concat();
        let records = [vec![line(b'x', 100); 50], vec![line(b'y', 2 * ATOMIC)], vec![line(b'x', 100); 2]].concat();
        let found: Vec<_> = parts(&records).collect();
        assert_eq!(found.concat(), records.concat());
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [4000, 1000, 8192, 200]);
        assert_eq!(parts(&[]).count(), 0);
    }
}
