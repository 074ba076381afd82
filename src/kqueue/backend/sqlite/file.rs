//! The database file: opened when needed, never created, reopened when it was replaced.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::Mutex;

use crate::backend::BackendError;
use crate::backend::trouble::{MAKE_TABLE, Trouble};

/// Longest wait for a lock held by another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open file and its identity.
struct Open {
    connection: SqliteConnection,
    device: u64,
    inode: u64,
}

/// The app's database file.
pub(super) struct File {
    path: String,
    open: Mutex<Option<Open>>,
}

impl File {
    /// Does not open the file yet.
    pub(super) fn new(path: String) -> Self {
        let open = Mutex::new(None);
        Self { path, open }
    }

    /// Runs `work` on the connection, one call at a time.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> sqlx::Result<T>,
    ) -> Result<T, Trouble> {
        let mut slot = self.open.lock().await;
        // SQLite keeps using a file that was deleted or replaced, to which the app no longer pushes.
        let there = std::fs::metadata(&self.path).map_err(|e| Trouble::Other(self.error(&e)))?;
        let current = slot.take().filter(|open| open.device == there.dev() && open.inode == there.ino());
        let mut open = match current {
            Some(open) => open,
            None => Open {
                connection: self.connect().await.map_err(|e| self.trouble(&e))?,
                device: there.dev(),
                inode: there.ino(),
            },
        };

        let result = work(&mut open.connection).await;
        // Any failure but a lock closes the connection. So does dropping the future, and SQLite rolls back the open
        // transaction.
        match result {
            Ok(value) => {
                *slot = Some(open);
                Ok(value)
            }
            Err(e) => {
                let trouble = self.trouble(&e);
                if matches!(trouble, Trouble::Busy(_)) {
                    *slot = Some(open);
                }
                Err(trouble)
            }
        }
    }

    async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            // SQLite's own default, and what the table's owner may rely on.
            .foreign_keys(false)
            .disable_statement_logging()
            .connect()
            .await
    }

    fn trouble(&self, e: &sqlx::Error) -> Trouble {
        // The low byte of an extended code is the primary code: 5 SQLITE_BUSY, 6 SQLITE_LOCKED.
        let busy = e
            .as_database_error()
            .and_then(|e| e.code())
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| matches!(code & 0xff, 5 | 6));
        if busy { Trouble::Busy(self.error(e)) } else { Trouble::Other(self.error(e)) }
    }

    fn error(&self, reason: &dyn std::fmt::Display) -> BackendError {
        let (target, reason) = (self.path.clone(), reason.to_string());
        // SQLite has no error code for a missing table.
        if reason.contains("no such table") {
            BackendError::NoTable { target, reason, fix: MAKE_TABLE.to_owned() }
        } else {
            BackendError::Unavailable { target, reason }
        }
    }
}
