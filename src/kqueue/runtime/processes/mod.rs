//! The PHP processes: where they come from, what they print, what they use, and how they end.
//!
//! Knows nothing of jobs but their numbers, nothing of the queue, and nothing of the schedule. Answers come back through
//! [`Processes::next`]; what they mean for others is left in [`Processes::events`].

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
use crate::workers::Workers;
pub use launch::{Delivery, Scope};
use memory::{MemoryWatch, Usage};
use printed::{PrintedLine, Printing};
use recipe::Recipe;
use template::Templates;
use units::UnitSide;

/// Answers that may wait to be handled before those who bring them have to wait.
const ANSWERS: usize = 1024;

/// What happened to a process.
#[derive(Debug)]
pub enum ProcessEvent {
    /// All is known of its end. It is in the table until it is taken out.
    Ended(WorkerId),
    /// It never came to be.
    Gone(WorkerId, Cause),
    /// It is about to read its job.
    Given {
        worker: WorkerId,
        job: JobId,
        kind: JobKind,
    },
    /// It could not be put into its scope. It has seen nothing of its job, or `runs` it all the same.
    NotScoped {
        job: JobId,
        error: UnitError,
        runs: bool,
    },
    /// It uses more memory than it may, in MB.
    MemoryOver {
        worker: WorkerId,
        used: u32,
        limit: u32,
    },
    /// Something was printed.
    Printed(Vec<PrintedLine>),
    /// Why the service manager stops us.
    Purpose(Purpose),
    /// The template is gone, and how.
    TemplateGone(String),
    /// The manager of units does not answer, or answers again.
    ManagerLost,
    ManagerBack,
}

/// What [`Processes::next`] waits for.
#[derive(Debug)]
pub enum ProcessInput {
    Answer(Answer),
    Launched(LaunchEvent),
    Unit(UnitNotice),
    /// There is something to read of what was printed.
    Output,
}

/// The answer to something that was asked of the launcher or of the manager of units.
#[derive(Debug)]
pub enum Answer {
    /// A process was started, or could not be.
    Started { worker: WorkerId, result: Result<i32, LaunchError> },
    /// A process is in its scope, or could not be put there.
    Scoped { worker: WorkerId, delivery: Delivery, result: Result<(), UnitError> },
    /// What running jobs use.
    Weighed(Vec<Usage>),
    /// Why we are to stop.
    Purpose(Purpose),
}

/// See the module.
pub struct Processes {
    pub workers: Workers,
    pub templates: Templates,
    pub launcher: Rc<dyn Launcher>,
    /// The manager of units, where processes are units.
    units: Option<UnitSide>,
    /// What was asked of it, by kind.
    orders: BTreeMap<&'static str, u64>,
    printing: Printing,
    pub recipe: Recipe,
    /// When to look again at how processes end.
    ends: Option<Instant>,
    memory: MemoryWatch,
    /// What others are to be told, in order.
    pub events: VecDeque<ProcessEvent>,
    launched: mpsc::Receiver<LaunchEvent>,
    answers: mpsc::Receiver<Answer>,
    answer: mpsc::Sender<Answer>,
}

impl Processes {
    /// None yet but the template.
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
            workers: Workers::new(),
            templates,
            launcher,
            units,
            orders: BTreeMap::new(),
            printing,
            recipe,
            ends: None,
            memory: MemoryWatch::default(),
            events: VecDeque::new(),
            launched,
            answers,
            answer,
        }
    }

    /// What was asked of the manager of units, by kind: `start`, `scope`, `list`.
    pub fn orders(&self) -> &BTreeMap<&'static str, u64> {
        &self.orders
    }

    /// Whether processes that run no lane outlive us.
    pub fn outlive(&self) -> bool {
        self.units.is_some()
    }

    /// Waits for what comes next from processes and those who start them. Cancelled, it loses nothing.
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

    /// When to look after ends, if nothing happens before.
    pub fn ends_wake(&self) -> Option<Instant> {
        self.ends
    }

    /// When something is due that no answer brings.
    pub fn wake(&self) -> Option<Instant> {
        let boot = self.templates.deadline(self.recipe.settings().boot_timeout);
        [self.ends, self.memory.due, self.templates.wake(), boot].into_iter().flatten().min()
    }

    /// Looks after processes that end.
    pub fn look_after_ends(&mut self, now: Instant) {
        if self.ends.take_if(|at| *at <= now).is_some() {
            self.settle_ends();
        }
    }

    /// Looks after those that work.
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
