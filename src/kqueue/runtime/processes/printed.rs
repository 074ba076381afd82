//! What PHP prints goes to the log, each line with the job that printed it.
//!
//! A job's process prints before it reports that the job is over. So what it has printed is read before that report is
//! handled: then each line still finds its job. Where a lane goes on by itself to a job that was sent ahead, its
//! report comes late, and lines cannot be told apart; so the jobs of a class that prints are not sent ahead.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Processes;
use crate::launch::output::{Outputs, Printed};
use crate::workers::{Said, Workers};
use kqueue_core::routing::Tier;
use kqueue_core::schedule::{JobId, WorkerId};
use kqueue_core::wire::FromWorker;
use kqueue_system::processes::{ancestor_among, is_there};

/// Processes remembered that jobs have started.
const STARTED: usize = 256;

/// The streams, and what is known of those who write to them.
#[derive(Debug)]
pub struct Printing {
    pub(super) outputs: Rc<Outputs>,
    /// Processes that workers have started: some are gone before what they wrote is read.
    started: RefCell<BTreeMap<i32, WorkerId>>,
}

/// A line, and who printed it, as far as that is known.
#[derive(Debug)]
pub struct PrintedLine {
    pub text: String,
    pub worker: Option<WorkerId>,
    pub tier: Option<Tier>,
    pub job: Option<JobId>,
}

impl Printing {
    pub fn new(outputs: Rc<Outputs>) -> Self {
        Self { outputs, started: RefCell::default() }
    }

    /// The fork that is this process, or that has started it; else 0, the template.
    fn writer(&self, pid: i32, workers: &Workers) -> WorkerId {
        let fork = |pid| {
            workers.iter().find(|(_, worker)| worker.forked && worker.pid == Some(pid)).map(|(worker, _)| *worker)
        };
        if let Some(worker) = fork(pid) {
            return worker;
        }
        let mut started = self.started.borrow_mut();
        if let Some(worker) = ancestor_among(pid, fork) {
            if started.len() >= STARTED {
                started.clear();
            }
            started.insert(pid, worker);
            return worker;
        }
        if let Some(worker) = started.get(&pid) {
            return *worker;
        }
        // Nobody can tell any more who started it. Who else but the one that runs a job, if there is but one?
        let mut busy =
            workers.iter().filter(|(_, worker)| worker.forked && worker.own.is_none() && worker.job.is_some());
        match (is_there(pid), busy.next(), busy.next()) {
            (false, Some((worker, _)), None) => *worker,
            _ => 0,
        }
    }

    /// What it started is its own no longer: the numbers of processes come again.
    fn forget(&self, worker: WorkerId) {
        self.started.borrow_mut().retain(|_, by| *by != worker);
    }
}

impl Processes {
    /// A new turn of the loop has come: more may have been printed.
    pub fn begin_turn(&self) {
        self.printing.outputs.begin();
    }

    /// Reads what was printed, in part where it is much.
    pub(super) fn output(&self) -> Vec<PrintedLine> {
        let lines = self.printing.outputs.read(&mut |pid| self.printing.writer(pid, &self.workers));
        self.attributed(lines)
    }

    /// Before a message is handled that ends a job: reads what was printed until then.
    pub fn output_before(&self, said: &Said) -> Vec<PrintedLine> {
        match said {
            Said::Message {
                worker,
                pid,
                message:
                    FromWorker::Ready { .. }
                    | FromWorker::Next { .. }
                    | FromWorker::Stopping { .. }
                    | FromWorker::Died { .. }
                    | FromWorker::BootFailed(_),
                ..
            }
            | Said::Closed { worker, pid, .. } => self.output_of(self.speaker(*worker, *pid).unwrap_or(*worker)),
            _ => Vec::new(),
        }
    }

    /// Reads all that a worker has printed, as its job is over.
    pub fn output_of(&self, worker: WorkerId) -> Vec<PrintedLine> {
        let forked = self.workers.get(&worker).is_some_and(|worker| worker.forked);
        let who = &mut |pid| self.printing.writer(pid, &self.workers);
        let lines = self.printing.outputs.read_all_of(worker, forked, who);
        self.printing.forget(worker);
        self.attributed(lines)
    }

    fn attributed(&self, lines: Vec<Printed>) -> Vec<PrintedLine> {
        let line = |Printed { worker: id, text, .. }| {
            let worker = self.workers.get(&id);
            PrintedLine {
                text,
                worker: worker.map(|_| id),
                tier: worker.and_then(|worker| worker.mode.tier()),
                job: worker.and_then(|worker| worker.job),
            }
        };
        lines.into_iter().map(line).collect()
    }
}
