//! Restart into a newly installed version once no job is held. What runs in units runs on meanwhile.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::Runtime;
use kqueue_core::schedule::{Event, Standing};

/// Whether we are to be started again, as the package asks after an upgrade: `SIGUSR1`.
#[derive(Debug)]
pub struct Upgrade {
    asks: Signal,
    wanted: bool,
}

impl Upgrade {
    /// Listens from now on. Before that, the signal would end us.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { asks: signal(SignalKind::user_defined1())?, wanted: false })
    }

    /// Waits until somebody asks.
    pub async fn asked(&mut self) {
        self.asks.recv().await;
    }
}

impl Runtime {
    /// As soon as no job is ours, the service manager is to start us again, if that brings another version.
    pub fn upgrade_when_idle(&mut self) {
        if !self.is_restarted() {
            tracing::warn!("SIGUSR1: no service manager would start this process again; it goes on");
        } else if is_replaced() {
            tracing::info!("SIGUSR1: another version is installed; restarting into it once no job is held");
            self.service.upgrade.wanted = true;
        }
    }

    /// A PHP process speaks another protocol. Where our program has been replaced, so have our PHP files: what is
    /// started from now on can only work with the other version.
    pub fn on_foreign(&mut self) {
        if self.is_restarted() && self.schedule.standing() == Standing::Running && is_replaced() {
            tracing::warn!("another version of kqueue is installed, with another protocol: restarting into it");
            self.tell(Event::HandOver);
        }
    }

    /// Whether the schedule is done. Where a renewal is wanted, it is when it has nothing to do.
    pub fn is_over(&mut self) -> bool {
        let idle = self.schedule.standing() == Standing::Running && self.schedule.job_count() == 0;
        // Before the queue has answered, the manager would take it for a failed start.
        if self.service.upgrade.wanted && idle && self.queue.fetch.has_answered() {
            tracing::info!("no job is held: leaving, to be started again");
            self.tell(Event::HandOver);
        }
        self.schedule.is_over()
    }

    fn is_restarted(&self) -> bool {
        self.processes.outlive() && self.service.health.is_watched()
    }
}

/// Whether the file of the program that runs is there no more.
fn is_replaced() -> bool {
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    program.as_path() != Path::new("") && !program.exists()
}
