//! Queue sizes. Counted seldom enough to cost next to nothing.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Answer, QueueSide};
use crate::backend::{BackendError, Listed, Listing, Page, QueueBackend, QueueSize};
use kqueue_control::{Paused, Queue, Sizes};
use kqueue_system::harmless;

/// Interval between two counts.
const PAUSE: Duration = Duration::from_secs(5);
/// Interval between two estimates: they change slowly, and the server may charge for each.
const ESTIMATE_PAUSE: Duration = Duration::from_secs(60);
/// The interval is at least this many times the duration of the last count.
const SHARE: u32 = 50;
/// Timeout of a query.
const PATIENCE: Duration = Duration::from_secs(1);
/// Delayed jobs of each queue that are looked at: a queue need not list them in order of their times.
const DELAYED: usize = 20;
/// Maximum bytes of an error text.
const ERROR: usize = 300;

/// Result of counting one queue.
#[derive(Clone, Debug)]
pub enum Count {
    /// Its sizes.
    Sizes(QueueSize),
    /// It cannot be read, and why.
    Fault(String),
    /// No reply in time.
    Late,
}

/// The last counts.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    counts: BTreeMap<String, Count>,
    /// The backend does not count exactly.
    estimated: bool,
    next: Option<Instant>,
    since: Option<Instant>,
}

impl Backlog {
    pub fn new(estimated: bool) -> Self {
        Self { estimated, ..Self::default() }
    }

    /// When to count next.
    pub fn wake(&self) -> Option<Instant> {
        self.next
    }

    fn queue(&self, name: &str, paused_by: Option<Paused>) -> Queue {
        let mut queue = Queue { name: name.to_owned(), paused: paused_by.is_some(), paused_by, ..Queue::default() };
        if let Some(count) = self.counts.get(name) {
            count.put(&mut queue, self.estimated);
        }
        queue
    }

    /// A count that is due is made by whoever wants it next; it wakes nobody again.
    pub fn on_time(&mut self, now: Instant) {
        self.next.take_if(|at| *at <= now);
    }

    /// Whether a queue could be counted.
    pub fn is_counted(&self) -> bool {
        self.counts.values().any(|count| matches!(count, Count::Sizes(_)))
    }

    pub fn counted(&mut self, counts: BTreeMap<String, Count>) {
        self.counts = counts;
        let took = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
        let pause = if self.estimated { ESTIMATE_PAUSE } else { PAUSE };
        // One that failed is repeated soon, however long it took.
        let pause = if self.is_counted() { pause.max(took * SHARE) } else { PAUSE };
        self.next = Some(Instant::now() + pause);
    }
}

impl Count {
    /// Jobs that could run now, if known.
    pub fn pending(&self) -> Option<u64> {
        match self {
            Count::Sizes(size) => Some(size.pending),
            Count::Fault(_) | Count::Late => None,
        }
    }

    /// Writes the result into a queue's entry in the snapshot. `estimated`: whether the backend only estimates.
    pub fn put(&self, queue: &mut Queue, estimated: bool) {
        (queue.sizes, queue.error) = match self {
            Count::Sizes(QueueSize { pending, delayed, reserved }) => {
                let (pending, delayed, reserved) = (*pending, *delayed, *reserved);
                (Some(Sizes { pending, delayed, reserved, estimated }), None)
            }
            Count::Fault(error) => (None, Some(error.clone())),
            Count::Late => (None, Some(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
    }
}

/// The fault of the first queue that cannot be read.
pub fn fault(counts: &BTreeMap<String, Count>) -> Option<String> {
    counts.iter().find_map(|(name, count)| match count {
        Count::Fault(error) => Some(format!("queue {name} cannot be read: {error}")),
        Count::Sizes(_) | Count::Late => None,
    })
}

/// The same, but only if another queue can be read, so that the server is up.
pub fn partial_fault(counts: &BTreeMap<String, Count>) -> Option<String> {
    fault(counts).filter(|_| counts.values().any(|count| matches!(count, Count::Sizes(_))))
}

impl QueueSide {
    /// Starts a count of these queues, if due.
    pub fn count(&mut self, now: Instant, queues: &[String]) {
        if self.is_native() || self.backlog.since.is_some() || self.backlog.next.is_some_and(|at| now < at) {
            return;
        }
        (self.backlog.since, self.backlog.next) = (Some(now), None);
        let queues = queues.to_vec();
        self.call(|backend| async move { Answer::Counted(count(&*backend, &queues).await) });
    }

    /// Takes over sizes counted by a worker, where workers pop by themselves.
    pub fn counted_by_worker(&mut self, sizes: BTreeMap<String, [u64; 3]>) {
        if self.is_native() {
            let size = |[pending, delayed, reserved]: [u64; 3]| Count::Sizes(QueueSize { pending, delayed, reserved });
            self.backlog.counts.extend(sizes.into_iter().map(|(queue, sizes)| (queue, size(sizes))));
        }
    }

    /// The last counts.
    pub fn counts(&self) -> &BTreeMap<String, Count> {
        &self.backlog.counts
    }

    /// The snapshot entry of a queue, with its last count.
    pub fn queue(&self, name: &str, paused: Option<Paused>) -> Queue {
        self.backlog.queue(name, paused)
    }

    /// Looks for the next delayed job of these queues, where they can be listed; [`super::QueueEvent::Sighted`] reports
    /// when it is due.
    pub fn look_ahead(&self, queues: &[String]) {
        let (looker, queues) = (self.looker(), queues.to_vec());
        self.call(|_| async move {
            let due = tokio::time::timeout(PATIENCE, looker.next_due(&queues)).await;
            let now = u64::try_from(crate::backend::now().as_millis()).unwrap_or(u64::MAX);
            Answer::Sighted(match due {
                Ok(Ok(due)) => due.map(|due| due.saturating_sub(now)),
                Ok(Err(_)) | Err(_) => Some(0),
            })
        });
    }

    /// A handle for read-only queries.
    pub fn looker(&self) -> Looker {
        Looker(self.backend.clone())
    }

    /// Counts these queues now.
    pub fn count_now(&self, queues: &[String]) -> impl Future<Output = BTreeMap<String, Count>> + use<> {
        let known = self.is_native().then(|| self.backlog.counts.clone());
        let (backend, queues) = (self.backend.clone(), queues.to_vec());
        async move {
            match known {
                Some(known) => known,
                None => count(&*backend, &queues).await,
            }
        }
    }
}

/// Read-only access to the queues.
#[derive(Clone)]
pub struct Looker(Rc<dyn QueueBackend>);

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Looker")
    }
}

impl Looker {
    /// Why jobs cannot be listed, if so.
    pub fn unlisted(&self) -> Option<&'static str> {
        self.0.unlisted()
    }

