//! What Horizon's master would do, where the app's queue is Horizon's and no master runs.
//!
//! A PHP process that runs no job does it, through Horizon's own classes: it trims the indexes, keeps the records of
//! a master and a supervisor, watches the waits, and hears what Horizon is told. It is told how things stand every few
//! seconds. Nothing waits for it: when it dies or hangs, another one follows after a while, and jobs run on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::runtime::Runtime;
use crate::runtime::processes::template::delay_after;
use crate::workers::Worker;
use kqueue_core::schedule::{Cause, Event, JobId, WorkerId};
use kqueue_core::wire::{HorizonAsk, Mode, ToWorker};

/// Its number among the processes: one that the schedule never gives.
pub const DUTIES: WorkerId = 1 << 40;
/// Between two rounds. Horizon takes a master for dead after 14 s.
const ROUND: Duration = Duration::from_secs(3);
/// What a round may take: it may send notifications.
const PATIENCE: Duration = Duration::from_secs(120);
/// Delays before it is started again, by how often in a row it has ended without a round.
const DELAYS: [Duration; 5] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];
/// The command that ends a pause.
const CONTINUE: &str = "php artisan horizon:continue";

/// What the app says of its Horizon.
#[derive(Clone, Debug, Deserialize)]
pub struct Horizon {
    /// What this version of Horizon lacks for it.
    lacks: Option<String>,
}

/// The process, and what Horizon has been told.
#[derive(Debug)]
pub struct Duties {
    /// Whether there is anything to do.
    due: bool,
    /// When it is started, or told how things stand.
    next: Option<Instant>,
    /// Since when it has been started, or owes an answer.
    since: Option<Instant>,
    /// It has said that it is there.
    greeted: bool,
    /// It has been let go.
    leaves: bool,
    failures: usize,
    fault: Option<String>,
    /// Horizon is paused.
    held: bool,
    /// What the app's own signals were last: maintenance mode, paused queues.
    signals: (bool, Vec<String>),
}

impl Duties {
    pub fn new(horizon: Option<Horizon>) -> Self {
        let mut duties = Self {
            due: false,
            next: None,
            since: None,
            greeted: false,
            leaves: false,
            failures: 0,
            fault: None,
            held: false,
            signals: (false, Vec::new()),
        };
        duties.found(horizon);
        duties
    }

    /// Takes note of what the app says, when it has booted.
    pub fn found(&mut self, horizon: Option<Horizon>) {
        let due = match &horizon {
            Some(Horizon { lacks: Some(lacks) }) => {
                tracing::warn!("Horizon: this version has no {lacks}: nobody trims its indexes or keeps its records");
                false
            }
            horizon => horizon.is_some(),
        };
        if due && !self.due {
            self.next = Some(Instant::now());
        }
        self.due = due;
    }

    pub fn wake(&self) -> Option<Instant> {
        let late = self.since.map(|since| since + PATIENCE);
        [self.next, late].into_iter().flatten().min()
    }

    /// The queues that are paused: all of them, while Horizon is.
    pub fn signals(&mut self, down: bool, paused: Vec<String>, queues: &[String]) -> Vec<String> {
        self.signals = (down, paused);
        if self.held { queues.to_vec() } else { self.signals.1.clone() }
    }

    /// The command that lets jobs go on, while Horizon is paused.
    pub fn remedy(&self) -> Option<String> {
        self.held.then(|| CONTINUE.to_owned())
    }
}

impl Runtime {
    /// Starts the process, tells it how things stand, or ends it.
    pub fn look_after_duties(&mut self, now: Instant) {
        let bootable = self.processes.templates.fault().is_none();
        let wanted = self.service.duties.due && self.settings.horizon && bootable && !self.schedule.is_stopping();
        let Some(process) = self.processes.workers.get(&DUTIES) else {
            if !wanted {
                self.service.duties.next = self.service.duties.next.map(|_| now + ROUND);
            } else if self.service.duties.next.is_none_or(|at| at <= now) {
                self.start_duties(now);
            }
            return;
        };
        let limit = if process.outbox.is_some() { PATIENCE } else { self.settings.boot_timeout };
        if self.service.duties.since.is_some_and(|since| now >= since + limit) {
            self.service.duties.since = None;
            self.end_duties(limit);
        } else if !wanted {
            self.service.duties.next = None;
            self.replace_duties();
        } else if process.outbox.is_some() && self.service.duties.next.is_some_and(|at| at <= now) {
            self.tell_standing(now);
        }
    }

    fn start_duties(&mut self, now: Instant) {
        let forked = self.processes.recipe.forking.is_on();
        let mut process = Worker::new(Mode::Horizon, forked);
        if forked {
            process.own = self.processes.printing.outputs.of_fork(&self.settings.runtime_dir, DUTIES).ok();
        }
        self.processes.workers.insert(DUTIES, process);
        // It is told how things stand once it says that it is there.
        (self.service.duties.since, self.service.duties.next, self.service.duties.greeted) = (Some(now), None, false);
        if forked {
            self.processes.fork(DUTIES, Mode::Horizon);
        } else {
            self.processes.start_process(DUTIES, Mode::Horizon);
        }
    }

    fn end_duties(&mut self, limit: Duration) {
        tracing::warn!("Horizon: its process has not answered for {} s, and is killed", limit.as_secs());
        match self.processes.workers.get(&DUTIES).and_then(|process| process.pid) {
            Some(pid) => self.processes.launcher.kill(pid),
            None => {
                self.processes.workers.remove(&DUTIES);
                self.duties_gone(&Cause::Vanished);
            }
        }
    }

