//! The SQL for one jobs table: Laravel's own predicates, in as few statements as the engine needs. Pure.

use std::fmt::Write;

use super::settings::Engine;
use crate::backend::listing::CUT;
use crate::backend::row::Row;
use crate::backend::{BUDGET, LARGEST, Listing};

/// Lock timeout for rows of other transactions, in seconds.
const PATIENCE: u32 = 5;

/// Which rows of one queue are free to be reserved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free<'a> {
    /// Name of the queue in the table.
    pub queue: &'a str,
    /// Epoch seconds.
    pub now: i64,
    /// Epoch seconds: a reservation made then or earlier has ended.
    pub expired: i64,
    /// Only rows with a larger id; ignored where `only` is given.
    pub past: i64,
    /// Only rows with these ids; empty is no restriction.
    pub only: &'a [i64],
}

/// Columns of a reserved row, in order: those of [`Row`]; the size of the payload and the payload, unless it is too
/// large, follow.
const COLUMNS: &str = "id, attempts, reserved_at, available_at, created_at";

/// Statements for one table of one server.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    engine: Engine,
    /// The table, quoted.
    table: String,
    /// The server supports `SKIP LOCKED`.
    skips: bool,
}

impl Dialect {
    pub(super) fn new(engine: Engine, table: String, skips: bool) -> Self {
        Self { engine, table, skips }
    }

    /// One row with a column for each queue: whether it has a free row.
    pub(super) fn ready(&self, queues: &[Free<'_>]) -> String {
        let mut sql = "SELECT ".to_owned();
        for (n, free) in queues.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let (table, is_free) = (&self.table, self.free(free));
            let _ = match free.past {
                0 => write!(sql, "{comma}EXISTS(SELECT 1 FROM {table} WHERE {is_free})"),
                // Without an order PostgreSQL may read the table from its beginning, whatever the bound is.
                _ => write!(sql, "{comma}(SELECT 1 FROM {table} WHERE {is_free} ORDER BY id LIMIT 1) IS NOT NULL"),
            };
        }
        sql
    }

    /// The id of the first free row of a queue.
    pub(super) fn first(&self, free: &Free<'_>) -> String {
        format!("SELECT id FROM {} WHERE {} ORDER BY id LIMIT 1", self.table, self.free(free))
    }

    /// The last id of the table.
    pub(super) fn last(&self) -> String {
        format!("SELECT MAX(id) FROM {}", self.table)
    }

    /// The rows of a queue, up to an id, that become free next: their ids and due times in epoch seconds, ordered by
    /// due time.
    pub(super) fn coming(&self, queue: &str, up_to: i64, retry_after: i64, most: usize) -> String {
        format!(
            "SELECT id, CASE WHEN reserved_at IS NULL THEN available_at ELSE reserved_at + {retry_after} END AS due \
             FROM {} WHERE queue = {} AND id <= {up_to} ORDER BY due LIMIT {most}",
            self.table,
            self.literal(queue)
        )
    }

    /// PostgreSQL: reserves up to `max` rows, until their payloads have `budget` bytes. Returns [`COLUMNS`], in no
    /// order.
    pub(super) fn reserve(&self, free: &Free<'_>, max: usize, budget: usize) -> String {
        let (table, now) = (&self.table, free.now);
        format!(
            "WITH locked AS MATERIALIZED (SELECT id, OCTET_LENGTH(payload::text) AS bytes FROM {table} WHERE {} \
             ORDER BY id LIMIT {max} FOR UPDATE SKIP LOCKED), \
             sized AS (SELECT id, SUM(bytes) OVER (ORDER BY id) - bytes AS before FROM locked) \
             UPDATE {table} SET reserved_at = {now}, attempts = LEAST(attempts::integer + 1, 32767) \
             WHERE id = ANY (ARRAY(SELECT id FROM sized WHERE before < {budget})) RETURNING {}",
            self.free(free),
            self.columns("OCTET_LENGTH(payload::text)"),
        )
    }

    /// MySQL: begins a transaction and locks up to `max` rows. Returns their ids and the sizes of their payloads in
    /// bytes.
    pub(super) fn lock(&self, free: &Free<'_>, max: usize) -> String {
        format!(
            "START TRANSACTION; SELECT id, OCTET_LENGTH(payload) FROM {} WHERE {} ORDER BY id LIMIT {max} {}",
            self.table,
            self.free(free),
            if self.skips { "FOR UPDATE SKIP LOCKED" } else { "FOR UPDATE" }
        )
    }

