//! What is known of a long table, so that it is not looked through again and again.
//!
//! Laravel's only index is that of the queue's name. Behind a million delayed jobs, each look for one that is due would go
//! through all of them. So one look, once it has taken long, is made to last: all rows up to an id are known not to be
//! free before their times, and from then on only the rows behind them are looked at. Pure.

use std::time::{Duration, Instant};

/// A look that takes longer is worth remembering.
pub(super) const LONG: Duration = Duration::from_millis(50);
/// Rows of each queue that are remembered with their times.
pub(super) const MOST: usize = 2000;
/// Ids before the last that are looked at each time: rows may become visible in another order than that of their ids.
const MARGIN: i64 = 1000;
/// Times of what a look costs until all is looked through again, for what others have put back meanwhile.
const SHARE: u32 = 20;

/// A row that is not free yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coming {
    /// Epoch seconds.
    pub due: i64,
    pub id: i64,
}

/// One look, as long as it holds.
#[derive(Debug)]
pub(super) struct Horizon {
    names: Vec<String>,
    /// Rows up to this id are among those that are coming, or come after them.
    past: i64,
    /// For each queue, in order of time.
    coming: Vec<Vec<Coming>>,
    /// From this time on there may be more than those.
    complete_until: i64,
    forgotten_at: Instant,
}

impl Horizon {
    /// Of queues, their last id, and the next rows of each; and what it has cost to find them.
    pub(super) fn new(names: Vec<String>, last: i64, coming: Vec<Vec<Coming>>, cost: Duration) -> Self {
        let cut = coming.iter().filter(|rows| rows.len() >= MOST).filter_map(|rows| rows.last());
        Self {
            complete_until: cut.map(|row| row.due).min().unwrap_or(i64::MAX),
            past: last.saturating_sub(MARGIN).max(0),
            names,
            coming,
            forgotten_at: Instant::now() + cost * SHARE,
        }
    }

    /// Whether it still says something about these queues.
    pub(super) fn holds(&self, names: &[String], now: i64) -> bool {
        self.names == names && now < self.complete_until && Instant::now() < self.forgotten_at
    }

    pub(super) fn past(&self) -> i64 {
        self.past
    }

    /// Ids of a queue's rows that are free by now, in order, with those that are also found otherwise left out.
    pub(super) fn due(&self, queue: usize, now: i64, max: usize) -> Vec<i64> {
        let rows = self.coming.get(queue).map(Vec::as_slice).unwrap_or_default();
        let due = rows.iter().take_while(|row| row.due <= now).map(|row| row.id).filter(|id| *id <= self.past);
        let mut ids: Vec<_> = due.collect();
        ids.sort_unstable();
        ids.truncate(max);
        ids
    }

    /// These have been tried.
    pub(super) fn tried(&mut self, queue: usize, ids: &[i64]) {
        if let Some(rows) = self.coming.get_mut(queue) {
            rows.retain(|row| !ids.contains(&row.id));
        }
    }

    /// This one is free again.
    pub(super) fn freed(&mut self, name: &str, id: i64) {
        for (rows, _) in self.coming.iter_mut().zip(&self.names).filter(|(_, known)| *known == name) {
            rows.insert(0, Coming { due: 0, id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_their_time_and_their_order() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let coming = vec![vec![Coming { due: 10, id: 7 }, Coming { due: 11, id: 3 }, Coming { due: 20, id: 1 }], vec![]];
        let mut horizon = Horizon::new(names.clone(), 5000, coming, Duration::from_secs(1));
        assert!(horizon.holds(&names, i64::MAX - 1) && !horizon.holds(&names[..1], 0));
        assert_eq!((horizon.past(), horizon.due(0, 9, 5)), (4000, vec![]));
        assert_eq!(horizon.due(0, 11, 5), [3, 7]);
        assert_eq!(horizon.due(0, 11, 1), [3]);
        horizon.tried(0, &[3]);
        assert_eq!(horizon.due(0, 20, 5), [1, 7]);
        horizon.freed("b", 9);
        assert_eq!((horizon.due(1, 1, 5), horizon.due(2, 1, 5)), (vec![9], vec![]));
    }

    #[test]
    fn what_was_cut_off_is_looked_for_in_time() {
        let names = vec!["a".to_owned()];
        let coming: Vec<_> = (0..MOST as i64).map(|id| Coming { due: id, id }).collect();
        let horizon = Horizon::new(names.clone(), 100_000, vec![coming], Duration::from_secs(1));
        assert!(horizon.holds(&names, MOST as i64 - 2) && !horizon.holds(&names, MOST as i64 - 1));
        let short = Horizon::new(names.clone(), 10, vec![vec![]], Duration::ZERO);
        assert!(!short.holds(&names, 0));
    }
}
