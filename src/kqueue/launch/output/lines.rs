//! Splits interleaved chunks of several processes into lines.

use std::collections::VecDeque;

use kqueue_core::schedule::WorkerId;

/// Maximum bytes of a line. A longer one is split.
pub const LINE: usize = 8192;
/// Maximum unterminated lines held. Beyond that, the oldest is emitted as it is.
const PARTIAL: usize = 64;

/// A line that a process printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The worker it belongs to; 0 is the template or unknown.
    pub worker: WorkerId,
    /// The process that wrote it; 0 if unknown.
    pub pid: i32,
    /// The line, without its newline.
    pub text: String,
}

/// An unterminated line.
#[derive(Debug)]
struct Partial {
    pid: i32,
    worker: WorkerId,
    bytes: Vec<u8>,
}

/// Unterminated lines, at most one for each process.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: VecDeque<Partial>,
}

impl Lines {
    /// Adds a chunk that a process wrote, and emits its complete lines.
    pub fn feed(&mut self, pid: i32, worker: WorkerId, bytes: &[u8], out: &mut Vec<Printed>) {
        let (mut partial, bytes) = match self.partial.iter().position(|partial| partial.pid == pid) {
            // Most chunks are complete lines with nothing pending before them: they are not copied.
            None => (Partial { pid, worker, bytes: Vec::new() }, bytes),
            Some(at) => {
                let mut partial = self.partial.remove(at).unwrap_or_else(|| Partial { pid, worker, bytes: Vec::new() });
                partial.bytes.extend_from_slice(bytes);
                (partial, &[][..])
            }
        };
        let own = std::mem::take(&mut partial.bytes);
        let mut rest = if own.is_empty() { bytes } else { &own[..] };
        while let Some((line, after)) = split(rest) {
            print(pid, partial.worker, line, out);
            rest = after;
        }
        if !rest.is_empty() {
            partial.bytes = rest.to_vec();
            self.partial.push_back(partial);
        }
        while self.partial.len() > PARTIAL {
            self.flush_at(0, out);
        }
    }

    /// Emits a worker's unterminated lines: the job that printed them is over.
    pub fn flush(&mut self, worker: WorkerId, out: &mut Vec<Printed>) {
        while let Some(at) = self.partial.iter().position(|partial| partial.worker == worker) {
            self.flush_at(at, out);
        }
    }

    /// Emits all unterminated lines, at the end of the stream.
    pub fn flush_all(&mut self, out: &mut Vec<Printed>) {
        while !self.partial.is_empty() {
            self.flush_at(0, out);
        }
    }

    fn flush_at(&mut self, at: usize, out: &mut Vec<Printed>) {
        if let Some(Partial { pid, worker, bytes }) = self.partial.remove(at) {
            print(pid, worker, &bytes, out);
        }
    }
}

/// Splits off the first line, or the first [`LINE`] bytes of a longer one.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(end) = bytes.iter().take(LINE + 1).position(|byte| *byte == b'\n') {
        let (line, rest) = bytes.split_at(end);
        return Some((line, rest.get(1..).unwrap_or_default()));
    }
    (bytes.len() > LINE).then(|| bytes.split_at(boundary(bytes, LINE)))
}

/// The last position up to `most` that does not split a UTF-8 character.
fn boundary(bytes: &[u8], most: usize) -> usize {
    let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (most - 3..=most).rev().find(|at| !continues(*at)).unwrap_or(most)
}

fn print(pid: i32, worker: WorkerId, line: &[u8], out: &mut Vec<Printed>) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    // Empty lines carry no information, and would be logged with all the job's fields.
    if !text.is_empty() {
        out.push(Printed { worker, pid, text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(out: &[Printed]) -> Vec<(WorkerId, &str)> {
        out.iter().map(|line| (line.worker, line.text.as_str())).collect()
    }

    #[test]
    fn half_lines_of_several_writers_do_not_mix() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        lines.feed(10, 1, b"one ", &mut out);
        lines.feed(20, 2, b"two", &mut out);
        lines.feed(10, 1, b"more\r\n\nand", &mut out);
        lines.feed(20, 2, b"\n", &mut out);
        assert_eq!(texts(&out), [(1, "one more"), (2, "two")]);
        lines.flush(2, &mut out);
        assert_eq!(out.len(), 2);
        lines.flush(1, &mut out);
        lines.flush_all(&mut out);
        assert_eq!(texts(&out)[2..], [(1, "and")]);
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_nothing_of_it_is_lost() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let long = "ä".repeat(10_000);
        for chunk in long.as_bytes().chunks(777) {
            lines.feed(1, 1, chunk, &mut out);
        }
        lines.feed(1, 1, b"x\n", &mut out);
        assert!(out.iter().all(|line| line.text.len() <= LINE && !line.text.contains('\u{fffd}')));
        assert_eq!(out.iter().map(|line| line.text.as_str()).collect::<String>(), long + "x");
    }

    #[test]
    fn a_line_of_just_the_length_is_one() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let mut whole = vec![b'a'; LINE];
        whole.extend(b"\nb\n");
        lines.feed(1, 1, &whole, &mut out);
        assert_eq!(out.iter().map(|line| line.text.len()).collect::<Vec<_>>(), [LINE, 1]);
    }

    #[test]
    fn writers_without_end_of_line_are_bounded() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for pid in 0..1000 {
            lines.feed(pid, 0, b"x", &mut out);
        }
        assert_eq!((out.len(), lines.partial.len()), (1000 - PARTIAL, PARTIAL));
        assert_eq!(out[0].pid, 0);
    }

    #[test]
    fn bytes_that_are_no_text() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        lines.feed(1, 1, &[0, 0xff, b'a', 0x80, b'\n'], &mut out);
        assert_eq!(texts(&out), [(1, "\0\u{fffd}a\u{fffd}")]);
        let binary = vec![0x80u8; 3 * LINE];
        lines.feed(1, 1, &binary, &mut out);
        lines.flush_all(&mut out);
        assert_eq!(out[1..].iter().map(|line| line.text.chars().count()).sum::<usize>(), 3 * LINE);
    }
}
