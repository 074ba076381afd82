//! Framing: a u32 length, big endian, followed by that many bytes. The only place that reads a length field.

/// Splits off the body of the first frame; returns it and the remaining bytes. `None` if it is incomplete.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// A frame that is longer than the maximum; both in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    pub length: usize,
    pub max: usize,
}

/// Splits a byte stream into frames. Once all complete frames are taken, less than one frame is left unread.
#[derive(Debug)]
pub(super) struct Cutter {
    buffer: Vec<u8>,
    /// Offset of the next frame in `buffer`.
    start: usize,
    max: usize,
}

impl Cutter {
    /// For frames of up to `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, max }
    }

    /// Appends received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Consumed bytes are dropped when the buffer is fully consumed, or when they are over 4 KiB and over half of
        // it.
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 4096 && self.start * 2 > self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the buffer ends within a frame.
    pub fn is_partial(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next complete frame, if there is one.
    pub fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        if let Some(length) = pending.first_chunk::<4>().map(|four| u32::from_be_bytes(*four) as usize)
            && length > self.max
        {
            return Err(TooLong { length, max: self.max });
        }
        let frame = split(pending).map(|(frame, _)| frame);
        self.start += frame.map_or(0, |frame| 4 + frame.len());
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_their_room_is_given_back() {
        let mut cutter = Cutter::new(5_000);
        let frame = [&5_000_u32.to_be_bytes()[..], &[7; 5_000]].concat();
        for _ in 0..10 {
            let (first, second) = frame.split_at(3);
            cutter.feed(first);
            assert_eq!(cutter.next(), Ok(None));
            assert!(cutter.is_partial());
            cutter.feed(second);
            assert_eq!(cutter.next().map(|found| found.map(<[u8]>::len)), Ok(Some(5_000)));
        }
        assert!(!cutter.is_partial() && cutter.buffer.len() < 2 * frame.len());
        cutter.feed(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(cutter.next(), Ok(Some(&[][..])));
        assert_eq!(cutter.next(), Err(TooLong { length: u32::MAX as usize, max: 5_000 }));
        assert_eq!(split(&[0, 0, 0, 1, 9, 8]), Some((&[9][..], &[8][..])));
        assert_eq!(split(&[0, 0, 0, 2, 9]), None);
    }
}
