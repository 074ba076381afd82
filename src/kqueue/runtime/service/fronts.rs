//! Jobs that operators have moved to the front of their queues, and that are not reserved yet: once reserved, they
//! precede those already held. Not kept for the next runtime, which holds none at first.

use std::collections::HashMap;

/// Maximum number of remembered jobs.
const JOBS: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Fronts {
    /// Number of moves to the front so far.
    acts: u64,
    /// The number of the move, by UUID.
    coming: HashMap<String, u64>,
}

impl Fronts {
    /// Begins another move to the front, ahead of earlier ones. Returns its number.
    pub fn next(&mut self) -> u64 {
        self.acts += 1;
        self.acts
    }

    /// Remembers a job of the current move. False if there are too many.
    pub fn add(&mut self, uuid: &str) -> bool {
        if self.coming.len() >= JOBS {
            // Jobs of earlier moves that did not come were reserved by others.
            self.coming.retain(|_, act| *act == self.acts);
        }
        let fits = self.coming.len() < JOBS || self.coming.contains_key(uuid);
        if fits && !uuid.is_empty() {
            self.coming.insert(uuid.to_owned(), self.acts);
        }
        fits
    }

    /// A job was reserved: returns and forgets the number of its move, or 0.
    pub fn take(&mut self, uuid: &str) -> u64 {
        self.coming.remove(uuid).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_there_are_never_too_many() {
        let mut fronts = Fronts::default();
        assert_eq!((fronts.next(), fronts.add("a")), (1, true));
        assert_eq!((fronts.next(), fronts.add("b"), fronts.add("")), (2, true, true));
        assert_eq!((fronts.take("b"), fronts.take("b"), fronts.take("")), (2, 0, 0));
        assert_eq!((0..=JOBS).filter(|n| !fronts.add(&n.to_string())).count(), 1);
        assert!(!fronts.add("b") && fronts.next() == 3 && fronts.add("b"));
    }
}
