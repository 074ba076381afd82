//! Queries of figures: rows of the file, combined with those not yet written.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use kqueue_control::{ClassFigures, Point, QueueFigures, QueueSeries, Series, Stats, StatsFilter};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::attempt::{is_class, why};
use super::buffer::Batch;
use super::file::Open;
use super::names;
use super::tally::Tally;
use super::write::{HOUR, MINUTE, read_sums, signed, unsigned};
use super::{DAY, MONTH, NAME};
use kqueue_core::routing::Tier;
use kqueue_system::harmless;

/// Longest range in seconds that is answered from figures by the minute.
const FINE: u64 = 3 * HOUR;
/// Maximum classes in an answer.
const CLASSES: usize = 1_000;
/// Maximum points of a series.
const POINTS: u64 = 2_000;
/// Maximum queues beside a series.
const QUEUES: usize = 100;
/// SQL for the name of a row's queue.
const QUEUE_NAME: &str = "(SELECT name FROM names WHERE id = queue)";

/// The range of a query: `since` up to but not including `until`, in seconds since 1970; `span`, the seconds of the
/// rows used; and `asked`, the seconds requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub since: u64,
    pub until: u64,
    pub span: u64,
    pub asked: u64,
}

impl Window {
    /// The range of this filter at time `now`: by the minute if it is at most `fine` seconds long and recent, else by
    /// the hour.
    pub fn of(filter: &StatsFilter, now: u64, fine: u64) -> Self {
        let first = now.saturating_sub(MONTH);
        let until = filter.until.unwrap_or(now).clamp(first, now);
        let since = filter.since.unwrap_or_else(|| until.saturating_sub(HOUR)).clamp(first, until);
        let span = if until - since <= fine && since >= now.saturating_sub(DAY) { MINUTE } else { HOUR };
        // A span that begins in this second is included.
        let end = if until == now { now + 1 } else { until.max(since + 1) };
        Self { since: since / span * span, until: end, span, asked: until - since }
    }
}

/// The `FROM` and `WHERE` clauses of a query of figures.
struct Rows(String);

impl Rows {
    async fn of(connection: &mut SqliteConnection, filter: &StatsFilter) -> sqlx::Result<Self> {
        let classes = match &filter.class {
            Some(class) => {
                let classes = names::classes(connection, class).await?;
                let classes: Vec<_> = classes.iter().map(i64::to_string).collect();
                format!(" AND class IN ({})", classes.join(","))
            }
            None => String::new(),
        };
        let queue = match filter.queue {
            Some(_) => " AND queue = (SELECT id FROM names WHERE name = ?4)",
            None => "",
        };
        Ok(Self(format!("FROM figures WHERE span = ?1 AND at >= ?2 AND at < ?3{classes}{queue}")))
    }

    /// Calls `each` with every row of the result.
    async fn fetch(
        connection: &mut SqliteConnection,
        sql: String,
        filter: &StatsFilter,
        window: Window,
        mut each: impl FnMut(&SqliteRow) -> sqlx::Result<()>,
    ) -> sqlx::Result<()> {
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        query = query.bind(signed(window.span)).bind(signed(window.since)).bind(signed(window.until));
        if let Some(queue) = &filter.queue {
            query = query.bind(queue);
        }
        let mut found = query.fetch(connection);
        while let Some(row) = found.try_next().await? {
            each(&row)?;
        }
        Ok(())
    }

    /// Calls `each` with the sums of all rows that agree in `columns`, and with a row that begins with the columns
    /// `told`. SQLite adds up the numbers, which is many times as fast as fetching each row.
    async fn summed(
        connection: &mut SqliteConnection,
        filter: &StatsFilter,
        window: Window,
        (told, columns): (&[&str], &str),
        mut each: impl FnMut(&SqliteRow, Tally) -> sqlx::Result<()>,
    ) -> sqlx::Result<()> {
        let Self(rows) = Self::of(connection, filter).await?;
        let sql = format!(
            "SELECT {}, SUM(done), SUM(released), SUM(failed), SUM(\"left\"), SUM(lost), MAX(memory_peak), \
             SUM(cpu_usec), group_concat(hex(wait), ' '), group_concat(hex(duration), ' ') {rows} GROUP BY {columns}",
            told.join(", ")
        );
        Self::fetch(connection, sql, filter, window, |row| each(row, read_sums(row, told.len())?)).await
    }
}

