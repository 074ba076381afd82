//! Tasks for the app's PHP on behalf of command lines that cannot run it: those of members of the group `kqueue`. The
//! runtime decides what the task may be and what is told of its result: never what is in a job or a message.

use kqueue_control::{Entrusted, EntrustedEnd, ErrandKind, VERSION};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::Runtime;
use super::errand::{BUSY, PATIENCE};
use crate::control::unable;
use crate::survey::Errand;

/// Answers of PHP that are passed on at most, and their bytes.
const ANSWERS: usize = 20_000;
const BYTES: usize = 4 << 20;
/// Failed jobs and broken messages listed at most.
const LISTED: u32 = 1000;

impl Runtime {
    /// Runs a task in the app's PHP, and replies with what PHP has answered.
    pub(super) fn entrusted(&mut self, asked: Entrusted, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let may_move = if asked.kind == ErrandKind::Move { self.moves(asked.to.as_deref()) } else { Ok(()) };
        let mut order = match vetted(&asked).and_then(|order| may_move.map(|()| order)) {
            Ok(order) => order,
            Err(why) => return drop(answer.send(unable(&why))),
        };
        order.insert("path".to_owned(), json!(self.settings.path));
        order.insert("connection".to_owned(), json!(self.app.connection));
        order.insert("by".to_owned(), who.into());
        let no_queues = order.get("queues").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if no_queues {
            order.insert("queues".to_owned(), json!(self.app.queues));
        }
        let mode = asked.kind.mode();
        let meant = asked.act.as_ref().map_or_else(|| mode.to_owned(), |act| format!("{mode} {act}"));
        let changes = asked.changes();
        let errand = Errand::new(&self.settings, mode, Value::Object(order));
        let Some(ended) = self.carry_out(errand, Heard::add) else { return drop(answer.send(unable(BUSY))) };
        let who = who.to_owned();
        tokio::task::spawn_local(async move {
            let outcome = async {
                let (heard, error) = ended.await;
                match &error {
                    Some(why) => {
                        tracing::warn!(kqueue_by = who, "{meant}: {} done before an error: {why}", heard.done)
                    }
                    None if changes => {
                        tracing::info!(
                            kqueue_by = who,
                            "{meant}: {} of {} in queues or records",
                            heard.done,
                            heard.matched
                        );
                    }
                    None => {}
                }
                EntrustedEnd { version: VERSION, answers: heard.answers, error, running: false }
            };
            let mut outcome = std::pin::pin!(outcome);
            let reply = |end: &EntrustedEnd| serde_json::to_vec(end).unwrap_or_default();
            match tokio::time::timeout(PATIENCE, &mut outcome).await {
                Ok(end) => drop(answer.send(reply(&end))),
                Err(_) => {
                    let _ = answer.send(reply(&EntrustedEnd {
                        version: VERSION,
                        running: true,
                        ..EntrustedEnd::default()
                    }));
                    let _ = outcome.await;
                }
            }
        });
    }
}

/// The order that PHP gets, without what the runtime itself adds.
fn vetted(asked: &Entrusted) -> Result<Map<String, Value>, String> {
    let acts: &[&str] = match asked.kind {
        ErrandKind::Failed => &["list", "retry", "forget"],
        ErrandKind::Broken => &["list", "requeue", "drop"],
        ErrandKind::Cancel | ErrandKind::Move => &[""],
    };
    if !acts.contains(&asked.act.as_deref().unwrap_or_default()) {
        return Err("only the app's user and root may see what is in jobs and messages".to_owned());
    }
    if asked.kind == ErrandKind::Move && !matches!(asked.how.as_deref(), Some("front" | "now" | "to")) {
        return Err("give one place: the front, now, or another queue".to_owned());
    }
    match serde_json::to_value(asked) {
        Ok(Value::Object(mut order)) => {
            order.remove("kind");
            order.insert("limit".to_owned(), asked.limit.min(LISTED).into());
            Ok(order)
        }
        _ => Err("the request cannot be passed on".to_owned()),
    }
}

/// What PHP has answered, without contents.
#[derive(Default)]
struct Heard {
    answers: Vec<Value>,
    bytes: usize,
    matched: u64,
    done: u64,
}

impl Heard {
    fn add(&mut self, mut answer: Value) {
        for (what, content) in [("job", "payload"), ("message", "text")] {
            if let Some(Value::Object(fields)) = answer.get_mut(what) {
                fields.remove(content);
            }
        }
        let number = |name: &str| answer.get(name).and_then(Value::as_u64);
        self.matched = number("matched").unwrap_or(self.matched);
        self.done = number("done").or(number("progress")).unwrap_or(self.done);
        let is_end = answer.get("end").is_some();
        self.bytes += answer.to_string().len();
        if is_end || self.bytes <= BYTES && self.answers.len() < ANSWERS {
            self.answers.push(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Entrusted {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn contents_are_neither_asked_for_nor_told() {
        assert!(vetted(&asked(r#"{"kind":"failed","act":"show","ids":["7"]}"#)).is_err());
        assert!(vetted(&asked(r#"{"kind":"broken","act":"show"}"#)).is_err());
        assert!(vetted(&asked(r#"{"kind":"cancel","act":"show"}"#)).is_err());
        assert!(vetted(&asked(r#"{"kind":"move"}"#)).is_err());
        // Fields that are not known are not passed on: text to match would tell what is in a job, piece by piece.
        let order = vetted(&asked(
            r#"{"kind":"failed","act":"list","match":"secret","with":"x","path":"/","limit":5000,"queue":"a"}"#,
        ));
        let order = order.unwrap();
        assert!(["match", "with", "path", "kind"].iter().all(|name| !order.contains_key(*name)), "{order:?}");
        assert_eq!((order.get("limit"), order.get("queue")), (Some(&json!(1000)), Some(&json!("a"))));
        let mut heard = Heard::default();
        heard.add(json!({"job": {"id": "7", "payload": "secret"}}));
        heard.add(json!({"message": {"id": "7", "text": "secret"}}));
        heard.add(json!({"end": true, "matched": 3, "done": 2}));
        assert!(!heard.answers.iter().any(|answer| answer.to_string().contains("secret")));
        assert_eq!((heard.answers.len(), heard.matched, heard.done), (3, 3, 2));
    }

    #[test]
    fn the_end_is_told_however_many_answers_there_are() {
        let mut heard = Heard::default();
        (0..ANSWERS + 5).for_each(|_| heard.add(json!({"uuid": "u"})));
        heard.add(json!({"end": true, "matched": 9, "done": 9}));
        assert_eq!(heard.answers.len(), ANSWERS + 1);
    }
}
