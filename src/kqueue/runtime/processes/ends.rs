//! How a process ends: its connection closes, its exit status comes, its unit is gone. In any order.

use std::time::{Duration, Instant};

use kqueue_core::schedule::{Cause, WorkerId};
use kqueue_core::wire::coordinator::Unit;

use super::{ProcessEvent, Processes};
use crate::launch::{Exit, LaunchError};
use crate::workers::Worker;

/// Grace period for the exit status after a connection closes.
const GRACE: Duration = Duration::from_millis(1_000);
/// Grace period where the result of a unit is waited for, too.
const UNIT_GRACE: Duration = Duration::from_secs(5);
/// Grace period for the end of a connection after its process has ended: a child may have inherited it.
const CONNECTION_GRACE: Duration = Duration::from_millis(200);

impl Processes {
    /// The worker that calls itself by this number: ours, or that of its unit.
    pub fn speaker(&self, number: WorkerId, pid: i32) -> Option<WorkerId> {
        let is_it = |worker: &Worker| worker.pid == Some(pid);
        if self.workers.get(&number).is_some_and(is_it) {
            return Some(number);
        }
        let unit = Some(Unit::Worker(u32::try_from(number).ok()?));
        self.workers.iter().find(|(_, worker)| worker.unit == unit && is_it(worker)).map(|(id, _)| *id)
    }

    /// The worker in the unit of this number, where the process that says so is in that unit.
    pub fn by_unit(&self, number: WorkerId, pid: i32) -> Option<WorkerId> {
        let unit = Unit::Worker(u32::try_from(number).ok()?);
        if !kqueue_system::systemd::process::is_in(pid, &unit.name(&self.recipe.settings().app)) {
            return None;
        }
        self.workers.iter().find(|(_, worker)| worker.unit.as_ref() == Some(&unit)).map(|(id, _)| *id)
    }

