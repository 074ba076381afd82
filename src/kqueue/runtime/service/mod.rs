//! The runtime as a service: what the service manager and operators are told, what they ask for, and what the app says
//! of its signals and settings.
//!
//! Knows nothing of jobs, of processes or of the queue. What they ask for comes through [`Service::next`].

pub mod alerts;
pub mod app_signals;
pub mod cancels;
pub mod fronts;
pub mod health;
pub mod history_file;
pub mod horizon;
pub mod observer;
pub mod overrides;
pub mod pauses;
pub mod release;
pub mod settings;
pub mod signals;
pub mod upgrade;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::control::Ask;
use alerts::Alerts;
use app_signals::AppSignals;
use cancels::Cancels;
use fronts::Fronts;
use health::Health;
use history_file::HistoryFile;
use horizon::Duties;
use observer::Observer;
use overrides::Overrides;
use pauses::Pauses;
use upgrade::Upgrade;

/// See the module.
pub struct Service {
    pub health: Health,
    pub upgrade: Upgrade,
    pub observer: Observer,
    pub duties: Duties,
    pub history: HistoryFile,
    pub app: AppSignals,
    pub pauses: Pauses,
    pub overrides: Overrides,
    pub alerts: Alerts,
    pub cancels: Cancels,
    pub fronts: Fronts,
    /// Something is being done in the app's PHP for an operator.
    pub errand: Rc<Cell<bool>>,
    /// When the next pause, or another word of an operator's, ends.
    pub pauses_end: Option<Instant>,
}

/// What somebody asks of the runtime.
#[derive(Debug)]
pub enum Request {
    /// Something on the control socket.
    Ask(Ask),
    /// To restart into a newly installed version.
    Upgrade,
}

impl Service {
    /// Waits for the next request. Cancelled, it loses none.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            () = self.upgrade.asked() => Request::Upgrade,
            Some(ask) = self.observer.asks.recv() => Request::Ask(ask),
            else => std::future::pending().await,
        }
    }

    /// When something is due that no request brings.
    pub fn wake(&self) -> Option<Instant> {
        [self.health.wake(), self.duties.wake(), self.history.wake(), self.pauses_end, self.alerts.wake()]
            .into_iter()
            .flatten()
            .min()
    }
}
