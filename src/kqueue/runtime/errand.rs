//! Failed jobs are retried or forgotten at the word of an operator: by a PHP process of its own, as the app's user, which is
//! who we are. One at a time, beside the loop; whoever asks waits for a while, and the log says how it ends.

use std::time::Duration;

use kqueue_control::{Acted, FailedJobs, VERSION};
use kqueue_system::harmless;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Runtime;
use super::status::NAME;
use crate::control::unable;
use crate::survey::{Errand, Manner, run_errand};

/// For how long whoever asks waits for the end.
const PATIENCE: Duration = Duration::from_secs(5);

impl Runtime {
    /// Retries or forgets failed jobs.
    pub(super) fn failed_jobs(&mut self, retry: bool, jobs: FailedJobs, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let choice = match (&jobs.id, &jobs.class) {
            (Some(id), None) => format!("id {}", harmless::line(id, NAME)),
            (None, Some(class)) => format!("class {}", harmless::line(class, NAME)),
            _ => return drop(answer.send(unable("one failed job, or those of one class"))),
        };
        if self.service.errand.replace(true) {
            return drop(answer.send(unable("other failed jobs are being retried or forgotten; try again in a while")));
        }
        let (act, past) = if retry { ("retry", "retried") } else { ("forget", "forgot") };
        let settings = self.settings.clone();
        let ids: Vec<String> = jobs.id.into_iter().collect();
        let order =
            json!({"path": settings.path, "act": act, "ids": ids, "class": jobs.class, "limit": 0, "dry": false});
        let errand = Errand::new(&settings, "failed", order);
        tracing::info!(
            kqueue_by = who,
            "failed jobs ({choice}) are to be {}",
            if retry { "retried" } else { "forgotten" }
        );
        let (told, mut ended) = oneshot::channel();
        // A thread of its own: it ends with us, whatever PHP does.
        std::thread::spawn(move || {
            let manner = Manner { unit: false, as_root: geteuid().is_root() };
            let (mut matched, mut done) = (0, 0);
            let result = run_errand(&errand, None, manner, |answer| {
                let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
                if answer.get("end").is_some() {
                    (matched, done) = (number("matched"), number("done"));
                }
            });
            let _ = told.send(result.map(|()| (matched, done)));
        });
        let (busy, who) = (self.service.errand.clone(), who.to_owned());
        tokio::task::spawn_local(async move {
            let outcome = |ended: Result<Result<(u64, u64), String>, _>| {
                busy.set(false);
                let line = match ended {
                    Ok(Ok((0, _))) => Err(format!("no failed job is of {choice} in Laravel's record")),
                    Ok(Ok((matched, done))) => Ok(format!("{past} {done} of {matched} failed jobs ({choice})")),
                    Ok(Err(why)) => Err(format!("failed jobs ({choice}): {why}")),
                    Err(_) => Err(format!("failed jobs ({choice}): it ended too early")),
                };
                match &line {
                    Ok(line) => tracing::info!(kqueue_by = who, "{line}"),
                    Err(why) => tracing::warn!(kqueue_by = who, "{why}"),
                }
                line
            };
            let acted = |line| serde_json::to_vec(&Acted { version: VERSION, said: vec![line] }).unwrap_or_default();
            match tokio::time::timeout(PATIENCE, &mut ended).await {
                Ok(ended) => drop(answer.send(outcome(ended).map_or_else(|why| unable(&why), acted))),
                Err(_) => {
                    let line =
                        format!("failed jobs ({choice}): it takes a while and goes on; the log says how it ends");
                    let _ = answer.send(acted(line));
                    let _ = outcome(ended.await);
                }
            }
        });
    }
}
