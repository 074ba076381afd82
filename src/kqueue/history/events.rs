//! Queries of events in the file.

use kqueue_control::{EventsFilter, Happening};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::buffer::{Event, Id, first_id, ms_of};
use super::write::unsigned;

/// An event of these kinds lasts until it has an end.
const OPEN: &str = "(ended IS NULL AND kind IN ('outage', 'pause'))";
const COLUMNS: &str = "SELECT id, kind, text, tier, worker, job, ended FROM events";

/// The selected events, the latest first.
pub async fn selected(
    connection: &mut SqliteConnection,
    filter: &EventsFilter,
    limit: usize,
) -> sqlx::Result<Vec<(Id, Happening)>> {
    let kinds = if filter.kinds.is_empty() { "" } else { "AND kind IN (SELECT value FROM json_each(?4))" };
    let sql =
        format!("{COLUMNS} WHERE (id >= ?1 OR ended >= ?2 OR {OPEN}) AND id < ?3 {kinds} ORDER BY id DESC LIMIT ?5");
    let since = filter.since.saturating_mul(1000);
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(first_id(since))
        .bind(i64::try_from(since).unwrap_or(i64::MAX))
        .bind(filter.until.map_or(Id::MAX, |until| first_id(after(until))))
        .bind(serde_json::to_string(&filter.kinds).unwrap_or_default())
        .bind(limit as i64);
    query.fetch_all(connection).await?.iter().map(read).collect()
}

/// Whether an event is among the selected ones.
pub fn is_selected(event: &Happening, filter: &EventsFilter) -> bool {
    let is_open = event.ended.is_none() && matches!(event.kind.as_str(), "outage" | "pause");
    (is_open || event.ended.unwrap_or(event.at).max(event.at) >= filter.since.saturating_mul(1000))
        && filter.until.is_none_or(|until| event.at < after(until))
        && (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
}

/// The end of a second, in milliseconds.
fn after(second: u64) -> u64 {
    second.saturating_add(1).saturating_mul(1000)
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
