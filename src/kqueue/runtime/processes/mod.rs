//! The PHP processes: where they come from, what they print, what they use, and how they end.
//!
//! Knows nothing of jobs but their numbers, nothing of the queue, and nothing of the schedule: what it finds out is left in
//! [`Processes::events`] for whoever asked it to do something.

pub mod boot;
mod ends;
pub mod forking;
pub mod memory;
pub mod printed;
pub mod recipe;
pub mod template;
pub mod units;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use kqueue_core::schedule::{Cause, WorkerId};
use tokio::sync::mpsc;

use super::input::Input;
use crate::launch::Launcher;
use crate::workers::Workers;
use printed::Printing;
use recipe::Recipe;
use template::Templates;
use units::UnitSide;

/// What happened to a process.
#[derive(Debug)]
pub enum ProcessEvent {
    /// All is known of its end. It is in the table until it is taken out.
    Ended(WorkerId),
    /// It never came to be.
    Gone(WorkerId, Cause),
}

/// See the module.
pub struct Processes {
    pub workers: Workers,
    pub templates: Templates,
    pub launcher: Rc<dyn Launcher>,
    /// The manager of units, where processes are units.
    pub units: Option<UnitSide>,
    pub printing: Printing,
    pub recipe: Recipe,
    /// When to look again at how processes end.
    pub ends: Option<Instant>,
    /// A look at the memory of running jobs is under way.
    pub weighing: bool,
    /// What is to be told, in order.
    pub events: VecDeque<ProcessEvent>,
    /// Where the answers of launcher and manager go.
    inputs: mpsc::Sender<Input>,
}

impl Processes {
    /// None yet but the template.
    pub fn new(
        templates: Templates,
        launcher: Rc<dyn Launcher>,
        units: Option<UnitSide>,
        printing: Printing,
        recipe: Recipe,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let (workers, events) = (Workers::new(), VecDeque::new());
        Self { workers, templates, launcher, units, printing, recipe, ends: None, weighing: false, events, inputs }
    }

    /// Whether processes that run no lane outlive us.
    pub fn outlive(&self) -> bool {
        self.units.is_some()
    }

    fn gone(&mut self, worker: WorkerId, cause: Cause) {
        self.events.push_back(ProcessEvent::Gone(worker, cause));
    }
}
