//! Writes a batch in one transaction.

use std::time::{Duration, Instant};

use kqueue_control::Job;
use kqueue_core::histogram::{Histogram, Sums};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite, SqliteConnection};

use super::attempt::Attempt;
use super::buffer::{Batch, Event, Id};
use super::file::Open;
use super::names::Names;
use super::tally::{OUTCOMES, Span, Tally};
use super::{NAME, prune};
use kqueue_system::harmless;

/// Attempts per INSERT statement.
const ROWS: usize = 40;
/// Columns of an attempt.
const COLUMNS: usize = 21;

/// Interval between two runs of [`prune::many`].
const LOOK: Duration = Duration::from_secs(600);

/// Seconds of the shorter span that figures are kept by.
pub const MINUTE: u64 = 60;
/// Seconds of the longer one.
pub const HOUR: u64 = 3_600;

/// Writes a batch; `most` attempts of each kind are kept.
pub async fn write(open: &mut Open, batch: &Batch, most: usize, now_ms: u64) -> sqlx::Result<()> {
    let Open { connection, names, counts, pruned, .. } = open;
    let mut work = connection.begin().await?;
    let before = *counts;
    let done = async {
        for (kind, rows) in [&batch.bad, &batch.well].into_iter().enumerate() {
            attempts(&mut work, names, kind, rows.iter()).await?;
            if let Some(count) = counts.get_mut(kind) {
                *count += rows.len() as i64;
                *count -= prune::attempts(&mut work, kind, *count, most).await?;
            }
        }
        for (minute, span) in batch.spans() {
            figures(&mut work, names, minute, span).await?;
        }
        for (minute, samples) in &batch.samples {
            for (queue, (backlog, oldest)) in samples {
                let queue = names.id(&mut work, &harmless::line(queue, NAME)).await?;
                for span in [MINUTE, HOUR] {
                    size(&mut work, (span, minute / span * span), queue, *backlog, *oldest).await?;
                }
            }
        }
        for event in &batch.events {
            self::event(&mut work, event).await?;
        }
        let gone = prune::old(&mut work, now_ms).await?;
        counts.iter_mut().zip(gone).for_each(|(count, gone)| *count -= gone);
        if pruned.is_none_or(|at| at.elapsed() >= LOOK) {
            prune::many(&mut work).await?;
            *pruned = Some(Instant::now());
            // Names may have been removed.
            names.forget();
        }
        work.commit().await
    };
    let done = done.await;
    if done.is_err() {
        // The ids of names added here are rolled back.
        names.forget();
        *counts = before;
    }
    done
}

/// Writes attempts of one kind.
async fn attempts<'a>(
    work: &mut SqliteConnection,
    names: &mut Names,
    kind: usize,
    rows: impl Iterator<Item = &'a (Id, Attempt)>,
) -> sqlx::Result<()> {
    let mut jobs = Vec::with_capacity(ROWS);
    let mut rows = rows.peekable();
    while let Some((id, attempt)) = rows.next() {
        let job = attempt.job();
        let class = names.id(work, &job.class).await?;
        let queue = names.id(work, &job.queue).await?;
        jobs.push((*id, class, queue, job));
        if jobs.len() == ROWS || rows.peek().is_none() {
            let sql = insert(jobs.len());
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for job in jobs.drain(..) {
                query = bind(query, kind, job);
            }
            query.execute(&mut *work).await?;
        }
    }
    Ok(())
}

/// The INSERT statement for this many attempts.
fn insert(rows: usize) -> String {
    let places = format!("({})", vec!["?"; COLUMNS].join(","));
    format!(
        "INSERT OR REPLACE INTO jobs (id, well, key, uuid, class, queue, tags, state, attempt, tier, why, worker, queued, \
         started, ended, wait_ms, ms, memory_peak, cpu_usec, timeout, cause) VALUES {}",
        vec![places; rows].join(",")
    )
}

fn bind(
    query: Query<'_, Sqlite, SqliteArguments>,
    kind: usize,
    (id, class, queue, job): (Id, i64, i64, Job),
) -> Query<'_, Sqlite, SqliteArguments> {
    let number = |value: Option<u64>| value.map(signed);
    let tags = (!job.tags.is_empty()).then(|| job.tags.join("\n"));
    query
        .bind(id)
        .bind(kind as i64)
        .bind(key(&job.uuid))
        .bind(job.uuid)
        .bind(class)
        .bind(queue)
        .bind(tags)
        .bind(job.state.map(kqueue_control::JobState::as_str))
        .bind(i64::from(job.attempt))
        .bind(job.tier)
        .bind(job.why)
        .bind(number(job.worker))
        .bind(number(job.queued))
        .bind(number(job.started))
        .bind(number(job.ended))
        .bind(number(job.wait_ms))
        .bind(number(job.ms))
        .bind(number(job.memory_peak))
        .bind(number(job.cpu_usec))
        .bind(number(job.timeout))
        .bind(job.cause)
}

/// A short hash for finding a uuid: FNV-1a. Not unique.
pub fn key(uuid: &str) -> i64 {
    let hash = uuid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash)
}

