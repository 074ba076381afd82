//! Data kept for requests on the control socket.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::control::Ask;
use kqueue_control::{Failure, Snapshot, State, VERSION};

/// Maximum number of remembered failures.
const FAILURES: usize = 20;

/// Data kept for requests on the control socket.
#[derive(Debug)]
pub struct Observer {
    /// Requests.
    pub(super) asks: mpsc::Receiver<Ask>,
    own: mpsc::Sender<Ask>,
    about: Snapshot,
    failures: VecDeque<Failure>,
    pace: Pace,
}

impl Observer {
    /// `about`: the constant part of snapshots; `own`: the sending end of `asks`.
    pub fn new(asks: mpsc::Receiver<Ask>, own: mpsc::Sender<Ask>, about: Snapshot) -> Self {
        Self { asks, own, about, failures: VecDeque::new(), pace: Pace::default() }
    }

    /// Sender for requests from tasks beside the loop.
    pub fn own(&self) -> mpsc::Sender<Ask> {
        self.own.clone()
    }

    /// The constant part of snapshots.
    pub fn about(&self) -> &Snapshot {
        &self.about
    }

    /// Counts a job that ended at this time, and remembers its failure, if any.
    pub fn job_ended(&mut self, ms: u64, failure: Option<Failure>) {
        self.pace.count(ms);
        if let Some(failure) = failure {
            self.failures.truncate(FAILURES - 1);
            self.failures.push_front(failure);
        }
    }

    /// The last jobs that did not end well, the latest first.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.iter().cloned().collect()
    }

    /// Ended jobs per second, averaged over the last seconds.
    pub fn rate(&self, ms: u64) -> f64 {
        self.pace.rate(ms)
    }

    /// Accepts no further request.
    pub fn close(&mut self) {
        self.asks.close();
    }
}

/// The snapshot of an app that has not booted yet.
pub fn starting(app: &str) -> Snapshot {
    let now = epoch();
    Snapshot {
        version: VERSION,
        app: app.to_owned(),
        state: State::Starting,
        status: format!("{app}: starting"),
        pid: std::process::id(),
        since: now,
        at: now,
        ..Snapshot::default()
    }
}

pub(super) fn epoch() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Number of jobs that ended in each of the last seconds.
#[derive(Debug, Default)]
struct Pace {
    /// Second and jobs, the latest last.
    ended: VecDeque<(u64, u32)>,
}

impl Pace {
    /// Seconds to average over, without the current one.
    const SPAN: u64 = 10;

    pub fn count(&mut self, ms: u64) {
        let second = ms / 1000;
        match self.ended.back_mut() {
            Some((last, jobs)) if *last == second => *jobs = jobs.saturating_add(1),
            _ => self.ended.push_back((second, 1)),
        }
        while self.ended.len() as u64 > Self::SPAN + 1 {
            self.ended.pop_front();
        }
    }

    /// Jobs per second.
    pub fn rate(&self, ms: u64) -> f64 {
        let from = (ms / 1000).saturating_sub(Self::SPAN);
        let jobs: u64 = self.ended.iter().filter(|(at, _)| *at >= from).map(|(_, jobs)| u64::from(*jobs)).sum();
        // The current second has only begun, so only the elapsed part of it counts.
        jobs as f64 * 1000.0 / (ms.saturating_sub(from * 1000)).max(1000) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.rate(50_000), 0.0);
        for ms in 0..3_000 {
            pace.count(100_000 + ms);
        }
        assert!((pace.rate(103_000) - 300.0).abs() < 1.0, "{}", pace.rate(103_000));
        assert!((pace.rate(110_500) - 286.0).abs() < 1.0, "{}", pace.rate(110_500));
        assert_eq!(pace.rate(120_000), 0.0);
        assert!(pace.ended.len() <= 11);
        // A runtime of one second's age is averaged over that second.
        let mut young = Pace::default();
        (0..50).for_each(|n| young.count(n * 20));
        assert!((young.rate(1_000) - 50.0).abs() < 0.1);
    }
}
