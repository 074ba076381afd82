//! Small files in the state directory: operators' standing commands, and alerts that have begun. They outlive the
//! runtime, and are written atomically. Uses only the given file and its directory.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum bytes read of a file: more than any of them may grow to.
const LARGEST: u64 = 8 << 20;

/// See the module.
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    /// Number of the last save requested.
    asked: u64,
    /// Number of the last save written.
    written: Arc<Mutex<u64>>,
}

impl KeptFile {
    /// The file of this name in this directory, which need not exist.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(name), asked: 0, written: Arc::default() }
    }

    /// Its contents; the default if it does not exist or cannot be read. The latter is logged, with its consequence,
    /// `without`.
    pub fn load<T: Default + DeserializeOwned>(&self, without: &str) -> T {
        let read = match read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(error.to_string()),
        };
        read.unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; {without}", self.path.display());
            T::default()
        })
    }

    /// Saves new contents, or removes the file if `None`. The returned closure does the work, and may run on another
    /// thread: the last requested save wins, in whatever order the closures run. Its error is one line.
    pub fn save<T: Serialize + Send + 'static>(
        &mut self,
        kept: Option<T>,
    ) -> impl FnOnce() -> Result<(), String> + Send + use<T> {
        self.asked += 1;
        let (path, asked, written) = (self.path.clone(), self.asked, self.written.clone());
        move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *written < asked {
                write(&path, kept.as_ref()).map_err(|error| format!("{}: {error}", path.display()))?;
                *written = asked;
            }
            Ok(())
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, "too large")),
        false => Ok(bytes),
    }
}

fn write(path: &Path, kept: Option<&impl Serialize>) -> io::Result<()> {
    let Some(kept) = kept else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    }
    let new = path.with_extension("json.new");
    let mut handle = fs::File::create(&new)?;
    handle.write_all(&serde_json::to_vec(kept)?)?;
    handle.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_last_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let mut file = KeptFile::new(&state, "x.json");
        let read = || KeptFile::new(&state, "x.json").load::<Vec<u32>>("");
        assert_eq!(read(), Vec::<u32>::new());
        let (first, second) = (file.save(Some(vec![1])), file.save(Some(vec![2])));
        second().unwrap();
        first().unwrap();
        assert_eq!(read(), [2]);
        let saves: Vec<_> = (0..200).map(|n| file.save(Some(vec![n]))).collect();
        let threads: Vec<_> = saves.into_iter().map(std::thread::spawn).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        assert_eq!(read(), [199]);
        file.save(None::<Vec<u32>>)().unwrap();
        file.save(None::<Vec<u32>>)().unwrap();
        assert!(!state.join("x.json").exists());
        fs::remove_dir_all(&state).unwrap();
        fs::write(&state, "").unwrap();
        assert!(file.save(Some(vec![3]))().unwrap_err().contains("state/x.json: "));
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeptFile::new(directory.path(), "x.json");
        for bad in ["{", "\"text\"", ""] {
            fs::write(&file.path, bad).unwrap();
            assert_eq!(file.load::<Vec<u32>>(""), Vec::<u32>::new());
        }
        fs::File::create(&file.path).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(file.load::<Vec<u32>>(""), Vec::<u32>::new());
    }
}
