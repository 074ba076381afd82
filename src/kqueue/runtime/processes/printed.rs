//! What PHP prints goes to the log, each line with the job that printed it.
//!
//! A job's process prints before it says that the job is over. So what it has printed is read before that word is
//! heard: then each line still finds its job. Where a lane goes on by itself to a job that was sent ahead, its
//! word comes late, and lines cannot be told apart; so the jobs of a class that prints are not sent ahead.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::launch::output::{Outputs, Printed};
use crate::runtime::Runtime;
use crate::workers::{Said, Workers};
use kqueue_core::routing::Tier;
use kqueue_core::schedule::{Event, WorkerId};
use kqueue_core::wire::FromWorker;
use kqueue_system::log::PHP_TARGET;
use kqueue_system::processes::{ancestor_among, is_there};

/// Processes remembered that jobs have started.
const STARTED: usize = 256;

/// The streams, and what is known of those who write to them.
#[derive(Debug)]
pub struct Printing {
    pub outputs: Rc<Outputs>,
    /// Processes that workers have started: some are gone before what they wrote is read.
    started: RefCell<BTreeMap<i32, WorkerId>>,
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

impl Runtime {
    /// Passes on what there is to read.
    pub fn pass_on_output(&mut self) {
        let lines = self
            .processes
            .printing
            .outputs
            .read(&mut |pid| self.processes.printing.writer(pid, &self.processes.workers));
        self.pass_on(lines);
    }

    /// Before a word is heard that ends a job: passes on what was printed until then.
    pub fn pass_on_output_before(&mut self, said: &Said) {
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
            | Said::Closed { worker, pid, .. } => {
                let worker = self.processes.speaker(*worker, *pid).unwrap_or(*worker);
                self.pass_on_output_of(worker);
            }
            _ => {}
        }
    }

    /// Passes on all that a worker has printed, as its job is over.
    pub fn pass_on_output_of(&mut self, worker: WorkerId) {
        let forked = self.processes.workers.get(&worker).is_some_and(|worker| worker.forked);
        let who = &mut |pid| self.processes.printing.writer(pid, &self.processes.workers);
        let lines = self.processes.printing.outputs.read_all_of(worker, forked, who);
        self.processes.printing.forget(worker);
        self.pass_on(lines);
    }

    fn pass_on(&mut self, lines: Vec<Printed>) {
        for line in lines {
            self.pass_on_line(&line);
        }
    }

    fn pass_on_line(&mut self, line: &Printed) {
        let text = &line.text;
        let worker = self.processes.workers.get(&line.worker);
        let number = worker.map(|_| line.worker);
        let tier = worker.and_then(|worker| worker.mode.tier()).map(Tier::name);
        let Some((id, record)) = worker.and_then(|worker| worker.job).and_then(|job| Some((job, self.held.get(job)?)))
        else {
            tracing::info!(target: PHP_TARGET, kqueue_tier = tier, kqueue_worker = number, "{text}");
            return;
        };
        tracing::info!(
            target: PHP_TARGET,
            kqueue_job = record.uuid,
            kqueue_class = record.class,
            kqueue_queue = record.reservation.queue,
            kqueue_attempt = record.attempt,
            kqueue_tier = tier,
            kqueue_worker = number,
            "{}: {text}", record.class,
        );
        if !self.schedule.prints(&record.class) {
            self.tell(Event::Printed(id));
        }
    }
}
