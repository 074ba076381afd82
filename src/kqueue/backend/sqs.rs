//! Laravel's SQS queue: the same messages, left in the same state as by its own class.
//!
//! Receiving a message hides it at once, so a pending receive is never dropped: a wait is a series of short receives. A
//! message cannot be restored to its former state either, since each receive is counted. May access the network; knows
//! nothing of PHP.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message as Answer, QueueAttributeName};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use serde_json::value::RawValue;

use super::head::why_broken;
use super::{BackendError, Capabilities, QueueBackend, QueueSize, Receipt, Reservation, Reserved, SetAside, Wait};
use kqueue_config::Pop;
use kqueue_core::payload::is_pointer;

mod address;
mod batch;
mod client;
mod error;
mod message;
mod settings;

use batch::{Change, Entry};
use client::Clients;
use error::{Call, Fault};
use message::{DRIVER, LONGEST, Message};
pub use settings::SqsSettings;

/// Messages per call at most.
const BATCH: usize = 10;
/// Duration of one long poll, which cannot be cut short without losing messages; shorter polls cost more calls.
const POLL: Duration = Duration::from_secs(2);
/// Visibility timeout if we lack the permission to read the queue's.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How long a queue that cannot be worked is left out while others can.
const LEFT_OUT: Duration = Duration::from_secs(60);

/// Queues of SQS, or of a compatible server.
pub struct SqsBackend {
    settings: SqsSettings,
    clients: Clients,
    strict: bool,
    /// Visibility timeouts by queue, as far as they are known.
    leases: RefCell<HashMap<String, Duration>>,
    /// The queue that had the last message: the long poll waits there.
    busiest: RefCell<String>,
    /// Queues that cannot be worked, and until when they are left out.
    left_out: RefCell<HashMap<String, Instant>>,
    /// Failing calls, each of which has been logged once.
    said: RefCell<HashSet<Call>>,
}

