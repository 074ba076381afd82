//! Queues are paused and go on, at the word of an operator.

use std::time::{Duration, Instant};

use kqueue_control::{Act, Acted, VERSION};
use kqueue_core::schedule::Event;
use kqueue_system::harmless;
use tokio::sync::oneshot;

use super::Runtime;
use crate::control::unable;

/// Bytes of a queue's name that are told.
const NAME: usize = 200;

impl Runtime {
    /// What an earlier runtime was told holds from the first moment on.
    pub(super) fn hold_paused(&mut self) {
        let epoch = self.now().epoch;
        self.service.pauses.expire(epoch);
        if !self.service.pauses.effective(&self.app.queues).is_empty() {
            self.pauses_changed();
        }
    }

    /// Tells the schedule what is paused now.
    pub(super) fn pauses_changed(&mut self) {
        let (down, paused) = (self.service.pauses.is_down(), self.service.pauses.effective(&self.app.queues));
        self.note_signals(down, &paused);
        self.tell(Event::State { down, paused });
        let epoch = self.now().epoch;
        self.service.pauses_end = self
            .service
            .pauses
            .next_end()
            .map(|end| Instant::now() + Duration::from_secs(end.saturating_sub(epoch).min(86_400)));
    }

    /// Ends what was paused until now.
    pub(super) fn look_after_pauses(&mut self, now: Instant) {
        if self.service.pauses_end.is_none_or(|end| end > now) {
            return;
        }
        let epoch = self.now().epoch;
        if self.service.pauses.expire(epoch) {
            tracing::info!("the time of a pause is over: its jobs go on");
            let save = self.service.pauses.save();
            tokio::task::spawn_local(async move {
                if let Ok(Err(error)) = tokio::task::spawn_blocking(save).await {
                    tracing::warn!("{error}; the pause comes back with the next start");
                }
            });
        }
        self.pauses_changed();
    }

    /// An operator pauses a queue, or every one, or lets it go on.
    pub(super) fn pause(&mut self, act: Act, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let queue = match &act {
            Act::Pause { queue, .. } | Act::Resume { queue } => queue.clone(),
        };
        if let Some(queue) = queue.as_ref().filter(|queue| !self.app.queues.contains(queue)) {
            let (queue, queues) = (harmless::line(queue, NAME), self.app.queues.join(", "));
            drop(answer.send(unable(&format!("no queue `{queue}` is worked here; there are: {queues}"))));
            return;
        }
        let named = queue.as_ref().map_or_else(|| "every queue".to_owned(), |queue| format!("queue {queue}"));
        let mut said = Vec::new();
        match act {
            Act::Pause { seconds, .. } => {
                let until = seconds.map(|seconds| self.now().epoch.saturating_add(seconds));
                self.service.pauses.pause(queue.as_deref(), who.to_owned(), until);
                let span = seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
                said.push(format!("paused {named}{span}"));
            }
            Act::Resume { .. } => {
                let resumed = self.service.pauses.resume(queue.as_deref());
                said.push(if resumed.is_empty() {
                    format!("{named}: not paused by an operator")
                } else {
                    format!("resumed {named}")
                });
                let queues = self.app.queues.iter().filter(|name| queue.as_ref().is_none_or(|queue| queue == *name));
                let held = queues.filter_map(|name| Some((name, self.service.pauses.of(name)?)));
                said.extend(held.map(|(name, paused)| {
                    let remedy = paused.remedy(&self.settings.app, &self.app.connection, name);
                    format!("queue {name} is still paused; let it go on with: {remedy}")
                }));
            }
        }
        said.iter().for_each(|line| tracing::info!(kqueue_by = who, "{line}"));
        self.pauses_changed();
        let save = self.service.pauses.save();
        tokio::task::spawn_local(async move {
            if let Ok(Err(error)) = tokio::task::spawn_blocking(save).await {
                tracing::warn!("{error}; a restart forgets what was paused or resumed");
                said.push(format!("not kept for the next start: {error}"));
            }
            let acted = Acted { version: VERSION, said };
            let _ = answer.send(serde_json::to_vec(&acted).unwrap_or_default());
        });
    }
}
