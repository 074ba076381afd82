//! Messages that were set aside because Laravel cannot run them: listed, put back or dropped by the app's PHP.

use kqueue_control::{BrokenAct, BrokenMessages};
use kqueue_system::harmless;
use serde_json::json;
use tokio::sync::oneshot;

use super::Runtime;
use super::errand::{Ended, LISTED, Report, Told};
use super::status::NAME;
use crate::control::unable;

impl Runtime {
    /// Lists, puts back or drops messages that were set aside. Their contents are for the app's `owner` alone.
    pub(super) fn broken_messages(
        &mut self,
        asked: BrokenMessages,
        owner: bool,
        who: &str,
        answer: oneshot::Sender<Vec<u8>>,
    ) {
        let BrokenMessages { act, queue, id, with } = asked;
        if queue.is_empty() || with.is_some() && (act != BrokenAct::Requeue || id.is_none()) {
            return drop(answer.send(unable("name a queue; new contents are for one message that is put back")));
        }
        if !owner && (with.is_some() || act == BrokenAct::List && id.is_some()) {
            return drop(
                answer.send(unable("only the app's user and root may see or change the contents of a message")),
            );
        }
        let (order, doing, past) = match act {
            BrokenAct::List if id.is_some() => ("show", "listing", "listed"),
            BrokenAct::List => ("list", "listing", "listed"),
            BrokenAct::Requeue => ("requeue", "putting back", "put back"),
            BrokenAct::Drop => ("drop", "dropping", "dropped"),
        };
        let one = id.as_ref().map(|id| format!("id {} of ", harmless::line(id, NAME))).unwrap_or_default();
        let name = format!("broken messages ({one}queue {})", harmless::line(&queue, NAME));
        let mended = if with.is_some() { ", with new contents" } else { "" };
        let meant = format!("{doing} {name}{mended}");
        // Messages with the same contents may have the same id.
        let limit = if id.is_some() { 1 } else { LISTED };
        let ids: Vec<String> = id.into_iter().collect();
        let order = json!({
            "path": self.settings.path, "connection": self.app.connection, "act": order, "queues": [queue], "ids": ids,
            "limit": limit, "dry": false, "with": with,
        });
        let said = name.clone();
        let end = async move |ended: Ended| {
            let Report { matched, done, still, .. } = ended?;
            let still = match still {
                0 => String::new(),
                still => format!("; {still} of them are still not valid jobs and will be set aside again"),
            };
            match act {
                BrokenAct::List => Ok(format!("{matched} {said}")),
                _ if matched == 0 => Err("no such message".to_owned()),
                _ => Ok(format!("{past} {done} of {matched} {said}{mended}{still}")),
            }
        };
        self.beside("broken", order, Told { name, meant, who: who.to_owned(), answer }, end);
    }
}
