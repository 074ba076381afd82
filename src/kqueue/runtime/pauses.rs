//! Pausing and resuming queues on behalf of operators, and the end of pauses and overrides with a time limit.

use std::time::{Duration, Instant};

use kqueue_core::schedule::Event;
use kqueue_system::harmless;

use super::Runtime;

/// Maximum bytes of a queue's name in a reply.
const NAME: usize = 200;

impl Runtime {
    /// Applies the pauses and overrides saved by an earlier runtime.
    pub(super) fn hold_paused(&mut self) {
        let epoch = self.now().epoch;
        self.service.pauses.expire(epoch);
        self.service.overrides.expire(epoch);
        if !self.service.overrides.is_empty() {
            self.steered();
        }
        if !self.service.pauses.effective(&self.app.queues).is_empty() {
            self.pauses_changed();
        }
    }

    /// Passes the current pauses to the schedule.
    pub(super) fn pauses_changed(&mut self) {
        let (down, paused) = (self.service.pauses.is_down(), self.service.pauses.effective(&self.app.queues));
        self.note_signals(down, &paused);
        self.tell(Event::State { down, paused });
        self.note_ends();
    }

    /// Sets the timer for the next end of a pause or an override.
    pub(super) fn note_ends(&mut self) {
        let epoch = self.now().epoch;
        let ends = [self.service.pauses.next_end(), self.service.overrides.next_end()];
        self.service.pauses_end = ends
            .into_iter()
            .flatten()
            .min()
            .map(|end| Instant::now() + Duration::from_secs(end.saturating_sub(epoch).min(86_400)));
    }

    /// Ends pauses and overrides whose time is over.
    pub(super) fn look_after_pauses(&mut self, now: Instant) {
        if self.service.pauses_end.is_none_or(|end| end > now) {
            return;
        }
        let epoch = self.now().epoch;
        if self.service.pauses.expire(epoch) {
            tracing::info!("a pause by an operator has expired");
            let save = self.service.pauses.save();
            tokio::task::spawn_local(async move {
                if let Ok(Err(error)) = tokio::task::spawn_blocking(save).await {
                    tracing::warn!("{error}; the file still contains the expired pause");
                }
            });
        }
        let over = self.service.overrides.expire(epoch);
        if !over.is_empty() {
            tracing::info!("overrides by an operator have expired: {}", over.join(", "));
            self.steered();
            let save = self.service.overrides.save();
            tokio::task::spawn_local(async move {
                if let Ok(Err(error)) = tokio::task::spawn_blocking(save).await {
                    tracing::warn!("{error}; the file still contains the expired overrides");
                }
            });
        }
        self.pauses_changed();
    }

    /// An operator pauses a queue, or every one.
    pub(super) fn pause_queue(&mut self, queue: Option<String>, seconds: Option<u64>, who: &str) -> Said {
        let named = self.named(queue.as_deref())?;
        let until = self.until(seconds);
        self.service.pauses.pause(queue.as_deref(), who.to_owned(), until);
        Ok(vec![format!("paused {named}{}", span(seconds))])
    }

    /// An operator resumes a queue, or every one. Reports queues that are still paused.
    pub(super) fn resume_queue(&mut self, queue: Option<String>) -> Said {
        let named = self.named(queue.as_deref())?;
        let resumed = self.service.pauses.resume(queue.as_deref());
        let mut said = vec![match resumed.is_empty() {
            true => format!("{named}: not paused by an operator"),
            false => format!("resumed {named}"),
        }];
        let queues = self.app.queues.iter().filter(|name| queue.as_ref().is_none_or(|queue| queue == *name));
        let held = queues.filter_map(|name| Some((name, self.service.pauses.of(name)?)));
        said.extend(held.map(|(name, paused)| {
            let remedy = paused.remedy(&self.settings.app, &self.app.connection, name);
            format!("queue {name} is still paused; resume it with: {remedy}")
        }));
        Ok(said)
    }

    /// The name of a queue in words, if it is worked here.
    fn named(&self, queue: Option<&str>) -> Result<String, String> {
        match queue {
            None => Ok("every queue".to_owned()),
            Some(queue) if self.app.queues.iter().any(|known| known == queue) => Ok(format!("queue {queue}")),
            Some(queue) => {
                let (queue, queues) = (harmless::line(queue, NAME), self.app.queues.join(", "));
                Err(format!("queue `{queue}` is not worked by this app; its queues: {queues}"))
            }
        }
    }

    /// The end of a period that begins now, in seconds since 1970.
    pub(super) fn until(&self, seconds: Option<u64>) -> Option<u64> {
        seconds.map(|seconds| self.now().epoch.saturating_add(seconds))
    }
}

/// Lines that report what was done, or why it failed.
pub(super) type Said = Result<Vec<String>, String>;

/// ` for 60 s`.
pub(super) fn span(seconds: Option<u64>) -> String {
    seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default()
}
