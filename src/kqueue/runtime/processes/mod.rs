//! The PHP processes: where they come from, what they print, what they use, and how they end.

pub mod boot;
pub mod forking;
pub mod memory;
pub mod printed;
pub mod template;
pub mod units;

use std::rc::Rc;

use crate::launch::Launcher;
use crate::workers::Workers;
use printed::Printing;
use template::Templates;
use units::UnitSide;

/// See the module.
pub struct Processes {
    pub workers: Workers,
    pub templates: Templates,
    pub launcher: Rc<dyn Launcher>,
    /// The manager of units, where processes are units.
    pub units: Option<UnitSide>,
    pub printing: Printing,
    /// A look at the memory of running jobs is under way.
    pub weighing: bool,
}
