//! The event loop's side of history: records into memory, writes on another thread, and answers queries.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kqueue_control::{
    EventsFilter, Happening, Happenings, Job, Jobs, JobsFilter, MetricsRow, Series, Stats, StatsFilter, VERSION,
};
use kqueue_system::harmless;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::attempt::Attempt;
use super::buffer::{Batch, Buffer, Grade, Id};
use super::file::{File, HistoryError, Open};
use super::tally::Sample;
use super::write::HOUR;
use super::{NAME, TEXT, events, figures, jobs};

/// Delay between the first record and its write; later records join that write.
const PERIOD: Duration = Duration::from_secs(1);
/// A write is followed by a pause of this many times its duration, up to [`LONGEST`]: writing takes about one percent
/// of a processor.
const SHARE: u32 = 100;
/// The longest pause between writes.
const LONGEST: Duration = Duration::from_secs(20);
/// The pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Timeout of the last write.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a query waits for the file while it is in use.
const TURN: Duration = Duration::from_secs(2);
/// Jobs or events in one answer: default, and maximum.
const PAGE: (usize, usize) = (50, 500);

/// See the module. All clones share one buffer and file.
#[derive(Clone)]
pub struct Recorder {
    buffer: Rc<RefCell<Buffer>>,
    file: Arc<Mutex<File>>,
    /// Attempts of each kind to keep; `None` if history is off.
    jobs: Rc<Cell<Option<usize>>>,
    wake: Rc<Notify>,
    awake: Rc<Cell<bool>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Records into the file in `directory`, which keeps `jobs` attempts of each kind; with `None`, into memory alone.
    /// Must be called on a `LocalSet`.
    pub fn new(directory: &Path, jobs: Option<usize>) -> Self {
        let recorder = Self {
            buffer: Rc::default(),
            file: Arc::new(Mutex::new(File::new(directory, jobs.unwrap_or(0), epoch_ms()))),
            jobs: Rc::new(Cell::new(jobs)),
            wake: Rc::default(),
            awake: Rc::default(),
        };
        recorder.buffer.borrow_mut().configure(jobs);
        let writer = recorder.clone();
        tokio::task::spawn_local(async move { writer.write_on().await });
        recorder
    }

    /// Changes how many attempts of each kind are kept; `None` turns history off.
    pub fn configure(&self, jobs: Option<usize>) {
        if self.jobs.replace(jobs) != jobs {
            self.buffer.borrow_mut().configure(jobs);
            // The writer reopens the file with the new bounds, or closes it.
            self.wake.notify_one();
        }
    }

    /// Whether history is on.
    pub fn is_on(&self) -> bool {
        self.jobs.get().is_some()
    }

    /// Records an attempt that has ended.
    pub fn attempt(&self, attempt: Attempt) {
        self.buffer.borrow_mut().attempt(attempt);
        self.pending();
    }

    /// Records an event, with the current time. Returns its id, for [`Self::over`].
    pub fn happened(&self, event: Happening, grade: Grade) -> Id {
        let line = |text: &str, most| harmless::line(text, most);
        let event = Happening {
            at: epoch_ms(),
            kind: line(&event.kind, NAME),
            text: line(&event.text, TEXT),
            job: event.job.as_ref().map(|job| line(job, NAME)),
            ..event
        };
        let id = self.buffer.borrow_mut().happened(event, grade);
        self.pending();
        id
    }

    /// Records that the event with this id is over now.
    pub fn over(&self, id: Id) {
        self.buffer.borrow_mut().over(id, epoch_ms());
        self.pending();
    }

    /// Records the size of a queue, with the current time.
    pub fn sized(&self, sample: Sample) {
        self.buffer.borrow_mut().sized(epoch_ms(), sample);
        self.pending();
    }

    fn pending(&self) {
        if self.jobs.get().is_some() && !self.awake.replace(true) {
            self.wake.notify_one();
        }
    }

    /// The writer: writes records as they come, forever.
    async fn write_on(self) {
        self.remember_failures().await;
        loop {
            self.wake.notified().await;
            self.awake.set(true);
            tokio::time::sleep(PERIOD).await;
            let begun = Instant::now();
            let written = self.write().await;
            let pause = if written { (begun.elapsed() * SHARE).min(LONGEST) } else { AGAIN };
            tokio::time::sleep(pause.saturating_sub(PERIOD)).await;
            self.awake.set(false);
            if !self.buffer.borrow().batch.is_empty() {
                self.pending();
            }
        }
    }

