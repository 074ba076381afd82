//! What PHP processes say, and how they end.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::launch::{Exit, LaunchEvent};
use crate::runtime::Runtime;
use crate::runtime::service::horizon::DUTIES;
use crate::workers::{Outbox, Peer, Said};
use kqueue_core::payload::Hints;
use kqueue_core::schedule::{Event, Inspection, JobKind, WorkerId};
use kqueue_core::wire::{ClassHints, Done, FromWorker, Mode};

impl Runtime {
    pub(super) fn hear(&mut self, said: Said) {
        self.pass_on_output_before(&said);
        match said {
            Said::Hello { worker, hello, peer, outbox } => self.hello(worker, &hello, peer, outbox),
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

    /// Somebody says it is one of ours. The kernel says who it is: a process that we, or the template, started.
    fn hello(&mut self, id: WorkerId, hello: &FromWorker, peer: Peer, outbox: Outbox) {
        let FromWorker::Hello { mode, job, .. } = hello else { return };
        if *mode == Mode::Template && id == 0 && self.processes.templates.expects(peer.pid) {
            self.processes.greet(&outbox, Mode::Template);
            self.processes.templates.connected(peer.pid, outbox);
            return;
        }
        let own = std::process::id() as i32;
        // A pooled worker that is a unit knows the number of the unit alone.
        let is_unit = self.processes.outlive() && *mode == Mode::Pooled;
        let id = if is_unit { self.processes.by_unit(id, peer.pid).unwrap_or(0) } else { id };
        let known = self.processes.workers.get_mut(&id).filter(|worker| {
            worker.mode == *mode
                && worker.outbox.is_none()
                && worker.closed.is_none()
                && (worker.pid == Some(peer.pid)
                    || is_unit
                    || kqueue_system::processes::descends_from(peer.pid, worker.pid.unwrap_or(own)))
        });
        let Some(worker) = known else {
            tracing::warn!(
                "refused process {} on the worker socket: it says it is {mode} worker {id}, which we did not start",
                peer.pid
            );
            return;
        };
        // Where `php` is a wrapper, the process that speaks is a child of the one we started.
        worker.pid = Some(peer.pid);
        worker.outbox = Some(outbox.clone());
        match job {
            Some(last) => self.met_again(id, *last),
            None if !worker.forked => self.processes.greet(&outbox, *mode),
            None => {}
        }
    }

    fn template_said(&mut self, pid: i32, message: FromWorker) {
        match message {
            FromWorker::Ready { app, unforkable, .. } => {
                self.app_says(app.as_deref());
                if unforkable.held.is_empty() {
                    self.processes.template_ready(pid);
                } else {
                    self.processes.cannot_fork(pid, unforkable);
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
            FromWorker::Ready { done, .. } => {
                self.reported(worker, done.as_ref());
                self.tell(Event::Ready { worker, done });
            }
            FromWorker::Taken => self.tell(Event::Taken(worker)),
            FromWorker::Interruptible => {
                if let Some(known) = self.processes.workers.get_mut(&worker) {
                    known.interruptible = known.job;
                }
            }
            FromWorker::Next { done, job } => {
                self.reported(worker, Some(&done));
                if let (Some(known), Some(record)) = (self.processes.workers.get_mut(&worker), self.held.get_mut(job)) {
                    known.take(job);
                    record.delivered = Some(Instant::now());
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
            FromWorker::Stopping { status, done } => {
                self.reported(worker, done.as_ref());
                self.tell(Event::Stopping { worker, status, done });
                self.processes.release_isolated(worker);
            }
            FromWorker::Died { fatal, done } => {
                if done.ack {
                    self.acknowledge_of(worker);
                }
                self.tell(Event::Died { worker, fatal, done });
            }
            FromWorker::State { down, paused, restart, error } => self.signals(down, paused, restart, error),
            FromWorker::Hints { classes, missing, unloadable, ignored } => {
                self.hints(&classes, missing, unloadable, ignored);
            }
            FromWorker::Horizon { ask, error } if worker == DUTIES => self.horizon_said(ask, error),
            FromWorker::BootFailed(failure) => {
                if let Some(known) = self.processes.workers.get_mut(&worker) {
                    known.boot_failure = Some(failure.to_string());
                }
            }
            FromWorker::Hello { .. }
            | FromWorker::Forked { .. }
            | FromWorker::Exited { .. }
            | FromWorker::Horizon { .. } => {
                if let Some(known) = self.processes.workers.get_mut(&worker) {
                    known.fault = Some("a message that no worker sends".to_owned());
                    if let Some(pid) = known.pid {
                        self.processes.launcher.kill(pid);
                    }
                }
            }
        }
    }

    /// A worker has said how its job ended.
    fn reported(&mut self, worker: WorkerId, done: Option<&Done>) {
        let Some(done) = done else { return };
        if done.ack {
            self.acknowledge_of(worker);
            self.forget_payload_of(worker);
        }
        if let Some(known) = self.processes.workers.get_mut(&worker) {
            known.job = None;
            if known.forked {
                self.processes.templates.worked(worker);
            }
        }
    }

    fn forget_payload_of(&mut self, worker: WorkerId) {
        if let Some(job) = self.processes.workers.get(&worker).and_then(|known| known.job) {
            self.held.forget_payload(job);
        }
    }

    fn acknowledge_of(&mut self, worker: WorkerId) {
        if let Some(job) = self.processes.workers.get(&worker).and_then(|known| known.job) {
            self.acknowledge(job);
        }
    }

    /// What classes declare, and what is wrong with them: said once, as each is asked once.
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
                "{class} declares {}, which says nothing to kqueue (property_hints = false leaves properties alone)",
                values.join(", ")
            );
        }
        let read = |hints: &ClassHints| serde_json::to_string(hints).map(|json| Hints::from_json(&json));
        let foreign = |class: &str| ignored.get(class).into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        let hints = classes
            .iter()
            .map(|(class, hints)| (class.clone(), read(hints).unwrap_or_default().without(foreign(class))))
            .collect();
        self.held.are_missing(&missing);
        self.tell(Event::Inspected(Inspection { hints, missing, unloadable: unloadable.into_keys().collect() }));
    }

    fn signals(&mut self, down: bool, paused: Vec<String>, restart: Option<String>, error: Option<String>) {
        if error != self.signal_fault {
            if let Some(error) = &error {
                tracing::warn!("cannot read the app's restart and pause signals from its cache: {error}");
            }
            self.signal_fault = error.clone();
        }
        if error.is_none() {
            match &self.restart {
                Some(known) if *known != restart => {
                    self.restart = Some(restart);
                    self.restart_all("queue:restart");
                }
                Some(_) => {}
                None => self.restart = Some(restart),
            }
        }
        let down = down && !self.settings.force;
        let paused = self.service.duties.signals(down, paused, &self.app.queues);
        self.tell(Event::State { down, paused });
    }

    pub(super) fn on_launched(&mut self, event: LaunchEvent) {
        match event {
            LaunchEvent::Ended { worker: 0, pid, exit } => self.processes.template_gone(pid, Some(exit), None),
            LaunchEvent::Ended { worker, exit, .. } => self.processes.ended(worker, exit),
        }
    }
}
