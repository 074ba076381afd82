//! Takeover and handover.

use super::simulation::config;
use super::{Action, Adopted, AdoptedJob, Cause, Done, Event, JobKind, JobSpec, Now, Outcome, Schedule};
use crate::payload::Hints;
use crate::routing::{History, Tier};

const START: u64 = 1_000_000;

struct Desk {
    schedule: Schedule,
    now: u64,
}

impl Desk {
    fn new() -> Self {
        Self { schedule: Schedule::new(config(), History::new()), now: START }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.schedule.on(Now { ms: self.now, epoch: 0 }, event, &mut out);
        out
    }

    fn adopt(&mut self, worker: u64, tier: Tier, job: u64, ran_ms: u64) -> Vec<Action> {
        let job = AdoptedJob { spec: spec(job), kind: JobKind::Run, ran_ms };
        self.tell(Event::Adopted(vec![Adopted { worker, tier, job: Some(job) }]))
    }
}

fn spec(id: u64) -> JobSpec {
    let (class, queue) = ("App\\Slow".to_owned(), "default".to_owned());
    JobSpec {
        id,
        class,
        wrapper: None,
        queue,
        bytes: 10,
        timeout: Some(60),
        hints: Hints::default(),
        tenant: None,
        key: None,
        cancel: None,
        front: 0,
    }
}

fn done() -> Done {
    Done { deleted: true, ..Done::default() }
}

fn outcomes(actions: &[Action]) -> Vec<(u64, Outcome)> {
    let finished = |action: &Action| match action {
        Action::Finished(finished) => Some((finished.job, finished.outcome)),
        _ => None,
    };
    actions.iter().filter_map(finished).collect()
}

#[test]
fn an_adopted_job_ends_once_and_its_worker_is_replaced() {
    let mut desk = Desk::new();
    // First the pool is filled up.
    let launched: Vec<u64> = desk
        .adopt(7, Tier::Pooled, 41, 5_000)
        .iter()
        .filter_map(|action| match action {
            Action::Launch { worker, .. } => Some(*worker),
            _ => None,
        })
        .collect();
    assert!(!launched.is_empty() && launched.iter().all(|worker| *worker > 7), "{launched:?}");
    desk.now += 1_000;
    let mut actions = desk.tell(Event::Ready { worker: 7, done: Some(done()) });
    assert_eq!(outcomes(&actions), [(41, Outcome::Done)]);
    for worker in launched {
        actions.extend(desk.tell(Event::Ready { worker, done: None }));
    }
    assert!(actions.iter().any(|action| matches!(action, Action::Stop { worker: 7, .. })), "{actions:?}");
}

#[test]
fn an_adopted_job_has_the_time_that_was_left_to_it() {
    let mut desk = Desk::new();
    desk.adopt(7, Tier::Isolated, 41, 59_000);
    let kills = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Kill { worker: 7, .. }));
    assert!(!kills(&desk.tell(Event::Tick)));
    desk.now += 1_000 + desk.schedule.config.grace_ms;
    assert!(kills(&desk.tell(Event::Tick)));
}

#[test]
fn one_that_died_meanwhile_is_settled_at_once() {
    let mut desk = Desk::new();
    desk.adopt(7, Tier::Inline, 41, 200);
    let actions = desk.tell(Event::Gone { worker: 7, cause: Cause::Orphaned, unread: false });
    assert!(actions.contains(&Action::Verify(41)), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Quarantined(_))));
}

#[test]
fn a_job_that_was_never_sent_waits_again() {
    let mut desk = Desk::new();
    desk.tell(Event::State { down: false, paused: Vec::new() });
    desk.adopt(7, Tier::Pooled, 41, 10);
    let actions = desk.tell(Event::Unsent(7));
    assert!(actions.iter().any(|action| matches!(action, Action::Launch { job: Some(41), .. })), "{actions:?}");
    assert_eq!(desk.schedule.job_count(), 1);
}

#[test]
fn handing_over_leaves_what_runs_elsewhere_and_waits_for_lanes() {
    let mut desk = Desk::new();
    desk.adopt(1, Tier::Pooled, 41, 10);
    desk.adopt(2, Tier::Isolated, 42, 10);
    desk.adopt(3, Tier::Inline, 43, 10);
    let actions = desk.tell(Event::HandOver);
    assert!(!desk.schedule.is_over() && outcomes(&actions).is_empty());
    desk.now += 100;
    let actions = desk.tell(Event::Stopping { worker: 3, status: 0, done: Some(done()) });
    assert_eq!(outcomes(&actions), [(43, Outcome::Done)]);
    assert!(desk.schedule.is_over() && actions.contains(&Action::Exit));
    assert!(desk.schedule.is_left(1) && desk.schedule.is_left(2) && !desk.schedule.is_left(3));
}

#[test]
fn a_second_stop_while_handing_over_kills_lanes_alone() {
    let mut desk = Desk::new();
    desk.adopt(1, Tier::Pooled, 41, 10);
    desk.adopt(3, Tier::Inline, 43, 10);
    desk.tell(Event::HandOver);
    let actions = desk.tell(Event::Drain);
    let killed: Vec<_> = actions.iter().filter(|action| matches!(action, Action::Kill { .. })).collect();
    assert_eq!(killed, [&Action::Kill { worker: 3, cause: Cause::Shutdown }]);
}
