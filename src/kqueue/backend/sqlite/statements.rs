//! The SQL for one jobs table: Laravel's own predicates, in as few statements as they fit into.

/// Statements for one table. Parameters are numbered, so that statements which share them have them in the same order.
/// For reserve and ready: 1 now, 2 queue, 3 now less `retry_after`, 4 id up to which rows are skipped, 5 limit, 6 bytes
/// after which no more rows are taken, 7 bytes of the largest payload. For first: the first three.
/// For renew, unreserve, requeue, delete: 1 id, 2 reserved_at, 3 attempts, 4 new reserved_at or queue.
pub(super) struct Statements {
    pub(super) ready: String,
    pub(super) next_due: String,
    /// The first free row.
    pub(super) first: String,
    /// The last id of the table.
    pub(super) last: String,
    /// The last id up to ?1.
    pub(super) last_before: String,
    /// The rows of a queue that become free next: ids and due times. 1 retry_after, 2 queue, 3 last id, 4 limit.
    pub(super) coming: String,
    pub(super) reserve: String,
    pub(super) set_aside: String,
    pub(super) renew: String,
    pub(super) unreserve: String,
    pub(super) requeue: String,
    pub(super) delete: String,
    pub(super) sizes: String,
    pub(super) waiting: String,
    pub(super) delayed: String,
    pub(super) oldest: String,
    /// 1 now, 2 queue, 3 id, 4 limit, 5 bytes of a payload that is read.
    pub(super) behind: String,
    /// The table of shared limits, quoted.
    pub(super) limits: String,
    /// 1 name.
    pub(super) kept: String,
    /// 1 name, 2 text, 3 the current text. `keep_first` is for a name without a text: 3 is NULL.
    pub(super) keep: String,
    pub(super) keep_first: String,
}

impl Statements {
    /// The reserve statement, restricted to these rows.
    pub(super) fn reserve_these(&self, ids: &[i64]) -> String {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        let these = format!("AND id IN ({}) ORDER BY id LIMIT ?5", ids.join(", "));
        self.reserve.replacen("ORDER BY id LIMIT ?5", &these, 1)
    }

    pub(super) fn new(table: &str) -> Self {
        let jobs = format!("\"{}\"", table.replace('"', "\"\""));
        let free = "queue = ?2 AND ((reserved_at IS NULL AND available_at <= ?1) OR (reserved_at <= ?3))";
        // With 1 retry_after.
        let due = "CASE WHEN reserved_at IS NULL THEN available_at ELSE reserved_at + ?1 END";
        // 1 now, 2 queue, 3 limit, 4 offset, 5 bytes of a payload that are read.
        let list = |which: &str| {
            format!(
                "SELECT substr(CAST(payload AS BLOB), 1, ?5), OCTET_LENGTH(payload), attempts, \
                 CAST(available_at AS INTEGER) FROM {jobs} WHERE queue = ?2 AND reserved_at IS NULL AND \
                 available_at {which} ?1 ORDER BY id LIMIT ?3 OFFSET ?4"
            )
        };
        // Guards a row by `attempts`, which every other reservation increments. `reserved_at` is no guard: it changes
        // with each renewal, and one may be pending while the job is being deleted.
        let ours = "id = ?1 AND reserved_at IS NOT NULL AND attempts = ?3";
        let limits = format!("\"{}_limits\"", table.replace('"', "\"\""));
        Self {
            behind: format!(
                "SELECT id, CASE WHEN OCTET_LENGTH(payload) <= ?5 THEN CAST(payload AS BLOB) END FROM {jobs} \
                 WHERE queue = ?2 AND reserved_at IS NULL AND available_at <= ?1 AND id > ?3 ORDER BY id LIMIT ?4"
            ),
            kept: format!("SELECT state FROM {limits} WHERE name = ?1"),
            keep: format!("UPDATE {limits} SET state = ?2 WHERE name = ?1 AND state = ?3"),
            keep_first: format!("INSERT OR IGNORE INTO {limits} (name, state) SELECT ?1, ?2 WHERE ?3 IS NULL"),
            limits,
            ready: format!("SELECT 1 FROM {jobs} WHERE {free} AND id > ?4 LIMIT 1"),
            // 1 retry_after, 2 queue, 3 id up to which rows are skipped.
            next_due: format!("SELECT MIN({due}) FROM {jobs} WHERE queue = ?2 AND id > ?3"),
            first: format!("SELECT id FROM {jobs} WHERE {free} ORDER BY id LIMIT 1"),
            last_before: format!("SELECT COALESCE(MAX(id), 0) FROM {jobs} WHERE id <= ?1"),
            last: format!("SELECT COALESCE(MAX(id), 0) FROM {jobs}"),
            coming: format!(
                "SELECT id, CAST({due} AS INTEGER) AS due FROM {jobs} WHERE queue = ?2 AND id <= ?3 \
                 ORDER BY due LIMIT ?4"
            ),
            // Payloads are cast, so that their bytes come as they are, whatever type they were bound as.
            reserve: format!(
                "UPDATE {jobs} SET reserved_at = ?1, attempts = attempts + 1 \
                 WHERE id IN (SELECT id FROM (SELECT id, bytes, SUM(bytes) OVER (ORDER BY id) AS total FROM \
                 (SELECT id, OCTET_LENGTH(payload) AS bytes FROM {jobs} WHERE {free} AND id > ?4 ORDER BY id LIMIT ?5)) \
                 WHERE total - bytes < ?6 OR bytes IS NULL) \
                 RETURNING id, CASE WHEN OCTET_LENGTH(payload) <= ?7 THEN CAST(payload AS BLOB) END, \
                 reserved_at, attempts, CAST(available_at AS INTEGER), CAST(created_at AS INTEGER), \
                 OCTET_LENGTH(payload)"
            ),
            // 1 new queue, 2 id; only within the transaction that reserved the row.
            set_aside: format!(
                "UPDATE {jobs} SET queue = ?1, reserved_at = NULL, attempts = attempts - 1 WHERE id = ?2"
            ),
            renew: format!("UPDATE {jobs} SET reserved_at = ?4 WHERE {ours}"),
            unreserve: format!("UPDATE {jobs} SET reserved_at = NULL, attempts = attempts - 1 WHERE {ours}"),
            requeue: format!("UPDATE {jobs} SET queue = ?4, reserved_at = NULL, attempts = attempts - 1 WHERE {ours}"),
            delete: format!("DELETE FROM {jobs} WHERE {ours}"),
            waiting: list("<="),
            delayed: list(">"),
            // 1 now, 2 queue.
            oldest: format!(
                "SELECT MIN(CAST(available_at AS INTEGER)) FROM {jobs} \
                 WHERE queue = ?2 AND reserved_at IS NULL AND available_at <= ?1"
            ),
            // 1 now, 2 queue.
            sizes: format!(
                "SELECT COUNT(CASE WHEN reserved_at IS NULL AND available_at <= ?1 THEN 1 END), \
                 COUNT(CASE WHEN reserved_at IS NULL AND available_at > ?1 THEN 1 END), \
                 COUNT(reserved_at) FROM {jobs} WHERE queue = ?2"
            ),
        }
    }
}