    /// A process was started, or could not be.
    pub fn process_started(&mut self, worker: WorkerId, result: Result<i32, LaunchError>) {
        match (worker, result) {
            (0, Ok(pid)) => {
                if let Some(other) = self.templates.started(pid) {
                    self.launcher.kill(other);
                }
            }
            (0, Err(error)) => self.template_not_started(error.to_string()),
            (_, Ok(pid)) => match self.workers.get_mut(&worker) {
                Some(known) => {
                    known.pid.get_or_insert(pid);
                }
                // Given up, and ended as a unit.
                None if self.units.is_some() => {}
                // Given up before it was there.
                None => self.launcher.kill(pid),
            },
            (_, Err(error)) => {
                // Why a unit did not get ready it has said itself, if it could.
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
            tracing::warn!("{} worker {worker} broke the protocol with {fault}", known.mode);
            known.fault = Some(fault);
            // Word of its end may have come first.
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
            // One that never connected has no connection to be closed.
            if known.outbox.is_none() {
                known.closed.get_or_insert((Instant::now(), false));
            }
            self.settle_ends();
        }
    }

    /// A process is gone once we know how it ended and have heard all it had to say. Neither is waited
    /// for without end.
    pub fn settle_ends(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut next: Option<Instant> = None;
        for (id, worker) in &mut self.workers {
            let (ended, patience) = (worker.has_ended(), if worker.unit.is_some() { UNIT_GRACE } else { GRACE });
            match (ended, worker.closed) {
                (true, Some(_)) => gone.push(*id),
                (true, None) => {
                    // The first look starts the clock; the second finds that time is over.
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use async_trait::async_trait;
    use kqueue_core::wire::Mode;
    use kqueue_core::wire::coordinator::UnitEnd;
    use tokio::sync::mpsc;

    use super::super::recipe::Recipe;
    use super::super::template::Templates;
    use super::*;
    use crate::launch::output::Outputs;
    use crate::launch::{Launcher, Order};
    use crate::runtime::processes::printed::Printing;
    use crate::runtime::testing::settings;
    use crate::workers::Outbox;

    /// Starts nothing, and remembers what it was to kill.
    #[derive(Default)]
    struct Nobody(RefCell<Vec<i32>>);

    #[async_trait(?Send)]
    impl Launcher for Nobody {
        async fn start(&self, order: &Order) -> Result<i32, LaunchError> {
            Err(LaunchError::Unit(format!("worker {} is not to be had", order.worker)))
        }

        fn kill(&self, pid: i32) {
            self.0.borrow_mut().push(pid);
        }

        async fn sweep(&self) {}
    }

    fn processes() -> (Processes, Rc<Nobody>) {
        let launcher = Rc::new(Nobody::default());
        let (inputs, _) = mpsc::channel(1);
        let printing = Printing::new(Outputs::new());
        let app = tempfile::tempdir().unwrap();
        std::fs::write(app.path().join("artisan"), "").unwrap();
        let settings = Rc::new(settings(app.path(), &[]));
        let recipe = Recipe::new(settings, "worker.php".into(), app.path(), false);
        (Processes::new(Templates::new(), launcher.clone(), None, printing, recipe, inputs), launcher)
    }

    fn add(processes: &mut Processes, id: WorkerId, pid: Option<i32>, unit: Option<Unit>) {
        let worker = Worker { pid, unit, ..Worker::new(Mode::Lane, true) };
        processes.workers.insert(id, worker);
    }

    fn ended(processes: &mut Processes) -> Vec<WorkerId> {
        let events = std::mem::take(&mut processes.events);
        let ids = events.into_iter().map(|event| match event {
            ProcessEvent::Ended(id) => id,
            ProcessEvent::Gone(id, cause) => panic!("worker {id} never was: {cause}"),
        });
        ids.collect()
    }

    #[test]
    fn a_process_has_ended_once_its_connection_and_its_exit_status_are_known_in_any_order() {
        let (mut processes, _) = processes();
        for (id, connection_first) in [(1, true), (2, false)] {
            add(&mut processes, id, Some(i32::MAX), None);
            // Otherwise it would not have been connected.
            if let Some(worker) = processes.workers.get_mut(&id) {
                worker.outbox = Some(Outbox::to_nobody());
            }
            let close = |processes: &mut Processes| processes.closed(id, i32::MAX, true, None);
            if connection_first {
                close(&mut processes);
                assert!(ended(&mut processes).is_empty());
                processes.ended(id, Exit::Code(0));
            } else {
                processes.ended(id, Exit::Code(0));
                assert!(ended(&mut processes).is_empty());
                assert!(processes.ends.is_some(), "its connection is not waited for without end");
                close(&mut processes);
            }
            assert_eq!(ended(&mut processes), [id]);
            assert!(processes.workers.remove(&id).is_some_and(|worker| worker.unread()));
        }
    }

    #[test]
    fn one_that_never_connected_has_no_connection_to_wait_for() {
        let (mut processes, _) = processes();
        add(&mut processes, 1, Some(i32::MAX), None);
        processes.ended(1, Exit::Signal(9));
        assert_eq!(ended(&mut processes), [1]);
    }

    #[test]
    fn where_there_is_a_unit_its_end_counts() {
        let (mut processes, _) = processes();
        add(&mut processes, 1, Some(i32::MAX), Some(Unit::Worker(3)));
        processes.ended(1, Exit::Code(0));
        assert!(ended(&mut processes).is_empty());
        let end = UnitEnd { result: "oom-kill".to_owned(), memory_max: Some(64 << 20), ..UnitEnd::default() };
        processes.unit_ended(1, end);
        assert_eq!(ended(&mut processes), [1]);
        let cause = processes.workers.remove(&1).map(|worker| worker.cause());
        assert_eq!(cause, Some(Cause::OutOfMemory { limit: 64, peak: None }));
    }

    #[test]
    fn who_breaks_the_protocol_is_killed() {
        let (mut processes, launcher) = processes();
        add(&mut processes, 1, Some(i32::MAX), None);
        processes.closed(1, i32::MAX, false, Some("half a frame".to_owned()));
        assert_eq!(*launcher.0.borrow(), [i32::MAX]);
    }

    #[test]
    fn one_that_could_not_be_started_never_was() {
        let (mut processes, _) = processes();
        add(&mut processes, 4, None, None);
        processes.process_started(4, Err(LaunchError::Unit("no such unit".to_owned())));
        let event = processes.events.pop_front();
        assert!(matches!(event, Some(ProcessEvent::Gone(4, Cause::BootFailed(_)))), "{event:?}");
        assert!(processes.workers.is_empty());
    }
}
