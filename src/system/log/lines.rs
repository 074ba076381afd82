//! A queue of lines for stderr.
//!
//! A write to a stream that is not read blocks: a pipe into a stopped program, a terminal after Ctrl-S. So a thread
//! writes, and logging only adds a line to its queue. The queue is bounded; lines that do not fit are dropped, counted,
//! and reported once the stream is read again.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum size of the queue in bytes.
const MOST: usize = 1 << 20;
/// Largest write to a pipe that is not mixed with those of other processes (`PIPE_BUF`), in bytes.
const ATOMIC: usize = 4096;

/// Queues lines, and never blocks on the stream.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Handle>);

/// Ends the thread when the last [`Lines`] is dropped.
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
    /// Signals that there are lines to write, or that there will be none.
    filled: Condvar,
    /// Signals that all lines are written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    text: Vec<u8>,
    /// Bytes that the thread has taken but not written yet.
    writing: usize,
    /// Lines dropped since the last report.
    dropped: u64,
    /// Whether the last [`Lines`] has been dropped.
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete: a panic elsewhere leaves no partial state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Writes to `out` in a new thread. `report` formats the line, without its line break, for a number of dropped
    /// lines.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(out: impl Write + Send + 'static, report: fn(u64) -> String) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Self(Arc::new(Handle(shared.clone())));
        let run = move || write_on(&shared, out, report);
        std::thread::Builder::new().name("kqueue-log".to_owned()).spawn(run)?;
        Ok(own)
    }

    /// Waits until all lines are written, at most for `limit`. Returns whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.0.0.state();
        while state.writing > 0 || !state.text.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self.0.0.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

/// Each call of `write` is one line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.state();
        // A line that exceeds the limit by itself is still accepted while the queue is empty.
        let held = state.text.len() + state.writing;
        if held > 0 && held + line.len() > MOST {
            state.dropped += 1;
        } else {
            state.text.extend_from_slice(line);
            self.0.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_on(shared: &Shared, mut out: impl Write, report: fn(u64) -> String) {
    while let ControlFlow::Continue(text) = next(shared, report) {
        for part in parts(&text) {
            // A closed stream must not end the program, and there is nowhere to report the error.
            let _ = out.write_all(part);
        }
        let _ = out.flush();
        let mut state = shared.state();
        state.writing = 0;
        if state.text.is_empty() {
            shared.emptied.notify_all();
        }
    }
}

/// Waits for lines, and takes them.
fn next(shared: &Shared, report: fn(u64) -> String) -> ControlFlow<(), Vec<u8>> {
    let mut state = shared.state();
    while state.text.is_empty() {
        if state.closed {
            return ControlFlow::Break(());
        }
        state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    let mut text = std::mem::take(&mut state.text);
    state.writing = text.len();
    // The dropped lines would have followed the queued ones.
    let dropped = std::mem::take(&mut state.dropped);
    if dropped > 0 {
        text.extend_from_slice(report(dropped).as_bytes());
        text.push(b'\n');
    }
    ControlFlow::Continue(text)
}

/// Splits between lines into parts that fit one atomic write, or are a single longer line.
fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let whole = rest.get(..ATOMIC).unwrap_or(rest);
        let end = |at: usize| at + 1;
        let last = whole.iter().rposition(|byte| *byte == b'\n').map(end);
        let first = || rest.iter().position(|byte| *byte == b'\n').map(end);
        let (part, after) = rest.split_at(last.or_else(first).unwrap_or(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
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
        let mut lines = Lines::to(write, report).unwrap();
        for number in 0..1000 {
            writeln!(lines, "{}", format_args!("line {number}")).unwrap();
        }
        assert!(lines.flush(Duration::from_secs(10)));
        drop(lines);
        let found: Vec<_> = BufReader::new(read).lines().map(Result::unwrap).collect();
        assert_eq!(found, (0..1000).map(|number| format!("line {number}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nobody_and_what_is_lost_is_counted() {
        let (read, write) = pipe().unwrap();
        let mut lines = Lines::to(write, report).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        // Twice what the pipe and the queue can hold.
        let sent = 2 * (MOST + (64 << 10)) / line.len();
        let began = Instant::now();
        for _ in 0..sent {
            lines.write_all(line.as_bytes()).unwrap();
        }
        assert!(!lines.flush(Duration::from_millis(10)), "nobody reads");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(lines.0.0.state().text.len() <= MOST);
        // The stream is read again.
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
        let mut lines = Lines::to(write, report).unwrap();
        lines.write_all(b"to nobody\n").unwrap();
        assert!(lines.flush(Duration::from_secs(10)));
    }

    #[test]
    fn parts_are_whole_lines() {
        let long = format!("{}\n", "y".repeat(2 * ATOMIC));
        let short = format!("{}\n", "x".repeat(99));
        let text = format!("{}{long}{}", short.repeat(50), short.repeat(2));
        let found: Vec<_> = parts(text.as_bytes()).collect();
        assert_eq!(found.concat(), text.as_bytes());
        assert_eq!(found.iter().map(|part| part.len()).collect::<Vec<_>>(), [4000, 1000, 8193, 200]);
        assert_eq!(parts(b"no end").collect::<Vec<_>>(), [b"no end"]);
    }
}
