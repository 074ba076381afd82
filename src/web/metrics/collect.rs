//! Asks all apps for their counters, concurrently.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kqueue_control::{Figures, Metrics, MetricsRow, Request};

use super::encode::{AppTold, Host};
use crate::apps::{Apps, Known};
use crate::ask;

/// Timeout of the states of all apps; a scrape usually has ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// Maximum number of rows of one app; the others are merged into the last one.
const ROWS: usize = 500;
/// The name in that row.
const REST: &str = "other";

/// Collects the states and counters of all apps.
pub async fn collect(apps: &Arc<Apps>) -> Host {
    let told = apps.all(PATIENCE).await.into_iter().map(|(app, known, _)| async move {
        let counted = match &known {
            Known::Told(_, socket) => counted(socket).await,
            _ => None,
        };
        AppTold { app, known, counted }
    });
    Host(join_all(told).await)
}

async fn counted(socket: &Path) -> Option<Metrics> {
    let mut metrics: Metrics = ask::read(socket, &Request::Metrics).await?;
    metrics.rows = bounded(metrics.rows);
    metrics.started = metrics.started.into_iter().take(8).collect();
    metrics.ended =
        metrics.ended.into_iter().take(8).map(|(tier, whys)| (tier, whys.into_iter().take(16).collect())).collect();
    metrics.orders = metrics.orders.into_iter().take(16).collect();
    Some(metrics)
}

/// The rows with the most jobs; the others are merged into one, so that sums stay correct. No row occurs twice.
fn bounded(mut rows: Vec<MetricsRow>) -> Vec<MetricsRow> {
    rows.sort_by(|one, other| (&one.class, &one.queue, &one.tier).cmp(&(&other.class, &other.queue, &other.tier)));
    rows.dedup_by(|next, kept| {
        let same = (&next.class, &next.queue, &next.tier) == (&kept.class, &kept.queue, &kept.tier);
        if same {
            kept.figures.add(&next.figures);
        }
        same
    });
    rows.sort_by_key(|row| std::cmp::Reverse(row.figures.runs()));
    if rows.len() > ROWS {
        let mut figures = Figures::default();
        rows.drain(ROWS - 1..).for_each(|row| figures.add(&row.figures));
        let name = || REST.to_owned();
        rows.push(MetricsRow { class: name(), queue: name(), tier: name(), figures });
    }
    for row in &mut rows {
        row.figures
            .outcomes
            .retain(|outcome, _| matches!(outcome.as_str(), "done" | "released" | "failed" | "left" | "lost"));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_few_and_their_sum_is_true() {
        let row = |number: u64| {
            let mut row =
                MetricsRow { class: format!("C{}", number % 900), tier: "inline".to_owned(), ..MetricsRow::default() };
            row.figures.outcomes.insert("done".to_owned(), number);
            row.figures.duration.record(number);
            row
        };
        let rows = bounded((0..1_000).map(row).collect());
        assert_eq!(rows.len(), ROWS);
        assert_eq!(rows.iter().map(|row| row.figures.runs()).sum::<u64>(), 499_500);
        assert_eq!(rows.iter().map(|row| row.figures.duration.count()).sum::<u64>(), 1_000);
        assert_eq!(rows.last().unwrap().class, REST);
    }
}