/// Calls `each` with the figures not yet in the file that match: start of the span, class, queue, tally.
fn waiting_rows(
    waiting: &Batch,
    filter: &StatsFilter,
    window: Window,
    mut each: impl FnMut(u64, String, String, &Tally),
) {
    let StatsFilter { class: asked_class, queue: asked_queue, .. } = filter;
    for (minute, span) in waiting.spans() {
        let at = minute / window.span * window.span;
        if at < window.since || at >= window.until {
            continue;
        }
        for (class, known) in &span.classes {
            if asked_class.as_ref().is_some_and(|asked| !is_class(class, asked)) {
                continue;
            }
            for slot in known.slots.iter().filter(|slot| asked_queue.as_ref().is_none_or(|asked| slot.queue == *asked))
            {
                let (class, queue) = (harmless::line(class, NAME), harmless::line(&slot.queue, NAME));
                each(at, class, queue, &slot.tally);
            }
        }
    }
}

/// Figures by class and by queue; `queues` is the order of the latter.
pub async fn stats(
    open: Option<&mut Open>,
    waiting: &Batch,
    filter: &StatsFilter,
    now: u64,
    queues: &[String],
) -> sqlx::Result<Stats> {
    let window = Window::of(filter, now, FINE);
    let mut total = Tally::default();
    let (mut classes, mut by_queue) = (BTreeMap::<String, Tally>::new(), BTreeMap::<String, Tally>::new());
    let mut count = |class: String, queue: String, tally: &Tally| {
        total.add(tally);
        classes.entry(class).or_default().add(tally);
        by_queue.entry(queue).or_default().add(tally);
    };
    let mut places = BTreeMap::new();
    if let Some(open) = open {
        let connection = &mut open.connection;
        let names = ["(SELECT name FROM names WHERE id = class)", QUEUE_NAME];
        Rows::summed(connection, filter, window, (&names, "class, queue"), |row, tally| {
            count(row.try_get(0)?, row.try_get(1)?, &tally);
            Ok(())
        })
        .await?;
        let known: Vec<(String, Option<String>, Option<String>)> =
            sqlx::query_as("SELECT name, tier, why FROM names WHERE tier IS NOT NULL LIMIT 20000")
                .fetch_all(connection)
                .await?;
        places.extend(known.into_iter().map(|(name, tier, why)| (name, (tier, why))));
    }
    waiting_rows(waiting, filter, window, |_, class, queue, tally| count(class, queue, tally));
    for (_, span) in waiting.spans() {
        for (class, known) in &span.classes {
            if let Some((tier, route)) = known.last {
                let place = (Some(tier.name().to_owned()), route.map(|route| why(route, tier)));
                places.insert(harmless::line(class, NAME), place);
            }
        }
    }
    let mut classes: Vec<ClassFigures> = classes
        .into_iter()
        .map(|(class, tally)| {
            let (tier, why) = places.remove(&class).unwrap_or_default();
            ClassFigures { class, tier, why, memory_limit: None, figures: tally.figures() }
        })
        .collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.figures.runs()));
    let mut lacks = Vec::new();
    if classes.len() > CLASSES {
        lacks.push(format!("all but the {CLASSES} classes with the most runs, of {}", classes.len()));
        classes.truncate(CLASSES);
    }
    let place = |queue: &str| queues.iter().position(|known| known == queue).unwrap_or(usize::MAX);
    let mut by_queue: Vec<QueueFigures> =
        by_queue.into_iter().map(|(queue, tally)| QueueFigures { queue, figures: tally.figures() }).collect();
    by_queue.sort_by_key(|queue| place(&queue.queue));
    let total = total.figures();
    Ok(Stats { version: 1, since: window.since, until: window.until, total, classes, queues: by_queue, lacks })
}

/// Permanently failed jobs by minute: `(minute, jobs)`, both the minutes and `since` in seconds since 1970.
pub async fn failures(connection: &mut SqliteConnection, since: u64) -> sqlx::Result<Vec<(u64, u64)>> {
    let sql = "SELECT at, SUM(failed) FROM figures WHERE span = ?1 AND at >= ?2 GROUP BY at";
    let rows: Vec<(i64, i64)> =
        sqlx::query_as(sql).bind(signed(MINUTE)).bind(signed(since)).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(at, failed)| (unsigned(at), unsigned(failed))).collect())
}

/// Runs in each of these hours (their first seconds since 1970) of the classes that last ran pooled.
pub async fn pooled(connection: &mut SqliteConnection, hours: [u64; 4]) -> sqlx::Result<[u64; 4]> {
    let sql = "SELECT COALESCE(SUM(f.done + f.released + f.failed + f.\"left\" + f.lost), 0) FROM figures f \
               JOIN names n ON n.id = f.class WHERE f.span = ?1 AND f.at = ?2 AND n.tier = ?3";
    let mut runs = [0; 4];
    for (runs, hour) in runs.iter_mut().zip(hours) {
        let query = sqlx::query_scalar(sql).bind(signed(HOUR)).bind(signed(hour)).bind(Tier::Pooled.name());
        *runs = unsigned(query.fetch_one(&mut *connection).await?);
    }
    Ok(runs)
}

