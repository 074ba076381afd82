//! An attempt of a job, as it is recorded. Pure.

use kqueue_control::{Job, JobState, JobsFilter};
use kqueue_core::routing::{Route, Tier};
use kqueue_core::schedule::Outcome;
use kqueue_system::harmless;

use super::{NAME, TEXT};

/// An attempt that has ended. Points in time are milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The job's uuid; empty if it has none.
    pub uuid: String,
    /// Its class.
    pub class: String,
    /// The queue it came from.
    pub queue: String,
    /// The tags in its payload.
    pub tags: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it ended well: such attempts do not displace others.
    pub well: bool,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The tier it ran in.
    pub tier: Tier,
    /// The tier it was routed to, and why.
    pub route: Option<Route>,
    /// The process that ran it.
    pub worker: Option<u64>,
    /// When the job was dispatched, or became visible.
    pub queued: u64,
    /// When the attempt could have begun.
    pub ready: u64,
    /// When it began, if it did.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: u64,
    /// How long it ran.
    pub ms: u64,
    /// Peak memory in bytes.
    pub memory_peak: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_usec: Option<u64>,
    /// Its timeout in seconds; 0 is without limit.
    pub timeout: u64,
    /// What went wrong.
    pub cause: Option<String>,
}

impl Attempt {
    /// Milliseconds from `ready` to `started`.
    pub fn wait_ms(&self) -> Option<u64> {
        Some(self.started?.saturating_sub(self.ready))
    }

    /// As it is shown: texts are sanitized and bounded.
    pub fn job(&self) -> Job {
        let name = |text: &str| harmless::line(text, NAME);
        Job {
            uuid: name(&self.uuid),
            class: name(&self.class),
            queue: name(&self.queue),
            tags: self.tags.iter().map(|tag| name(tag)).collect(),
            state: Some(state(self.outcome)),
            attempt: self.attempt,
            tier: Some(self.tier.name().to_owned()),
            why: self.route.map(|route| why(route, self.tier)),
            worker: self.worker,
            queued: Some(self.queued),
            due: None,
            started: self.started,
            ended: Some(self.ended),
            wait_ms: self.wait_ms(),
            ms: Some(self.ms),
            memory_peak: self.memory_peak,
            cpu_usec: self.cpu_usec,
            timeout: Some(self.timeout),
            cause: self.cause.as_ref().map(|cause| harmless::line(cause, TEXT)),
        }
    }
}

/// The reason why a job runs in its tier, as text.
pub fn why(route: Route, tier: Tier) -> String {
    match route.tier == tier {
        true => route.why.to_string(),
        false => format!("{} (meant for {})", route.why, route.tier.name()),
    }
}

/// The state of an attempt with this outcome.
pub fn state(outcome: Outcome) -> JobState {
    match outcome {
        Outcome::Done => JobState::Done,
        Outcome::Released => JobState::Released,
        Outcome::Failed => JobState::Failed,
        Outcome::Left => JobState::Left,
        Outcome::Lost => JobState::Lost,
    }
}

/// Whether a class has this name, in full or as its last part.
pub fn is_class(class: &str, asked: &str) -> bool {
    class == asked || class.strip_suffix(asked).is_some_and(|rest| rest.ends_with('\\'))
}

/// Whether a job matches the filter, apart from paging (`after`, `limit`).
pub fn is_wanted(job: &Job, filter: &JobsFilter) -> bool {
    let JobsFilter { state, class, queue, tag, text, since, until, .. } = filter;
    let at = job.ended.or(job.queued).unwrap_or(0);
    let state = match state {
        None | Some(JobState::Recent) => job.ended.is_some(),
        state => job.state == *state,
    };
    let has = |text: &String| {
        let fields = [&job.uuid, &job.class, &job.queue].into_iter().chain(&job.tags).chain(&job.cause);
        fields.into_iter().any(|field| field.to_lowercase().contains(&text.to_lowercase()))
    };
    state
        && class.as_ref().is_none_or(|class| is_class(&job.class, class))
        && queue.as_ref().is_none_or(|queue| job.queue == *queue)
        && tag.as_ref().is_none_or(|tag| job.tags.contains(tag))
        && text.as_ref().is_none_or(has)
        && since.is_none_or(|since| at >= since.saturating_mul(1000))
        && until.is_none_or(|until| at < until.saturating_mul(1000))
}
