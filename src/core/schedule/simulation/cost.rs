//! Benchmark of one event: `cargo test --release --lib -- --ignored --nocapture cost_of`.

use std::collections::VecDeque;
use std::time::Duration;

use super::config;
use crate::payload::Hints;
use crate::routing::{History, PerTier};
use crate::schedule::{Action, Config, Done, Event, Inspection, JobId, JobSpec, Now, Schedule, WorkerId};

#[test]
#[ignore = "a measure"]
fn cost_of_an_event() {
    let large = Config {
        pool_min_idle: 24,
        pool_size: 24,
        pool_max_size: 24,
        max_concurrent: PerTier::new(100, 24, 5),
        ..config()
    };
    let mut schedule = Schedule::new(large, History::new());
    let mut out = Vec::new();
    let (mut now, mut next, mut events) = (Now::default(), 1, 0_u32);
    let mut busy: VecDeque<WorkerId> = VecDeque::new();
    schedule.on(now, Event::Tick, &mut out);
    let began = std::time::Instant::now();
    let (mut woken, mut wanted, mut jobs, mut workers) = (Duration::ZERO, Duration::ZERO, 0, 0);
    while events < 1_000_000 {
        let mut ready = Vec::new();
        for action in out.drain(..) {
            match action {
                Action::Launch { worker, .. } => ready.push(Event::Ready { worker, done: None }),
                Action::Deliver { worker, .. } => busy.push_back(worker),
                Action::Check(_) => ready.push(Event::State { down: false, paused: Vec::new() }),
                Action::Inspect(classes) => {
                    ready.push(Event::Inspected(Inspection {
                        hints: classes.into_iter().map(|class| (class, Hints::default())).collect(),
                        ..Inspection::default()
                    }));
                }
                _ => {}
            }
        }
        now.ms += u64::from(events % 50 == 0);
        now.epoch = now.ms / 1000;
        let start = std::time::Instant::now();
        std::hint::black_box(schedule.wanted(now));
        wanted += start.elapsed();
        let start = std::time::Instant::now();
        std::hint::black_box(schedule.next_wake());
        woken += start.elapsed();
        // Keeps 300 jobs waiting: most for the pool, whose jobs are long, some for the lanes.
        if schedule.job_count() < 320 {
            let spec = |id: JobId| JobSpec {
                wrapper: None,
                id,
                class: format!("App\\Jobs\\Class{}", id % 20),
                queue: "default".to_owned(),
                bytes: 500,
                timeout: None,
                hints: Hints {
                    estimated_duration: Some(Duration::from_millis(if id.is_multiple_of(2) { 10 } else { 5_000 })),
                    ..Hints::default()
                },
                tenant: None,
                key: None,
                cancel: None,
                front: 0,
            };
            let specs = (next..next + 16).map(spec).collect();
            next += 16;
            schedule.on(now, Event::Reserved(specs), &mut out);
        } else if ready.is_empty() {
            let done = Some(Done { deleted: true, ..Done::default() });
            let worker = busy.pop_front().expect("some are busy");
            schedule.on(now, Event::Deleted { worker, failed: false }, &mut out);
            schedule.on(now, Event::Ready { worker, done }, &mut out);
            events += 1;
        }
        for event in ready {
            schedule.on(now, event, &mut out);
            events += 1;
        }
        events += 1;
        (jobs, workers) = (schedule.job_count(), schedule.workers().count());
    }
    let all = began.elapsed() - woken - wanted;
    println!(
        "{jobs} jobs, {workers} workers: on() {:?}, wanted() {:?}, next_wake() {:?} per event",
        all / events,
        wanted / events,
        woken / events
    );
}
