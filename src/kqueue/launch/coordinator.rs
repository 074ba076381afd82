//! The coordinator's client: [`Units`] of the host's service manager.
//!
//! The coordinator may be restarted at any time. Its socket persists, so a request not yet sent waits for the next
//! connection, within its deadline. Of the requests already sent, queries are repeated there; commands fail, as it is
//! unknown how far they got.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::Order;
use super::units::{UnitError, UnitNotice, Units};
use kqueue_core::backoff::Backoff;
use kqueue_core::wire::coordinator::{
    Answer, Frames, FromCoordinator, Listed, MAX_ANSWER, MAX_REQUEST, MAX_WATCH, Notice, Purpose, Refusal, Request,
    Unit, UnitLimits, Verb, frame,
};
use kqueue_system::harmless;

/// Capacity of the queue of unsent requests.
const QUEUE: usize = 256;
/// Places of that queue which log lines leave free for requests: the coordinator rate-limits requests, and a scope must
/// not wait behind log lines.
const RESERVED: usize = 192;
/// Requests in flight; the coordinator accepts no more.
const IN_FLIGHT: usize = 64;
/// Undelivered notices kept beyond the channel's capacity.
const NOTICES: usize = 4096;
/// Maximum length of a log line for the journal, in characters.
const LINE: usize = 2048;
/// Timeout of sending one request.
const WRITE: Duration = Duration::from_secs(5);
/// Timeout of a request; the coordinator gives up earlier.
const QUICK: Duration = Duration::from_secs(45);
/// Timeout of a start request. The worker's own unit has a shorter one.
const START: Duration = Duration::from_secs(130);
/// Shortest and longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// See the module.
#[derive(Debug, Clone)]
pub struct Coordinator {
    calls: mpsc::Sender<Call>,
}

/// A request, queued or in flight.
#[derive(Debug)]
struct Call {
    verb: Verb,
    /// Where the answer goes; `None` for a log line, which has none.
    answer: Option<oneshot::Sender<Result<Answer, UnitError>>>,
}

impl Call {
    /// Whether it changes nothing and can be repeated.
    fn is_question(&self) -> bool {
        matches!(self.verb, Verb::List | Verb::Purpose)
    }

    fn is_given_up(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

impl Coordinator {
    /// A client of the coordinator that listens at `path`. It connects, and reconnects, by itself; notices go to
    /// `notices`. Must be called on a `LocalSet`.
    pub fn new(path: PathBuf, notices: mpsc::Sender<UnitNotice>) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE);
        let driver = Driver {
            path,
            queue,
            notices,
            backlog: VecDeque::new(),
            again: VecDeque::new(),
            under_way: BTreeMap::new(),
            next_id: 1,
            is_known: false,
        };
        tokio::task::spawn_local(driver.run());
        Self { calls }
    }

    async fn ask(&self, verb: Verb, limit: Duration) -> Result<Answer, UnitError> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.calls.send(Call { verb, answer: Some(sender) }).await.map_err(|_| nobody("the client has stopped"))?;
            answer.await.map_err(|_| nobody("the client has stopped"))?
        };
        timeout(limit, asked).await.unwrap_or_else(|_| Err(nobody("no answer in time")))
    }

    async fn order(&self, verb: Verb) -> Result<(), UnitError> {
        self.ask(verb, QUICK).await.map(drop)
    }
}

fn nobody(why: &str) -> UnitError {
    UnitError { refusal: Refusal::Timeout, text: format!("coordinator: {why}") }
}

#[async_trait(?Send)]
impl Units for Coordinator {
    async fn start(&self, worker: u32, _order: Option<&Order>) -> Result<i32, UnitError> {
        let answer = self.ask(Verb::Start { worker }, START).await?;
        answer.pid.ok_or_else(|| nobody("no process id in the answer"))
    }

    fn workers_read_file(&self) -> bool {
        true
    }

    async fn kill(&self, unit: &Unit) -> Result<(), UnitError> {
        self.order(Verb::Kill { unit: unit.clone() }).await
    }

