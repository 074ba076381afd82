use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use kqueue_core::wire::coordinator::{Refusal, Unit, UnitEnd};
use kqueue_core::wire::{Mode, ToWorker};
use tokio::sync::mpsc;

use super::*;
use crate::launch::output::Outputs;
use crate::launch::{Exit, Launcher, Order, UnitError, UnitNotice};
use crate::runtime::testing::settings;
use crate::workers::{Outbox, WorkerProcess};

/// A launcher that starts nothing, and records the processes to kill.
#[derive(Default)]
struct Nobody(RefCell<Vec<i32>>);

#[async_trait(?Send)]
impl Launcher for Nobody {
    async fn start(&self, order: &Order) -> Result<i32, LaunchError> {
        Err(LaunchError::Unit(format!("worker {} is not to be had, share: {}", order.worker, order.share)))
    }

    fn kill(&self, pid: i32) {
        self.0.borrow_mut().push(pid);
    }

    async fn sweep(&self) {}
}

fn processes() -> (Processes, Rc<Nobody>) {
    let launcher = Rc::new(Nobody::default());
    let (_, launched) = mpsc::channel(1);
    let printing = Printing::new(Outputs::new());
    let app = tempfile::tempdir().unwrap();
    std::fs::write(app.path().join("artisan"), "").unwrap();
    let settings = Rc::new(settings(app.path(), &[]));
    let recipe = Recipe::new(settings, "worker.php".into(), app.path(), false);
    (Processes::new(Templates::new(), launcher.clone(), launched, None, printing, recipe), launcher)
}

fn add(processes: &mut Processes, id: WorkerId, pid: Option<i32>, unit: Option<Unit>) {
    let worker = WorkerProcess { pid, unit, ..WorkerProcess::new(Mode::Lane, true) };
    processes.workers.insert(id, worker);
}

