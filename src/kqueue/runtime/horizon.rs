//! The process for Horizon's duties: carries out the steps of [`Duties`](super::service::horizon::Duties), and passes
//! its requests on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Runtime;
use super::service::horizon::{DUTIES, Seen, Step};
use kqueue_core::schedule::{Cause, JobId, StopReason};
use kqueue_core::wire::{HorizonAsk, Mode, ToWorker};

impl Runtime {
    /// Starts the process, sends it a status report, or ends it, as due.
    pub(super) fn look_after_duties(&mut self, now: Instant) {
        let bootable = self.processes.templates.fault().is_none();
        let wanted = self.settings.horizon && bootable && !self.schedule.is_stopping();
        let seen = match self.processes.workers.get(&DUTIES) {
            None => Seen::Absent,
            Some(process) if process.outbox.is_none() => Seen::Starting,
            Some(_) => Seen::Connected,
        };
        match self.service.duties.step(now, seen, wanted, self.settings.boot_timeout) {
            Some(Step::Start) => self.processes.launch(DUTIES, Mode::Horizon),
            Some(Step::Kill) => self.processes.kill(DUTIES, &Cause::Vanished),
            Some(Step::LetGo) => self.replace_duties(),
            Some(Step::Report) => self.report_to_horizon(),
            None => {}
        }
    }

    /// Has the process exit; another one follows, if wanted.
    pub(super) fn replace_duties(&mut self) {
        if self.processes.workers.contains_key(&DUTIES) {
            self.service.duties.let_go(self.processes.stop(DUTIES, StopReason::Restart.as_str()));
        }
    }

    /// Sends the status for Horizon's records.
    fn report_to_horizon(&self) {
        let frame = ToWorker::Standing {
            app: &self.settings.app,
            queues: &self.app.queues,
            processes: &self.processes_by_queue(),
            waiting: &self.waiting_by_queue(),
            paused: self.service.duties.is_held(),
            timeout: self.settings.timeout.map_or(0, |timeout| timeout.as_secs()),
            tries: self.settings.tries,
            memory: self.settings.worker_memory,
        }
        .encode();
        self.processes.send(DUTIES, frame);
    }

    /// Number of processes by queue, each counted once: at its job's queue, or at one of the queues in turn.
    fn processes_by_queue(&self) -> BTreeMap<&str, usize> {
        let queues = &self.app.queues;
        let mut processes: BTreeMap<&str, usize> = queues.iter().map(|name| (name.as_str(), 0)).collect();
        let mut turn = queues.iter().cycle();
        for view in self.schedule.workers().filter(|view| view.state != "leaving") {
            let at = view.job.and_then(|job| self.held.get(job)).map(|record| record.reservation.queue.as_str());
            if let Some(at) = at.or_else(|| turn.next().map(String::as_str)) {
                *processes.entry(at).or_default() += 1;
            }
        }
        processes
    }

    /// Number of held jobs that do not run, by queue.
    fn waiting_by_queue(&self) -> BTreeMap<&str, usize> {
        let running: BTreeSet<JobId> = self.processes.workers.values().filter_map(|worker| worker.job).collect();
        let mut waiting = BTreeMap::new();
        for (_, record) in self.held.iter().filter(|(id, record)| !record.acked && !running.contains(id)) {
            *waiting.entry(record.reservation.queue.as_str()).or_default() += 1;
        }
        waiting
    }

    /// The process has finished a round, or forwards a request to Horizon.
    pub(super) fn horizon_said(&mut self, ask: Option<HorizonAsk>, error: Option<String>) {
        let ask = self.service.duties.reported(ask, error).filter(|_| !self.schedule.is_stopping());
        match ask {
            None => return,
            Some(HorizonAsk::Pause) => self.hold(true),
            Some(HorizonAsk::Continue) => self.hold(false),
            Some(HorizonAsk::Restart) => self.restart_all("restart of Horizon"),
            Some(HorizonAsk::Terminate) => {
                self.hold(false);
                // The command also sets the restart signal a moment later, which must not restart all again.
                self.service.app.forget_restart();
                self.restart_all("horizon:terminate");
            }
        }
        self.service.duties.report_now();
    }

    fn hold(&mut self, held: bool) {
        if self.service.duties.hold(held) {
            self.service.pauses.horizon_says(held);
            self.pauses_changed();
        }
    }
}
