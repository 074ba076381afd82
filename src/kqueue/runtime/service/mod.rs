//! The runtime as a service: what the service manager and the operator are told, and what they may ask for.

pub mod health;
pub mod history;
pub mod horizon;
pub mod observe;
mod purpose;
pub mod reload;
pub mod trouble;
pub mod upgrade;

use health::Health;
use history::HistoryFile;
use horizon::Duties;
use observe::Observer;
use upgrade::Upgrade;

/// See the module.
pub struct Service {
    pub health: Health,
    pub upgrade: Upgrade,
    pub observer: Observer,
    pub duties: Duties,
    pub history: HistoryFile,
}
