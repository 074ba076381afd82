//! Why a call to a jobs table failed: of every backend that keeps jobs in one.

use super::BackendError;

/// What to do about a missing jobs table.
pub(super) const MAKE_TABLE: &str =
    "make it: php artisan make:queue-table (queue:table before Laravel 11), then php artisan migrate";

/// The same for the table of what hosts share: there is no migration of Laravel's for that.
pub(super) fn limits_table(error: BackendError, table: &str) -> BackendError {
    match error {
        BackendError::NoTable { target, reason, .. } => {
            let fix = format!("make it: CREATE TABLE {table} (name varchar(191) PRIMARY KEY, state text NOT NULL)");
            BackendError::NoTable { target, reason, fix }
        }
        error => error,
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another transaction was in the way. The connection is as good as before.
    Busy(BackendError),
    /// Anything else: the connection is given up.
    Other(BackendError),
}

impl From<Trouble> for BackendError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Busy(e) | Trouble::Other(e) => e,
        }
    }
}
