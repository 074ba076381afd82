//! Overrides of the settings by operators: paused classes, and another pool size. Kept in the state directory until
//! they are undone or expire.

use std::collections::BTreeMap;
use std::path::Path;

use kqueue_control::{Paused, PoolSize};
use kqueue_core::routing::{PerTier, Tier};
use kqueue_core::schedule::Config;
use serde::{Deserialize, Serialize};

use crate::kept::KeptFile;

const FILE: &str = "steered.json";
/// Maximum number of paused classes: each is examined with every event.
pub const CLASSES: usize = 100;

/// An operator, and when the override expires, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl Word {
    fn counts(&self, epoch: u64) -> bool {
        self.until.is_none_or(|until| until > epoch)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    classes: BTreeMap<String, Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<PoolSize>,
}

/// See the module.
#[derive(Debug)]
pub struct Overrides {
    file: KeptFile,
    kept: Kept,
}

impl Overrides {
    /// Loads the overrides that an earlier runtime saved in this directory.
    pub fn load(directory: &Path) -> Self {
        let file = KeptFile::new(directory, FILE);
        let mut kept: Kept = file.load("ignoring paused classes and pool size set by operators");
        while kept.classes.len() > CLASSES {
            kept.classes.pop_last();
        }
        Self { file, kept }
    }

    pub fn is_empty(&self) -> bool {
        self.kept == Kept::default()
    }

    /// Pauses a class. False if there are too many.
    pub fn hold(&mut self, class: &str, by: &str, until: Option<u64>) -> bool {
        let fits = self.kept.classes.len() < CLASSES || self.kept.classes.contains_key(class);
        if fits {
            self.kept.classes.insert(class.to_owned(), Word { by: by.to_owned(), until });
        }
        fits
    }

    /// Resumes a class. True if it was paused.
    pub fn let_go(&mut self, class: &str) -> bool {
        self.kept.classes.remove(class).is_some()
    }

    /// The paused classes.
    pub fn classes(&self) -> impl Iterator<Item = (&str, Paused)> {
        self.kept.classes.iter().map(|(class, word)| {
            let (by, user) = ("operator".to_owned(), Some(word.by.clone()));
            (class.as_str(), Paused { by, user, until: word.until, every: false })
        })
    }

    /// Sets the pool size, or resets it to that of the settings.
    pub fn size_pool(&mut self, size: Option<PoolSize>) {
        self.kept.pool = size;
    }

    /// The pool size, if overridden.
    pub fn pool(&self) -> Option<&PoolSize> {
        self.kept.pool.as_ref()
    }

    /// Removes expired overrides, and describes them.
    pub fn expire(&mut self, epoch: u64) -> Vec<String> {
        let mut over = Vec::new();
        self.kept.classes.retain(|class, word| {
            let counts = word.counts(epoch);
            if !counts {
                over.push(format!("class {class} is resumed"));
            }
            counts
        });
        if self.kept.pool.take_if(|pool| pool.until.is_some_and(|until| until <= epoch)).is_some() {
            over.push("the pool has its configured size again".to_owned());
        }
        over
    }

    /// When the next one expires, in seconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        let classes = self.kept.classes.values().filter_map(|word| word.until);
        classes.chain(self.kept.pool.as_ref().and_then(|pool| pool.until)).min()
    }

    /// Applies the overrides to a schedule's configuration.
    pub fn over(&self, mut config: Config) -> Config {
        for class in self.kept.classes.keys() {
            config.class_limits.entry(class.clone()).or_default().max_concurrent = Some(0);
        }
        if let Some(pool) = &self.kept.pool {
            // The settings may allow less by now.
            let size = pool.size.min(config.pool_max_size).max(1);
            let most = &config.max_concurrent;
            // Surplus workers get no further job.
            let at_once = size.min(most[Tier::Pooled]);
            config.max_concurrent = PerTier::new(most[Tier::Inline], at_once, most[Tier::Isolated]);
            (config.pool_size, config.pool_max_size) = (size, size);
            config.pool_min_idle = config.pool_min_idle.min(size);
        }
        config
    }

    /// Returns the atomic write of the file, to be run beside the loop.
    pub fn save(&mut self) -> impl FnOnce() -> Result<(), String> + Send + use<> {
        self.file.save((!self.is_empty()).then(|| self.kept.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::config;

    #[test]
    fn they_are_on_top_of_the_settings_end_and_outlive_us() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("artisan"), "").unwrap();
        let of_settings = || {
            let flags = [("pool_size", "4"), ("pool_max_size", "6"), ("pool_min_idle", "3")];
            config(directory.path(), &flags)
        };
        let mut overrides = Overrides::load(directory.path());
        assert!(overrides.is_empty() && overrides.over(of_settings()).class_limits.is_empty());
        assert!(overrides.hold("A", "alice", Some(500)));
        overrides.size_pool(Some(PoolSize { size: 2, user: "bob".to_owned(), until: Some(900) }));
        overrides.save()().unwrap();
        let mut later = Overrides::load(directory.path());
        let config = later.over(of_settings());
        assert_eq!((config.pool_min_idle, config.pool_size, config.pool_max_size), (2, 2, 2));
        assert_eq!((config.max_concurrent[Tier::Pooled], config.class_limits["A"].max_concurrent), (2, Some(0)));
        assert_eq!((later.next_end(), later.expire(499)), (Some(500), vec![]));
        assert_eq!(later.expire(500), ["class A is resumed"]);
        assert_eq!((later.next_end(), later.pool().unwrap().size), (Some(900), 2));
        assert_eq!(later.expire(1_000), ["the pool has its configured size again"]);
        assert_eq!(later.over(of_settings()).pool_size, 4);
        later.save()().unwrap();
        assert!(!directory.path().join(FILE).exists());
        // Never more than the settings allow.
        later.size_pool(Some(PoolSize { size: 50, ..PoolSize::default() }));
        assert_eq!(later.over(of_settings()).pool_max_size, 6);
    }

    #[test]
    fn they_are_bounded() {
        let mut overrides = Overrides::load(Path::new("/nonexistent"));
        for class in 0..CLASSES {
            assert!(overrides.hold(&class.to_string(), "x", None));
        }
        assert!(!overrides.hold("one more", "x", None) && overrides.hold("7", "y", None));
        assert!(overrides.let_go("7") && !overrides.let_go("7"));
    }
}
