//! Errors of the server, and what they mean for the queue.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;

use super::settings::Engine;
use crate::backend::BackendError;
use crate::backend::trouble::{MAKE_TABLE, Trouble};

/// Fixes for the app, by the keys of a fresh Laravel.
const CREDENTIALS: &str = "check DB_USERNAME and DB_PASSWORD (or DB_URL) in the app's .env";
const DATABASE: &str = "check DB_DATABASE, DB_HOST and DB_PORT (or DB_URL) in the app's .env";

/// Server and table of a call, for error messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub engine: Engine,
    /// The address.
    pub at: &'a str,
    /// The table, quoted.
    pub table: &'a str,
}

impl Place<'_> {
    /// Classifies an error of the client library.
    pub(super) fn trouble(self, error: &sqlx::Error) -> Trouble {
        let (said, fault) = fault(error);
        let table = self.table;
        let refused = |fix| Trouble::Other(BackendError::Refused { what: format!("{}: {said}", self.target()), fix });
        match fault {
            Fault::Busy => Trouble::Busy(self.unavailable(&said)),
            Fault::Credentials => refused(CREDENTIALS),
            Fault::Database => refused(DATABASE),
            Fault::Table => Trouble::Other(self.no_table(&said)),
            Fault::Privilege => Trouble::Other(
                self.unavailable(&format!("{said}; grant the user SELECT, INSERT, UPDATE and DELETE on {table}")),
            ),
            Fault::ReadOnly => Trouble::Other(
                self.unavailable(&format!("{said}; the server accepts no writes: it is a replica or has failed over")),
            ),
            Fault::Gone => Trouble::Other(self.unavailable(&said)),
        }
    }

    /// Error for a missing table.
    pub(super) fn no_table(self, said: &str) -> BackendError {
        BackendError::NoTable { target: self.target(), reason: said.to_owned(), fix: MAKE_TABLE.to_owned() }
    }

    pub(super) fn unavailable(self, reason: &str) -> BackendError {
        BackendError::Unavailable { target: self.target(), reason: reason.to_owned() }
    }

    fn target(self) -> String {
        format!("{} at {}", self.engine, self.at)
    }
}

/// Kinds of errors that are handled differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Busy,
    Credentials,
    Database,
    Table,
    Privilege,
    ReadOnly,
    Gone,
}

/// Message and kind of an error.
fn fault(error: &sqlx::Error) -> (String, Fault) {
    let Some(database) = error.as_database_error() else {
        return (outermost(error), Fault::Gone);
    };
    if let Some(error) = database.try_downcast_ref::<MySqlDatabaseError>() {
        return (format!("{} ({})", error.message(), error.number()), mysql(error.number()));
    }
    let Some(error) = database.try_downcast_ref::<PgDatabaseError>() else {
        return (database.message().to_owned(), Fault::Gone);
    };
    (format!("{} ({})", error.message(), error.code()), postgres(error.code()))
}

/// By its number; <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>.
const fn mysql(number: u16) -> Fault {
    match number {
        // Changed since it was read, waited too long, deadlock, locked.
        1020 | 1205 | 1213 | 3572 => Fault::Busy,
        1045 | 1698 | 1862 | 3118 => Fault::Credentials,
        1044 | 1049 => Fault::Database,
        1146 => Fault::Table,
        1142 | 1143 | 1370 => Fault::Privilege,
        1290 | 1792 | 1836 => Fault::ReadOnly,
        _ => Fault::Gone,
    }
}

/// By its SQLSTATE; <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres(code: &str) -> Fault {
    match code {
        // Serialization, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Fault::Busy,
        "28000" | "28P01" => Fault::Credentials,
        "3D000" => Fault::Database,
        "42P01" | "3F000" => Fault::Table,
        "42501" => Fault::Privilege,
        "25006" => Fault::ReadOnly,
        _ => Fault::Gone,
    }
}

/// The library's message, without its prefix for the kind of error.
fn outermost(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(e) => e.to_string(),
        sqlx::Error::Tls(e) => format!("TLS: {e}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_told_from_what_is_gone() {
        for number in [1213, 1205, 3572] {
            assert_eq!(mysql(number), Fault::Busy, "{number}");
        }
        for number in [2006, 2013, 1040, 1203, 1053] {
            assert_eq!(mysql(number), Fault::Gone, "{number}");
        }
        for code in ["40001", "40P01", "55P03"] {
            assert_eq!(postgres(code), Fault::Busy, "{code}");
        }
        for code in ["57P01", "57P02", "57P03", "53300", "08006"] {
            assert_eq!(postgres(code), Fault::Gone, "{code}");
        }
    }
}
