//! The PHP processes: their start, output, memory use and end.
//!
//! Knows jobs by their ids only; independent of the queue and the schedule. Replies come back through
//! [`Processes::next`]; events for other components are left in [`Processes::events`].

mod connected;
mod ends;
pub mod forking;
mod launch;
mod memory;
pub mod printed;
pub mod recipe;
pub mod template;
#[cfg(test)]
mod tests;
pub mod units;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use kqueue_core::schedule::{Cause, JobId, JobKind, WorkerId};
use kqueue_core::wire::coordinator::Purpose;
use tokio::sync::mpsc;

use crate::launch::{LaunchError, LaunchEvent, Launcher, UnitError, UnitNotice};
use crate::workers::WorkerTable;
pub use launch::{Delivery, Scope};
use memory::{MemoryWatch, Usage};
use printed::{PrintedLine, Printing};
use recipe::Recipe;
use template::Templates;
use units::UnitSide;

/// Capacity of the reply channel; senders wait while it is full.
const ANSWERS: usize = 1024;

/// An event of a process.
#[derive(Debug)]
pub enum ProcessEvent {
    /// A process has ended, and all is known of its end. It stays in the table until it is taken out.
    Ended(WorkerId),
    /// A process could not be started, or was given up before its start.
    Gone(WorkerId, Cause),
    /// A process is about to read its job.
    Given {
        worker: WorkerId,
        job: JobId,
        kind: JobKind,
    },
    /// A process could not be put into its scope. It has not read its job, or `runs` it regardless.
    NotScoped {
        job: JobId,
        error: UnitError,
        runs: bool,
    },
    /// A process exceeds its memory limit; both in MB.
    MemoryOver {
        worker: WorkerId,
        used: u32,
        limit: u32,
    },
    /// Lines of output.
    Printed(Vec<PrintedLine>),
    /// The reason why the service manager stops us.
    Purpose(Purpose),
    /// The template is gone, and why.
    TemplateGone(String),
    /// The unit manager does not answer, or answers again.
    ManagerLost,
    ManagerBack,
}

/// Input returned by [`Processes::next`].
#[derive(Debug)]
pub enum ProcessInput {
    Answer(Answer),
    Launched(LaunchEvent),
    Unit(UnitNotice),
    /// Output can be read.
    Output,
}

/// The reply to a request to the launcher or the unit manager.
#[derive(Debug)]
pub enum Answer {
    /// A process was started, or could not be.
    Started { worker: WorkerId, result: Result<i32, LaunchError> },
    /// A process was put into its scope, or could not be.
    Scoped { worker: WorkerId, delivery: Delivery, result: Result<(), UnitError> },
    /// Memory use of running jobs.
    Weighed(Vec<Usage>),
    /// The reason why we are to stop.
    Purpose(Purpose),
}

/// See the module.
pub struct Processes {
    pub workers: WorkerTable,
    pub templates: Templates,
    pub launcher: Rc<dyn Launcher>,
    /// The unit manager, where processes are units.
    units: Option<UnitSide>,
    /// Number of orders to it, by kind.
    orders: BTreeMap<&'static str, u64>,
    printing: Printing,
    pub recipe: Recipe,
    /// When ending processes are checked next.
    ends: Option<Instant>,
    memory: MemoryWatch,
    /// Events for other components, in order.
    pub events: VecDeque<ProcessEvent>,
    launched: mpsc::Receiver<LaunchEvent>,
    answers: mpsc::Receiver<Answer>,
    answer: mpsc::Sender<Answer>,
}

impl Processes {
    /// With no worker yet.
    pub fn new(
        templates: Templates,
        launcher: Rc<dyn Launcher>,
        launched: mpsc::Receiver<LaunchEvent>,
        units: Option<UnitSide>,
        printing: Printing,
        recipe: Recipe,
    ) -> Self {
        let (answer, answers) = mpsc::channel(ANSWERS);
        Self {
            workers: WorkerTable::new(),
            templates,
            launcher,
            units,
            orders: BTreeMap::new(),
            printing,
            recipe,
            ends: None,
            memory: MemoryWatch::new(),
            events: VecDeque::new(),
            launched,
            answers,
            answer,
        }
    }

    /// Number of orders to the unit manager, by kind: `start`, `scope`, `list`.
    pub fn orders(&self) -> &BTreeMap<&'static str, u64> {
        &self.orders
    }

    /// Whether processes other than lanes outlive the runtime.
    pub fn outlive(&self) -> bool {
        self.units.is_some()
    }

    /// Waits for the next input. Cancel safe.
    pub async fn next(&mut self) -> ProcessInput {
        tokio::select! {
            biased;
            Some(answer) = self.answers.recv() => ProcessInput::Answer(answer),
            Some(event) = self.launched.recv() => ProcessInput::Launched(event),
            Some(notice) = units::next_notice(&mut self.units) => ProcessInput::Unit(notice),
            () = self.printing.outputs.ready() => ProcessInput::Output,
        }
    }

    pub fn handle(&mut self, input: ProcessInput) {
        match input {
            ProcessInput::Answer(Answer::Started { worker, result }) => self.process_started(worker, result),
            ProcessInput::Answer(Answer::Scoped { worker, delivery, result }) => self.scoped(worker, delivery, result),
            ProcessInput::Answer(Answer::Weighed(usages)) => self.weighed(usages),
            ProcessInput::Answer(Answer::Purpose(purpose)) => self.events.push_back(ProcessEvent::Purpose(purpose)),
            ProcessInput::Launched(LaunchEvent::Ended { worker: 0, pid, exit }) => {
                self.template_gone(pid, Some(exit), None);
            }
            ProcessInput::Launched(LaunchEvent::Ended { worker, exit, .. }) => self.ended(worker, exit),
            ProcessInput::Unit(notice) => self.on_unit(notice),
            ProcessInput::Output => {
                let lines = self.output();
                self.events.push_back(ProcessEvent::Printed(lines));
            }
        }
    }

    /// When [`Self::look_after_ends`] is due.
    pub fn ends_wake(&self) -> Option<Instant> {
        self.ends
    }

    /// When [`Self::on_time`] or [`Self::look_after_ends`] is due.
    pub fn wake(&self) -> Option<Instant> {
        let boot = self.templates.deadline(self.recipe.settings().boot_timeout);
        [self.ends, self.memory.due, self.templates.wake(), boot].into_iter().flatten().min()
    }

    /// Checks ending processes, if due.
    pub fn look_after_ends(&mut self, now: Instant) {
        if self.ends.take_if(|at| *at <= now).is_some() {
            self.settle_ends();
        }
    }

    /// Watches memory and the template, and starts another template if due.
    pub fn on_time(&mut self, now: Instant) {
        self.watch_memory(now);
        self.watch_template(now);
        if self.templates.is_due(now) {
            self.start_template();
        }
    }

    fn gone(&mut self, worker: WorkerId, cause: Cause) {
        self.events.push_back(ProcessEvent::Gone(worker, cause));
    }
}
