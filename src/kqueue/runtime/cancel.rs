//! Cancels held jobs on behalf of an operator. Jobs still in their queues may be reserved by others, so they must be
//! reserved by Laravel first: `kqueue cancel` has PHP do that.

use kqueue_control::{CancelJobs, Cancelled, Chosen, VERSION};
use kqueue_core::schedule::{Cancel, Event, Finished, JobId, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::oneshot;

use super::Runtime;
use super::held::record::Record;
use crate::control::unable;
use crate::history::is_class;

impl Runtime {
    /// Cancels the chosen jobs, and replies with their UUIDs.
    pub(super) fn cancel(&mut self, asked: &CancelJobs, who: &str, answer: oneshot::Sender<Vec<u8>>) {
        let CancelJobs { chosen, delete, dry } = asked;
        if self.queue.is_native() {
            let why = "its workers take jobs off the queue by themselves, and only they can settle one";
            return drop(answer.send(unable(&format!("connection {}: {why}", self.app.connection))));
        }
        let running = self.running_jobs();
        let meant = self.meant(chosen);
        let grace = if self.app.signals { self.settings.timeout_grace.as_secs() } else { 0 };
        let mut told = Cancelled { version: VERSION, grace, ..Cancelled::default() };
        for id in meant {
            let Some(record) = self.held.get(id) else { continue };
            let runs = running.contains_key(&id);
            let list = if runs { &mut told.running } else { &mut told.waiting };
            list.push(record.uuid.clone());
            if !dry {
                let (class, uuid) = (record.class.clone(), record.uuid.clone());
                let how = if *delete { ", to be deleted" } else { "" };
                tracing::info!(kqueue_by = who, "cancelled {class} ({uuid}){how}");
                let epoch = self.now().epoch;
                self.service.cancels.add(&uuid, who, *delete, epoch);
                if runs {
                    self.interrupt(id);
                }
                let order = Cancel { by: who.to_owned(), delete: *delete };
                self.tell(Event::Cancel { job: id, order });
            }
        }
        let save = self.service.cancels.save();
        tokio::task::spawn_local(async move {
            if let Some(save) = save
                && let Ok(Err(error)) = tokio::task::spawn_blocking(save).await
            {
                tracing::warn!("{error}; new cancellations will be lost on restart");
            }
            let _ = answer.send(serde_json::to_vec(&told).unwrap_or_default());
        });
    }

    /// The chosen jobs, in the order in which they were reserved.
    pub(super) fn meant(&self, chosen: &Chosen) -> Vec<JobId> {
        let meant = self.held.iter().filter(|(_, record)| is_meant(record, chosen));
        let mut meant: Vec<JobId> = meant.map(|(id, _)| id).collect();
        meant.sort_unstable();
        meant
    }

    /// Notifies a running job that Laravel can interrupt. In other jobs the signal would interrupt a blocking call.
    fn interrupt(&self, job: JobId) {
        let worker = self.processes.workers.values().find(|worker| worker.job == Some(job));
        let pid = worker.filter(|worker| worker.interruptible == Some(job)).and_then(|worker| worker.pid);
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Forgets the cancellation of a job that has left and does not come back.
    pub(super) fn cancel_is_settled(&mut self, uuid: &str, finished: &Finished) {
        let gone = match finished.outcome {
            Outcome::Done | Outcome::Failed => true,
            Outcome::Released | Outcome::Left | Outcome::Lost => false,
        };
        if gone && self.service.cancels.of(uuid).is_some() {
            self.service.cancels.settled(uuid);
            self.keep_cancels();
        }
    }

    /// Saves the cancellations that are still to be remembered.
    pub(super) fn keep_cancels(&mut self) {
        if let Some(save) = self.service.cancels.save_at_leisure() {
            tokio::task::spawn_blocking(move || {
                if let Err(error) = save() {
                    tracing::warn!("{error}; a job that was cancelled may be cancelled again when it is retried");
                }
            });
        }
    }

    /// Cancels adopted jobs that an earlier runtime was told to cancel.
    pub(super) fn cancel_adopted(&mut self, jobs: &[JobId]) {
        for id in jobs {
            let order = self.held.get(*id).and_then(|record| self.service.cancels.of(&record.uuid));
            if let Some(order) = order {
                self.interrupt(*id);
                self.tell(Event::Cancel { job: *id, order });
            }
        }
    }
}

/// Whether a job is one of those chosen by an operator.
fn is_meant(record: &Record, chosen: &Chosen) -> bool {
    let Chosen { uuids, class, tag, queue } = chosen;
    let named = uuids.is_empty() || uuids.contains(&record.uuid);
    let all = uuids.is_empty() && class.is_none() && tag.is_none() && queue.is_none();
    let of_class = |class: &String| is_class(&record.class, class.trim_start_matches('\\'));
    !all && !record.acked
        && named
        && class.as_ref().is_none_or(of_class)
        && tag.as_ref().is_none_or(|tag| record.tags.contains(tag))
        && queue.as_ref().is_none_or(|queue| record.reservation.queue == *queue)
}
