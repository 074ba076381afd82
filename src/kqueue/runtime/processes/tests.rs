use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use kqueue_core::wire::Mode;
use kqueue_core::wire::coordinator::UnitEnd;
use tokio::sync::mpsc;

use super::*;
use crate::launch::output::Outputs;
use crate::launch::{Launcher, Order};
use crate::workers::Worker;
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
