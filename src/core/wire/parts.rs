//! Bytes to be written one after the other. Large parts are shared with whoever else holds them, not copied: a payload
//! may have a hundred megabytes, and is wanted by its queue, the ledger and its process.

use bytes::Bytes;

/// Bytes from which a part is shared: below, a copy is cheaper than a write of its own.
const SHARED: usize = 64 << 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    whole: Vec<Bytes>,
    tail: Vec<u8>,
}

impl Parts {
    /// Copies these bytes to the end.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Adds a part to the end, which is shared if it is large.
    pub fn share(&mut self, part: &Bytes) {
        if part.len() < SHARED {
            self.put(part);
        } else {
            self.whole.extend([std::mem::take(&mut self.tail).into(), part.clone()]);
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to write, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.whole.iter().map(AsRef::as_ref).chain([self.tail.as_slice()])
    }

    /// All in one piece.
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
