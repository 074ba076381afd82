//! The history of classes, kept in the state directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kqueue_core::routing::History;

const FILE: &str = "history.json";
/// Interval between two writes.
const PERIOD: Duration = Duration::from_secs(30);

/// Loads the history of an earlier runtime. A file that cannot be parsed is set aside.
pub fn load_history(directory: &Path) -> History {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return History::new(),
        Err(error) => {
            tracing::warn!("{}: {error}; starting with no history", path.display());
            return History::new();
        }
    };
    History::from_json(&text).unwrap_or_else(|error| {
        let aside = path.with_extension("json.unreadable");
        let _ = fs::rename(&path, &aside);
        tracing::warn!("{}: {error}; kept as {}, starting with no history", path.display(), aside.display());
        History::new()
    })
}

/// The history file. Written beside the loop, since a disk may be slow.
#[derive(Clone, Debug)]
pub struct HistoryFile {
    directory: PathBuf,
    /// Revision of the history that it holds. Locked while it is written.
    written: Arc<Mutex<u64>>,
    /// When it is checked next.
    due: Instant,
}

impl HistoryFile {
    /// The file in this directory, which holds this history.
    pub fn new(directory: &Path, history: &History) -> Self {
        Self {
            directory: directory.to_owned(),
            written: Arc::new(Mutex::new(history.revision())),
            due: Instant::now() + PERIOD,
        }
    }

    pub fn wake(&self) -> Option<Instant> {
        Some(self.due)
    }

    /// Starts writing the history, if due and changed.
    pub fn on_time(&mut self, now: Instant, history: &History) {
        if self.due <= now {
            self.save(history);
        }
    }

    /// Starts writing the history, if changed.
    pub fn save(&mut self, history: &History) {
        self.due = Instant::now() + PERIOD;
        if self.is_behind(history) {
            let (file, history) = (self.clone(), history.clone());
            tokio::task::spawn_blocking(move || file.write(&history));
        }
    }

    /// Writes the history, if changed, and waits for that.
    pub async fn save_last(&self, history: &History) {
        let (file, history) = (self.clone(), history.clone());
        let _ = tokio::task::spawn_blocking(move || file.write(&history)).await;
    }

    /// Whether the file is out of date. False while it is written: this is checked again later.
    fn is_behind(&self, history: &History) -> bool {
        self.written.try_lock().is_ok_and(|written| *written != history.revision())
    }

    /// Writes the history atomically, if changed.
    fn write(&self, history: &History) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == history.revision() {
            return;
        }
        let directory = &self.directory;
        let result = fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).and_then(|()| {
            let new = directory.join("history.json.new");
            let mut file = fs::File::create(&new)?;
            file.write_all(history.to_json().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, directory.join(FILE))
        });
        match result {
            Ok(()) => *written = history.revision(),
            Err(error) => tracing::warn!(
                "{}: {error}; the statistics of job classes will be lost on restart",
                directory.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_when_it_has_changed_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let mut history = load_history(&state);
        let file = HistoryFile::new(&state, &history);
        assert!(!file.is_behind(&history));
        file.write(&history);
        assert!(!state.exists(), "there is nothing to write");
        history.record_success("A", 5, None, 1);
        assert!(file.is_behind(&history));
        file.write(&history);
        assert!(!file.is_behind(&history));
        assert_eq!(load_history(&state).to_json(), history.to_json());
        // An unchanged history is not written.
        fs::remove_file(state.join(FILE)).unwrap();
        file.write(&history);
        assert!(!state.join(FILE).exists());
        history.record_failure("A", 2);
        file.write(&history);
        let again = load_history(&state);
        assert_eq!(again.to_json(), history.to_json());
        assert!(!HistoryFile::new(&state, &again).is_behind(&again));
    }

    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::write(&state, "no directory").unwrap();
        let mut history = History::new();
        let file = HistoryFile::new(&state, &history);
        history.record_success("A", 5, None, 1);
        file.write(&history);
        assert!(file.is_behind(&history));
        fs::remove_file(&state).unwrap();
        file.write(&history);
        assert!(!file.is_behind(&history) && state.join(FILE).exists());
    }

    #[test]
    fn nobody_waits_while_it_is_written() {
        let mut history = History::new();
        let file = HistoryFile::new(Path::new("/nonexistent"), &history);
        history.record_success("A", 5, None, 1);
        let being_written = file.written.lock().unwrap();
        assert!(!file.is_behind(&history));
        drop(being_written);
        assert!(file.is_behind(&history));
    }
}
