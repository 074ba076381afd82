//! Rates from successive polls: jobs per second by queue, processor time by process. Pure.

use std::collections::{BTreeMap, VecDeque};

use kqueue_control::{Metrics, Snapshot};

/// Longest time in milliseconds over which a rate is computed.
const SPAN_MS: u64 = 10_000;
/// Maximum polls kept.
const LOOKS: usize = 16;

/// One poll: monotonic counters.
#[derive(Debug)]
struct Look {
    at_ms: u64,
    counts: BTreeMap<String, u64>,
}

/// The last polls.
#[derive(Debug, Default)]
pub(super) struct Rates {
    looks: VecDeque<Look>,
}

impl Rates {
    pub fn put(&mut self, at_ms: u64, counts: BTreeMap<String, u64>) {
        self.looks.push_back(Look { at_ms, counts });
        while self.looks.len() > LOOKS
            || self.looks.get(1).is_some_and(|second| at_ms.saturating_sub(second.at_ms) >= SPAN_MS)
        {
            self.looks.pop_front();
        }
    }

    /// The rate of this counter per second; `None` while unknown, as after a reset of the counter.
    pub fn of(&self, name: &str) -> Option<f64> {
        let last = self.looks.back()?;
        let value = *last.counts.get(name)?;
        let first = self.looks.iter().find(|look| look.counts.contains_key(name))?;
        let (then, seconds) = (*first.counts.get(name)?, last.at_ms.checked_sub(first.at_ms)? as f64 / 1000.0);
        (seconds > 0.0).then(|| value.checked_sub(then)).flatten().map(|more| more as f64 / seconds)
    }
}

/// Jobs ended since the runtime's start, by queue.
pub(super) fn by_queue(metrics: &Metrics) -> BTreeMap<String, u64> {
    metrics.rows.iter().fold(BTreeMap::new(), |mut all, row| {
        *all.entry(row.queue.clone()).or_default() += row.figures.runs();
        all
    })
}

/// Processor time in microseconds, by process.
pub(super) fn by_process(told: &Snapshot) -> BTreeMap<String, u64> {
    // The key includes the process id, as numbers are reused after a restart of the runtime.
    told.workers.iter().filter_map(|worker| Some((process(worker.id, worker.pid), worker.cpu_usec?))).collect()
}

/// The key of a process among the counters.
pub(super) fn process(id: u64, pid: Option<i32>) -> String {
    format!("{id}/{}", pid.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_last_ten_seconds() {
        let mut rates = Rates::default();
        let counts = |n: u64| BTreeMap::from([("default".to_owned(), n)]);
        assert_eq!(rates.of("default"), None);
        rates.put(0, counts(100));
        assert_eq!(rates.of("default"), None);
        rates.put(2_000, counts(110));
        assert_eq!((rates.of("default"), rates.of("other")), (Some(5.0), None));
        (3..=14).for_each(|second| rates.put(second * 1_000, counts(110)));
        assert_eq!(rates.of("default"), Some(0.0), "what was before is forgotten");
        rates.put(15_000, counts(3));
        assert_eq!(rates.of("default"), None, "it has begun anew");
        (16..60).for_each(|second| rates.put(second * 10, counts(4)));
        assert!(rates.looks.len() <= LOOKS);
    }
}
