//! Classes: names used by jobs, and classes that end PHP when they are loaded.

use super::super::simulation::config;
use super::super::{Action, Cause, Done, Event, Inspection, JobKind, JobSpec, LastResort, Now, Outcome, Schedule};
use crate::payload::Hints;
use crate::routing::History;

/// A schedule driven by hand, one millisecond per event.
struct Steps {
    schedule: Schedule,
    ms: u64,
    /// Actions not yet answered.
    pending: Vec<Action>,
}

impl Steps {
    fn new() -> Self {
        let schedule = Schedule::new(config(), History::new());
        Self { schedule, ms: 0, pending: Vec::new() }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.ms += 1;
        let mut out = Vec::new();
        self.schedule.on(Now { ms: self.ms, epoch: 1 }, event, &mut out);
        self.pending.extend(out.iter().cloned());
        out
    }

    fn reserved(&mut self, id: u64, class: &str, wrapper: Option<&str>) -> Vec<Action> {
        self.on(Event::Reserved(vec![JobSpec {
            id,
            class: class.to_owned(),
            wrapper: wrapper.map(str::to_owned),
            queue: "default".to_owned(),
            bytes: 10,
            timeout: None,
            hints: Hints::default(),
            tenant: None,
            key: None,
            cancel: None,
            front: 0,
        }]))
    }

    /// Makes launched workers ready and answers requests, until a job is delivered. Returns its worker and kind.
    fn deliver(&mut self) -> (u64, JobKind) {
        for _ in 0..100 {
            for action in std::mem::take(&mut self.pending) {
                match action {
                    Action::Deliver { worker, kind, .. } => return (worker, kind),
                    Action::Launch { worker, .. } => drop(self.on(Event::Ready { worker, done: None })),
                    Action::Check(_) => drop(self.on(Event::State { down: false, paused: Vec::new() })),
                    Action::Verify(job) => drop(self.on(Event::Verified { job, ours: true })),
                    _ => {}
                }
            }
            self.ms += 20;
            self.on(Event::Tick);
        }
        panic!("nothing is delivered");
    }
}

fn inspected(class: &str) -> Inspection {
    Inspection { hints: vec![(class.to_owned(), Hints::default())], ..Inspection::default() }
}

fn asked(actions: &[Action]) -> Vec<&str> {
    let asked = actions.iter().filter_map(|action| match action {
        Action::Inspect(classes) => Some(classes.iter().map(String::as_str)),
        _ => None,
    });
    asked.flatten().collect()
}

#[test]
fn a_job_that_calls_itself_by_another_class_is_that_class() {
    let mut steps = Steps::new();
    let actions = steps.reserved(1, "App\\Actions\\Send", Some("Vendor\\ActionJob"));
    assert_eq!(asked(&actions), ["App\\Actions\\Send"]);
    let actions = steps.on(Event::Inspected(inspected("App\\Actions\\Send")));
    assert!(asked(&actions).is_empty());
    assert_eq!(steps.schedule.jobs[&1].class, "App\\Actions\\Send");
}

#[test]
fn a_job_that_calls_itself_by_no_class_is_what_it_is() {
    let mut steps = Steps::new();
    assert_eq!(asked(&steps.reserved(1, "Import\\Monday", Some("App\\Jobs\\Import"))), ["Import\\Monday"]);
    let none = Inspection { missing: vec!["Import\\Monday".to_owned()], ..inspected("Import\\Monday") };
    let actions = steps.on(Event::Inspected(none));
    assert_eq!(asked(&actions), ["App\\Jobs\\Import"]);
    steps.on(Event::Inspected(inspected("App\\Jobs\\Import")));
    assert_eq!(steps.schedule.jobs[&1].class, "App\\Jobs\\Import");
    assert!(steps.schedule.is_missing("Import\\Monday"));
    // Known from now on: no inspection, and no job waits for one.
    assert!(asked(&steps.reserved(2, "Import\\Monday", Some("App\\Jobs\\Import"))).is_empty());
    assert_eq!(steps.schedule.jobs[&2].class, "App\\Jobs\\Import");
    assert!(steps.schedule.inspecting.is_empty());
}

#[test]
fn what_dies_while_it_is_failed_is_failed_with_less_and_less() {
    let mut steps = Steps::new();
    steps.reserved(1, "App\\Jobs\\Broken", None);
    steps.on(Event::Inspected(inspected("App\\Jobs\\Broken")));
    let (mut worker, kind) = steps.deliver();
    assert_eq!((kind, steps.schedule.last_resort(1)), (JobKind::Run, (LastResort::None, false)));
    for resort in [LastResort::NoClass, LastResort::NoClass, LastResort::Alone] {
        steps.on(Event::Deleted { worker, failed: true });
        let actions = steps.on(Event::Gone { worker, cause: Cause::Signal(11), unread: false });
        // It is deleted from the queue: no other worker can have it, and a check would say that it is not ours.
        assert!(!actions.iter().any(|action| matches!(action, Action::Verify(_) | Action::Finished(_))), "{actions:?}");
        let kind;
        (worker, kind) = steps.deliver();
        assert_eq!((kind, steps.schedule.last_resort(1)), (JobKind::Crash, (resort, true)));
    }
    let done = Done { deleted: true, failed: true, ..Done::default() };
    let actions = steps.on(Event::Ready { worker, done: Some(done) });
    let failed = |action: &Action| matches!(action, Action::Finished(end) if end.outcome == Outcome::Failed);
    assert!(actions.iter().any(failed), "{actions:?}");
}

#[test]
fn the_end_of_a_class_that_cannot_be_loaded_is_replayed_without_it() {
    let mut steps = Steps::new();
    steps.reserved(1, "App\\Jobs\\Broken", None);
    let found = Inspection { unloadable: vec!["App\\Jobs\\Broken".to_owned()], ..inspected("App\\Jobs\\Broken") };
    steps.on(Event::Inspected(found));
    let (worker, _) = steps.deliver();
    let actions = steps.on(Event::Gone { worker, cause: Cause::Exit(255), unread: false });
    assert!(actions.iter().any(|action| matches!(action, Action::Verify(1))), "{actions:?}");
    steps.deliver();
    assert_eq!(steps.schedule.last_resort(1), (LastResort::NoClass, false));
}
