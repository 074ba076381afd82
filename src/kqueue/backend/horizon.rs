//! Cached result of a scan of a long table, so that it is not scanned again and again.
//!
//! Laravel's only index is that of the queue's name. With a million delayed jobs in front, each look for a due job
//! would read all of them. So once a look has taken long, one scan remembers the due times of the rows before the first
//! free row, and later looks only read the rows behind. Pure.

use std::time::{Duration, Instant};

/// Rows of each queue that are remembered with their due times at most.
pub(super) const MOST: usize = 2000;
/// Ids before the last one that each look reads nevertheless: rows may become visible in another order than that of
/// their ids.
const MARGIN: i64 = 1000;
/// Lifetime of a scan, as a multiple of its duration. The next one also finds rows that other workers have released
/// meanwhile.
const SHARE: u32 = 20;

/// A row that is not free yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coming {
    pub id: i64,
    /// Epoch seconds.
    pub due: i64,
}

/// One queue as of the scan.
#[derive(Debug)]
pub(super) struct Seen {
    /// Rows up to this id are not read by later looks.
    past: i64,
    /// The first of them that become free, ordered by due time.
    coming: Vec<Coming>,
}

impl Seen {
    /// From the id of its first free row, if it has one, the last id of the table before the scan, and the rows that
    /// become free next.
    pub(super) fn new(first: Option<i64>, last: i64, coming: Vec<Coming>) -> Self {
        Self { past: first.map_or(last.saturating_sub(MARGIN), |id| id - 1).max(0), coming }
    }
}

impl Seen {
    /// The last id that later looks do not read.
    pub(super) fn past(&self) -> i64 {
        self.past
    }
}

/// Result of one scan of several queues, and how long it is valid.
#[derive(Debug)]
pub(super) struct Horizon {
    names: Vec<String>,
    seen: Vec<Seen>,
    /// Epoch seconds from which on more rows may be due than are remembered.
    complete_until: i64,
    expires: Instant,
}

impl Horizon {
    /// The result for these queues, in order, of a scan that took `cost`.
    pub(super) fn new(names: Vec<String>, seen: Vec<Seen>, cost: Duration) -> Self {
        let cut = seen.iter().filter(|seen| seen.coming.len() >= MOST).filter_map(|seen| seen.coming.last());
        Self {
            complete_until: cut.map(|row| row.due).min().unwrap_or(i64::MAX),
            names,
            seen,
            expires: Instant::now() + cost * SHARE,
        }
    }

    /// Whether it is still valid for these queues at `now`, in epoch seconds.
    pub(super) fn holds(&self, names: &[String], now: i64) -> bool {
        self.names == names && now < self.complete_until && Instant::now() < self.expires
    }

    /// Id up to which a look at a queue skips rows; 0 for an unknown queue.
    pub(super) fn past(&self, queue: usize) -> i64 {
        self.seen.get(queue).map_or(0, |seen| seen.past)
    }

    /// Epoch second at which the next of the remembered rows becomes free, or at which more rows may be due than are
    /// remembered.
    pub(super) fn next_due(&self) -> i64 {
        let first = self.seen.iter().filter_map(|seen| seen.coming.iter().find(|row| row.id <= seen.past));
        first.map(|row| row.due).min().unwrap_or(i64::MAX).min(self.complete_until)
    }

    /// Ids of a queue's remembered rows that are free by `now`: `max` at most, in ascending order.
    pub(super) fn due(&self, queue: usize, now: i64, max: usize) -> Vec<i64> {
        let Some(seen) = self.seen.get(queue) else { return Vec::new() };
        let due = seen.coming.iter().take_while(|row| row.due <= now).map(|row| row.id);
        let mut ids: Vec<_> = due.filter(|id| *id <= seen.past).collect();
        ids.sort_unstable();
        ids.truncate(max);
        ids
    }

    /// Forgets rows, after an attempt to reserve them.
    pub(super) fn tried(&mut self, queue: usize, ids: &[i64]) {
        if let Some(seen) = self.seen.get_mut(queue) {
            seen.coming.retain(|row| !ids.contains(&row.id));
        }
    }

    /// Remembers a row as free again.
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
        // Row 4500 is behind the horizon.
        assert_eq!(horizon.next_due(), 10);
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
        assert_eq!(horizon.next_due(), 0);
        assert!(horizon.holds(&names, MOST as i64 - 2) && !horizon.holds(&names, MOST as i64 - 1));
        assert!(!Horizon::new(names.clone(), Vec::new(), Duration::ZERO).holds(&names, 0));
    }
}
