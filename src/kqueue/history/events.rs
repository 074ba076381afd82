//! Queries of events in the file.

use kqueue_control::Happening;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::buffer::{Event, Id, first_id, ms_of};
use super::write::unsigned;

const COLUMNS: &str = "SELECT id, kind, text, tier, worker, job, ended FROM events";

/// Events that began or ended since then (milliseconds since 1970), the latest first.
pub async fn since(connection: &mut SqliteConnection, ms: u64, limit: usize) -> sqlx::Result<Vec<(Id, Happening)>> {
    let sql = format!("{COLUMNS} WHERE id >= ?1 OR ended >= ?2 ORDER BY id DESC LIMIT ?3");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(first_id(ms)).bind(ms as i64).bind(limit as i64);
    query.fetch_all(connection).await?.iter().map(read).collect()
}

/// Events of a job, the first one first.
pub async fn of_job(connection: &mut SqliteConnection, uuid: &str) -> sqlx::Result<Vec<(Id, Happening)>> {
    let sql = format!("{COLUMNS} WHERE job = ?1 ORDER BY id LIMIT 100");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(uuid).fetch_all(connection).await?.iter().map(read).collect()
}

/// Merges events not yet written into those from the file, the latest first.
pub fn merge(mut known: Vec<(Id, Happening)>, waiting: &[Event]) -> Vec<(Id, Happening)> {
    for event in waiting {
        match event {
            Event::New(id, event, _) => known.push((*id, event.clone())),
            Event::Over(id, ms) => {
                if let Some((_, event)) = known.iter_mut().find(|(known, _)| known == id) {
                    event.ended = Some(*ms);
                }
            }
        }
    }
    known.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    known.dedup_by_key(|(id, _)| *id);
    known
}

fn read(row: &SqliteRow) -> sqlx::Result<(Id, Happening)> {
    let number = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(at)?.map(unsigned));
    let id: Id = row.try_get(0)?;
    let event = Happening {
        at: ms_of(id),
        kind: row.try_get(1)?,
        text: row.try_get(2)?,
        tier: row.try_get(3)?,
        worker: number(4)?,
        job: row.try_get(5)?,
        ended: number(6)?,
    };
    Ok((id, event))
}
