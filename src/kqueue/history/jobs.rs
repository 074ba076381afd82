//! Queries of attempts in the file.

use kqueue_control::{Job, JobState, JobsFilter};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::buffer::{Id, first_id};
use super::file::Open;
use super::names;
use super::write::{key, unsigned};

/// Maximum attempts of one job in an answer.
const ATTEMPTS: i64 = 200;

/// The columns read of an attempt.
const COLUMNS: &str = "SELECT j.id, j.uuid, c.name, q.name, j.tags, j.state, j.attempt, j.tier, j.why, j.worker, j.queued, \
     j.started, j.ended, j.wait_ms, j.ms, j.memory_peak, j.cpu_usec, j.timeout, j.cause \
     FROM jobs j JOIN names c ON c.id = j.class JOIN names q ON q.id = j.queue";

/// A value of a statement.
enum Value {
    Number(i64),
    Text(String),
}

/// The conditions of a statement, and their values.
#[derive(Default)]
struct Conditions(Vec<String>, Vec<Value>);

impl Conditions {
    /// Adds a condition in which every `?` stands for `value`.
    fn add(&mut self, condition: &str, value: Value) {
        self.1.push(value);
        self.0.push(condition.replace('?', &format!("?{}", self.1.len())));
    }
}

/// The attempts that match the filter and have an id below `before`, the latest first.
pub async fn find(
    open: &mut Open,
    filter: &JobsFilter,
    before: Option<Id>,
    limit: usize,
) -> sqlx::Result<Vec<(Id, Job)>> {
    let mut all = Conditions::default();
    let JobsFilter { state, class, queue, tag, text, since, until, .. } = filter;
    match state {
        None | Some(JobState::Recent) => {}
        Some(state) => {
            if !matches!(state, JobState::Done | JobState::Released) {
                all.0.push("j.well = 0".to_owned());
            }
            all.add("j.state = ?", Value::Text(state.as_str().to_owned()));
        }
    }
    if let Some(class) = class {
        let classes = names::classes(&mut open.connection, class).await?;
        match classes.as_slice() {
            [] => return Ok(Vec::new()),
            [one] => all.add("j.class = ?", Value::Number(*one)),
            several => {
                let several: Vec<_> = several.iter().map(i64::to_string).collect();
                all.0.push(format!("j.class IN ({})", several.join(",")));
            }
        }
    }
    if let Some(queue) = queue {
        all.add("q.name = ?", Value::Text(queue.clone()));
    }
    if let Some(tag) = tag {
        all.add("instr(char(10) || j.tags || char(10), char(10) || ? || char(10)) > 0", Value::Text(tag.clone()));
    }
    if let Some(text) = text {
        let fields = ["j.uuid", "c.name", "q.name", "j.tags", "j.cause"];
        let any: Vec<String> = fields.iter().map(|field| format!("instr(lower({field}), ?) > 0")).collect();
        all.add(&format!("({})", any.join(" OR ")), Value::Text(text.to_lowercase()));
    }
    if let Some(since) = since {
        all.add("j.id >= ?", Value::Number(first_id(since.saturating_mul(1000))));
    }
    let until = until.map(|until| first_id(until.saturating_mul(1000)));
    if let Some(before) = until.into_iter().chain(before).min() {
        all.add("j.id < ?", Value::Number(before));
    }
    let conditions = if all.0.is_empty() { "1".to_owned() } else { all.0.join(" AND ") };
    let sql = format!("{COLUMNS} WHERE {conditions} ORDER BY j.id DESC LIMIT {limit}");
    // Not cached as a prepared statement: there are too many variants.
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for value in all.1 {
        query = match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        };
    }
    query.fetch_all(&mut open.connection).await?.iter().map(read).collect()
}

/// The attempts of one job, the first one first.
pub async fn of(connection: &mut SqliteConnection, uuid: &str) -> sqlx::Result<Vec<(Id, Job)>> {
    let sql = format!("{COLUMNS} WHERE j.key = ?1 AND j.uuid = ?2 ORDER BY j.id DESC LIMIT ?3");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(key(uuid)).bind(uuid).bind(ATTEMPTS);
    let mut rows: Vec<_> = query.fetch_all(connection).await?.iter().map(read).collect::<sqlx::Result<_>>()?;
    rows.reverse();
    Ok(rows)
}

fn read(row: &SqliteRow) -> sqlx::Result<(Id, Job)> {
    let text = |at: usize| row.try_get::<Option<String>, _>(at);
    let number = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(at)?.map(unsigned));
    let job = Job {
        uuid: row.try_get(1)?,
        class: row.try_get(2)?,
        queue: row.try_get(3)?,
        tags: text(4)?.map(|tags| tags.lines().map(str::to_owned).collect()).unwrap_or_default(),
        state: text(5)?.and_then(|state| serde_json::from_value(state.into()).ok()),
        attempt: u32::try_from(row.try_get::<i64, _>(6)?).unwrap_or(0),
        tier: text(7)?,
        why: text(8)?,
        worker: number(9)?,
        queued: number(10)?,
        due: None,
        started: number(11)?,
        ended: number(12)?,
        wait_ms: number(13)?,
        ms: number(14)?,
        memory_peak: number(15)?,
        cpu_usec: number(16)?,
        timeout: number(17)?,
        cause: text(18)?,
    };
    Ok((row.try_get(0)?, job))
}
