//! Output of PHP goes to the log, each line with the job that printed it.
//!
//! A process prints before it reports the end of its job, so its output is read before that report is handled, and each
//! line still finds its job. Where a lane claims a job that was sent ahead, its report comes late and lines cannot be
//! told apart; so jobs of a class that prints are not sent ahead.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Processes;
use crate::launch::output::{Outputs, Printed};
use crate::workers::{Said, WorkerTable};
use kqueue_core::routing::Tier;
use kqueue_core::schedule::{JobId, WorkerId};
use kqueue_core::wire::FromWorker;
use kqueue_system::processes::{ancestor_among, is_there};

/// Maximum number of remembered child processes of workers.
const STARTED: usize = 256;

/// The output streams, and the processes that write to them.
#[derive(Debug)]
pub struct Printing {
    pub(super) outputs: Rc<Outputs>,
    /// Child processes of workers: some exit before their output is read.
    started: RefCell<BTreeMap<i32, WorkerId>>,
}

/// A line, and its worker and job as far as known.
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

    /// The forked worker that is this process, or an ancestor of it; else 0, the template.
    fn writer(&self, pid: i32, workers: &WorkerTable) -> WorkerId {
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
        // The process is gone and its parent unknown: if a single fork without a stream of its own runs a job, it is
        // that one.
        let mut busy =
            workers.iter().filter(|(_, worker)| worker.forked && worker.own.is_none() && worker.job.is_some());
        match (is_there(pid), busy.next(), busy.next()) {
            (false, Some((worker, _)), None) => *worker,
            _ => 0,
        }
    }

    /// Forgets the children of a worker, since process ids are reused.
    fn forget(&self, worker: WorkerId) {
        self.started.borrow_mut().retain(|_, by| *by != worker);
    }
}

impl Processes {
    /// A new turn of the loop begins: there may be new output.
    pub fn begin_turn(&self) {
        self.printing.outputs.begin();
    }

    /// Reads output; a large amount in several turns.
    pub(super) fn output(&self) -> Vec<PrintedLine> {
        let lines = self.printing.outputs.read(&mut |pid| self.printing.writer(pid, &self.workers));
        self.attributed(lines)
    }

    /// Reads the output of a worker before a message that ends its job is handled.
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

    /// Reads all output of a worker, at the end of its job.
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
