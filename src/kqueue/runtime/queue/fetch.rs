//! Jobs are reserved: those that are there, or, where the last call found none, those that come.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Answer, QueueEvent, QueueSide};
use crate::backend::{BackendError, Capabilities, Reserved, Wait};

/// A call for jobs that takes longer is not being answered.
const SILENCE: Duration = Duration::from_secs(5);
/// One that takes longer is an outage. It is not given up: the jobs that it brings would be reserved and nobody's.
const OUTAGE: Duration = Duration::from_secs(15);

/// The jobs there is room for.
#[derive(Debug)]
pub struct Demand {
    pub jobs: usize,
    /// Where they may come from, in order.
    pub queues: Rc<[String]>,
    /// Jobs that have been settled so far.
    pub settled: u64,
}

/// The call for jobs.
#[derive(Debug, Default)]
pub struct Fetch {
    state: FetchState,
    /// The last call found no job: the next one waits for some.
    dry: bool,
    /// Ends the wait of the call that is under way. None once it has been ended.
    wait: Option<Wait>,
    /// The queues that it is for.
    queues: Rc<[String]>,
    /// When it was made.
    since: Option<Instant>,
    /// Finished jobs were on their way out then, and might have held back others.
    removing: bool,
    retry: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FetchState {
    #[default]
    Idle,
    /// What is there is being reserved.
    Reserving,
    /// So is what comes.
    Waiting,
}

impl Fetch {
    pub fn is_idle(&self) -> bool {
        self.state == FetchState::Idle
    }

    pub fn wake(&self) -> Option<Instant> {
        self.retry.filter(|_| self.is_idle())
    }

    /// When the call under way is an outage, unless it is answered before.
    pub fn outage(&self) -> Option<Instant> {
        Some(self.since()? + OUTAGE)
    }

    /// When the call was made that is under way.
    pub fn since(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_idle())
    }

    /// For how long the call has been under way, if that is too long.
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
    /// There may be work that no queue announces.
    pub fn look_again(&mut self) {
        self.fetch.dry = false;
        if let Some(wait) = self.fetch.wait.take() {
            wait.end();
        }
    }

    /// Whether a call waits for jobs of a queue for which this holds.
    pub fn waits_for(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.fetch.state == FetchState::Waiting && self.fetch.queues.iter().any(|queue| is_it(queue))
    }

    /// Whether a call waits for jobs, and not for those of one of these queues.
    pub fn waits_without(&self, queues: &[&String]) -> bool {
        self.fetch.state == FetchState::Waiting && queues.iter().any(|queue| !self.fetch.queues.contains(queue))
    }

    /// Whether jobs could be reserved now.
    pub fn may_reserve(&self, now: Instant) -> bool {
        let retries = [self.fetch.retry, self.returns.retry];
        self.fetch.is_idle() && !self.is_moving() && retries.into_iter().flatten().all(|at| at <= now)
    }

    /// Reserves jobs, or waits for some.
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

    /// A call for jobs is over.
    pub(super) fn fetched(&mut self, settled: u64, result: Result<Reserved, BackendError>) {
        let was_waiting = self.fetch.state == FetchState::Waiting;
        let was_ended = was_waiting && self.fetch.wait.take().is_none();
        self.fetch.state = FetchState::Idle;
        if was_ended && result.as_ref().is_ok_and(Reserved::is_empty) {
            // It has not looked: the next call does.
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

    /// A worker that pops by itself has had an answer, or has been told by this server why not.
    pub fn worker_heard(&mut self, fault: Option<(String, String)>) {
        match fault {
            None => self.answered(),
            Some((target, reason)) => self.failed(BackendError::Unavailable { target, reason }),
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

    /// Jobs are ours, and others were no jobs. False where there are none.
    pub(super) fn brought(&mut self, found: Reserved) -> bool {
        for aside in found.set_aside {
            tracing::error!(
                "a message of {} bytes on queue {} is no job ({}); it is now on {}",
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
