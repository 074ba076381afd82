//! What has begun and is not over, in the state directory: it outlives a restart.

use std::path::Path;

use kqueue_core::alerts::Episode;
use serde::{Deserialize, Serialize};

use crate::kept::KeptFile;

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Episodes.
    pub open: Vec<Episode>,
    /// Since when each start has failed, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<u64>,
}

impl Kept {
    /// The file in this state directory, and what is in it.
    pub fn load(directory: &Path) -> (KeptFile, Self) {
        let file = KeptFile::new(directory, "alerts.json");
        let kept = file.load("assuming that no alert is active");
        (file, kept)
    }

    /// Saves it, or removes the file where there is nothing to keep: see [`KeptFile::save`].
    pub fn save(self, file: &mut KeptFile) -> impl FnOnce() -> Result<(), String> + Send + use<> {
        let is_any = self != Self::default();
        file.save(is_any.then_some(self))
    }
}