    /// Writes what is recorded. False if that fails: the batch is then kept for the next write.
    pub async fn write(&self) -> bool {
        let Some(jobs) = self.jobs.get() else {
            self.file.lock().await.close().await;
            return true;
        };
        let mut file = self.file.clone().lock_owned().await;
        if file.jobs != jobs {
            file.close().await;
            file.jobs = jobs;
        }
        let batch = self.buffer.borrow_mut().take();
        if batch.is_empty() {
            return true;
        }
        let done = beside(move || async move {
            let result = file.write(&batch, epoch_ms()).await;
            (file, batch, result)
        })
        .await;
        match done {
            Some((_, _, Ok(()))) => true,
            // The file is still locked: the next reader finds the batch in the buffer.
            Some((_file, batch, Err(_))) => {
                self.buffer.borrow_mut().put_back(batch);
                false
            }
            None => false,
        }
    }

    /// Writes what is recorded, and closes the file, within [`FAREWELL`].
    pub async fn close(&self) {
        let closed = async {
            self.write().await;
            self.file.lock().await.close().await;
        };
        let _ = tokio::time::timeout(FAREWELL, closed).await;
    }

    /// Figures since the start, by class, queue and tier.
    pub fn metrics(&self) -> Vec<MetricsRow> {
        self.buffer.borrow().totals().rows()
    }

    /// Permanently failed jobs of the last hour.
    pub fn failed_hour(&self) -> u64 {
        self.buffer.borrow_mut().failed_since((epoch_ms() / 1000).saturating_sub(HOUR))
    }

    /// Adds the failures of the last hour that earlier runtimes have recorded.
    async fn remember_failures(&self) {
        let Ok(mut file) = self.turn().await else { return };
        let since = (epoch_ms() / 1000).saturating_sub(HOUR);
        let read = beside(move || async move {
            file.read(async |open| figures::failures(&mut open.connection, since).await).await
        });
        if let Some(Ok(minutes)) = read.await {
            self.buffer.borrow_mut().had_failed(minutes);
        }
    }

    /// Runs of pooled classes in each of these hours, given by their first seconds since 1970; `None` if history is off
    /// or cannot be read.
    pub async fn pooled_runs(&self, hours: [u64; 4]) -> Option<[u64; 4]> {
        let mut file = self.turn().await.ok()?;
        let read =
            beside(
                move || async move { file.read(async |open| figures::pooled(&mut open.connection, hours).await).await },
            );
        read.await?.ok()
    }

    /// The finished attempts that match the filter, latest first, one page of them.
    pub async fn jobs(&self, filter: JobsFilter) -> Jobs {
        let limit = page(filter.limit);
        let before: Option<Id> = filter.after.as_ref().and_then(|after| after.parse().ok());
        let mut answer = Jobs { version: VERSION, ..Jobs::default() };
        let mut file = match self.turn().await {
            Ok(file) => file,
            Err(why) => {
                answer.lacks.push(why);
                return answer;
            }
        };
        let mut found = self.buffer.borrow().find(&filter, before, limit + 1);
        let read =
            beside(
                move || async move { file.read(async |open| jobs::find(open, &filter, before, limit + 1).await).await },
            );
        match read.await {
            Some(Ok(rows)) => found.extend(rows),
            Some(Err(error)) => answer.lacks.push(error.to_string()),
            None => {}
        }
        found.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        found.dedup_by_key(|(id, _)| *id);
        if found.len() > limit {
            found.truncate(limit);
            answer.next = found.last().map(|(id, _)| id.to_string());
        }
        answer.jobs = found.into_iter().map(|(_, job)| job).collect();
        answer
    }

    /// The finished attempts of one job and its events, both in order of time, and what is missing from the answer and
    /// why.
    pub async fn job(&self, uuid: String) -> (Vec<Job>, Vec<Happening>, Vec<String>) {
        let mut file = match self.turn().await {
            Ok(file) => file,
            Err(why) => return (Vec::new(), Vec::new(), vec![why]),
        };
        let (mut attempts, waiting) = {
            let buffer = self.buffer.borrow();
            (buffer.of(&uuid), buffer.events())
        };
        let read = beside(move || async move {
            file.read(async |open| {
                let attempts = jobs::of(&mut open.connection, &uuid).await?;
                let events = events::of_job(&mut open.connection, &uuid).await?;
                Ok((attempts, events::merge(events, &waiting), uuid.clone()))
            })
            .await
        });
        match read.await {
            Some(Ok((rows, mut events, uuid))) => {
                attempts.extend(rows);
                events.retain(|(_, event)| event.job.as_ref() == Some(&uuid));
                events.reverse();
                (in_order(attempts), events.into_iter().map(|(_, event)| event).collect(), Vec::new())
            }
            other => {
                let why = other.and_then(Result::err).map(|error| error.to_string()).into_iter().collect();
                (in_order(attempts), Vec::new(), why)
            }
        }
    }

