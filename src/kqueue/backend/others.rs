//! Fairness between owners of jobs: which jobs, found by a scan behind many jobs of another owner, are taken out of
//! order. Pure.

use std::collections::BTreeMap;

use kqueue_core::payload::value_of;

/// Jobs that one scan reads from its position on.
pub const LOOK: usize = 500;
/// Reserved jobs of one owner that may be waiting before no more of them are taken out of order.
const EACH: usize = 16;

/// A scan for jobs of other owners.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Name of the payload's value that identifies the owner of a job.
    pub by: String,
    /// Reserved jobs that are waiting, by owner.
    pub known: BTreeMap<u64, usize>,
    /// Position that scans have reached in this queue, as its backend counts.
    pub at: u64,
    /// Whether that is the end of the queue.
    pub is_through: bool,
    /// Jobs that may be picked at most.
    pub most: usize,
}

impl Others {
    /// Records the ids of the rows of a scan: the next scan reads those behind them.
    pub fn went_by(&mut self, ids: impl ExactSizeIterator<Item = i64>) {
        self.is_through = ids.len() < LOOK;
        self.at = ids.filter_map(|id| u64::try_from(id).ok()).fold(self.at, u64::max);
    }

    /// Picks jobs from those that were seen, in order, of owners with few waiting jobs.
    pub fn pick<T>(&mut self, seen: impl IntoIterator<Item = T>, payload: impl Fn(&T) -> &[u8]) -> Vec<T> {
        let mut picked = Vec::new();
        for one in seen {
            let Some(value) = value_of(payload(&one), &self.by) else { continue };
            let waits = self.known.entry(value).or_default();
            if *waits < EACH && picked.len() < self.most {
                *waits += 1;
                picked.push(one);
            }
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_few_is_picked() {
        let job = |tenant: u32| format!(r#"{{"tenant":{tenant}}}"#).into_bytes();
        let whose = |by: &str, tenant: u32| value_of(&job(tenant), by).unwrap();
        let mut look = Others { by: "tenant".to_owned(), most: 20, ..Others::default() };
        look.known = [(whose("tenant", 1), EACH), (whose("tenant", 2), EACH - 1)].into();
        let seen: Vec<_> = [1, 1, 2, 2, 3].into_iter().chain(std::iter::repeat_n(4, 100)).map(job).collect();
        let mut expected = vec![job(2), job(3)];
        expected.extend(std::iter::repeat_n(job(4), EACH));
        assert_eq!(look.pick(seen, |job| job), expected);
        assert!(look.pick([b"none".to_vec()], |job| job).is_empty());
    }
}