    /// MySQL: reserves locked rows, ends the transaction, and returns [`COLUMNS`], ordered by id.
    pub(super) fn take(&self, ids: &[i64], now: i64) -> String {
        let (table, ids) = (&self.table, list(ids));
        // Without strict mode, a one-byte column stays at 255. In strict mode Laravel's own statement fails there,
        // which blocks all jobs behind that row.
        format!(
            "UPDATE {table} SET reserved_at = {now}, attempts = attempts + 1 WHERE id IN ({ids}); \
             SELECT {} FROM {table} WHERE id IN ({ids}) ORDER BY id; COMMIT",
            self.columns("OCTET_LENGTH(payload)")
        )
    }

    /// Moves a reserved row to another queue, in the state before its reservation.
    pub(super) fn requeue(&self, row: Row, queue: &str) -> String {
        let (table, queue) = (&self.table, self.literal(queue));
        format!("UPDATE {table} SET queue = {queue}, reserved_at = NULL, attempts = attempts - 1 WHERE {}", ours(row))
    }

    pub(super) fn renew(&self, row: Row, now: i64) -> String {
        format!("UPDATE {} SET reserved_at = {now} WHERE {}", self.table, ours(row))
    }

    pub(super) fn unreserve(&self, row: Row) -> String {
        format!("UPDATE {} SET reserved_at = NULL, attempts = attempts - 1 WHERE {}", self.table, ours(row))
    }

    pub(super) fn delete(&self, row: Row) -> String {
        format!("DELETE FROM {} WHERE {}", self.table, ours(row))
    }

    /// One row: the numbers of pending, delayed and reserved jobs.
    pub(super) fn sizes(&self, queue: &str, now: i64) -> String {
        format!(
            "SELECT COUNT(CASE WHEN reserved_at IS NULL AND available_at <= {now} THEN 1 END), \
             COUNT(CASE WHEN reserved_at IS NULL AND available_at > {now} THEN 1 END), \
             COUNT(reserved_at) FROM {} WHERE queue = {}",
            self.table,
            self.literal(queue)
        )
    }

    /// Unreserved jobs: size of the payload in bytes, attempts, epoch seconds of availability, and the first part of
    /// the payload.
    pub(super) fn list(&self, queue: &str, now: i64, which: Listing, first: usize, most: usize) -> String {
        let when = match which {
            Listing::Waiting => "<=",
            Listing::Delayed => ">",
        };
        let cut = match self.engine {
            Engine::MySql => format!("SUBSTRING(CAST(payload AS BINARY), 1, {CUT})"),
            // Counts characters, each of which has four bytes at most.
            Engine::Postgres => format!("LEFT(payload, {})", CUT / 4),
        };
        format!(
            "SELECT OCTET_LENGTH(payload), attempts, available_at, {cut} FROM {} WHERE queue = {} AND reserved_at IS NULL \
             AND available_at {when} {now} ORDER BY id LIMIT {most} OFFSET {first}",
            self.table,
            self.literal(queue)
        )
    }

    /// One row: the earliest availability of a job that could run now, in epoch seconds; NULL without any.
    pub(super) fn oldest(&self, queue: &str, now: i64) -> String {
        format!(
            "SELECT MIN(available_at) FROM {} WHERE queue = {} AND reserved_at IS NULL AND available_at <= {now}",
            self.table,
            self.literal(queue)
        )
    }

    /// All statements in one transaction and one message. The first result is that of a statement that precedes them.
    pub(super) fn transaction(&self, statements: &[String]) -> String {
        let all = statements.join("; ");
        match self.engine {
            Engine::MySql => format!("START TRANSACTION; {all}; COMMIT"),
            // One message is one transaction.
            Engine::Postgres => format!("SET LOCAL lock_timeout = '{PATIENCE}s'; {all}"),
        }
    }

