//! The end of a process: its connection closes, its exit status arrives, its unit ends, in any order.

use std::time::{Duration, Instant};

use kqueue_core::schedule::{Cause, WorkerId};

use super::{ProcessEvent, Processes};
use crate::launch::{Exit, LaunchError};

/// Grace period for the exit status after a connection closes.
const GRACE: Duration = Duration::from_millis(1_000);
/// Grace period where the result of a unit is waited for, too.
const UNIT_GRACE: Duration = Duration::from_secs(5);
/// Grace period for the end of a connection after its process has ended: a child may have inherited it.
const CONNECTION_GRACE: Duration = Duration::from_millis(200);

impl Processes {
    /// A process was started, or could not be.
    pub(super) fn process_started(&mut self, worker: WorkerId, result: Result<i32, LaunchError>) {
        match (worker, result) {
            (0, Ok(pid)) => {
                if let Some(other) = self.templates.started(pid, self.recipe.forking.share) {
                    self.launcher.kill(other);
                }
            }
            (0, Err(error)) => self.template_not_started(error.to_string()),
            (_, Ok(pid)) => match self.workers.get_mut(&worker) {
                Some(known) => {
                    known.pid.get_or_insert(pid);
                }
                // Given up meanwhile, and its unit was killed.
                None if self.units.is_some() => {}
                // Given up before its start.
                None => self.launcher.kill(pid),
            },
            (_, Err(error)) => {
                // A unit that did not get ready may have reported why itself.
                let Some(known) = self.workers.remove(&worker) else { return };
                let why = known.boot_failure.unwrap_or_else(|| error.to_string());
                tracing::error!("{why}");
                self.gone(worker, Cause::BootFailed(why));
                self.start_waiting_units();
            }
        }
    }

    /// A connection has ended.
    pub fn closed(&mut self, worker: WorkerId, pid: i32, unread: bool, fault: Option<String>) {
        let Some(known) = self.workers.get_mut(&worker) else { return };
        known.outbox = None;
        let before = known.closed.is_some_and(|(_, unread)| unread);
        known.closed = Some((Instant::now(), unread || before));
        if let Some(fault) = fault {
            tracing::warn!("{} worker {worker} violated the protocol: {fault}", known.mode);
            known.fault = Some(fault);
            // If its exit status has arrived, the process id may be in use again.
            if known.exit.is_none() {
                self.launcher.kill(pid);
            }
        }
        self.settle_ends();
    }

    /// The exit status of a process is known.
    pub fn ended(&mut self, worker: WorkerId, exit: Exit) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.exit = Some(exit);
            // A process that never connected has no connection to close.
            if known.outbox.is_none() {
                known.closed.get_or_insert((Instant::now(), false));
            }
            self.settle_ends();
        }
    }

    /// A process has ended once its exit status is known and its connection is closed. Both waits have a grace period.
    pub(super) fn settle_ends(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut next: Option<Instant> = None;
        for (id, worker) in &mut self.workers {
            let (ended, patience) = (worker.has_ended(), if worker.unit.is_some() { UNIT_GRACE } else { GRACE });
            match (ended, worker.closed) {
                (true, Some(_)) => gone.push(*id),
                (true, None) => {
                    // The first check starts the grace period.
                    let at = *worker.ended_at.get_or_insert(now) + CONNECTION_GRACE;
                    if now >= at {
                        gone.push(*id);
                    } else {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    }
                }
                (false, Some((since, _))) => {
                    let at = since + patience;
                    if now < at {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    } else if worker.pid.is_none_or(|pid| !kqueue_system::processes::is_alive(pid)) {
                        gone.push(*id);
                    } else {
                        if let Some(pid) = worker.pid {
                            self.launcher.kill(pid);
                        }
                        next = Some(now + Duration::from_millis(50));
                    }
                }
                (false, None) => {}
            }
        }
        self.ends = next;
        self.events.extend(gone.into_iter().map(ProcessEvent::Ended));
        self.start_waiting_units();
    }
}