fn ended(processes: &mut Processes) -> Vec<WorkerId> {
    let events = std::mem::take(&mut processes.events);
    let ids = events.into_iter().map(|event| match event {
        ProcessEvent::Ended(id) => id,
        other => panic!("{other:?}"),
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
fn of_a_service_whose_job_has_a_scope_both_ends_count_in_any_order() {
    for scope_first in [true, false] {
        let (mut processes, _) = processes();
        add(&mut processes, 1, Some(i32::MAX), Some(Unit::Worker(3)));
        let scope = Unit::Scope("a-1".to_owned());
        processes.workers.get_mut(&1).unwrap().bounds = Some(scope.clone());
        let killed = UnitEnd { result: "signal".to_owned(), signal: Some(9), ..UnitEnd::default() };
        let oom = UnitEnd { result: "oom-kill".to_owned(), memory_max: Some(64 << 20), ..UnitEnd::default() };
        let mut ends = vec![(scope, oom), (Unit::Worker(3), killed)];
        if !scope_first {
            ends.reverse();
        }
        for (unit, end) in ends {
            assert!(ended(&mut processes).is_empty());
            processes.on_unit(UnitNotice::Ended { unit, end });
        }
        assert_eq!(ended(&mut processes), [1]);
        let cause = processes.workers.remove(&1).map(|worker| worker.cause());
        assert_eq!(cause, Some(Cause::OutOfMemory { limit: 64, peak: None }));
    }
}

#[test]
fn a_popped_job_that_gets_no_scope_runs_all_the_same() {
    let (mut processes, launcher) = processes();
    add(&mut processes, 1, Some(i32::MAX), Some(Unit::Worker(3)));
    processes.workers.get_mut(&1).unwrap().bounds = Some(Unit::Scope("a-1".to_owned()));
    let error = UnitError { refusal: Refusal::Refused, text: "too many".to_owned() };
    processes.scoped(1, delivery(9), Err(error));
    assert!(matches!(processes.events.pop_front(), Some(ProcessEvent::NotScoped { job: 9, runs: true, .. })));
    assert!(matches!(processes.events.pop_front(), Some(ProcessEvent::Given { worker: 1, job: 9, .. })));
    assert!(launcher.0.borrow().is_empty() && processes.workers[&1].bounds.is_none());
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

/// Runs a test that starts processes, which needs a task set.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Processes, Rc<Nobody>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (processes, launcher) = processes();
        test(processes, launcher).await;
    });
}

fn delivery(job: JobId) -> Delivery {
    let frame = ToWorker::Stop { reason: "any frame" }.encode();
    Delivery { job, kind: JobKind::Run, frame, memory_mb: None, scope: None }
}

#[test]
fn a_job_for_a_process_that_has_just_left_was_not_read() {
    let (mut processes, _) = processes();
    add(&mut processes, 1, Some(i32::MAX), None);
    processes.deliver(1, delivery(9));
    // The delivery is noted regardless: the end of the process shows that the job was not read.
    assert!(matches!(processes.events.pop_front(), Some(ProcessEvent::Given { worker: 1, job: 9, .. })));
    processes.ended(1, Exit::Code(0));
    assert_eq!(ended(&mut processes), [1]);
    assert!(processes.workers.get(&1).is_some_and(|worker| worker.unread() && worker.job == Some(9)));
}

#[test]
fn a_job_is_not_sent_ahead_to_one_that_cannot_claim_it() {
    let (mut processes, _) = processes();
    add(&mut processes, 1, Some(i32::MAX), None);
    assert!(!processes.send_ahead(1, 9, delivery(9).frame), "it has no pipe for tickets");
    assert!(!processes.send_ahead(2, 9, delivery(9).frame), "it is not there");
    assert!(processes.recall(1).is_empty());
}

#[test]
fn one_that_is_killed_before_it_was_started_is_gone_at_once() {
    let (mut processes, launcher) = processes();
    add(&mut processes, 1, None, None);
    processes.kill(1, &Cause::Shutdown);
    assert!(matches!(processes.events.pop_front(), Some(ProcessEvent::Gone(1, Cause::Shutdown))));
    assert!(processes.workers.is_empty() && launcher.0.borrow().is_empty());
}

#[test]
fn a_template_that_hangs_in_its_boot_is_killed_and_another_one_is_started() {
    run(|mut processes, launcher| async move {
        assert_eq!(processes.templates.started(77, true), None);
        let start = Instant::now();
        let limit = processes.recipe.settings().boot_timeout;
        assert!(processes.wake().is_some_and(|at| at <= Instant::now() + limit));
        processes.fork(1, Mode::Lane);
        processes.on_time(start + limit / 2);
        assert!(launcher.0.borrow().is_empty());
        processes.on_time(start + limit * 2);
        assert_eq!(*launcher.0.borrow(), [77]);
        assert!(processes.templates.fault().is_some_and(|fault| fault.contains("boot_timeout")));
        // The next one fails to start, and is retried after a delay.
        let input = processes.next().await;
        assert!(matches!(&input, ProcessInput::Answer(Answer::Started { worker: 0, result: Err(_) })), "{input:?}");
        processes.handle(input);
        assert!(processes.templates.wake().is_some_and(|at| at > Instant::now()));
    });
}

#[test]
fn a_template_that_woke_the_app_is_followed_by_one_that_shares_code() {
    run(|mut processes, _| async move {
        let asked = async |processes: &mut Processes| match processes.next().await {
            ProcessInput::Answer(Answer::Started { worker: 0, result: Err(error) }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(processes.wake_up(false));
        assert!(asked(&mut processes).await.ends_with("share: false"));
        // As if it had been started.
        let _ = processes.templates.started(77, false);
        let (outbox, mut first) = Outbox::pair(9);
        processes.templates.connected(77, outbox);
        for id in 1..=5 {
            add(&mut processes, id, None, None);
            processes.fork(id, Mode::Lane);
        }
        processes.template_ready(77);
        let frames = std::iter::from_fn(|| first.try_recv().ok()).count();
        assert_eq!((frames, processes.templates.is(77)), (4, false), "three forks, and that it is to end after them");
        assert!(!processes.templates.awaits(3) && processes.templates.awaits(4) && processes.templates.awaits(5));
        assert!(asked(&mut processes).await.ends_with("share: true"));
        let _ = processes.templates.started(78, true);
        let (outbox, mut second) = Outbox::pair(99);
        processes.templates.connected(78, outbox);
        processes.template_ready(78);
        for id in 6..60 {
            processes.fork(id, Mode::Lane);
        }
        assert_eq!(std::iter::from_fn(|| second.try_recv().ok()).count(), 56);
        assert!(processes.templates.is(78));
    });
}

#[test]
fn what_a_dead_template_was_asked_to_fork_never_comes() {
    let (mut processes, _) = processes();
    let _ = processes.templates.started(77, true);
    processes.templates.connected(77, Outbox::to_nobody());
    processes.template_ready(77);
    for (id, pid) in [(1, None), (2, Some(i32::MAX))] {
        add(&mut processes, id, pid, None);
    }
    processes.template_gone(77, Some(Exit::Signal(9)), None);
    assert!(matches!(processes.events.pop_front(), Some(ProcessEvent::TemplateGone(_))));
    assert!(matches!(processes.events.pop_front(), Some(ProcessEvent::Gone(1, Cause::Vanished))));
    assert!(processes.events.is_empty() && processes.workers.contains_key(&2));
}

#[test]
fn a_job_that_takes_more_memory_than_it_declares_is_reported() {
    run(|mut processes, _| async move {
        let own = i32::try_from(std::process::id()).unwrap();
        add(&mut processes, 1, Some(own), None);
        processes.deliver(1, Delivery { memory_mb: Some(1), ..delivery(9) });
        processes.events.clear();
        // As if the job had begun with no memory.
        processes.workers.get_mut(&1).unwrap().baseline_kb = Some(0);
        let worker = processes.workers.get_mut(&1).unwrap();
        worker.memory_mb = Some(0);
        processes.on_time(Instant::now() + std::time::Duration::from_secs(1));
        let _ballast = vec![1_u8; 64 << 20];
        let input = processes.next().await;
        processes.handle(input);
        let event = processes.events.pop_front();
        assert!(matches!(event, Some(ProcessEvent::MemoryOver { worker: 1, limit: 0, .. })), "{event:?}");
        // Another job runs by now: the sample does not apply to it.
        processes.on_time(Instant::now() + std::time::Duration::from_secs(2));
        processes.goes_on_with(1, 10, None);
        let input = processes.next().await;
        processes.handle(input);
        assert!(processes.events.is_empty());
    });
}
