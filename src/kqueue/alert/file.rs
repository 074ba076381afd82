//! What has begun and is not over, in the state directory: it outlives a restart, and is written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use kqueue_core::alerts::Episode;
use serde::{Deserialize, Serialize};

const FILE: &str = "alerts.json";
/// Bytes of the file that are read.
const LARGEST: usize = 1 << 20;

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

/// Reads it. What cannot be read is nothing, and a line in the log.
pub fn read(directory: &Path) -> Kept {
    let file = directory.join(FILE);
    let read = match fs::read(&file) {
        Ok(bytes) if bytes.len() <= LARGEST => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Ok(_) => Err("too large".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error| {
        tracing::warn!("{}: {error}; no alert is taken to have begun", file.display());
        Kept::default()
    })
}

/// Writes it; removes it where there is nothing in it.
///
/// # Errors
/// As one line.
pub fn write(directory: &Path, kept: &Kept) -> Result<(), String> {
    let file = directory.join(FILE);
    let write = || -> io::Result<()> {
        if *kept == Kept::default() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        let new = file.with_extension("json.new");
        let mut handle = fs::File::create(&new)?;
        handle.write_all(&serde_json::to_vec(kept)?)?;
        handle.sync_all()?;
        fs::rename(&new, &file)
    };
    write().map_err(|error| format!("{}: {error}", file.display()))
}