    async fn scope(&self, name: &str, pid: i32, limits: &UnitLimits) -> Result<(), UnitError> {
        self.order(Verb::Scope { scope: name.to_owned(), pid, limits: limits.clone() }).await
    }

    async fn watch(&self, units: &[Unit]) -> Result<(), UnitError> {
        for units in units.chunks(MAX_WATCH) {
            self.order(Verb::Watch { units: units.to_vec() }).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Listed>, UnitError> {
        Ok(self.ask(Verb::List, QUICK).await?.units.unwrap_or_default())
    }

    async fn purpose(&self) -> Result<Purpose, UnitError> {
        Ok(self.ask(Verb::Purpose, QUICK).await?.purpose.unwrap_or_default())
    }

    fn tell(&self, priority: u8, message: &str, fields: BTreeMap<String, String>) {
        if self.calls.capacity() > RESERVED {
            let message = harmless::line(message, LINE);
            let _ = self.calls.try_send(Call { verb: Verb::Tell { message, priority, fields }, answer: None });
        }
    }
}

/// The task that owns the connection.
#[derive(Debug)]
struct Driver {
    path: PathBuf,
    queue: mpsc::Receiver<Call>,
    notices: mpsc::Sender<UnitNotice>,
    /// Notices not yet delivered: their receiver may be waiting for an answer just now.
    backlog: VecDeque<UnitNotice>,
    /// Queries left unanswered by the last connection.
    again: VecDeque<Call>,
    under_way: BTreeMap<u64, Call>,
    next_id: u64,
    /// Whether the coordinator has sent anything on this connection, which proves that it serves us.
    is_known: bool,
}

impl Driver {
    async fn run(mut self) {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        let mut was_lost = false;
        while !self.queue.is_closed() && !self.notices.is_closed() {
            match UnixStream::connect(&self.path).await {
                Ok(stream) => {
                    if std::mem::take(&mut was_lost) {
                        self.note(UnitNotice::Back);
                    }
                    self.is_known = false;
                    let why = self.converse(stream).await;
                    tracing::debug!("coordinator: {why}");
                    if self.is_known {
                        pauses.succeeded();
                    }
                    self.lose();
                    was_lost = true;
                }
                Err(error) => tracing::debug!("{}: {error}", self.path.display()),
            }
            self.rest(pauses.failed()).await;
        }
    }

    /// Fails the commands in flight, keeps the queries for the next connection, and reports the loss: units are no
    /// longer watched.
    fn lose(&mut self) {
        let (questions, lost) =
            std::mem::take(&mut self.under_way).into_values().partition::<Vec<_>, _>(Call::is_question);
        self.again.extend(questions);
        for answer in lost.into_iter().filter_map(|call| call.answer) {
            let _ = answer.send(Err(nobody("lost the connection")));
        }
        self.note(UnitNotice::Lost);
    }

    /// Queues a notice. On overflow the oldest is dropped: the receiver of a `Lost` lists the units anew.
    fn note(&mut self, notice: UnitNotice) {
        if self.backlog.len() >= NOTICES {
            self.backlog.pop_front();
        }
        self.backlog.push_back(notice);
    }

    /// Pauses between connections, delivering notices meanwhile.
    async fn rest(&mut self, pause: Duration) {
        let notices = self.notices.clone();
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                Ok(permit) = notices.reserve(), if !self.backlog.is_empty() => {
                    if let Some(notice) = self.backlog.pop_front() {
                        permit.send(notice);
                    }
                }
            }
        }
    }

