//! Requests of operators that the app's PHP carries out: failed jobs are retried or forgotten, jobs in their queues
//! cancelled or moved, broken messages listed, put back or dropped. Done by a PHP process of its own, as the app's user
//! (our own user), one request at a time and beside the loop. The reply waits up to [`PATIENCE`]; the log has the result.

use std::time::Duration;

use kqueue_control::{
    Act, Acted, BrokenMessage, CancelJobs, Cancelled, Chosen, FailedJobs, MoveJobs, Moved, Request, VERSION,
};
use kqueue_system::harmless;
use nix::unistd::geteuid;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::Runtime;
use super::status::NAME;
use crate::control::{Ask, unable};
use crate::survey::{Errand, Manner, run_errand};

/// How long the reply waits for the end.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Broken messages listed at most.
pub(super) const LISTED: usize = 50;
/// Bytes shown of a broken message.
const SHOWN: usize = 64 << 10;

impl Runtime {
    /// Retries or forgets failed jobs.
    pub(super) fn failed_jobs(&mut self, retry: bool, jobs: FailedJobs, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let choice = match (&jobs.id, &jobs.class) {
            (Some(id), None) => format!("id {}", harmless::line(id, NAME)),
            (None, Some(class)) => format!("class {}", harmless::line(class, NAME)),
            _ => return drop(answer.send(unable("give one failed job, or one class"))),
        };
        let (act, past) = if retry { ("retry", "retried") } else { ("forget", "forgot") };
        let ids: Vec<String> = jobs.id.into_iter().collect();
        let order =
            json!({"path": self.settings.path, "act": act, "ids": ids, "class": jobs.class, "limit": 0, "dry": false});
        let meant = format!("{} failed jobs ({choice})", if retry { "retrying" } else { "forgetting" });
        let name = format!("failed jobs ({choice})");
        let end = async move |ended: Ended| match ended.map(|ended| (ended.matched, ended.done))? {
            (0, _) => Err(format!("Laravel has no failed job with {choice}")),
            (matched, done) => Ok(format!("{past} {done} of {matched} failed jobs ({choice})")),
        };
        self.beside("failed", order, Told { name, meant, who: who.to_owned(), answer }, end);
    }

    /// Cancels jobs in their queues and held ones.
    pub(super) fn cancel_everywhere(&mut self, asked: CancelJobs, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let Some(choice) = choice(&asked.chosen) else { return drop(answer.send(unable(ONE_CHOICE))) };
        let order = self.order(&asked.chosen, asked.dry, who, json!({"delete": asked.delete}));
        let own = self.own(who);
        let end = async move |ended: Ended| {
            // Jobs that were reserved meanwhile are cancelled here.
            let here: Cancelled = own.ask(Act::Cancel(asked)).await;
            let (waiting, running) = (here.waiting.len() as u64, here.running.len());
            let (settled, why) = match ended {
                Ok(ended) => (ended.done, String::new()),
                Err(why) => (0, format!("; cancelling jobs in their queues failed: {why}")),
            };
            if settled + waiting == 0 && running == 0 {
                return Err(format!("no such job is waiting or running{why}"));
            }
            let ends = if running > 0 { format!(", with a grace period of {} s", here.grace) } else { String::new() };
            Ok(format!("cancelled jobs: {} waiting, {running} running{ends}{why}", settled + waiting))
        };
        let (name, meant) = (format!("jobs ({choice})"), format!("cancelling jobs ({choice})"));
        self.beside("cancel", order, Told { name, meant, who: who.to_owned(), answer }, end);
    }

