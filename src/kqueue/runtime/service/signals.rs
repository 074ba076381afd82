//! The Unix signals by which a running runtime is stopped or told to reload.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Stop; with the signal's name.
    Stop(&'static str),
    /// Read the settings again.
    Reload,
}

/// Every signal, and its request.
const SIGNALS: [(fn() -> SignalKind, Asked); 4] = [
    (SignalKind::terminate, Asked::Stop("SIGTERM")),
    (SignalKind::interrupt, Asked::Stop("SIGINT")),
    (SignalKind::quit, Asked::Stop("SIGQUIT")),
    (SignalKind::hangup, Asked::Reload),
];

/// Handles these signals from now on. Before that, each of them ends the process.
///
/// # Errors
/// When a handler cannot be installed.
pub fn listen() -> io::Result<mpsc::Receiver<Asked>> {
    let (sender, asked) = mpsc::channel(SIGNALS.len());
    for (kind, what) in SIGNALS {
        let (mut signals, sender) = (signal(kind())?, sender.clone());
        tokio::task::spawn_local(
            async move { while signals.recv().await.is_some() && sender.send(what).await.is_ok() {} },
        );
    }
    Ok(asked)
}
