//! The runtime as a service: notifications to the service manager, requests of operators, and the app's signals and
//! settings.
//!
//! Independent of jobs, processes and the queue. Requests come through [`Service::next`].

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
    /// An errand runs in the app's PHP for an operator.
    pub errand: Rc<Cell<bool>>,
    /// When the next pause or override of an operator ends.
    pub pauses_end: Option<Instant>,
}

/// A request to the runtime.
#[derive(Debug)]
pub enum Request {
    /// A request on the control socket.
    Ask(Box<Ask>),
    /// To restart into a newly installed version.
    Upgrade,
}

impl Service {
    /// Waits for the next request. Cancel safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            () = self.upgrade.asked() => Request::Upgrade,
            Some(ask) = self.observer.asks.recv() => Request::Ask(Box::new(ask)),
            else => std::future::pending().await,
        }
    }

    /// When the next timer of these is due.
    pub fn wake(&self) -> Option<Instant> {
        [self.health.wake(), self.duties.wake(), self.history.wake(), self.pauses_end, self.alerts.wake()]
            .into_iter()
            .flatten()
            .min()
    }
}