    /// The first statements of a session with MySQL.
    pub(super) fn greeting(charset: Option<&str>, collation: Option<&str>) -> String {
        let mut sql = format!("SET SESSION sql_mode = '', SESSION innodb_lock_wait_timeout = {PATIENCE}");
        if let Some(charset) = charset.filter(|name| is_word(name)) {
            let _ = write!(sql, "; SET NAMES '{charset}'");
            if let Some(collation) = collation.filter(|name| is_word(name)) {
                let _ = write!(sql, " COLLATE '{collation}'");
            }
        }
        sql
    }

    fn columns(&self, bytes: &str) -> String {
        format!("{COLUMNS}, {bytes}, CASE WHEN {bytes} <= {LARGEST} THEN payload END")
    }

    fn free(&self, free: &Free<'_>) -> String {
        let Free { queue, now, expired, past, only } = *free;
        // No condition on ids unless there is one, so that the queue's index is the only choice.
        let ids = match (only, past) {
            ([], 0) => String::new(),
            ([], past) => format!("AND id > {past} "),
            (only, _) => format!("AND id IN ({}) ", list(only)),
        };
        format!(
            "queue = {} {ids}AND ((reserved_at IS NULL AND available_at <= {now}) OR reserved_at <= {expired})",
            self.literal(queue)
        )
    }

    /// Free rows, ordered by id: their ids, and their payloads unless they are large.
    pub(super) fn behind(&self, free: &Free<'_>, most: usize) -> String {
        let (bytes, payload) = match self.engine {
            Engine::MySql => ("OCTET_LENGTH(payload)", "CAST(payload AS BINARY)"),
            Engine::Postgres => ("OCTET_LENGTH(payload::text)", "payload"),
        };
        format!(
            "SELECT id, CASE WHEN {bytes} <= {CUT} THEN {payload} END FROM {} WHERE {} ORDER BY id LIMIT {most}",
            self.table,
            self.free(free)
        )
    }

    /// The text that hosts share under a name, and the server's time in milliseconds since the epoch.
    pub(super) fn kept(&self, name: &str) -> String {
        let now = match self.engine {
            Engine::MySql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)",
            Engine::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)",
        };
        format!("SELECT (SELECT state FROM {} WHERE name = {}), {now}", limits_of(&self.table), self.literal(name))
    }

    /// Stores a shared text under a name if the current one is still `seen`.
    pub(super) fn keep(&self, name: &str, seen: Option<&str>, text: &str) -> String {
        let (table, name, text) = (limits_of(&self.table), self.literal(name), self.literal(text));
        match (seen, self.engine) {
            (Some(seen), _) => {
                format!("UPDATE {table} SET state = {text} WHERE name = {name} AND state = {}", self.literal(seen))
            }
            (None, Engine::MySql) => format!("INSERT IGNORE INTO {table} (name, state) VALUES ({name}, {text})"),
            (None, Engine::Postgres) => {
                format!("INSERT INTO {table} (name, state) VALUES ({name}, {text}) ON CONFLICT DO NOTHING")
            }
        }
    }

    /// A string literal that is valid in all SQL modes of the server.
    fn literal(&self, text: &str) -> String {
        match self.engine {
            Engine::MySql => {
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("_utf8mb4 X'{hex}'")
            }
            Engine::Postgres => literal(text),
        }
    }
}

/// The table of shared limits for a jobs table, quoted like that one.
pub(super) fn limits_of(table: &str) -> String {
    match table.char_indices().next_back() {
        Some((at, quote @ ('"' | '`'))) => format!("{}_limits{quote}", table.get(..at).unwrap_or_default()),
        _ => format!("{table}_limits"),
    }
}

/// A string literal for PostgreSQL, where text cannot contain a zero byte.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\0', "\u{fffd}").replace('\\', r"\\").replace('\'', "''"))
}

/// A quoted identifier for PostgreSQL.
pub(super) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "\u{fffd}").replace('"', "\"\""))
}

/// Guards a row by `attempts`, which every other reservation increments. `reserved_at` is no guard: it changes with
/// each renewal, and one may be pending while the job is being deleted.
fn ours(row: Row) -> String {
    format!("id = {} AND attempts = {} AND reserved_at IS NOT NULL", row.id, row.attempts)
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether this can be the name of a character set or a collation.
fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Bytes of payloads that one call may still take.
pub(super) fn budget(carried: usize) -> usize {
    BUDGET.saturating_sub(carried).max(1)
}
