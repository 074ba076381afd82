//! Restart into a newly installed version once no job is held. What runs in units runs on meanwhile.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

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

    /// As soon as no job is ours, the service manager is to start us again, if it would (`restarted`) and if that brings
    /// another version.
    pub fn when_idle(&mut self, restarted: bool) {
        if !restarted {
            tracing::warn!("SIGUSR1: no service manager would start this process again; it goes on");
        } else if is_replaced() {
            tracing::info!("SIGUSR1: another version is installed; restarting into it once no job is held");
            self.wanted = true;
        }
    }

    /// Whether to restart as soon as nothing is to be done.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }
}

/// Whether the file of the program that runs is there no more.
pub fn is_replaced() -> bool {
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    program.as_path() != Path::new("") && !program.exists()
}