    /// Figures by class and by queue; `queues` is the order of the latter.
    pub async fn stats(&self, filter: StatsFilter, queues: Vec<String>) -> Stats {
        let of = async move |open: Option<&mut Open>, waiting: &Batch, now: u64| {
            figures::stats(open, waiting, &filter, now, &queues).await
        };
        let (mut stats, why) = self.figures(of).await;
        stats.lacks.extend(why);
        Stats { version: VERSION, ..stats }
    }

    /// Figures over time, in up to `points` points, also by queue if `by_queue`.
    pub async fn series(&self, filter: StatsFilter, points: u32, by_queue: bool) -> Series {
        let of = async move |open: Option<&mut Open>, waiting: &Batch, now: u64| {
            figures::series(open, waiting, &filter, (points, by_queue), now).await
        };
        let (mut series, why) = self.figures(of).await;
        series.lacks.extend(why);
        Series { version: VERSION, ..series }
    }

    /// Figures from the file and from what waits to be written; if the file cannot be read, from the latter alone, with
    /// the reason.
    async fn figures<A: Default + Send + 'static>(
        &self,
        of: impl AsyncFn(Option<&mut Open>, &Batch, u64) -> sqlx::Result<A> + Send + 'static,
    ) -> (A, Option<String>) {
        let mut file = match self.turn().await {
            Ok(file) => file,
            Err(why) => return (A::default(), Some(why)),
        };
        let waiting = self.buffer.borrow().figures();
        let read = beside(move || async move {
            let now = epoch_ms() / 1000;
            match file.read(async |open| of(Some(open), &waiting, now).await).await {
                Ok(answer) => (answer, None),
                Err(error) => (of(None, &waiting, now).await.unwrap_or_default(), Some(error.to_string())),
            }
        });
        read.await.unwrap_or_else(|| (A::default(), Some("history cannot be read".to_owned())))
    }

    /// Events since then (seconds since 1970), the latest first.
    pub async fn events(&self, filter: EventsFilter) -> Happenings {
        let limit = page(filter.limit);
        let mut answer = Happenings { version: VERSION, ..Happenings::default() };
        let mut file = match self.turn().await {
            Ok(file) => file,
            Err(why) => {
                answer.lacks.push(why);
                return answer;
            }
        };
        let waiting = self.buffer.borrow().events();
        let read = beside(move || async move {
            let read = file.read(async |open| events::selected(&mut open.connection, &filter, limit + 1).await).await;
            let (known, why) = match read {
                Ok(known) => (known, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            let mut all = events::merge(known, &waiting);
            all.retain(|(_, event)| events::is_selected(event, &filter));
            let more = all.len() > limit;
            all.truncate(limit);
            (all, more, why)
        });
        let (all, more, why) = read.await.unwrap_or_default();
        answer.more = more;
        answer.events = all.into_iter().map(|(_, event)| event).collect();
        answer.lacks.extend(why);
        answer
    }

    /// Limits the file to this many pages.
    #[cfg(test)]
    pub async fn limit_pages(&self, pages: u64) {
        self.file.lock().await.pages = Some(pages);
    }

    /// Waits for exclusive use of the file.
    async fn turn(&self) -> Result<OwnedMutexGuard<File>, String> {
        if self.jobs.get().is_none() {
            return Err("history is off (history = false)".to_owned());
        }
        let turn = tokio::time::timeout(TURN, self.file.clone().lock_owned()).await;
        turn.map_err(|_| HistoryError::Slow.to_string())
    }
}

/// Attempts of one job, without duplicates, by their start: one may be recorded after the next has ended.
fn in_order(mut attempts: Vec<(Id, Job)>) -> Vec<Job> {
    attempts.sort_by_key(|(id, _)| *id);
    attempts.dedup_by_key(|(id, _)| *id);
    attempts.sort_by_key(|(_, job)| (job.started, job.attempt));
    attempts.into_iter().map(|(_, job)| job).collect()
}

/// The number of entries in an answer.
fn page(limit: u32) -> usize {
    match usize::try_from(limit).unwrap_or(PAGE.1) {
        0 => PAGE.0,
        limit => limit.min(PAGE.1),
    }
}

/// Runs this on a blocking thread, where rows are read and summed up.
async fn beside<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> Option<T> {
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || handle.block_on(work())).await.ok()
}

/// Milliseconds since 1970.
pub fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
