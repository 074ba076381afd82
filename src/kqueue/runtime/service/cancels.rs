//! Jobs that operators have cancelled and whose outcome is not known yet: one that is released, or whose process dies,
//! comes back later, to this runtime or the next one, and must not run then. Kept in the state directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kqueue_core::schedule::Cancel;
use serde::{Deserialize, Serialize};

use crate::kept::KeptFile;

const FILE: &str = "cancelled.json";
/// Maximum number of remembered jobs; beyond that the oldest are forgotten.
const JOBS: usize = 10_000;
/// Seconds for which a job is remembered: longer than most backoffs.
const LASTS: u64 = 86_400;
/// Minimum seconds between two searches for jobs that are too old.
const PRUNED: u64 = 600;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    by: String,
    #[serde(default)]
    delete: bool,
    /// Seconds since 1970.
    at: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Cancels {
    file: KeptFile,
    /// By UUID.
    jobs: BTreeMap<String, Word>,
    /// When old ones were last forgotten, in seconds since 1970.
    pruned: u64,
    /// The file is out of date.
    changed: bool,
    /// The file is being written.
    under_way: Arc<AtomicBool>,
}

impl Cancels {
    /// Loads the cancellations that an earlier runtime saved in this directory.
    pub fn load(directory: &Path) -> Self {
        let file = KeptFile::new(directory, FILE);
        let jobs = file.load("cancelled jobs that come back will run");
        Self { file, jobs, pruned: 0, changed: false, under_way: Arc::default() }
    }

    /// Remembers that a job is cancelled.
    pub fn add(&mut self, uuid: &str, by: &str, delete: bool, epoch: u64) {
        if self.jobs.len() >= JOBS || epoch.saturating_sub(self.pruned) >= PRUNED {
            self.prune(epoch);
        }
        self.changed = true;
        self.jobs.insert(uuid.to_owned(), Word { by: by.to_owned(), delete, at: epoch });
    }

    /// Forgets jobs that are too old; at the limit also the oldest tenth, so that this is rare.
    fn prune(&mut self, epoch: u64) {
        self.pruned = epoch;
        self.jobs.retain(|_, word| word.at.saturating_add(LASTS) > epoch);
        if self.jobs.len() >= JOBS {
            let mut oldest: Vec<(u64, String)> = self.jobs.iter().map(|(uuid, word)| (word.at, uuid.clone())).collect();
            oldest.sort_unstable();
            oldest.iter().take(JOBS / 10).for_each(|(_, uuid)| drop(self.jobs.remove(uuid)));
        }
    }

    /// The cancellation of a job, if any.
    pub fn of(&self, uuid: &str) -> Option<Cancel> {
        let word = self.jobs.get(uuid).filter(|_| !uuid.is_empty())?;
        Some(Cancel { by: word.by.clone(), delete: word.delete })
    }

    /// Forgets a job that does not come back.
    pub fn settled(&mut self, uuid: &str) {
        self.changed |= self.jobs.remove(uuid).is_some();
    }

    /// Returns the atomic write of the file, to be run beside the loop; `None` if nothing has changed.
    pub fn save(&mut self) -> Option<impl FnOnce() -> Result<(), String> + Send + use<>> {
        std::mem::take(&mut self.changed).then(|| {
            let write = self.file.save((!self.jobs.is_empty()).then(|| self.jobs.clone()));
            let under_way = self.under_way.clone();
            under_way.store(true, Ordering::Relaxed);
            move || {
                let written = write();
                under_way.store(false, Ordering::Relaxed);
                written
            }
        })
    }

    /// The same, but `None` also while the file is being written: for frequent changes that can wait for the next time.
    pub fn save_at_leisure(&mut self) -> Option<impl FnOnce() -> Result<(), String> + Send + use<>> {
        if self.under_way.load(Ordering::Relaxed) { None } else { self.save() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_remembered_until_they_are_settled() {
        let directory = tempfile::tempdir().unwrap();
        let mut cancels = Cancels::load(directory.path());
        assert!(cancels.save().is_none());
        cancels.add("u", "alice", true, 1_000);
        cancels.save().unwrap()().unwrap();
        let mut later = Cancels::load(directory.path());
        assert_eq!(later.of("u"), Some(Cancel { by: "alice".to_owned(), delete: true }));
        assert_eq!((later.of("v"), later.of("")), (None, None));
        later.settled("v");
        assert!(later.save().is_none());
        later.settled("u");
        later.save().unwrap()().unwrap();
        assert!(!directory.path().join(FILE).exists());
        // With a limit in time and in number.
        later.add("old", "x", false, 1_000);
        later.add("new", "x", false, 1_000 + LASTS);
        assert!(later.of("old").is_none() && later.of("new").is_some());
        (0..2 * JOBS as u64).for_each(|at| later.add(&at.to_string(), "x", false, 100_000 + at / 1_000));
        assert!(later.jobs.len() <= JOBS && later.of(&(2 * JOBS - 1).to_string()).is_some());
    }

    #[test]
    fn as_many_as_there_may_be_outlive_us() {
        let directory = tempfile::tempdir().unwrap();
        let mut cancels = Cancels::load(directory.path());
        let by = "x".repeat(400);
        (0..JOBS as u64).for_each(|n| cancels.add(&format!("{n:0>36}"), &by, true, 1_000));
        let write = cancels.save().unwrap();
        // Changes meanwhile wait, unless the caller needs them saved.
        cancels.settled(&format!("{:0>36}", 0));
        assert!(cancels.save_at_leisure().is_none());
        write().unwrap();
        assert_eq!(Cancels::load(directory.path()).jobs.len(), JOBS);
        cancels.save_at_leisure().unwrap()().unwrap();
        assert_eq!(Cancels::load(directory.path()).jobs.len(), JOBS - 1);
    }
}
