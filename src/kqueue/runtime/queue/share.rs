//! Limits shared between hosts: the state of each is a text kept by the queue's server, replaced by compare-and-swap.
//! The arithmetic is in `kqueue_core::arbiter`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kqueue_core::arbiter::{Claim, Grant, Shared};
use kqueue_system::harmless;
use serde::{Deserialize, Serialize};

use super::{Answer, QueueEvent, QueueSide};
use crate::backend::{BackendError, QueueBackend};
use crate::kept::KeptFile;

/// Timeout of one request, shorter than the schedule's.
const PATIENCE: Duration = Duration::from_secs(4);
/// Attempts while other hosts win the race.
const TRIES: usize = 20;
/// Maximum bytes of a server's error text.
const ERROR: usize = 300;
/// Maximum bytes of a limit's name on the server.
const NAME: usize = 160;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Our host id.
    host: String,
    /// Limits whose last request failed.
    failing: BTreeSet<String>,
    /// Error of the last failed request.
    error: Option<String>,
    /// Requests under way.
    pub under_way: usize,
}

/// The host id, kept for the next runtime, which inherits the grants of a killed one. Not kept over a reboot, after
/// which nothing runs: clones of a machine start with the same files, and must not share an id.
pub fn host(state_dir: &Path) -> String {
    #[derive(Default, Deserialize, Serialize)]
    struct Host {
        boot: String,
        id: String,
    }
    let kernel = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/random/{file}")).unwrap_or_default();
    let (boot, mut file) = (kernel("boot_id").trim().to_owned(), KeptFile::new(state_dir, "host.json"));
    let kept: Host = file.load("this host counts as a new one in limits shared between hosts");
    if kept.boot == boot && !kept.id.is_empty() {
        return kept.id;
    }
    let id = kernel("uuid").trim().replace('-', "");
    if let Err(error) = file.save(Some(Host { boot, id: id.clone() }))() {
        tracing::warn!(
            "{error}; after a restart, limits shared between hosts count this host's earlier jobs for half a minute"
        );
    }
    id
}

impl QueueSide {
    /// Sets our host id.
    pub fn is_host(&mut self, host: String) {
        self.shares.host = host;
    }

    /// Requests a grant of a shared limit; [`QueueEvent::Shared`] reports it.
    pub fn share(&mut self, claim: Claim) {
        let host = self.shares.host.clone();
        self.shares.under_way += 1;
        self.call(|backend| async move {
            let asked = tokio::time::timeout(PATIENCE, ask(&*backend, &host, &claim)).await;
            let result = asked.unwrap_or_else(|_| {
                let reason = format!("no answer within {} s", PATIENCE.as_secs());
                Err(BackendError::Unavailable { target: "the queue".to_owned(), reason })
            });
            Answer::Shared { name: claim.name, call: claim.call, result }
        });
    }

    pub(super) fn shared(&mut self, name: String, call: u64, result: Result<Grant, BackendError>) {
        self.shares.under_way -= 1;
        let was_failing = !self.shares.failing.is_empty();
        let grant = match result {
            Ok(grant) => {
                self.shares.failing.remove(&name);
                Some(grant)
            }
            Err(error) => {
                self.shares.failing.insert(name.clone());
                self.shares.error = Some(harmless::line(&error.to_string(), ERROR));
                None
            }
        };
        match (was_failing, self.unshared()) {
            (false, Some(error)) => tracing::error!("{error}"),
            (true, None) => tracing::info!("limits shared between hosts are available again"),
            _ => {}
        }
        self.events.push_back(QueueEvent::Shared { name, call, grant });
    }

    /// Why shared limits are not kept, if so.
    pub fn unshared(&self) -> Option<String> {
        let error = self.shares.error.as_deref().filter(|_| !self.shares.failing.is_empty())?;
        Some(format!("limits shared between hosts are unavailable, so jobs under them do not start: {error}"))
    }

    /// Forgets failures, since the limits may have changed.
    pub(super) fn forget_shared(&mut self) {
        self.shares.failing.clear();
    }
}

/// Computes the grant on the current state, until it is stored without a race.
async fn ask(backend: &dyn QueueBackend, host: &str, claim: &Claim) -> Result<Grant, BackendError> {
    let name = short(&claim.name);
    let keep = Duration::from_millis(Shared::keep_ms(&claim.limit));
    for _ in 0..TRIES {
        let (text, now) = backend.kept(&name).await?;
        let mut shared = text.as_deref().map(Shared::read).unwrap_or_default();
        let grant = shared.ask(now, host, claim);
        if backend.keep(&name, text.as_deref(), &shared.write(), keep).await? {
            return Ok(grant);
        }
    }
    let reason = format!("{TRIES} attempts failed because other hosts updated it first");
    Err(BackendError::Unavailable { target: format!("limit {name}"), reason })
}

/// Shortens a name to [`NAME`] bytes; a hash keeps long ones distinct.
fn short(name: &str) -> String {
    if name.len() <= NAME {
        return name.to_owned();
    }
    let hash = kqueue_core::payload::hash(name);
    format!("{}~{hash:016x}", name.get(..name.floor_char_boundary(NAME - 20)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_told_apart() {
        assert_eq!(short("class:App\\Jobs\\A"), "class:App\\Jobs\\A");
        let long = |end: &str| short(&format!("{}ü{end}", "x".repeat(NAME)));
        assert!(long("a").len() <= NAME && long("a") != long("b"));
    }

    #[test]
    fn a_host_is_the_same_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let id = host(dir.path());
        assert_eq!((id.len(), host(dir.path())), (32, id));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(host(other.path()), host(dir.path()));
    }
}
