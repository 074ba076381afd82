//! Jobs that operators have put at the front of their queues, and that are not ours yet: as they become ours, they go before
//! those that were ours already. Not kept for the next runtime, which begins with none.

use std::collections::HashMap;

/// Jobs that are remembered.
const JOBS: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Fronts {
    /// How often an operator has put something in front.
    acts: u64,
    /// By uuid: when.
    coming: HashMap<String, u64>,
}

impl Fronts {
    /// An operator puts jobs in front of all that was put there before.
    pub fn next(&mut self) -> u64 {
        self.acts += 1;
        self.acts
    }

    /// This one is to come. False where there are as many as may be.
    pub fn add(&mut self, uuid: &str) -> bool {
        if self.coming.len() >= JOBS {
            // Those of before that did not come were taken by somebody else.
            self.coming.retain(|_, act| *act == self.acts);
        }
        let fits = self.coming.len() < JOBS || self.coming.contains_key(uuid);
        if fits && !uuid.is_empty() {
            self.coming.insert(uuid.to_owned(), self.acts);
        }
        fits
    }

    /// This one has become ours: when it was put in front, or 0.
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
