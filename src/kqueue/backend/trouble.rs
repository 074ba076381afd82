//! Errors of the backends that keep jobs in a table.

use super::BackendError;

/// Fix for a missing jobs table.
pub(super) const MAKE_TABLE: &str =
    "create it: php artisan make:queue-table (queue:table before Laravel 11), then php artisan migrate";

/// Replaces the fix of a missing table by that for the table of shared limits, for which Laravel has no migration.
pub(super) fn limits_table(error: BackendError, table: &str) -> BackendError {
    match error {
        BackendError::NoTable { target, reason, .. } => {
            let fix = format!("create it: CREATE TABLE {table} (name varchar(191) PRIMARY KEY, state text NOT NULL)");
            BackendError::NoTable { target, reason, fix }
        }
        error => error,
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Conflict with another transaction. The connection stays usable.
    Busy(BackendError),
    /// Any other failure: the connection is closed.
    Other(BackendError),
}

impl From<Trouble> for BackendError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Busy(e) | Trouble::Other(e) => e,
        }
    }
}
