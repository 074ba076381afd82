//! Limits that hosts share: what is known of each is kept by the queue's own server, as a text that is changed only by who
//! has seen it as it is. What follows from it is worked out here, by `kqueue_core::arbiter`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kqueue_core::arbiter::{Claim, Grant, Shared};
use kqueue_system::harmless;
use serde::{Deserialize, Serialize};

use super::{Answer, QueueEvent, QueueSide};
use crate::backend::{BackendError, QueueBackend};
use crate::kept::KeptFile;

/// What one question may take: less than the schedule waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often it is tried while other hosts are quicker.
const TRIES: usize = 20;
/// Bytes of a server's own text.
const ERROR: usize = 300;
/// Bytes of the name of a limit, as it is kept.
const NAME: usize = 160;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Who we are among those that share.
    host: String,
    /// Limits whose last question had no answer.
    failing: BTreeSet<String>,
    /// Why the last one had none.
    error: Option<String>,
    /// Questions that have not come back.
    pub under_way: usize,
}

/// Who this host is to the others, kept for the next runtime: what was given to one that was killed is its own. Not over a
/// start of the machine, after which nothing runs: one that was copied has other machines start with the same files.
pub fn host(state_dir: &Path) -> String {
    #[derive(Default, Deserialize, Serialize)]
    struct Host {
        boot: String,
        id: String,
    }
    let kernel = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/random/{file}")).unwrap_or_default();
    let (boot, mut file) = (kernel("boot_id").trim().to_owned(), KeptFile::new(state_dir, "host.json"));
    let kept: Host = file.load("it is taken for another host");
    if kept.boot == boot && !kept.id.is_empty() {
        return kept.id;
    }
    let id = kernel("uuid").trim().replace('-', "");
    if let Err(error) = file.save(Some(Host { boot, id: id.clone() }))() {
        tracing::warn!("{error}; after a restart, limits that hosts share count what ran before it for half a minute");
    }
    id
}

impl QueueSide {
    /// Tells who we are to those that share limits with us.
    pub fn is_host(&mut self, host: String) {
        self.shares.host = host;
    }

    /// Asks what a limit lets start that hosts share; [`QueueEvent::Shared`] says so.
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
            (true, None) => tracing::info!("limits that hosts share are kept again"),
            _ => {}
        }
        self.events.push_back(QueueEvent::Shared { name, call, grant });
    }

    /// Why limits that hosts share are not kept, if they are not.
    pub fn unshared(&self) -> Option<String> {
        let error = self.shares.error.as_deref().filter(|_| !self.shares.failing.is_empty())?;
        Some(format!("limits that hosts share are not kept, so nothing starts that they bound: {error}"))
    }

    /// Limits of these are asked for no more.
    pub(super) fn forget_shared(&mut self) {
        self.shares.failing.clear();
    }
}

/// Works out what may start, on what is there, until nobody else was quicker.
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
    let reason = format!("other hosts were quicker {TRIES} times");
    Err(BackendError::Unavailable { target: format!("limit {name}"), reason })
}

/// A name as long as servers keep it.
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
