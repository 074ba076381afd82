//! Paused queues, and by whom: the app, Horizon, or an operator. Pauses by operators are kept in the state directory,
//! and outlive the runtime.

use std::collections::BTreeMap;
use std::path::Path;

use kqueue_control::Paused;
use serde::{Deserialize, Serialize};

use crate::kept::KeptFile;

const FILE: &str = "paused.json";
/// Stands for every queue, including those that the app gets later.
const EVERY: &str = "*";

/// A pause by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pause {
    /// The operator's name.
    by: String,
    /// When it ends, in seconds since 1970; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Pauses {
    file: KeptFile,
    /// By queue.
    own: BTreeMap<String, Pause>,
    /// Queues paused by the app, as last reported.
    app: Vec<String>,
    /// The app is in maintenance mode.
    down: bool,
    /// Horizon is paused.
    horizon: bool,
}

impl Pauses {
    /// Loads the pauses that an earlier runtime saved in this directory.
    pub fn load(directory: &Path) -> Self {
        let file = KeptFile::new(directory, FILE);
        let own = file.load("ignoring pauses by operators");
        Self { file, own, app: Vec::new(), down: false, horizon: false }
    }

    /// Sets the app's own state: maintenance mode and paused queues.
    pub fn app_says(&mut self, down: bool, paused: Vec<String>) {
        (self.down, self.app) = (down, paused);
    }

    /// Sets whether Horizon is paused.
    pub fn horizon_says(&mut self, held: bool) {
        self.horizon = held;
    }

    /// Whether the app is in maintenance mode.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Pauses a queue, or every one. `until`: seconds since 1970.
    pub fn pause(&mut self, queue: Option<&str>, by: String, until: Option<u64>) {
        self.own.insert(queue.unwrap_or(EVERY).to_owned(), Pause { by, until });
    }

    /// Ends an operator's pause of a queue, or every one of them. Returns their names.
    pub fn resume(&mut self, queue: Option<&str>) -> Vec<String> {
        match queue {
            Some(queue) => self.own.remove_entry(queue).map(|(queue, _)| queue).into_iter().collect(),
            None => std::mem::take(&mut self.own).into_keys().collect(),
        }
    }

    /// Ends expired pauses. True if there were any.
    pub fn expire(&mut self, epoch: u64) -> bool {
        let before = self.own.len();
        self.own.retain(|_, pause| pause.until.is_none_or(|until| until > epoch));
        self.own.len() < before
    }

    /// When the next pause ends, in seconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        self.own.values().filter_map(|pause| pause.until).min()
    }

    /// The paused ones of these queues.
    pub fn effective(&self, queues: &[String]) -> Vec<String> {
        queues.iter().filter(|queue| self.of(queue).is_some()).cloned().collect()
    }

    /// Who has paused a queue. An operator takes precedence, as that can be undone here.
    pub fn of(&self, queue: &str) -> Option<Paused> {
        let own = self.own.get_key_value(queue).or_else(|| self.own.get_key_value(EVERY));
        if let Some((name, pause)) = own {
            let every = name == EVERY;
            return Some(Paused { by: "operator".to_owned(), user: Some(pause.by.clone()), until: pause.until, every });
        }
        let by = |by: &str, every| Some(Paused { by: by.to_owned(), every, ..Paused::default() });
        match self.horizon {
            true => by("horizon", true),
            false => self.app.iter().any(|paused| paused == queue).then(|| by("app", false)).flatten(),
        }
    }

    /// Returns the atomic write of the operators' pauses, to be run beside the loop.
    pub fn save(&mut self) -> impl FnOnce() -> Result<(), String> + Send + use<> {
        self.file.save((!self.own.is_empty()).then(|| self.own.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn queues() -> Vec<String> {
        ["high", "mail"].map(str::to_owned).to_vec()
    }

    #[test]
    fn whoever_pauses_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let mut pauses = Pauses::load(directory.path());
        assert!(pauses.effective(&queues()).is_empty() && pauses.of("mail").is_none());
        pauses.app_says(false, vec!["mail".to_owned(), "elsewhere".to_owned()]);
        assert_eq!(pauses.effective(&queues()), ["mail"]);
        assert_eq!(pauses.of("mail").unwrap().by, "app");
        pauses.horizon_says(true);
        assert_eq!(pauses.effective(&queues()), queues());
        pauses.pause(Some("mail"), "alice".to_owned(), None);
        assert_eq!(pauses.of("mail").unwrap().user.as_deref(), Some("alice"));
        assert_eq!(pauses.of("high").unwrap().by, "horizon");
        // Each ends its own pauses only.
        assert_eq!(pauses.resume(None), ["mail"]);
        pauses.horizon_says(false);
        assert_eq!(pauses.of("mail").unwrap().by, "app");
        assert!(pauses.resume(Some("mail")).is_empty());
    }

    #[test]
    fn pauses_end_and_outlive_us() {
        let directory = tempfile::tempdir().unwrap();
        let mut pauses = Pauses::load(directory.path());
        pauses.file = KeptFile::new(&directory.path().join("new"), FILE);
        pauses.pause(None, "root".to_owned(), Some(500));
        pauses.pause(Some("mail"), "root".to_owned(), Some(900));
        pauses.save()().unwrap();
        let mut later = Pauses::load(&directory.path().join("new"));
        assert_eq!((later.effective(&queues()), later.next_end()), (queues(), Some(500)));
        assert!(!later.expire(499) && later.expire(500) && !later.expire(501));
        assert_eq!((later.effective(&queues()), later.next_end()), (vec!["mail".to_owned()], Some(900)));
        assert!(later.expire(1_000) && later.effective(&queues()).is_empty());
        later.save()().unwrap();
        assert!(!directory.path().join("new").join(FILE).exists());
        later.save()().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(Pauses::load(directory.path()).effective(&queues()).is_empty());
        let nowhere = Pauses::load(Path::new("/nonexistent"));
        assert!(nowhere.effective(&queues()).is_empty());
    }
}
