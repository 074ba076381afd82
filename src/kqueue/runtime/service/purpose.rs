//! Why we are to stop: a restart leaves running what can do without us.

use std::time::Duration;

use kqueue_core::schedule::Event;
use kqueue_core::wire::coordinator::Purpose;

use crate::runtime::Runtime;
use crate::runtime::input::Input;

/// The service manager is asked for this long.
const PATIENCE: Duration = Duration::from_secs(3);

impl Runtime {
    /// Asks why we are to stop: a restart leaves running what can do without us.
    pub fn ask_purpose(&self) -> bool {
        let Some(manager) = self.processes.manager() else { return false };
        let inputs = self.inputs.clone();
        tokio::task::spawn_local(async move {
            let purpose = match tokio::time::timeout(PATIENCE, manager.purpose()).await {
                Ok(Ok(purpose)) => purpose,
                // When nobody can tell, nothing may be left behind.
                _ => Purpose::Stop,
            };
            let _ = inputs.send(Input::Purpose(purpose)).await;
        });
        true
    }

    pub fn on_purpose(&mut self, purpose: Purpose) {
        if self.schedule.is_stopping() {
            return;
        }
        if purpose == Purpose::Restart {
            tracing::info!("to be started again: pooled and isolated jobs run on");
            self.tell(Event::HandOver);
        } else {
            self.drain();
        }
    }
}