    /// Sends and receives until the connection ends; returns the reason.
    async fn converse(&mut self, mut stream: UnixStream) -> String {
        let (mut read, mut write) = stream.split();
        let notices = self.notices.clone();
        let mut frames = Frames::new(MAX_ANSWER);
        let mut chunk = [0u8; 4096];
        while let Some(call) = self.again.pop_front() {
            if let Err(error) = self.send(&mut write, call).await {
                return error.to_string();
            }
        }
        loop {
            // Abandoned requests free their places only when places are needed.
            if self.under_way.len() >= IN_FLIGHT {
                self.under_way.retain(|_, call| !call.is_given_up());
            }
            tokio::select! {
                read = read.read(&mut chunk) => {
                    let heard = match read {
                        Ok(0) => Err("connection closed".to_owned()),
                        Ok(read) => self.hear(&mut frames, chunk.get(..read).unwrap_or_default()),
                        Err(error) => Err(error.to_string()),
                    };
                    if let Err(why) = heard {
                        return why;
                    }
                }
                call = self.queue.recv(), if self.under_way.len() < IN_FLIGHT => {
                    let Some(call) = call else { return "no more calls".to_owned() };
                    if let Err(error) = self.send(&mut write, call).await {
                        return error.to_string();
                    }
                }
                Ok(permit) = notices.reserve(), if !self.backlog.is_empty() => {
                    if let Some(notice) = self.backlog.pop_front() {
                        permit.send(notice);
                    }
                }
            }
        }
    }

    async fn send(&mut self, write: &mut (impl tokio::io::AsyncWrite + Unpin), call: Call) -> io::Result<()> {
        if call.is_given_up() {
            return Ok(());
        }
        let id = self.next_id;
        self.next_id += 1;
        let bytes = frame(&Request { id, verb: call.verb.clone() });
        if bytes.len() > MAX_REQUEST {
            // The coordinator would end the connection.
            let error = UnitError { refusal: Refusal::Refused, text: "coordinator: request too long".to_owned() };
            call.answer.map(|answer| answer.send(Err(error)));
            return Ok(());
        }
        if call.answer.is_some() {
            self.under_way.insert(id, call);
        }
        timeout(WRITE, write.write_all(&bytes)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn hear(&mut self, frames: &mut Frames, bytes: &[u8]) -> Result<(), String> {
        frames.feed(bytes);
        while let Some(message) = frames.message::<FromCoordinator>().map_err(|error| error.to_string())? {
            self.is_known = true;
            match message {
                FromCoordinator::Notice(Notice::Ended { unit, end }) => {
                    if self.backlog.len() >= NOTICES {
                        return Err("too many notices are pending".to_owned());
                    }
                    self.note(UnitNotice::Ended { unit, end });
                }
                FromCoordinator::Answer(answer) => {
                    let Some(waiting) = self.under_way.remove(&answer.id).and_then(|call| call.answer) else {
                        continue;
                    };
                    let _ = waiting.send(match answer.error {
                        Some((refusal, text)) => Err(UnitError { refusal, text }),
                        None => Ok(answer),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// Reads the next request of this connection.
    async fn request(stream: &mut UnixStream, frames: &mut Frames) -> Request {
        let mut chunk = [0u8; 4096];
        loop {
            if let Some(request) = frames.message().unwrap() {
                return request;
            }
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "closed in place of a request");
            frames.feed(chunk.get(..read).unwrap_or_default());
        }
    }

    #[tokio::test]
    async fn a_question_outlives_its_connection_and_an_order_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("coordinator.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (notices, mut noticed) = mpsc::channel(8);
        let local = tokio::task::LocalSet::new();
        let serve = async {
            // A coordinator that is restarted before it has answered.
            let mut frames = Frames::new(MAX_REQUEST);
            let (mut first, _) = listener.accept().await.unwrap();
            assert_eq!(request(&mut first, &mut frames).await.verb, Verb::List);
            assert!(matches!(request(&mut first, &mut frames).await.verb, Verb::Kill { .. }));
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            let again = request(&mut second, &mut frames).await;
            assert_eq!(again.verb, Verb::List);
            let answer = Answer { id: again.id, units: Some(Vec::new()), ..Answer::default() };
            second.write_all(&frame(&answer)).await.unwrap();
            second
        };
        let test = async {
            let coordinator = Coordinator::new(path.clone(), notices);
            let kill = async {
                coordinator.kill(&Unit::Worker(1)).await.unwrap_err();
                assert_eq!(noticed.recv().await, Some(UnitNotice::Lost));
            };
            let (listed, (), _held) = tokio::join!(coordinator.list(), kill, serve);
            assert_eq!(listed.unwrap(), []);
        };
        local.run_until(test).await;
    }
}
