//! Lists jobs that are not reserved, from the queue itself, beside the loop.

use std::rc::Rc;
use std::time::Duration;

use kqueue_config::Settings;
use kqueue_control::{Job, JobState, Jobs, JobsFilter};
use kqueue_system::harmless;
use tokio::time::Instant;

use super::held::epoch_ms;
use super::queue::sizes::Looker;
use super::status::NAME;
use crate::backend::{DEEP, Listed, Listing, PAGE};
use crate::history::is_wanted;

/// Timeout of the listing.
const PATIENCE: Duration = Duration::from_secs(3);
/// Maximum number of jobs examined for one reply, where few of them match.
const LOOKED_AT: usize = 2_000;
/// Prefix of the position of a page that begins in a queue.
const PLACE: &str = "queue:";

/// Position of a page: index of the queue, and number of its jobs to skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    queue: usize,
    job: usize,
}

impl Place {
    /// Parses the output of [`Self::write`].
    pub(super) fn read(text: &str) -> Option<Self> {
        let (queue, job) = text.strip_prefix(PLACE)?.split_once(':')?;
        // Jobs beyond that are not listed.
        Some(Self { queue: queue.parse().ok()?, job: job.parse::<usize>().ok()?.min(DEEP) })
    }

    fn write(self) -> String {
        format!("{PLACE}{}:{}", self.queue, self.job)
    }
}

/// A search for jobs that are not reserved.
#[derive(Debug)]
pub(super) struct Search {
    pub looker: Looker,
    /// The queues, in their order.
    pub queues: Vec<String>,
    pub filter: JobsFilter,
    pub which: Listing,
    pub from: Place,
    pub limit: usize,
    /// For the timeouts of jobs that have none in their payload.
    pub settings: Rc<Settings>,
}

impl Search {
    /// Adds the jobs found to a reply.
    pub(super) async fn add_to(self, answer: &mut Jobs) {
        if let Some(why) = self.looker.unlisted() {
            answer.lacks.push(format!("jobs in the queue are not listed: {why}"));
            return;
        }
        let until = Instant::now() + PATIENCE;
        let Search { looker, queues, filter, which, mut from, limit, settings } = self;
        let mut looked_at = 0;
        while let Some(queue) = queues.get(from.queue) {
            if filter.queue.as_ref().is_some_and(|asked| asked != queue) {
                from = Place { queue: from.queue + 1, job: 0 };
                continue;
            }
            if answer.jobs.len() >= limit || looked_at >= LOOKED_AT {
                answer.next = Some(from.write());
                return;
            }
            let most = if filtered(&filter) { PAGE } else { (limit - answer.jobs.len()).min(PAGE) };
            let found = tokio::time::timeout_at(until, looker.list(queue, which, from.job, most)).await;
            let page = match found {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    answer.lacks.push(format!("queue {queue}: {}", harmless::line(&error.to_string(), NAME)));
                    Default::default()
                }
                Err(_) => {
                    answer.lacks.push(format!("queue {queue} and those after it: no answer in time"));
                    return;
                }
            };
            let more = page.more && !page.jobs.is_empty();
            for listed in &page.jobs {
                if answer.jobs.len() >= limit {
                    break;
                }
                (from.job, looked_at) = (from.job + 1, looked_at + 1);
                let job = job(queue, listed, which, |class| settings.timeout_of(class, queue));
                if is_wanted(&job, &filter) {
                    answer.jobs.push(job);
                }
            }
            if !more && answer.jobs.len() < limit {
                from = Place { queue: from.queue + 1, job: 0 };
            }
        }
    }
}

/// Whether only few of the examined jobs may match.
fn filtered(filter: &JobsFilter) -> bool {
    let JobsFilter { class, tag, text, since, .. } = filter;
    class.is_some() || tag.is_some() || text.is_some() || since.is_some()
}

/// The reply's entry of a job that is not reserved. `timeout`: seconds for a class.
fn job(queue: &str, listed: &Listed, which: Listing, timeout: impl Fn(&str) -> u64) -> Job {
    let name = |text: &str| harmless::line(text, NAME);
    let envelope = listed.envelope();
    let class = envelope.as_ref().map_or("(no job)", |envelope| envelope.classes().0);
    let ready = listed.ready_at();
    let now = epoch_ms();
    let (state, due, wait) = match which {
        Listing::Waiting => (JobState::Waiting, None, ready.map(|ready| now.saturating_sub(ready))),
        Listing::Delayed => (JobState::Delayed, listed.available.map(|at| at.saturating_mul(1000)), None),
    };
    let attempts = listed.attempts.or(envelope.as_ref().and_then(|envelope| envelope.attempts)).unwrap_or(0);
    Job {
        queue: name(queue),
        state: Some(state),
        attempt: attempts,
        queued: envelope.as_ref().and_then(|envelope| envelope.dispatched_at()).or(ready.filter(|_| due.is_none())),
        due,
        wait_ms: wait,
        uuid: envelope.as_ref().and_then(|envelope| envelope.uuid.as_deref()).map(name).unwrap_or_default(),
        class: name(class),
        tags: envelope.iter().flat_map(|envelope| &envelope.tags).map(|tag| name(tag)).collect(),
        timeout: Some(
            envelope.as_ref().and_then(|envelope| envelope.timeout).map_or_else(|| timeout(class), u64::from),
        ),
        ..Job::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn places_are_read_as_written() {
        let place = Place { queue: 3, job: 250 };
        assert_eq!(Place::read(&place.write()), Some(place));
        for nonsense in ["", "7", "queue:", "queue:1", "queue:a:1", "queue:1:-1"] {
            assert_eq!(Place::read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_job_that_waits_is_told_by_its_payload() {
        let payload = |more: &str| {
            format!(
                r#"{{"uuid":"u","displayName":"App\\A","job":"Illuminate\\Queue\\CallQueuedHandler@call","timeout":9,{more}}}"#
            )
        };
        let whole = payload(r#""attempts":2,"tags":["t"],"createdAt":100,"data":{"commandName":"App\\A"}"#);
        let listed =
            |text: &str, bytes| Listed { payload: Bytes::copy_from_slice(text.as_bytes()), bytes, ..Listed::default() };
        let told = job("q", &listed(&whole, whole.len()), Listing::Waiting, |_| 60);
        assert_eq!((told.uuid.as_str(), told.class.as_str(), told.attempt), ("u", "App\\A", 2));
        assert_eq!((told.queued, told.timeout, told.tags), (Some(100_000), Some(9), vec!["t".to_owned()]));
        // After an attempt, the time since which it waits is unknown.
        assert_eq!((told.state, told.wait_ms), (Some(JobState::Waiting), None));
        // Of a truncated payload, what its head contains.
        let long = payload(&format!(r#""data":{{"command":"{}"#, "x".repeat(900)));
        let told = job("q", &listed(&long[..300], 99_999), Listing::Waiting, |_| 60);
        assert_eq!((told.uuid.as_str(), told.class.as_str(), told.timeout), ("u", "App\\A", Some(9)));
        let told = job("q", &Listed { available: Some(500), ..listed("nonsense", 8) }, Listing::Delayed, |_| 60);
        assert_eq!((told.class.as_str(), told.due, told.state), ("(no job)", Some(500_000), Some(JobState::Delayed)));
    }
}