    /// Lets the process go: another one follows, where it is wanted.
    pub fn replace_duties(&mut self) {
        if let Some(process) = self.processes.workers.get(&DUTIES) {
            self.service.duties.leaves = process.send(ToWorker::Stop { reason: "restart" }.encode());
        }
    }

    /// The process has ended, or could not be had.
    pub fn duties_gone(&mut self, cause: &Cause) {
        match cause {
            _ if std::mem::take(&mut self.service.duties.leaves) => {}
            Cause::Exit(0) => {}
            Cause::Exit(code) => self.duties_failed(&format!("its process left with exit code {code}")),
            cause => self.duties_failed(&cause.to_string()),
        }
        let delay = delay_after(&DELAYS, self.service.duties.failures);
        (self.service.duties.since, self.service.duties.next) = (None, Some(Instant::now() + delay));
        self.service.duties.failures += 1;
    }

    fn duties_failed(&mut self, why: &str) {
        // What it has said itself says more than how it ended.
        if self.service.duties.fault.is_none() {
            tracing::warn!("Horizon: its indexes and records are not looked after: {why}; trying again");
            self.service.duties.fault = Some(why.to_owned());
        }
    }

    /// How things stand, as Horizon's records are to say.
    fn tell_standing(&mut self, now: Instant) {
        let frame = ToWorker::Standing {
            app: &self.settings.app,
            queues: &self.app.queues,
            processes: &self.processes_by_queue(),
            waiting: &self.waiting_by_queue(),
            paused: self.service.duties.held,
            timeout: self.settings.timeout.map_or(0, |timeout| timeout.as_secs()),
            tries: self.settings.tries,
            memory: self.settings.worker_memory,
        }
        .encode();
        (self.service.duties.since, self.service.duties.next) = (Some(now), None);
        if let Some(process) = self.processes.workers.get(&DUTIES) {
            process.send(frame);
        }
    }

    /// The processes that run jobs, each counted once: where its job came from, or at one of the queues in turn.
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

    /// Jobs that are ours and do not run.
    fn waiting_by_queue(&self) -> BTreeMap<&str, usize> {
        let running: BTreeSet<JobId> = self.processes.workers.values().filter_map(|worker| worker.job).collect();
        let mut waiting = BTreeMap::new();
        for (_, record) in self.held.iter().filter(|(id, record)| !record.acked && !running.contains(id)) {
            *waiting.entry(record.reservation.queue.as_str()).or_default() += 1;
        }
        waiting
    }

    /// The process has done a round, or brings what somebody asks of Horizon.
    pub fn horizon_said(&mut self, ask: Option<HorizonAsk>, error: Option<String>) {
        if let Some(error) = error {
            self.duties_failed(&error);
            return;
        }
        let Some(ask) = ask else {
            self.service.duties.since = None;
            if std::mem::replace(&mut self.service.duties.greeted, true) {
                self.round_done();
            } else {
                self.service.duties.next = Some(Instant::now());
            }
            return;
        };
        if self.schedule.is_stopping() {
            return;
        }
        match ask {
            HorizonAsk::Pause => self.hold(true),
            HorizonAsk::Continue => self.hold(false),
            HorizonAsk::Restart => self.restart_all("Horizon was told to restart"),
            HorizonAsk::Terminate => {
                self.hold(false);
                // The command sets the restart signal too, a moment later: once is enough.
                self.restart = None;
                self.restart_all("horizon:terminate");
            }
        }
        // Its records say so at once.
        self.service.duties.next = Some(Instant::now());
    }

    fn round_done(&mut self) {
        (self.service.duties.failures, self.service.duties.next) = (0, Some(Instant::now() + ROUND));
        if self.service.duties.fault.take().is_some() {
            tracing::info!("Horizon: its indexes and records are looked after again");
        }
    }

    /// Starts no further job, or goes on.
    fn hold(&mut self, held: bool) {
        if self.service.duties.held == held {
            return;
        }
        self.service.duties.held = held;
        match held {
            true => tracing::info!("horizon:pause: no further job is started until horizon:continue"),
            false => tracing::info!("Horizon goes on"),
        }
        let (down, paused) = self.service.duties.signals.clone();
        let paused = self.service.duties.signals(down, paused, &self.app.queues);
        self.tell(Event::State { down, paused });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_horizon_covers_that_of_the_app() {
        let queues = ["a".to_owned(), "b".to_owned()];
        let mut duties = Duties::new(Some(Horizon { lacks: None }));
        assert!(duties.wake().is_some());
        assert_eq!(duties.signals(false, vec!["a".to_owned()], &queues), ["a"]);
        duties.held = true;
        assert_eq!(duties.signals(false, vec!["a".to_owned()], &queues), queues);
        assert_eq!(duties.remedy().as_deref(), Some(CONTINUE));
        // It is there still when Horizon goes on.
        assert_eq!(duties.signals, (false, vec!["a".to_owned()]));
    }

    #[test]
    fn without_horizon_there_is_nothing_to_do() {
        for nothing in [None, Some(Horizon { lacks: Some("Some\\Contract".to_owned()) })] {
            assert_eq!(Duties::new(nothing).wake(), None);
        }
    }
}
