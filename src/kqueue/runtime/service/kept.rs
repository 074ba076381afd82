//! Small files in the state directory: what operators have said and not taken back, which outlives us.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a file that are read.
const LARGEST: usize = 1 << 20;

/// What is in a file; nothing where there is none. One that cannot be read is said, and `without` what follows from that.
pub fn load<T: Default + DeserializeOwned>(file: &Path, without: &str) -> T {
    let read = match fs::read(file) {
        Ok(bytes) if bytes.len() <= LARGEST => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Ok(_) => Err("too large".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error| {
        tracing::warn!("{}: {error}; {without}", file.display());
        T::default()
    })
}

/// Writes a file whole or not at all, or removes it where there is nothing to keep.
pub fn save(file: &Path, kept: Option<&impl Serialize>) -> io::Result<()> {
    let Some(kept) = kept else {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    }
    let new = file.with_extension("json.new");
    let mut handle = fs::File::create(&new)?;
    handle.write_all(&serde_json::to_vec(kept)?)?;
    handle.sync_all()?;
    fs::rename(&new, file)
}
