//! What outlives the runtime: the history of classes, in the state directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::runtime::Runtime;
use kqueue_core::routing::History;

const FILE: &str = "history.json";
/// How often it is written.
const PERIOD: Duration = Duration::from_secs(30);

/// Reads what an earlier runtime had learnt. A file that cannot be used is set aside, never in the way.
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

impl Runtime {
    /// Writes the history whole or not at all.
    pub fn save_history(&mut self) {
        self.timers.save = Some(Instant::now() + PERIOD);
        if self.schedule.history.is_empty() {
            return;
        }
        let directory = &self.settings.state_dir;
        let result = fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).and_then(|()| {
            let new = directory.join("history.json.new");
            let mut file = fs::File::create(&new)?;
            file.write_all(self.schedule.history.to_json().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, directory.join(FILE))
        });
        if let Err(error) = result {
            tracing::warn!(
                "{}: {error}; what is learnt of job classes will be lost with a restart",
                directory.display()
            );
        }
    }
}