    /// Moves jobs in their queues and held ones. To the front goes one job only: the order of several is not defined.
    pub(super) fn move_everywhere(&mut self, asked: MoveJobs, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let MoveJobs { chosen, front, to, now, .. } = &asked;
        let Some(choice) = choice(chosen) else { return drop(answer.send(unable(ONE_CHOICE))) };
        let (how, place) = match (front, now, to) {
            (true, false, None) if chosen.uuids.is_empty() => {
                return drop(answer.send(unable("give one job to move to the front")));
            }
            (true, false, None) => ("front", "the front of their queue".to_owned()),
            (false, true, None) => ("now", "now".to_owned()),
            (false, false, Some(to)) => ("to", format!("queue {}", harmless::line(to, NAME))),
            _ => return drop(answer.send(unable("give one place: the front, now, or another queue"))),
        };
        if let Err(why) = self.moves(to.as_deref()) {
            return drop(answer.send(unable(&why)));
        }
        let order = self.order(chosen, asked.dry, who, json!({"how": how, "to": to}));
        let own = self.own(who);
        let done = place.clone();
        let end = async move |ended: Ended| {
            let in_queue = ended.as_ref().is_ok_and(|ended| ended.done > 0);
            let coming = asked.front && in_queue;
            let here: Moved = own.ask(Act::Move(MoveJobs { coming, ..asked })).await;
            let (settled, why) = match ended {
                Ok(ended) => (ended.done, String::new()),
                Err(why) => (0, format!("; moving jobs in their queues failed: {why}")),
            };
            // A held job is due already.
            let moved = settled + if how == "now" { 0 } else { here.waiting.len() as u64 };
            let is_there = !here.there.is_empty() || how == "now" && !here.waiting.is_empty();
            match (moved, here.running.len()) {
                (0, _) if is_there => Ok(format!("nothing to do: already there{why}")),
                (0, 0) => Err(format!("no such job is waiting{why}")),
                (0, _) => Err(format!("running, so not moved{why}")),
                (_, 0) => Ok(format!("moved {moved} of the waiting jobs to {done}{why}")),
                (_, running) => {
                    Ok(format!("moved {moved} of the waiting jobs to {done}; {running} running, not moved{why}"))
                }
            }
        };
        let (name, meant) = (format!("jobs ({choice})"), format!("moving jobs ({choice}) to {place}"));
        self.beside("move", order, Told { name, meant, who: who.to_owned(), answer }, end);
    }

    /// Whether jobs of this queue's server can be moved, and to this queue.
    pub(super) fn moves(&self, to: Option<&str>) -> Result<(), String> {
        if self.queue.is_native() {
            let why = "its workers take jobs off the queue by themselves, and only its own tools can move them";
            return Err(format!("connection {}: {why}", self.app.connection));
        }
        to.map_or(Ok(()), |to| self.queue.can_move(&self.app.queues, to).map(|_| ()))
    }

    /// Has PHP carry out an errand, whose answers `read` gathers: the result of that, and why it has failed if so. One at
    /// a time: `None` while another one is under way.
    pub(super) fn carry_out<R: Default + Send + 'static>(
        &self,
        errand: Errand,
        read: fn(&mut R, Value),
    ) -> Option<impl Future<Output = (R, Option<String>)> + 'static> {
        let busy = self.service.errand.clone();
        if busy.replace(true) {
            return None;
        }
        let (told, ended) = oneshot::channel();
        // A detached thread: it ends with the runtime, whatever PHP does.
        std::thread::spawn(move || {
            let manner = Manner { unit: false, as_root: geteuid().is_root() };
            let mut report = R::default();
            let result = run_errand(&errand, None, manner, |answer| read(&mut report, answer));
            let _ = told.send((report, result.err()));
        });
        Some(async move {
            let lost = |_| (R::default(), Some("it ended without a result".to_owned()));
            let ended = ended.await.unwrap_or_else(lost);
            busy.set(false);
            ended
        })
    }

    /// The order of an errand about jobs in their queues.
    fn order(&self, chosen: &Chosen, dry: bool, who: &str, more: Value) -> Value {
        let Chosen { uuids, class, tag, queue } = chosen;
        let queues = queue.as_ref().map_or_else(|| self.app.queues.clone(), |queue| vec![queue.clone()]);
        let mut order = json!({
            "path": self.settings.path, "connection": self.app.connection, "queues": queues, "uuids": uuids, "class": class,
            "tag": tag, "dry": dry, "by": who,
        });
        if let (Value::Object(order), Value::Object(more)) = (&mut order, more) {
            order.extend(more);
        }
        order
    }

    /// A way to send requests to this runtime.
    fn own(&self, who: &str) -> Own {
        Own { door: self.service.observer.own(), who: who.to_owned() }
    }

    /// Runs an errand in PHP, and replies with its result; `end` turns that into a line.
    pub(super) fn beside<F>(&mut self, mode: &str, order: Value, told: Told, end: impl FnOnce(Ended) -> F + 'static)
    where
        F: Future<Output = Result<String, String>>,
    {
        let Told { name, meant, who, answer } = told;
        let Some(ended) = self.carry_out(Errand::new(&self.settings, mode, order), Report::read) else {
            return drop(answer.send(unable(BUSY)));
        };
        tracing::info!(kqueue_by = who, "{meant}");
        tokio::task::spawn_local(async move {
            let outcome = async {
                let (mut report, failed) = ended.await;
                let broken = std::mem::take(&mut report.broken);
                let line = end(failed.map_or(Ok(report), Err)).await.map_err(|why| format!("{name}: {why}"));
                match &line {
                    Ok(line) => tracing::info!(kqueue_by = who, "{line}"),
                    Err(why) => tracing::warn!(kqueue_by = who, "{why}"),
                }
                line.map(|line| (line, broken))
            };
            let mut outcome = std::pin::pin!(outcome);
            let acted = |(line, broken)| {
                serde_json::to_vec(&Acted { version: VERSION, said: vec![line], broken }).unwrap_or_default()
            };
            match tokio::time::timeout(PATIENCE, &mut outcome).await {
                Ok(line) => drop(answer.send(line.map_or_else(|why| unable(&why), acted))),
                Err(_) => {
                    let line = format!("{name}: still running; see the log for the result");
                    let _ = answer.send(acted((line, Vec::new())));
                    let _ = outcome.await;
                }
            }
        });
    }
}