    /// See [`QueueBackend::lease`].
    pub fn lease(&self) -> Option<Duration> {
        self.0.lease()
    }

    /// See [`QueueBackend::list`].
    ///
    /// # Errors
    /// As there.
    pub async fn list(&self, queue: &str, which: Listing, first: usize, most: usize) -> Result<Page, BackendError> {
        self.0.list(queue, which, first, most).await
    }

    /// When the next delayed job is due, in milliseconds since 1970; `None` if there is none, or jobs cannot be listed.
    async fn next_due(&self, queues: &[String]) -> Result<Option<u64>, BackendError> {
        let mut next = None;
        if self.unlisted().is_none() {
            for queue in queues {
                let page = self.list(queue, Listing::Delayed, 0, DELAYED).await?;
                next = next.into_iter().chain(page.jobs.iter().filter_map(Listed::ready_at)).min();
            }
        }
        Ok(next)
    }

    /// The time since which the longest waiting job of each queue has waited, where the queue knows it: milliseconds
    /// since 1970. Times out after [`PATIENCE`].
    pub async fn oldest(&self, queues: &[String]) -> BTreeMap<String, u64> {
        let asked = tokio::time::timeout(PATIENCE, self.0.oldest(queues)).await;
        let oldest = asked.ok().and_then(Result::ok).unwrap_or_default();
        queues.iter().cloned().zip(oldest).filter_map(|(queue, at)| Some((queue, at?))).collect()
    }
}

/// Counts the queues within [`PATIENCE`]. If a joint call fails, each queue is called by itself, so that one that
/// cannot be read hides no other.
async fn count(backend: &dyn QueueBackend, names: &[String]) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = names.iter().map(|name| (name.clone(), Count::Late)).collect();
    let asked = async {
        match backend.sizes(names).await {
            Ok(sizes) => counts.extend(names.iter().cloned().zip(sizes.into_iter().map(Count::Sizes))),
            Err(_) => {
                for name in names {
                    let answer = backend.sizes(std::slice::from_ref(name)).await;
                    counts.insert(name.clone(), read(answer));
                }
            }
        }
    };
    // On a timeout, the replies so far are used.
    let _ = tokio::time::timeout(PATIENCE, asked).await;
    counts
}

fn read(answer: Result<Vec<QueueSize>, BackendError>) -> Count {
    match answer {
        Ok(sizes) => sizes.first().map_or(Count::Late, |size| Count::Sizes(*size)),
        Err(error) => Count::Fault(harmless::line(&error.to_string(), ERROR)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, Count)]) -> BTreeMap<String, Count> {
        all.iter().map(|(name, count)| ((*name).to_owned(), count.clone())).collect()
    }

    #[test]
    fn one_queue_at_fault_is_told_from_a_server_that_is_gone() {
        let (fine, broken) = (Count::Sizes(QueueSize::default()), Count::Fault("WRONGTYPE".to_owned()));
        let one = counts(&[("a", fine.clone()), ("b", broken.clone())]);
        let expected = Some("queue b cannot be read: WRONGTYPE".to_owned());
        assert_eq!((partial_fault(&one), fault(&one)), (expected.clone(), expected));
        let all = counts(&[("a", broken.clone()), ("b", broken)]);
        assert_eq!(partial_fault(&all), None);
        assert!(fault(&all).is_some());
        // A slow queue is no fault.
        assert_eq!(fault(&counts(&[("a", Count::Late), ("b", fine)])), None);
    }

    #[test]
    fn a_slow_count_is_followed_by_a_long_pause() {
        let mut backlog = Backlog { since: Instant::now().checked_sub(Duration::from_secs(1)), ..Backlog::default() };
        backlog.counted(counts(&[("a", Count::Sizes(QueueSize { pending: 3, ..QueueSize::default() }))]));
        let pause = backlog.wake().map(|at| at.saturating_duration_since(Instant::now()));
        assert!(pause.is_some_and(|pause| pause > Duration::from_secs(45)), "{pause:?}");
        assert_eq!(backlog.queue("a", None).sizes.map(|sizes| sizes.pending), Some(3));
        assert_eq!(backlog.queue("b", None).sizes, None);
        backlog.estimated = true;
        assert!(backlog.queue("a", None).sizes.is_some_and(|sizes| sizes.estimated));
    }
}