impl std::fmt::Debug for SqsBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqsBackend").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl SqsBackend {
    /// A backend for these settings. Connects on the first call.
    ///
    /// # Errors
    /// [`BackendError::Settings`] without a region.
    pub fn connect(settings: SqsSettings, pop: Pop) -> Result<Self, BackendError> {
        if settings.region.is_empty() {
            return Err(BackendError::Settings(
                "the queue connection has no `region`: set it in the app's config/queue.php (AWS_DEFAULT_REGION)"
                    .to_owned(),
            ));
        }
        Ok(Self {
            clients: Clients::new(&settings),
            settings,
            strict: pop == Pop::Strict,
            leases: RefCell::default(),
            busiest: RefCell::default(),
            left_out: RefCell::default(),
            said: RefCell::default(),
        })
    }

    fn url(&self, queue: &str) -> String {
        address::url(&self.settings, queue)
    }

    async fn client(&self, url: &str) -> Client {
        self.clients.of(address::server(&self.settings, url)).await
    }

    /// The result of a call, with its error classified.
    async fn answer<T, E>(
        &self,
        call: Call,
        url: &str,
        answer: Result<T, aws_sdk_sqs::error::SdkError<E>>,
    ) -> Result<T, Fault>
    where
        E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let server = address::server(&self.settings, url);
        if let Some(fault) = Fault::of(call, server, url, &error) {
            return Err(fault);
        }
        // No request was sent: there are no credentials, or something on this host is wrong.
        Err(match self.clients.no_credentials().await {
            Some(why) => Fault::no_credentials(server, &why),
            None => Fault::unavailable(server, format!("{}: {}", call.name(), error::causes(&error))),
        })
    }

    /// Fetches a queue's sizes, and its visibility timeout into `leases`.
    async fn attributes(&self, queue: &str) -> Result<QueueSize, Fault> {
        let url = self.url(queue);
        let asked = [
            QueueAttributeName::VisibilityTimeout,
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let [timeout, counts @ ..] = asked.clone();
        let client = self.client(&url).await;
        let answer = client.get_queue_attributes().queue_url(&url).set_attribute_names(Some(asked.into())).send().await;
        let answer = self.answer(Call::Attributes, &url, answer).await?;
        let number = |name: &QueueAttributeName| {
            answer.attributes().and_then(|all| all.get(name)).and_then(|text| text.parse().ok())
        };
        // With a timeout of 0 a message would be visible to all at once.
        let lease = number(&timeout).filter(|seconds| *seconds > 0).map_or(UNKNOWN, Duration::from_secs);
        self.leases.borrow_mut().insert(queue.to_owned(), lease);
        let [pending, delayed, reserved] = counts.map(|name| number(&name).unwrap_or(0));
        Ok(QueueSize { pending, delayed, reserved })
    }

    /// Visibility timeout of messages received from a queue.
    async fn lease_of(&self, queue: &str) -> Result<Duration, Fault> {
        let known = |queue| self.leases.borrow().get(queue).copied();
        if let Some(lease) = known(queue) {
            return Ok(lease);
        }
        match self.attributes(queue).await {
            Ok(_) => Ok(known(queue).unwrap_or(UNKNOWN)),
            Err(fault) if fault.denied => {
                tracing::warn!(
                    "{}; until then, its visibility timeout is taken as {} s and its size is unknown",
                    fault.error,
                    UNKNOWN.as_secs()
                );
                self.leases.borrow_mut().insert(queue.to_owned(), UNKNOWN);
                Ok(UNKNOWN)
            }
            Err(fault) => Err(fault),
        }
    }

    /// One receive from one queue. Appends to `found`.
    async fn receive(&self, queue: &str, wanted: usize, wait: Duration, found: &mut Reserved) -> Result<(), Fault> {
        let url = self.url(queue);
        let lease = self.lease_of(queue).await?;
        // SQS may return several messages of one group at once, and a later one must not run before an earlier one:
        // with one in flight, SQS holds back the rest of its group.
        let most = if address::is_fifo(&url) { 1 } else { BATCH };
        let client = self.client(&url).await;
        // The deprecated name, as Laravel uses it: SQS-compatible servers know it, too.
        #[allow(deprecated)]
        let call = client
            .receive_message()
            .attribute_names(QueueAttributeName::from("ApproximateReceiveCount"))
            .queue_url(&url)
            .max_number_of_messages(i32::try_from(wanted.min(most)).unwrap_or(1))
            .visibility_timeout(seconds(lease))
            .wait_time_seconds(seconds(wait));
        let answer = self.answer(Call::Receive, &url, call.send().await).await?;
        let messages = answer.messages();
        if !messages.is_empty() {
            queue.clone_into(&mut self.busiest.borrow_mut());
        }
        for answer in messages {
            self.take(queue, lease, answer, found).await;
        }
        Ok(())
    }

    /// Appends a message to `found`, or hides it if it is not a job.
    async fn take(&self, queue: &str, lease: Duration, answer: &Answer, found: &mut Reserved) {
        let Some(message) = Message::received(answer, lease) else {
            tracing::error!(
                "queue {queue}: ignored a message without an id, receipt handle or receive count: the server is not \
                 compatible with SQS"
            );
            return;
        };
        let payload = Bytes::from(answer.body().unwrap_or_default().to_owned());
        let why = if self.strict || is_pointer(&payload) { None } else { why_broken(&payload) };
        let bytes = payload.len();
        let receipt = message.clone().receipt();
        let job = Reservation { queue: queue.to_owned(), payload, receipt };
        let Some(why) = why else {
            found.jobs.push(job);
            return;
        };
        // There is no other queue to move it to. Hidden for twice as long after each receive, it does no harm until the
        // app's redrive policy moves it to the dead-letter queue.
        let hidden = lease.saturating_mul(1 << (message.count().saturating_sub(1)).min(20)).min(message.left());
        let change = Change::Hide(hidden);
        let asked = self.change(change, std::slice::from_ref(&job)).await;
        if let Err(error) = asked {
            tracing::debug!(
                queue,
                "cannot hide a message that is not a job; it reappears after its visibility timeout: {error}"
            );
        }
        let now = format!(
            "the same queue, hidden for {} s; its redrive policy, if set, moves it to a dead-letter queue",
            hidden.as_secs()
        );
        found.set_aside.push(SetAside { queue: queue.to_owned(), now, why, bytes });
    }

    /// One receive from each queue, in order. One of them, the busiest, waits for `wait` if nothing was found before
    /// it.
    async fn look(
        &self,
        queues: &[String],
        max: usize,
        wait: Duration,
        found: &mut Reserved,
    ) -> Result<(), BackendError> {
        let usable = self.usable(queues);
        let busiest = self.busiest.borrow().clone();
        let at = usable.iter().position(|queue| **queue == busiest).unwrap_or(0);
        let mut faults = Vec::new();
        for (index, &queue) in usable.iter().enumerate() {
            let wanted = max.saturating_sub(found.jobs.len());
            if wanted == 0 {
                break;
            }
            let wait = if index == at && found.is_empty() { wait } else { Duration::ZERO };
            match self.receive(queue, wanted, wait, found).await {
                Ok(()) => {
                    if self.left_out.borrow_mut().remove(queue).is_some() {
                        tracing::info!("queue {queue} is processed again");
                    }
                }
                Err(fault) if fault.of_queue => faults.push((queue, fault.error)),
                // Jobs that are already received must not be lost with the error; the next call will report it.
                Err(fault) if found.is_empty() => return Err(fault.error),
                Err(_) => return Ok(()),
            }
        }
        // If no queue can be worked, the caller logs the error.
        if faults.len() == queues.len()
            && let Some((_, error)) = faults.pop()
        {
            return Err(error);
        }
        for (queue, error) in faults {
            if self.left_out.borrow_mut().insert(queue.clone(), Instant::now() + LEFT_OUT).is_none() {
                tracing::error!("queue {queue} cannot be processed: {error}; other queues are not affected");
            }
        }
        Ok(())
    }

    /// The queues that are not left out; all queues if none would remain.
    fn usable<'a>(&self, queues: &'a [String]) -> Vec<&'a String> {
        let left_out = self.left_out.borrow();
        let is_out = |queue: &String| left_out.get(queue).is_some_and(|until| Instant::now() < *until);
        let usable: Vec<_> = queues.iter().filter(|queue| !is_out(queue)).collect();
        if usable.is_empty() { queues.iter().collect() } else { usable }
    }

    /// Changes or removes messages in batches. `false` where one is no longer ours.
    async fn change(&self, change: Change, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        let mut ours = vec![false; jobs.len()];
        let mut of_queue: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
        for (index, job) in jobs.iter().enumerate() {
            if let Some(entry) = self.entry(change, index, job) {
                of_queue.entry(&job.queue).or_default().push(entry);
            }
        }
        let chunks =
            of_queue.iter().flat_map(|(queue, entries)| entries.chunks(BATCH).map(move |chunk| (*queue, chunk)));
        let calls = chunks.map(|(queue, entries)| async move {
            let url = self.url(queue);
            let client = self.client(&url).await;
            batch::send(self, &client, &url, change, entries).await
        });
        let result = try_join_all(calls).await;
        let (call, mut said) = (change.call(), self.said.borrow_mut());
        match result {
            Ok(answers) => {
                said.remove(&call);
                for index in answers.into_iter().flatten() {
                    if let (Some(ours), Some(job)) = (ours.get_mut(index), jobs.get(index)) {
                        let Some(message) = Message::of(job) else { continue };
                        // Once visible again, another consumer may have it.
                        *ours = !message.has_lapsed();
                        if change.settles() {
                            message.settle();
                        }
                    }
                }
                Ok(ours)
            }
            Err(fault) => {
                if said.insert(call) {
                    tracing::error!("{}; trying again", fault.error);
                }
                Err(fault.error)
            }
        }
    }

    /// A message's batch entry; `None` if nothing can be done for it.
    fn entry<'a>(&self, change: Change, index: usize, job: &'a Reservation) -> Option<Entry<'a>> {
        let message = Message::of(job).filter(|message| !message.is_settled())?;
        let hidden = match change {
            // A finished job is deleted even if another consumer has it now.
            Change::Delete => Duration::ZERO,
            _ if message.has_lapsed() => return None,
            Change::Hide(hidden) => hidden,
            Change::Renew => {
                let left = message.left();
                if left.is_zero() {
                    tracing::warn!(
                        "message {} of queue {} has been in flight for {} hours, the limit of SQS: it becomes visible \
                         again, and its job runs a second time unless it ends first",
                        message.id(),
                        job.queue,
                        LONGEST.as_secs() / 3600
                    );
                    return None;
                }
                self.known_lease(&job.queue).min(left)
            }
        };
        Some(Entry { index, handle: message.handle(), hidden: seconds(hidden) })
    }

    fn known_lease(&self, queue: &str) -> Duration {
        self.leases.borrow().get(queue).copied().unwrap_or(UNKNOWN)
    }
}