/// As SQLite stores it; saturates.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back from SQLite; negative values become 0.
pub fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Adds the figures of a minute to the rows of that minute and of its hour.
async fn figures(work: &mut SqliteConnection, names: &mut Names, minute: u64, span: &Span) -> sqlx::Result<()> {
    for (name, class) in &span.classes {
        let class_id = names.id(work, &harmless::line(name, NAME)).await?;
        if let Some((tier, route)) = class.last {
            sqlx::query("UPDATE names SET tier = ?2, why = ?3 WHERE id = ?1")
                .bind(class_id)
                .bind(tier.name())
                .bind(route.map(|route| super::attempt::why(route, tier)))
                .execute(&mut *work)
                .await?;
        }
        let mut queues: Vec<(&str, Tally)> = Vec::new();
        for slot in &class.slots {
            match queues.iter_mut().find(|(queue, _)| *queue == slot.queue) {
                Some((_, tally)) => tally.add(&slot.tally),
                None => queues.push((&slot.queue, slot.tally.clone())),
            }
        }
        for (queue, tally) in queues {
            let queue_id = names.id(work, &harmless::line(queue, NAME)).await?;
            for span in [MINUTE, HOUR] {
                add(work, (span, minute / span * span), (class_id, queue_id), tally.clone()).await?;
            }
        }
    }
    Ok(())
}

async fn add(
    work: &mut SqliteConnection,
    (span, at): (u64, u64),
    (class, queue): (i64, i64),
    mut tally: Tally,
) -> sqlx::Result<()> {
    let known = sqlx::query(
        "SELECT done, released, failed, \"left\", lost, memory_peak, cpu_usec, wait, duration FROM figures \
         WHERE span = ?1 AND at = ?2 AND class = ?3 AND queue = ?4",
    );
    let known = known.bind(signed(span)).bind(signed(at)).bind(class).bind(queue).fetch_optional(&mut *work).await?;
    if let Some(known) = known {
        tally.add(&read_tally(&known, 0)?);
    }
    let mut query = sqlx::query(
        "INSERT OR REPLACE INTO figures (span, at, class, queue, done, released, failed, \"left\", lost, memory_peak, \
         cpu_usec, wait, duration) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(signed(span))
    .bind(signed(at))
    .bind(class)
    .bind(queue);
    for count in tally.outcomes {
        query = query.bind(signed(count));
    }
    query
        .bind(tally.memory_peak.map(signed))
        .bind(signed(tally.cpu_usec))
        .bind(tally.wait.to_bytes())
        .bind(tally.duration.to_bytes())
        .execute(work)
        .await?;
    Ok(())
}

/// Reads the nine columns of a tally, from column `first` on.
pub fn read_tally(row: &SqliteRow, first: usize) -> sqlx::Result<Tally> {
    read_columns(row, first, |at| Ok(Histogram::from_bytes(row.try_get(at)?).unwrap_or_default()))
}

/// Reads nine columns of sums; the two histograms are those of all rows, in hexadecimal, separated by spaces.
pub fn read_sums(row: &SqliteRow, first: usize) -> sqlx::Result<Tally> {
    read_columns(row, first, |at| {
        let mut sums = Sums::default();
        let texts = row.try_get::<&str, _>(at)?.split(' ');
        texts.filter_map(|text| hex::decode(text).ok()).for_each(|bytes| _ = sums.add_bytes(&bytes));
        Ok(sums.histogram())
    })
}

fn read_columns(
    row: &SqliteRow,
    first: usize,
    histogram: impl Fn(usize) -> sqlx::Result<Histogram>,
) -> sqlx::Result<Tally> {
    let mut tally = Tally::default();
    for (place, count) in tally.outcomes.iter_mut().enumerate() {
        *count = unsigned(row.try_get(first + place)?);
    }
    let after = first + OUTCOMES.len();
    tally.memory_peak = row.try_get::<Option<i64>, _>(after)?.map(unsigned);
    tally.cpu_usec = unsigned(row.try_get(after + 1)?);
    (tally.wait, tally.duration) = (histogram(after + 2)?, histogram(after + 3)?);
    Ok(tally)
}

/// Raises the recorded maxima of a queue's size and age in a span.
async fn size(
    work: &mut SqliteConnection,
    (span, at): (u64, u64),
    queue: i64,
    backlog: u64,
    oldest: Option<u64>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sizes (span, at, queue, backlog, oldest) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (span, at, queue) DO UPDATE SET backlog = MAX(backlog, excluded.backlog), \
         oldest = COALESCE(MAX(oldest, excluded.oldest), oldest, excluded.oldest)",
    )
    .bind(signed(span))
    .bind(signed(at))
    .bind(queue)
    .bind(signed(backlog))
    .bind(oldest.map(signed))
    .execute(work)
    .await?;
    Ok(())
}

async fn event(work: &mut SqliteConnection, event: &Event) -> sqlx::Result<()> {
    match event {
        Event::New(id, event, grade) => {
            sqlx::query(
                "INSERT OR REPLACE INTO events (id, kind, text, tier, worker, job, ended, grade) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .bind(*id)
            .bind(event.kind.clone())
            .bind(event.text.clone())
            .bind(event.tier.clone())
            .bind(event.worker.map(signed))
            .bind(event.job.clone())
            .bind(event.ended.map(signed))
            .bind(*grade as i64)
            .execute(work)
            .await?;
        }
        Event::Over(id, ms) => {
            sqlx::query("UPDATE events SET ended = ?2 WHERE id = ?1").bind(*id).bind(signed(*ms)).execute(work).await?;
        }
    }
    Ok(())
}
