//! Reserving jobs: without waiting, or, if the last call found none, waiting for new ones.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Answer, QueueEvent, QueueSide};
use crate::backend::{BackendError, Capabilities, Reserved, Wait};

/// A call for jobs that takes longer counts as unanswered.
const SILENCE: Duration = Duration::from_secs(5);
/// A call that takes longer is an outage. It is not abandoned: the jobs that it brings would be reserved and held by no
/// one.
const OUTAGE: Duration = Duration::from_secs(15);

/// A demand for jobs.
#[derive(Debug)]
pub struct Demand {
    pub jobs: usize,
    /// The queues to take them from, in order.
    pub queues: Rc<[String]>,
    /// Jobs that have been settled so far.
    pub settled: u64,
}

/// State of the call for jobs.
#[derive(Debug, Default)]
pub struct Fetch {
    state: FetchState,
    /// The last call found no job, so the next one waits for some.
    dry: bool,
    /// Ends the wait of the call under way; `None` once it was ended.
    wait: Option<Wait>,
    /// The queues of the call.
    queues: Rc<[String]>,
    /// When the call was made.
    since: Option<Instant>,
    /// Removals were under way when it was made, and may have held back other jobs.
    removing: bool,
    retry: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FetchState {
    #[default]
    Idle,
    /// Reserves available jobs.
    Reserving,
    /// Waits for jobs if none is available.
    Waiting,
}

impl Fetch {
    pub fn is_idle(&self) -> bool {
        self.state == FetchState::Idle
    }

    pub fn wake(&self) -> Option<Instant> {
        self.retry.filter(|_| self.is_idle())
    }

    /// When the call under way becomes an outage.
    pub fn outage(&self) -> Option<Instant> {
        Some(self.since()? + OUTAGE)
    }

    /// When the call under way was made.
    pub fn since(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_idle())
    }

    /// Age of the call under way, if overdue.
    pub fn overdue(&self) -> Option<Duration> {
        self.since().map(|at| at.elapsed()).filter(|age| *age > SILENCE)
    }

    /// Whether a call for jobs is under way that does not merely wait.
    pub fn brings_jobs(&self) -> bool {
        match self.state {
            FetchState::Idle => false,
            FetchState::Reserving => true,
            FetchState::Waiting => self.wait.is_none(),
        }
    }
}

impl QueueSide {
    /// Ends a waiting call and has the next one look at once: there may be jobs that no queue announces.
    pub fn look_again(&mut self) {
        self.fetch.dry = false;
        if let Some(wait) = self.fetch.wait.take() {
            wait.end();
        }
    }

    /// Whether a waiting call includes a queue for which `is_it` holds.
    pub fn waits_for(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.fetch.state == FetchState::Waiting && self.fetch.queues.iter().any(|queue| is_it(queue))
    }

    /// Whether a waiting call lacks one of these queues.
    pub fn waits_without(&self, queues: &[&String]) -> bool {
        self.fetch.state == FetchState::Waiting && queues.iter().any(|queue| !self.fetch.queues.contains(queue))
    }

    /// Whether a call for jobs may be made now.
    pub fn may_reserve(&self, now: Instant) -> bool {
        let retries = [self.fetch.retry, self.returns.retry];
        self.fetch.is_idle() && !self.is_moving() && retries.into_iter().flatten().all(|at| at <= now)
    }

    /// Makes a call for jobs.
    pub fn reserve(&mut self, Demand { jobs, queues, settled }: Demand) {
        let Capabilities { max_batch, poll, .. } = self.backend.capabilities();
        let max = jobs.min(max_batch);
        let removing = self.is_removing();
        let fetch = &mut self.fetch;
        fetch.removing = removing;
        (fetch.since, fetch.retry, fetch.queues) = (Some(Instant::now()), None, queues.clone());
        let wait = if fetch.dry { Wait::up_to(poll) } else { Wait::none() };
        fetch.state = if fetch.dry { FetchState::Waiting } else { FetchState::Reserving };
        fetch.wait = fetch.dry.then(|| wait.clone());
        self.call(|backend| async move {
            Answer::Reserved { settled, result: backend.next_batch(&queues, max, &wait).await }
        });
    }

    /// Handles the reply to a call for jobs.
    pub(super) fn fetched(&mut self, settled: u64, result: Result<Reserved, BackendError>) {
        let was_waiting = self.fetch.state == FetchState::Waiting;
        let was_ended = was_waiting && self.fetch.wait.take().is_none();
        self.fetch.state = FetchState::Idle;
        if was_ended && result.as_ref().is_ok_and(Reserved::is_empty) {
            // An ended call has not looked at the queue: the next one does.
            return;
        }
        match result {
            Ok(found) => {
                self.answered();
                self.fetch.dry = found.jobs.is_empty();
                self.found(found, settled);
            }
            Err(error) => self.failed(error),
        }
    }

    /// Notes whether a worker that pops by itself could reach the queue. `fault`: target and error.
    pub fn worker_heard(&mut self, fault: Option<(String, String)>) {
        match fault {
            None => self.answered(),
            Some((target, reason)) => self.failed(BackendError::Unavailable { target, reason }),
        }
    }

    /// No call for jobs is made, since the app or all its queues are paused. At the start, that they can be counted is
    /// the first answer.
    pub fn is_closed(&mut self, now: Instant, queues: &[String]) {
        if self.outage.has_answered() {
            return;
        }
        match self.is_native() || self.backlog.is_counted() {
            true => self.answered(),
            false => self.count(now, queues),
        }
    }

    fn answered(&mut self) {
        if self.outage.silence().is_some() {
            self.events.push_back(QueueEvent::Answers);
        }
        if self.outage.answered() {
            self.leases.arm(self.backend.lease());
            self.events.push_back(QueueEvent::Opened);
        }
    }

    fn failed(&mut self, error: BackendError) {
        if self.outage.is_unusable(&error) {
            self.events.push_back(QueueEvent::Unusable(error));
        } else if self.outage.is_not_awaited() {
            self.events.push_back(QueueEvent::Abandoned(error));
        } else {
            if self.outage.silence().is_none() {
                self.events.push_back(QueueEvent::Silent(error.to_string()));
            }
            let delay = self.outage.failed(&error, self.fetch.since.or_else(|| Some(Instant::now())));
            self.fetch.retry = Some(Instant::now() + delay);
        }
    }

    fn found(&mut self, found: Reserved, settled: u64) {
        if !self.brought(found) && !self.fetch.removing {
            self.events.push_back(QueueEvent::Empty { settled });
        }
    }

    /// Handles reserved jobs, and logs messages set aside as malformed. False if no job was reserved.
    pub(super) fn brought(&mut self, found: Reserved) -> bool {
        for aside in found.set_aside {
            tracing::error!(
                "a message of {} bytes on queue {} is not a job ({}); now on {}",
                aside.bytes,
                aside.queue,
                aside.why,
                aside.now
            );
        }
        let is_something = !found.jobs.is_empty();
        if is_something {
            self.events.push_back(QueueEvent::Reserved(found.jobs));
        }
        is_something
    }
}
