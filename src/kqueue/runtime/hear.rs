//! Handles messages of PHP processes: each goes to the component that it concerns, and to the schedule.

use std::collections::BTreeMap;

use super::Runtime;
use super::admit::keys;
use super::service::horizon::DUTIES;
use crate::launch::Exit;
use crate::workers::Said;
use kqueue_core::payload::{Hints, LimitHint};
use kqueue_core::schedule::{Event, Inspection, JobKind, WorkerId};
use kqueue_core::wire::{ClassHints, Done, FromWorker};

impl Runtime {
    pub(super) fn hear(&mut self, said: Said) {
        self.log_printed(self.processes.output_before(&said));
        match said {
            Said::Hello { worker, hello: FromWorker::Hello { mode, job, .. }, peer, outbox } => {
                let met = self.processes.hello(worker, mode, job.is_some(), peer, outbox);
                if let Some(worker) = met.filter(|_| job.is_none()) {
                    self.greeted(worker);
                }
                if let Some((worker, last)) = met.zip(job) {
                    self.met_again(worker, last);
                }
            }
            // Cannot happen: the connection has read it as a Hello.
            Said::Hello { .. } => {}
            Said::Message { worker: 0, pid, message } => self.template_said(pid, message),
            Said::Message { worker, pid, message } => {
                if let Some(worker) = self.processes.speaker(worker, pid) {
                    self.worker_said(worker, message);
                }
            }
            Said::Closed { worker: 0, pid, fault, .. } => self.processes.template_gone(pid, None, fault),
            Said::Closed { worker, pid, unread, fault } => {
                if let Some(worker) = self.processes.speaker(worker, pid) {
                    self.processes.closed(worker, pid, unread, fault);
                }
            }
            Said::Foreign => self.on_foreign(),
        }
    }

    fn template_said(&mut self, pid: i32, message: FromWorker) {
        match message {
            FromWorker::Ready { app, unforkable, .. } => {
                self.app_says(app.as_deref());
                let current = self.processes.templates.is(pid);
                if unforkable.held.is_empty() {
                    self.processes.template_ready(pid);
                } else {
                    self.processes.cannot_fork(pid, unforkable);
                }
                if current {
                    self.template_booted(app.as_deref());
                }
            }
            FromWorker::Forked { worker, pid: child, error, unforkable } => {
                if let Ok(worker) = worker.parse() {
                    self.processes.forked(pid, worker, child, error, unforkable);
                }
            }
            FromWorker::Exited { worker, code, signal } => {
                let exit = signal.map_or_else(|| Exit::Code(code.unwrap_or(-1)), Exit::Signal);
                if let Ok(worker) = worker.parse() {
                    self.processes.ended(worker, exit);
                }
            }
            FromWorker::Hints { classes, missing, unloadable, ignored } => {
                self.hints(&classes, missing, unloadable, ignored);
            }
            FromWorker::BootFailed(failure) => {
                self.processes.template_gone(pid, None, Some(format!("the app did not boot: {failure}")));
                self.processes.launcher.kill(pid);
            }
            other => tracing::warn!("unexpected message from the template process: {other:?}"),
        }
    }

    fn worker_said(&mut self, worker: WorkerId, message: FromWorker) {
        match message {
            FromWorker::Popped(popped) => self.popped(worker, popped),
            FromWorker::Ready { done, fault, .. } => {
                self.reported(worker, done.as_ref());
                self.looked(worker, fault);
                self.tell(Event::Ready { worker, done });
            }
            FromWorker::Taken => self.tell(Event::Taken(worker)),
            FromWorker::Interruptible => self.processes.is_interruptible(worker),
            FromWorker::Next { done, job } => {
                self.reported(worker, Some(&done));
                if let Some(record) = self.held.get_mut(job)
                    && self.processes.goes_on_with(worker, job, self.schedule.max_memory_mb(job))
                {
                    record.begins(worker);
                    self.note_given(worker, job, JobKind::Run);
                }
                self.tell(Event::Next { worker, done, job });
            }
            FromWorker::Deleted { failed } => {
                self.acknowledge_of(worker);
                if !failed {
                    self.forget_payload_of(worker);
                }
                self.tell(Event::Deleted { worker, failed });
            }
            FromWorker::Stopping { status, done, fault } => {
                self.reported(worker, done.as_ref());
                if fault.is_some() {
                    self.looked(worker, fault);
                }
                self.tell(Event::Stopping { worker, status, done });
                self.processes.release_isolated(worker);
            }
            FromWorker::Died { fatal, done } => {
                self.used(worker, &done);
                if done.ack {
                    self.acknowledge_of(worker);
                }
                self.tell(Event::Died { worker, fatal, done });
            }
            FromWorker::State { down, paused, restart, error, sizes } => {
                self.queue.counted_by_worker(sizes);
                self.signals(down, paused, restart, error);
            }
            FromWorker::Hints { classes, missing, unloadable, ignored } => {
                self.hints(&classes, missing, unloadable, ignored);
            }
            FromWorker::Horizon { ask, error } if worker == DUTIES => self.horizon_said(ask, error),
            FromWorker::BootFailed(failure) => self.processes.boot_failed(worker, failure.to_string()),
            FromWorker::Hello { .. }
            | FromWorker::Forked { .. }
            | FromWorker::Exited { .. }
            | FromWorker::Horizon { .. } => self.processes.broke_protocol(worker),
        }
    }

