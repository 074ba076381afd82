//! What is known of a long table, so that it is not looked through again and again.
//!
//! Laravel's only index is that of the queue's name. Behind a million delayed jobs, each look for one that is due would go
//! through all of them. So one look, once it has taken long, is made to last: what is before the first free row is known
//! with its times, and from then on only what is behind is looked at. Pure.

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
    pub id: i64,
    /// Epoch seconds.
    pub due: i64,
}

/// One queue as it was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// Rows up to this id are coming.
    past: i64,
    /// The first of them, in order of time.
    coming: Vec<Coming>,
}

impl Seen {
    /// Its first free row, if it has one, the last id of the table before it was looked for, and what comes before it.
    pub(super) fn new(first: Option<i64>, last: i64, coming: Vec<Coming>) -> Self {
        Self { past: first.map_or(last.saturating_sub(MARGIN), |id| id - 1).max(0), coming }
    }
}

/// One look at several queues, as long as it holds.
#[derive(Debug)]
pub(super) struct Horizon {
    names: Vec<String>,
    seen: Vec<Seen>,
    /// From this time on there may be more than what is remembered.
    complete_until: i64,
    expires: Instant,
}

impl Horizon {
    /// Of queues, in order; and what it has cost to look.
    pub(super) fn new(names: Vec<String>, seen: Vec<Seen>, cost: Duration) -> Self {
        let cut = seen.iter().filter(|seen| seen.coming.len() >= MOST).filter_map(|seen| seen.coming.last());
        Self {
            complete_until: cut.map(|row| row.due).min().unwrap_or(i64::MAX),
            names,
            seen,
            expires: Instant::now() + cost * SHARE,
        }
    }

    /// Whether it still says something about these queues.
    pub(super) fn holds(&self, names: &[String], now: i64) -> bool {
        self.names == names && now < self.complete_until && Instant::now() < self.expires
    }

    /// Up to which id a queue need not be looked at.
    pub(super) fn past(&self, queue: usize) -> i64 {
        self.seen.get(queue).map_or(0, |seen| seen.past)
    }

    /// Ids of a queue's rows up to there that are free by now, in order.
    pub(super) fn due(&self, queue: usize, now: i64, max: usize) -> Vec<i64> {
        let Some(seen) = self.seen.get(queue) else { return Vec::new() };
        let due = seen.coming.iter().take_while(|row| row.due <= now).map(|row| row.id);
        let mut ids: Vec<_> = due.filter(|id| *id <= seen.past).collect();
        ids.sort_unstable();
        ids.truncate(max);
        ids
    }

    /// These have been tried.
    pub(super) fn tried(&mut self, queue: usize, ids: &[i64]) {
        if let Some(seen) = self.seen.get_mut(queue) {
            seen.coming.retain(|row| !ids.contains(&row.id));
        }
    }

    /// This one is free again.
    pub(super) fn freed(&mut self, name: &str, id: i64) {
        for (seen, _) in self.seen.iter_mut().zip(&self.names).filter(|(_, known)| *known == name) {
            seen.coming.insert(0, Coming { due: 0, id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coming(rows: &[(i64, i64)]) -> Vec<Coming> {
        rows.iter().map(|&(id, due)| Coming { id, due }).collect()
    }

    #[test]
    fn rows_come_in_their_time_and_their_order() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let seen = vec![
            Seen::new(None, 5000, coming(&[(7, 10), (3, 11), (1, 20), (4500, 1)])),
            Seen::new(Some(9), 5000, Vec::new()),
        ];
        let mut horizon = Horizon::new(names.clone(), seen, Duration::from_secs(1));
        assert!(horizon.holds(&names, i64::MAX - 1) && !horizon.holds(&names[..1], 0));
        assert_eq!((horizon.past(0), horizon.past(1), horizon.past(2)), (4000, 8, 0));
        assert_eq!((horizon.due(0, 9, 5), horizon.due(0, 11, 5), horizon.due(0, 11, 1)), (vec![], vec![3, 7], vec![3]));
        horizon.tried(0, &[3]);
        assert_eq!(horizon.due(0, 20, 5), [1, 7]);
        horizon.freed("b", 8);
        assert_eq!((horizon.due(1, 1, 5), horizon.due(2, 1, 5)), (vec![8], vec![]));
    }

    #[test]
    fn what_was_cut_off_is_looked_for_in_time() {
        let names = vec!["a".to_owned()];
        let rows: Vec<_> = (0..MOST as i64).map(|n| (n, n)).collect();
        let seen = Seen::new(None, 100_000, coming(&rows));
        let horizon = Horizon::new(names.clone(), vec![seen], Duration::from_secs(1));
        assert!(horizon.holds(&names, MOST as i64 - 2) && !horizon.holds(&names, MOST as i64 - 1));
        assert!(!Horizon::new(names.clone(), Vec::new(), Duration::ZERO).holds(&names, 0));
    }
}