/// The error while an errand is under way.
pub(super) const BUSY: &str = "another request is running in the app's PHP; try again later";
/// The error for an invalid choice of jobs.
const ONE_CHOICE: &str = "give one job, or one class";

/// Describes the chosen jobs; `None` unless they are one job or one class.
fn choice(chosen: &Chosen) -> Option<String> {
    match (chosen.uuids.as_slice(), &chosen.class, &chosen.tag) {
        ([uuid], None, None) => Some(harmless::line(uuid, NAME)),
        ([], Some(class), None) => Some(format!("class {}", harmless::line(class, NAME))),
        _ => None,
    }
}

/// Sends a request to this runtime, as a client of its control socket would.
struct Own {
    door: mpsc::Sender<Ask>,
    who: String,
}

impl Own {
    /// The default where the answer is of another kind.
    async fn ask<T: Default + DeserializeOwned>(self, act: Act) -> T {
        let (answer, answered) = oneshot::channel();
        let _ = self.door.send(Ask { request: Request::Act(act), owner: true, who: self.who, answer }).await;
        answered.await.ok().and_then(|told| serde_json::from_slice(&told).ok()).unwrap_or_default()
    }
}

/// The result of an errand, or why it failed.
pub(super) type Ended = Result<Report, String>;

/// What an errand's PHP has reported.
#[derive(Default)]
pub(super) struct Report {
    /// Number of jobs or messages that were selected.
    pub(super) matched: u64,
    /// Number of those for which it is done.
    pub(super) done: u64,
    /// Number of messages that were put back as they are, and are no jobs.
    pub(super) still: u64,
    broken: Vec<BrokenMessage>,
}

impl Report {
    fn read(&mut self, answer: Value) {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        if answer.get("end").is_some() {
            (self.matched, self.done) = (number("matched"), number("done"));
        } else if answer.get("still").is_some() {
            self.still = number("still");
        } else if let Some(Ok(mut message)) = answer.get("message").map(BrokenMessage::deserialize)
            && self.broken.len() < LISTED
        {
            if let Some(text) = message.text.as_mut().filter(|text| text.len() > SHOWN) {
                text.truncate(text.floor_char_boundary(SHOWN));
                message.cut = true;
            }
            self.broken.push(message);
        }
    }
}

/// The texts and the recipient of the reply.
pub(super) struct Told {
    pub(super) name: String,
    pub(super) meant: String,
    pub(super) who: String,
    pub(super) answer: oneshot::Sender<Vec<u8>>,
}
