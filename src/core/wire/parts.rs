//! A byte sequence to be written in parts. Large parts are shared by reference count instead of copied: a payload may
//! be a hundred megabytes, and its queue, the ledger and its process all need it.

use bytes::Bytes;

/// Size from which a part is shared, bytes: below it, a copy is cheaper than a separate write.
const SHARED: usize = 64 << 10;

/// A sequence of byte parts: shared ones, and a tail of copied bytes.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    whole: Vec<Bytes>,
    tail: Vec<u8>,
}

impl Parts {
    /// Appends a copy of these bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends a part; a large one is shared.
    pub fn share(&mut self, part: &Bytes) {
        if part.len() < SHARED {
            self.put(part);
        } else {
            self.whole.extend([std::mem::take(&mut self.tail).into(), part.clone()]);
        }
    }

    /// Total length in bytes.
    pub fn len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Whether there are no bytes to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts to write, in order; some may be empty.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.whole.iter().map(AsRef::as_ref).chain([self.tail.as_slice()])
    }

    /// A contiguous copy of all parts.
    pub fn to_vec(&self) -> Vec<u8> {
        self.iter().collect::<Vec<_>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_shared_and_the_order_is_kept() {
        let (small, large) = (Bytes::from_static(b"small"), Bytes::from(vec![b'x'; SHARED]));
        let mut parts = Parts::default();
        assert!(parts.is_empty());
        parts.put(b"head");
        parts.share(&small);
        parts.share(&large);
        parts.share(&large);
        parts.put(b"tail");
        assert_eq!(parts.len(), 13 + 2 * SHARED);
        assert_eq!(parts.to_vec(), [b"headsmall", &large[..], &large, b"tail"].concat());
        assert_eq!(parts.iter().filter(|part| part.as_ptr() == large.as_ptr()).count(), 2, "it was copied");
    }
}