/// Whole seconds, as the API takes them.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

#[async_trait(?Send)]
impl QueueBackend for SqsBackend {
    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ordered: false,
            exact_sizes: false,
            unreserve: false,
            revives: false,
            max_batch: BATCH,
            max_lease: Some(LONGEST),
            doorbell: false,
            poll: POLL,
        }
    }

    fn check_queues(&self, queues: &[String]) -> Result<(), BackendError> {
        address::check(queues)
    }

    async fn next_batch(&self, queues: &[String], max: usize, wait: &Wait) -> Result<Reserved, BackendError> {
        self.check_queues(queues)?;
        let mut found = Reserved::default();
        if max == 0 || queues.is_empty() {
            return Ok(found);
        }
        let start = Instant::now();
        loop {
            let left = wait.limit().saturating_sub(start.elapsed());
            if !left.is_zero() && wait.ends_within(Duration::ZERO).await {
                return Ok(found);
            }
            // The API takes whole seconds.
            let poll = Duration::from_secs(left.min(POLL).as_secs());
            self.look(queues, max, poll, &mut found).await?;
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            if poll.is_zero() && wait.ends_within(left).await {
                return Ok(found);
            }
        }
    }

    fn decode(&self, header: Option<&RawValue>, body: &Bytes) -> Option<Receipt> {
        body.is_empty().then(|| Message::decode(header)).flatten()
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.leases.borrow().values().min().copied().unwrap_or(UNKNOWN))
    }

    async fn renew(&self, jobs: &mut [Reservation]) -> Result<Vec<bool>, BackendError> {
        let held = self.change(Change::Renew, jobs).await?;
        for (job, _) in jobs.iter_mut().zip(&held).filter(|(_, held)| **held) {
            if let Some(message) = Message::of(job) {
                let renewed = message.hidden_for(self.known_lease(&job.queue).min(message.left()));
                job.receipt = renewed.receipt();
            }
        }
        Ok(held)
    }

    async fn unreserve(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.change(Change::Hide(Duration::ZERO), jobs).await
    }

    async fn delete(&self, jobs: &[Reservation]) -> Result<Vec<bool>, BackendError> {
        self.change(Change::Delete, jobs).await
    }

    fn unlisted(&self) -> Option<&'static str> {
        Some("SQS cannot list messages")
    }

    async fn sizes(&self, queues: &[String]) -> Result<Vec<QueueSize>, BackendError> {
        self.check_queues(queues)?;
        let sizes = join_all(queues.iter().map(|queue| self.attributes(queue))).await;
        sizes.into_iter().map(|size| size.map_err(|fault| fault.error)).collect()
    }
}

/// Lets tests change a receipt as time or the server would.
#[cfg(test)]
pub(super) mod testing {
    use std::time::Duration;

    use super::{Message, Receipt, Reservation};

    pub fn handle(job: &Reservation) -> &str {
        Message::of(job).unwrap().handle()
    }

    /// The receipt of a message that is visible again.
    pub fn lapsed(job: &Reservation) -> Receipt {
        Message::of(job).unwrap().lapsed()
    }

    /// The receipt of a message that was received `age` ago.
    pub fn aged(job: &Reservation, age: Duration) -> Receipt {
        Message::of(job).unwrap().aged(age)
    }
}