/// Figures over time in at most `points` points (0 for the default), also by queue if `by_queue`.
pub async fn series(
    mut open: Option<&mut Open>,
    waiting: &Batch,
    filter: &StatsFilter,
    (points, by_queue): (u32, bool),
    now: u64,
) -> sqlx::Result<Series> {
    let window = Window::of(filter, now, DAY);
    let wanted = match points {
        0 => 60,
        points => u64::from(points).min(POINTS),
    };
    // Slightly more than a round duration, as time passes while the query is made, must not lengthen the points.
    let asked = window.asked.saturating_sub(window.span - 1);
    let step = asked.div_ceil(wanted).div_ceil(window.span).max(1) * window.span;
    // Points are aligned to whole steps, so that they stay in place as time passes.
    let first = window.since / step * step;
    let whole = (window.until - first).div_ceil(step).max(1);
    // Drops the first point if it is partial and so one too many.
    let (first, count) = if whole > wanted { (first + (whole - wanted) * step, wanted) } else { (first, whole) };
    let length = usize::try_from(count).unwrap_or(1);
    let mut all: Vec<(Tally, Option<u64>, Option<u64>)> = vec![Default::default(); length];
    let place = |at: u64| usize::try_from(at.saturating_sub(first) / step).unwrap_or(usize::MAX);
    let window = Window { since: first, ..window };
    let mut queues = BTreeMap::<String, (Tally, Vec<u64>)>::new();
    let mut count = |at: u64, queue: Option<String>, tally: &Tally| {
        let Some((all, ..)) = all.get_mut(place(at)) else { return };
        all.add(tally);
        let Some(queue) = queue else { return };
        let (all, runs) = queues.entry(queue).or_insert_with(|| (Tally::default(), vec![0; length]));
        all.add(tally);
        if let Some(runs) = runs.get_mut(place(at)) {
            *runs += tally.outcomes.iter().sum::<u64>();
        }
    };
    if let Some(open) = open.as_deref_mut() {
        let columns = if by_queue { (["at", QUEUE_NAME].as_slice(), "at, queue") } else { (["at"].as_slice(), "at") };
        Rows::summed(&mut open.connection, filter, window, columns, |row, tally| {
            let queue = if by_queue { Some(row.try_get(1)?) } else { None };
            count(unsigned(row.try_get(0)?), queue, &tally);
            Ok(())
        })
        .await?;
    }
    waiting_rows(waiting, filter, window, |at, _, queue, tally| count(at, by_queue.then_some(queue), tally));
    let mut backlogs = BTreeMap::<u64, BTreeMap<String, (u64, Option<u64>)>>::new();
    let mut note = |at: u64, queue: String, backlog: u64, oldest: Option<u64>| {
        if filter.queue.as_ref().is_none_or(|asked| queue == *asked) {
            let most = backlogs.entry(at).or_default().entry(queue).or_default();
            *most = (most.0.max(backlog), most.1.max(oldest));
        }
    };
    // Backlogs are known by queue only, not by class.
    if filter.class.is_none() {
        if let Some(open) = open {
            let sql = "SELECT s.at, q.name, s.backlog, s.oldest FROM sizes s JOIN names q ON q.id = s.queue \
                       WHERE s.span = ?1 AND s.at >= ?2 AND s.at < ?3";
            let query = sqlx::query_as(sql).bind(signed(window.span)).bind(signed(window.since));
            let known: Vec<(i64, String, i64, Option<i64>)> =
                query.bind(signed(window.until)).fetch_all(&mut open.connection).await?;
            for (at, queue, backlog, oldest) in known {
                note(unsigned(at), queue, unsigned(backlog), oldest.map(unsigned));
            }
        }
        for (minute, samples) in &waiting.samples {
            for (queue, (backlog, oldest)) in samples {
                note(minute / window.span * window.span, harmless::line(queue, NAME), *backlog, *oldest);
            }
        }
    }
    for (at, queues) in backlogs {
        let backlog: u64 = queues.values().map(|(backlog, _)| *backlog).sum();
        let oldest = queues.values().filter_map(|(_, oldest)| *oldest).max();
        if let Some((_, most, longest)) = all.get_mut(place(at)).filter(|_| at >= first) {
            *most = (*most).max(Some(backlog));
            *longest = (*longest).max(oldest);
        }
    }
    let points = all.into_iter().enumerate().map(|(place, (tally, backlog, oldest))| Point {
        at: first + place as u64 * step,
        figures: tally.figures(),
        backlog,
        oldest,
    });
    let queues = queues.into_iter().take(QUEUES);
    let queues = queues.map(|(queue, (tally, runs))| (queue, QueueSeries { figures: tally.figures(), runs })).collect();
    Ok(Series { version: 1, step, points: points.collect(), queues, lacks: Vec::new() })
}
