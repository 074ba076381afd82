//! Waiters for jobs of the service manager, by the job's object path: a unit may have several jobs.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

/// Maximum number of results that are kept without a waiter.
const RECENT: usize = 512;

/// Waiters, and recent results.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    waiting: RefCell<BTreeMap<String, oneshot::Sender<String>>>,
    recent: RefCell<VecDeque<(String, String)>>,
}

impl Jobs {
    /// Records the result of a job. It may arrive before the reply with the job's path is read, so it is kept for a
    /// while.
    pub(super) fn done(&self, path: &str, result: &str) {
        if let Some(waiter) = self.waiting.borrow_mut().remove(path) {
            let _ = waiter.send(result.to_owned());
            return;
        }
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((path.to_owned(), result.to_owned()));
    }

    /// The result of a job, once it is there.
    pub(super) fn result(&self, path: &str) -> oneshot::Receiver<String> {
        let (waiter, result) = oneshot::channel();
        let kept = self.recent.borrow().iter().find(|(of, _)| of == path).map(|(_, result)| result.clone());
        match kept {
            Some(result) => drop(waiter.send(result)),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                // Drops waiters that have given up, so that there are never more than calls.
                waiting.retain(|_, waiter| !waiter.is_closed());
                waiting.insert(path.to_owned(), waiter);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_met_by_path_in_either_order() {
        let jobs = Jobs::default();
        let mut first = jobs.result("/job/1");
        jobs.done("/job/2", "failed");
        jobs.done("/job/1", "done");
        assert_eq!(first.try_recv().as_deref(), Ok("done"));
        assert_eq!(jobs.result("/job/2").try_recv().as_deref(), Ok("failed"));
    }

    #[test]
    fn nothing_grows() {
        let jobs = Jobs::default();
        for job in 0..5000 {
            jobs.done(&format!("/strange/{job}"), "done");
            drop(jobs.result(&format!("/given-up/{job}")));
        }
        assert_eq!(jobs.recent.borrow().len(), RECENT);
        assert!(jobs.waiting.borrow().len() <= 1);
    }
}
