//! Jobs that operators have cancelled and of which it is not known yet what became: one that is released or whose process dies
//! meanwhile comes back some time, to us or to the runtime after us, and does not run then. Kept in the state directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kqueue_core::schedule::Cancel;
use serde::{Deserialize, Serialize};

use super::kept;

const FILE: &str = "cancelled.json";
/// Jobs that are remembered; beyond that the oldest are forgotten.
const JOBS: usize = 10_000;
/// Seconds for which one is: longer than most backoffs.
const LASTS: u64 = 86_400;

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
    file: PathBuf,
    /// By uuid.
    jobs: BTreeMap<String, Word>,
    /// What the file says is not true any more.
    changed: bool,
}

impl Cancels {
    /// As an earlier runtime has left them in this directory.
    pub fn load(directory: &Path) -> Self {
        let file = directory.join(FILE);
        let jobs = kept::load(&file, "jobs that were cancelled and come back are run");
        Self { file, jobs, changed: false }
    }

    /// A job is cancelled.
    pub fn add(&mut self, uuid: &str, by: &str, delete: bool, epoch: u64) {
        self.jobs.retain(|_, word| word.at.saturating_add(LASTS) > epoch);
        if self.jobs.len() >= JOBS {
            let oldest = self.jobs.iter().min_by_key(|(_, word)| word.at).map(|(uuid, _)| uuid.clone());
            oldest.map(|uuid| self.jobs.remove(&uuid));
        }
        self.changed = true;
        self.jobs.insert(uuid.to_owned(), Word { by: by.to_owned(), delete, at: epoch });
    }

    /// What is to be done with a job that has come.
    pub fn of(&self, uuid: &str) -> Option<Cancel> {
        let word = self.jobs.get(uuid).filter(|_| !uuid.is_empty())?;
        Some(Cancel { by: word.by.clone(), delete: word.delete })
    }

    /// It does not come back.
    pub fn settled(&mut self, uuid: &str) {
        self.changed |= self.jobs.remove(uuid).is_some();
    }

    /// Writes them down, if there is news: whole or not at all. It may be done beside the runtime's own work.
    pub fn save(&mut self) -> Option<impl FnOnce() -> Result<(), String> + Send + 'static> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let (file, jobs) = (self.file.clone(), (!self.jobs.is_empty()).then(|| self.jobs.clone()));
        Some(move || kept::save(&file, jobs.as_ref()).map_err(|error| format!("{}: {error}", file.display())))
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
        assert!(!later.file.exists());
        // Not for ever, and not without end.
        later.add("old", "x", false, 1_000);
        later.add("new", "x", false, 1_000 + LASTS);
        assert!(later.of("old").is_none() && later.of("new").is_some());
        (0..2 * JOBS as u64).for_each(|at| later.add(&at.to_string(), "x", false, 100_000 + at / 1_000));
        assert!(later.jobs.len() <= JOBS && later.of(&(2 * JOBS - 1).to_string()).is_some());
    }
}
