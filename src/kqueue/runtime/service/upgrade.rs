//! Restart into a newly installed version once no job is held. Processes in units run on meanwhile.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether a restart is wanted, as the package requests after an upgrade by `SIGUSR1`.
#[derive(Debug)]
pub struct Upgrade {
    asks: Signal,
    wanted: bool,
}

impl Upgrade {
    /// Handles the signal from now on. Before that, it ends the process.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { asks: signal(SignalKind::user_defined1())?, wanted: false })
    }

    /// Waits for the signal.
    pub async fn asked(&mut self) {
        self.asks.recv().await;
    }

    /// Handles a request: wants a restart if a service manager would start us again (`restarted`), and if another
    /// version is installed.
    pub fn when_idle(&mut self, restarted: bool) {
        if !restarted {
            tracing::warn!("SIGUSR1: ignored: no service manager would restart this process");
        } else if is_replaced() {
            tracing::info!("SIGUSR1: another version is installed; restarting into it once no job is held");
            self.wanted = true;
        }
    }

    /// Whether to restart once no job is held.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }
}

/// Whether the file of the running program was removed or replaced.
pub fn is_replaced() -> bool {
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    program.as_path() != Path::new("") && !program.exists()
}
