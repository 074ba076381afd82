//! Looks at the table for free rows, and the pace of these looks while there are none.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::LONG;
use super::link::Link;
use super::session::Answer;
use super::{DatabaseBackend, numbers, row_of};
use crate::backend::horizon::{Coming, Horizon, MOST, Seen};
use crate::backend::trouble::Trouble;
use crate::backend::{BackendError, epoch, epoch_seconds};

/// Shortest and longest pause between two looks: after a job was found, and when none was found for long.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));
/// Divides the time since the last job was found, which gives the pause: a job waits for no longer than that fraction.
const PATIENCE: u32 = 100;
/// Time after a notification, or after a job was found, in which further ones may come unannounced: one notification covers several dispatches.
const BURST: Duration = Duration::from_millis(20);
/// A pause lasts at least this many times as long as the look before it.
const SHARE: u32 = 10;

/// For each queue that was asked for, whether it has work; empty if none has.
pub(super) type Work = Vec<bool>;

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Pace {
    found: Cell<Option<Instant>>,
    /// When a notification arrived.
    heard: Cell<Option<Instant>>,
    next: Cell<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { found: Cell::new(None), heard: Cell::new(None), next: Cell::new(Instant::now()) }
    }

    /// Work was found: the next look is due at once, since there may be more.
    pub(super) fn found(&self) {
        self.found.set(Some(Instant::now()));
        self.next.set(Instant::now());
    }

    /// Work was announced: the next look is due at once.
    pub(super) fn heard(&self) {
        self.heard.set(Some(Instant::now()));
        self.next.set(Instant::now());
    }

    /// Former results are no longer valid: the next look is due at once.
    pub(super) fn failed(&self) {
        self.next.set(Instant::now());
    }

    /// A look that took `cost` found nothing. The pause is the longest if new jobs are announced (`is_told`), but for
    /// [`BURST`].
    pub(super) fn found_nothing(&self, cost: Duration, is_told: bool) {
        let (shortest, longest) = PAUSE;
        let is_burst = self.heard.get().max(self.found.get()).is_some_and(|at| at.elapsed() < BURST);
        let pause = match is_told {
            true if is_burst => shortest,
            true => longest,
            false => self.found.get().map_or(longest, |at| at.elapsed() / PATIENCE),
        };
        // Jobs become due on whole seconds.
        let pause = if pause < longest { pause.max(shortest) } else { to_next_second() };
        self.next.set(Instant::now() + pause.max(cost * SHARE));
    }
}

/// Time until just after the wall clock's next whole second.
fn to_next_second() -> Duration {
    Duration::from_millis(u64::from(1001 - epoch().subsec_millis()))
}

impl DatabaseBackend {
    /// Returns when there may be work in one of the queues, or after `limit`, whichever is first. Cancel-safe: dropping
    /// it during a look closes the session.
    pub(super) async fn wait(&self, names: &[String], limit: Duration) -> Result<Work, BackendError> {
        let end = Instant::now() + limit;
        loop {
            if let Some(ear) = &self.ear
                && let Some(word) = ear.open(self.link.settings()).await
            {
                self.link.with(async |ready| ready.session.run(word).await).await?;
            }
            let pause = tokio::time::sleep_until(self.pace.next.get().min(end).into());
            match &self.ear {
                Some(ear) => tokio::select! {
                    () = pause => {}
                    () = ear.hear() => self.pace.heard(),
                },
                None => pause.await,
            }
            if Instant::now() >= end && Instant::now() < self.pace.next.get() {
                return Ok(Work::new());
            }
            match self.look(names).await {
                Err(Trouble::Busy(_)) => self.pace.found_nothing(Duration::ZERO, false),
                work => {
                    let work = work?;
                    if work.contains(&true) || Instant::now() >= end {
                        return Ok(work);
                    }
                }
            }
        }
    }

    /// Which queues have a row that can be reserved now. Locks nothing.
    pub(super) async fn look(&self, names: &[String]) -> Result<Work, Trouble> {
        if names.is_empty() {
            return Ok(Work::new());
        }
        if !self.is_seen(names) {
            self.horizon.take();
            if self.is_long.get() {
                self.scan(names).await?;
            }
        }
        let now = epoch_seconds();
        let (past, due): (Vec<_>, Vec<_>) = match &*self.horizon.borrow() {
            Some(horizon) => (0..names.len()).map(|n| (horizon.past(n), !horizon.due(n, now, 1).is_empty())).unzip(),
            None => names.iter().map(|_| (0, false)).unzip(),
        };
        let cost = Instant::now();
        let free: Vec<_> = names.iter().zip(past).map(|(name, past)| self.free(name, past)).collect();
        let answers = self.link.with(async |ready| ready.session.run(ready.dialect.ready(&free)).await).await?;
        let is_yes = |cell: &super::Cell| matches!(cell.as_deref(), Some(b"1" | b"t"));
        let cost = cost.elapsed();
        let work: Work = row_of(answers).iter().zip(due).map(|(cell, is_due)| is_yes(cell) || is_due).collect();
        if !work.contains(&true) {
            self.pace.found_nothing(cost, self.hears());
        }
        if cost > self.long && self.horizon.borrow().is_none() {
            self.is_long.set(true);
        }
        Ok(work)
    }

    /// Whether notifications of new jobs arrive.
    pub(in crate::backend) fn hears(&self) -> bool {
        self.ear.as_ref().is_some_and(super::Ear::hears)
    }

    fn is_seen(&self, names: &[String]) -> bool {
        self.horizon.borrow().as_ref().is_some_and(|horizon| horizon.holds(names, epoch_seconds()))
    }

    /// Scans the whole table and remembers the result, so that it need not be repeated soon.
    async fn scan(&self, names: &[String]) -> Result<(), Trouble> {
        let cost = Instant::now();
        // On a separate session, so that no finished job waits for it; but a listener is a second session already.
        let own = (self.ear.is_none()).then(|| Link::new(self.link.settings().clone()));
        let link = own.as_ref().unwrap_or(&self.link);
        let retry_after = self.retry_after;
        let seen = link.with(async |ready| {
            let [last] = numbers(&row_of(ready.session.run(ready.dialect.last()).await?))?;
            let mut seen = Vec::new();
            for name in names {
                let first = row_of(ready.session.run(ready.dialect.first(&self.free(name, 0))).await?);
                let first = if first.is_empty() { None } else { Some(numbers::<1>(&first)?[0]) };
                let up_to = first.map_or(last, |id| id - 1);
                let coming = ready.session.run(ready.dialect.coming(name, up_to, retry_after, MOST)).await?;
                seen.push(Seen::new(first, last, rows(coming)?));
            }
            Ok(seen)
        });
        let seen = seen.await?;
        if let Some(own) = &own {
            own.close().await;
        }
        let cost = cost.elapsed();
        tracing::debug!("scanned the table in {} ms", cost.as_millis());
        self.is_long.set(cost > self.long);
        self.horizon.replace(Some(Horizon::new(names.to_vec(), seen, cost.max(LONG))));
        Ok(())
    }
}

fn rows(answers: Vec<Answer>) -> sqlx::Result<Vec<Coming>> {
    let rows = answers.into_iter().flat_map(|answer| answer.rows);
    rows.map(|row| numbers(&row).map(|[id, due]| Coming { id, due })).collect()
}