    /// A worker has reported the result of its job.
    fn reported(&mut self, worker: WorkerId, done: Option<&Done>) {
        let Some(done) = done else { return };
        self.used(worker, done);
        if done.ack {
            self.acknowledge_of(worker);
            self.forget_payload_of(worker);
        }
        self.processes.finished_job(worker);
    }

    /// Records the usage of a job, as reported by its process and as sampled.
    fn used(&mut self, worker: WorkerId, done: &Done) {
        let job = self.processes.job_of(worker);
        let seen = self.processes.workers.get(&worker).and_then(|worker| worker.seen_kb);
        if let Some(record) = job.and_then(|job| self.held.get_mut(job)) {
            record.used(done.peak, done.cpu);
            // A job that is replayed has been seen in the process that died.
            record.seen_kb = record.seen_kb.max(seen);
        }
    }

    fn forget_payload_of(&mut self, worker: WorkerId) {
        if let Some(job) = self.processes.job_of(worker) {
            self.held.forget_payload(job);
        }
    }

    fn acknowledge_of(&mut self, worker: WorkerId) {
        if let Some(job) = self.processes.job_of(worker) {
            self.acknowledge(job);
        }
    }

    /// Handles the declarations of classes, and logs what is wrong with them: once, as each class is inspected once.
    fn hints(
        &mut self,
        classes: &BTreeMap<String, ClassHints>,
        missing: Vec<String>,
        unloadable: BTreeMap<String, String>,
        ignored: BTreeMap<String, BTreeMap<String, String>>,
    ) {
        for (class, why) in &unloadable {
            tracing::warn!("{class} cannot be loaded, so its jobs will fail: {why}");
        }
        for (class, values) in &ignored {
            let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value}")).collect();
            tracing::info!(
                "{class} declares {}, which kqueue does not know (property_hints = false ignores properties)",
                values.join(", ")
            );
        }
        let limits: Vec<(String, Option<LimitHint>)> = classes
            .iter()
            .map(|(class, hints)| (class.clone(), hints.get("limit").and_then(LimitHint::from_value)))
            .collect();
        let read = |hints: &ClassHints| serde_json::to_string(hints).map(|json| Hints::from_json(&json));
        let foreign = |class: &str| ignored.get(class).into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        let hints = classes
            .iter()
            .map(|(class, hints)| (class.clone(), read(hints).unwrap_or_default().without(foreign(class))))
            .collect();
        self.held.are_missing(&missing);
        let declared: BTreeMap<&str, Option<&LimitHint>> =
            limits.iter().map(|(class, limit)| (class.as_str(), limit.as_ref())).collect();
        let keys = keys(&self.held, |class| match declared.get(class) {
            Some(limit) => self.schedule.limited_by(class, *limit),
            None => self.schedule.is_limited_by(class),
        });
        let unloadable = unloadable.into_keys().collect();
        self.tell(Event::Inspected(Inspection { hints, limits, keys, missing, unloadable }));
    }

    fn signals(&mut self, down: bool, paused: Vec<String>, restart: Option<String>, error: Option<String>) {
        let restart = self.service.app.read(restart, error);
        self.restart_signal(restart);
        let down = down && !self.settings.force;
        self.service.pauses.app_says(down, paused);
        self.pauses_changed();
    }
}
