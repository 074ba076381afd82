//! Removes rows beyond the bounds of number and age.

use sqlx::SqliteConnection;

use super::buffer::first_id;
use super::write::{HOUR, MINUTE, signed};
use super::{DAY, MONTH};

/// Attempts are removed once they exceed the bound by one in this many, so that not each write removes some.
const SLACK: usize = 20;
/// Rows of figures that are kept, by the minute and by the hour each.
const FIGURES: i64 = 200_000;
/// Events of each grade that are kept.
const EVENTS: i64 = 3_000;

/// Removes the oldest attempts of a kind down to `most`, once their number, `count`, exceeds it by one in [`SLACK`].
/// Returns how many were removed.
pub async fn attempts(work: &mut SqliteConnection, kind: usize, count: i64, most: usize) -> sqlx::Result<i64> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    if count <= most.saturating_add(most / SLACK as i64) {
        return Ok(0);
    }
    let gone = sqlx::query("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE well = ?1 ORDER BY id LIMIT ?2)")
        .bind(kind as i64)
        .bind(count - most)
        .execute(work)
        .await?;
    Ok(gone.rows_affected() as i64)
}

/// Removes all rows that are too old. Returns how many attempts of each kind were removed.
pub async fn old(work: &mut SqliteConnection, now_ms: u64) -> sqlx::Result<[i64; 2]> {
    let now = now_ms / 1000;
    for (span, age) in [(MINUTE, DAY), (HOUR, MONTH)] {
        let first = signed(now.saturating_sub(age) / span * span);
        for sql in ["DELETE FROM figures WHERE span = ?1 AND at < ?2", "DELETE FROM sizes WHERE span = ?1 AND at < ?2"]
        {
            sqlx::query(sql).bind(signed(span)).bind(first).execute(&mut *work).await?;
        }
    }
    let first = first_id(now_ms.saturating_sub(MONTH * 1000));
    let mut gone = [0; 2];
    for (kind, gone) in gone.iter_mut().enumerate() {
        let sql = "DELETE FROM jobs WHERE id < ?1 AND well = ?2";
        *gone = sqlx::query(sql).bind(first).bind(kind as i64).execute(&mut *work).await?.rows_affected() as i64;
    }
    sqlx::query("DELETE FROM events WHERE id < ?1").bind(first).execute(&mut *work).await?;
    Ok(gone)
}

/// Removes events and figures beyond their number, and unused names. Slower than [`old()`], so it runs only once in a
/// while.
pub async fn many(work: &mut SqliteConnection) -> sqlx::Result<()> {
    for (span, kept) in [(MINUTE, FIGURES), (HOUR, FIGURES)] {
        sqlx::query(
            "DELETE FROM figures WHERE span = ?1 AND at <= \
             (SELECT at FROM figures WHERE span = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(signed(span))
        .bind(kept)
        .execute(&mut *work)
        .await?;
    }
    for of in ["grade = 0", "grade = 1", "grade = 2"] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "DELETE FROM events WHERE {of} AND id <= (SELECT id FROM events WHERE {of} ORDER BY id DESC LIMIT 1 OFFSET ?1)"
        )))
        .bind(EVENTS)
        .execute(&mut *work)
        .await?;
    }
    sqlx::query(
        "DELETE FROM names WHERE id NOT IN (SELECT class FROM jobs UNION SELECT queue FROM jobs \
         UNION SELECT class FROM figures UNION SELECT queue FROM figures UNION SELECT queue FROM sizes)",
    )
    .execute(&mut *work)
    .await?;
    sqlx::query("PRAGMA incremental_vacuum(1000)").execute(work).await?;
    Ok(())
}

/// Makes room by removing the oldest quarter of each kind of row.
pub async fn quarter(work: &mut SqliteConnection) -> sqlx::Result<()> {
    for sql in [
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE well = 0 ORDER BY id LIMIT (SELECT COUNT(*) / 4 FROM jobs WHERE well = 0))",
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE well = 1 ORDER BY id LIMIT (SELECT COUNT(*) / 4 FROM jobs WHERE well = 1))",
        "DELETE FROM figures WHERE span = 60 AND at <= (SELECT at FROM figures WHERE span = 60 ORDER BY at LIMIT 1 OFFSET (SELECT COUNT(*) / 4 FROM figures WHERE span = 60))",
        "DELETE FROM figures WHERE span = 3600 AND at <= (SELECT at FROM figures WHERE span = 3600 ORDER BY at LIMIT 1 OFFSET (SELECT COUNT(*) / 4 FROM figures WHERE span = 3600))",
        "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT (SELECT COUNT(*) / 4 FROM events))",
    ] {
        sqlx::query(sql).execute(&mut *work).await?;
    }
    Ok(())
}
