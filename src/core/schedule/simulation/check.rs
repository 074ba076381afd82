//! Invariants after every event, of every action, and at the end.

use std::collections::BTreeMap;

use super::limits;
use super::model::*;
use super::world::{QUEUES, World};
use crate::routing::Tier;
use crate::schedule::job::Stage;
use crate::schedule::machine::{Phase, REPLAYS, Schedule};
use crate::schedule::worker::{Worker, WorkerState};
use crate::schedule::{Action, JobId, JobKind, Outcome};

/// Maximum of jobs per call.
const BATCH: usize = 64;

/// Invariants after every event.
pub fn all(world: &World) {
    let schedule = &world.schedule;
    places(world);
    bounds(world, schedule);
    if schedule.phase == Phase::Over {
        let stays = |stage: &Stage| matches!(stage, Stage::Running(worker) if schedule.is_left(*worker));
        assert!(schedule.jobs.values().all(|job| stays(&job.stage)), "jobs are left at the end");
        return;
    }
    if schedule.is_asleep() {
        assert_eq!(schedule.job_count(), 0, "it sleeps, and holds jobs");
        let up = |worker: &Worker| worker.state != WorkerState::Leaving && worker.killed.is_none();
        assert!(schedule.workers.ids(up).is_empty(), "it sleeps, and has processes: {:?}", schedule.workers);
    }
    let now = world.clock();
    if let Some(wake) = schedule.next_wake() {
        assert!(wake > now.ms, "wants to be woken at {wake}, and it is {}", now.ms);
    }
    works(world);
}

/// Each job is in one place, and every index agrees with the jobs.
fn places(world: &World) {
    let schedule = &world.schedule;
    let mut found: BTreeMap<JobId, Vec<Stage>> = BTreeMap::new();
    let mut bytes = 0;
    for tier in Tier::ALL {
        for id in schedule.waiting[tier].iter() {
            found.entry(id).or_default().push(Stage::Waiting);
            assert_eq!(schedule.jobs[&id].tier, tier, "job {id} waits for another tier than it is for");
        }
        let waiting = &schedule.waiting[tier];
        assert_eq!(waiting.oldest(&schedule.gates).is_some(), waiting.first(&schedule.gates).is_some());
    }
    for (class, (_, jobs)) in &schedule.inspecting {
        for id in jobs {
            found.entry(*id).or_default().push(Stage::Inspecting);
            assert_eq!(schedule.jobs[id].class, *class);
        }
    }
    for id in &schedule.replays {
        found.entry(*id).or_default().push(Stage::Replaying);
    }
    for id in &world.verifying {
        if schedule.jobs.contains_key(id) {
            found.entry(*id).or_default().push(Stage::Verifying);
        }
    }
    assert!(schedule.workers.agrees(&schedule.config), "an index of the workers is wrong: {:?}", schedule.workers);
    for (id, worker) in schedule.workers.iter() {
        if let Some(job) = worker.job().filter(|job| schedule.jobs.contains_key(job)) {
            found.entry(job).or_default().push(Stage::Running(id));
        }
        if let WorkerState::Popping { job: Some(job), .. } = worker.state {
            assert_eq!(schedule.jobs[&job].popped, Some(id));
            if schedule.jobs[&job].stage != Stage::Inspecting {
                found.entry(job).or_default().push(Stage::Bound);
            }
        }
        if let Some(job) = worker.bound {
            found.entry(job).or_default().push(Stage::Bound);
            assert_eq!(worker.tier, Tier::Isolated);
            assert!(matches!(worker.state, WorkerState::Starting | WorkerState::Idle));
        }
        for job in worker.ahead.iter().filter(|job| schedule.jobs.contains_key(job)) {
            found.entry(*job).or_default().push(Stage::Ahead);
        }
        if let WorkerState::Busy { job, deadline, .. } = worker.state {
            let grace = schedule.config.grace_ms.max(60_000 + schedule.config.grace_ms);
            let ends = deadline.is_some_and(|deadline| deadline <= world.now + grace);
            let cancelled = schedule.jobs.get(&job).is_some_and(|job| job.cancel.is_some());
            assert!(!cancelled || ends, "job {job} was cancelled and may run on");
        }
        assert!(worker.is_busy() == worker.job().is_some());
        assert!(world.processes.contains_key(&id), "worker {id} is known to nobody else");
        let stays = worker.tier == Tier::Isolated && worker.is_idle() && worker.bound.is_none();
        assert!(!stays, "worker {id} has nothing to live for");
    }
    for (id, job) in &schedule.jobs {
        let places = found.remove(id).unwrap_or_default();
        assert_eq!(places, std::slice::from_ref(&job.stage), "job {id}");
        let unknown = schedule.unknown.get(&job.class).is_some_and(|jobs| jobs.contains(id));
        assert_eq!(unknown, job.stage == Stage::Waiting && job.unknown && job.tier == Tier::Pooled, "job {id}");
        if matches!(job.stage, Stage::Waiting | Stage::Inspecting) {
            bytes += job.bytes;
            assert_eq!(job.kind, JobKind::Run);
        }
    }
    assert!(found.is_empty(), "indexed, but no jobs: {found:?}");
    assert_eq!(schedule.waiting_bytes, bytes, "bytes of what waits");
    assert!(schedule.unknown.values().all(|jobs| !jobs.is_empty()));
    assert!(schedule.unknown.values().flatten().all(|id| schedule.jobs.contains_key(id)));
    for (class, id) in &schedule.probes {
        let job = schedule.jobs.get(id).unwrap_or_else(|| panic!("the probe of {class} is gone"));
        assert_eq!(job.class, *class);
        assert!(matches!(job.stage, Stage::Running(_) | Stage::Verifying | Stage::Replaying), "{job:?}");
    }
}

fn bounds(world: &World, schedule: &Schedule) {
    let config = &schedule.config;
    for tier in Tier::ALL {
        let of =
            |which: &dyn Fn(&Worker) -> bool| schedule.workers.ids(|worker| worker.tier == tier && which(worker)).len();
        // Every worker with a job counts, also one that is killed and not yet gone; so do probes, as lanes.
        let busy = of(&Worker::is_busy);
        // Surplus from before the pool was made smaller leaves as it gets idle.
        let surplus = if tier == Tier::Pooled { world.steered.surplus } else { 0 };
        assert!(busy <= config.max_concurrent[tier].max(surplus), "{busy} jobs at once in {tier}");
        // A worker that was told to leave, or announced it, holds no job and does not count.
        let live = of(&|worker| worker.state != WorkerState::Leaving);
        let most = match tier {
            Tier::Inline => config.max_concurrent[Tier::Inline],
            Tier::Pooled => config.pool_max_size,
            Tier::Isolated => config.max_concurrent[Tier::Isolated],
        };
        assert!(live <= most.max(surplus) + world.extra, "{live} workers in {tier}");
    }
    let waiting: usize = schedule.waiting.iter().map(|waiting| waiting.len()).sum::<usize>()
        + schedule.inspecting.values().map(|(_, jobs)| jobs.len()).sum::<usize>();
    // Jobs returned unread left their waiting lists before; at most one per worker, and those sent ahead.
    let lanes = schedule.config.max_concurrent[Tier::Inline].min(25);
    let returned = schedule.config.max_concurrent.iter().sum::<usize>().min(25) + 8 * lanes;
    assert!(waiting <= schedule.most_waiting() + returned, "{waiting} jobs wait");
    assert!(schedule.waiting_bytes <= config.max_waiting_bytes + (BATCH + returned) * 3_000);
}

/// No job waits while the app sleeps, unless a call for it is under way.
pub fn sleep(world: &World) {
    if world.exited.is_none() && world.schedule.is_asleep() {
        let waits = world.queue.values().any(|waiting| !waiting.is_empty());
        assert!(!waits || world.reserving, "a job waits, and the app sleeps");
    }
}

/// Every job that could run does.
fn works(world: &World) {
    let schedule = &world.schedule;
    let idle = |tier: Tier| {
        let busy = schedule.running(tier) < schedule.config.max_concurrent[tier];
        busy && !schedule.workers.ids(|worker| worker.tier == tier && worker.is_idle()).is_empty()
    };
    if !schedule.replays.is_empty() && !schedule.is_waking() {
        assert!(!idle(Tier::Inline) && !idle(Tier::Pooled), "replays wait beside idle workers");
        assert!(
            !schedule.workers.ids(|worker| worker.tier != Tier::Isolated).is_empty()
                || schedule.backoff.iter().any(|backoff| backoff.wait(world.now).is_some()),
            "replays wait and nothing is on its way"
        );
    }
    if let Some((_, asked)) = schedule.checking.filter(|_| schedule.phase == Phase::Running) {
        let asked = schedule.workers.get(asked);
        // A worker told to leave since then answers before it reads that.
        assert!(
            asked.is_some_and(|worker| worker.killed.is_none()),
            "waits for the answer of a worker that will not give one"
        );
    }
    let known = schedule.checking.is_none() && schedule.checked.is_some_and(|at| world.now < at + 20);
    if schedule.phase == Phase::Running && !schedule.down && known {
        for tier in [Tier::Inline, Tier::Pooled] {
            let waits = || schedule.waiting[tier].iter().find(|job| !limits::hold(schedule, *job));
            assert!(!idle(tier) || waits().is_none(), "job {:?} waits beside idle workers in {tier}", waits());
        }
        assert!(schedule.workers.ids(|worker| worker.is_idle() && worker.bound.is_some()).is_empty());
        let tier = Tier::Isolated;
        let room = schedule.live(tier) < schedule.config.max_concurrent[tier];
        if room && schedule.backoff[tier].wait(world.now).is_none() {
            let waits = schedule.waiting[tier].iter().find(|job| !limits::hold(schedule, *job));
            assert!(waits.is_none(), "job {waits:?} waits for a process, and there is room for one");
        }
    }
    if schedule.phase == Phase::Running && schedule.job_count() > 0 {
        assert!(
            schedule.next_wake().is_some() || !world.agenda.is_empty(),
            "there are jobs, and nothing will ever happen"
        );
    }
}

/// Preconditions of an action.
pub fn action(world: &World, action: &Action, exits: bool) {
    match action {
        Action::Launch { worker, tier, job } => {
            assert!(!world.processes.contains_key(worker));
            assert_eq!(job.is_some(), *tier == Tier::Isolated);
            assert!(!world.schedule.is_asleep(), "a process for an app that sleeps");
        }
        Action::Deliver { worker, job, kind, .. } => {
            let process = world.processes.get(worker).expect("to a worker that is there");
            let held = &world.reservations[job];
            assert_eq!(held.end, None, "job {job} has left");
            assert!(!world.schedule.is_waking(), "job {job} starts before it is known what the app is");
            if world.schedule.config.native {
                // A worker runs the job that it has popped, whatever has happened since.
                assert!(process.seen_job == Some(*job) && held.at == Some(*worker), "job {job} is with another worker");
                assert!((held.runs, *kind) == (0, JobKind::Run) && !process.off);
                return;
            }
            assert!(process.seen_idle && !process.off && process.seen_job.is_none(), "worker {worker} is not idle");
            assert_eq!(held.at, None, "job {job} is with two workers");
            match kind {
                JobKind::Run => {
                    assert_eq!(held.runs, 0, "job {job} was run before");
                    assert!(!world.messages[held.uid].cancelled, "job {job} was cancelled");
                    let queue = world.messages[held.uid].queue;
                    assert!(!world.told.0 && !world.told.1.contains(queue), "job {job} is not to start");
                    assert!(world.stopping.is_none());
                }
                JobKind::Cancel => {
                    assert!(world.messages[held.uid].cancelled, "nobody has cancelled job {job}");
                    assert!(held.runs == 0 || held.verified || held.failing, "cancelled without a look");
                }
                JobKind::Crash | JobKind::Timeout | JobKind::Release => {
                    assert_eq!(held.runs, 1);
                    assert!(held.verified || held.failing, "replayed without a look");
                    assert!(*kind == JobKind::Timeout || world.schedule.config.replay);
                }
            }
        }
        Action::Ahead { worker, job } => {
            let process = world.processes.get(worker).expect("to a worker that is there");
            assert!(!process.seen_idle && !process.off && process.tier == Tier::Inline, "nothing is ahead of {worker}");
            let known = world.schedule.workers.get(*worker).expect("a worker that is known");
            assert!(known.ahead.len() <= 8);
            assert!(process.refused.is_none() || process.refused != known.job(), "{worker} has refused one already");
            let held = &world.reservations[job];
            assert!(
                held.end.is_none() && held.at.is_none() && held.runs == 0 && !world.messages[held.uid].cancelled,
                "job {job} is not to be sent ahead"
            );
            assert!(!world.schedule.prints(&world.schedule.jobs[job].class), "nobody could tell what job {job} prints");
            let queue = world.messages[held.uid].queue;
            assert!(
                !world.told.0 && !world.told.1.contains(queue) && world.stopping.is_none(),
                "job {job} is not to start"
            );
        }
        Action::Pop(worker) => {
            let process = world.processes.get(worker).expect("a worker that is there");
            assert!(process.seen_idle && !process.off && process.seen_job.is_none(), "worker {worker} is not idle");
            assert!(world.schedule.config.native && process.tier == Tier::Pooled);
            // Each worker that looks may come back with a job.
            let (run, look) = (world.schedule.running(Tier::Pooled), world.schedule.popping());
            assert!(run + look <= world.schedule.config.max_concurrent[Tier::Pooled], "{run} run, {look} look");
            assert!(
                !world.told.0 && world.told.1.len() < QUEUES.len() && world.stopping.is_none(),
                "nobody is to look"
            );
        }
        Action::Recall(worker) => assert!(world.processes.contains_key(worker)),
        Action::Stop { worker, .. } => {
            let process = world.processes.get(worker).expect("a worker that is there");
            assert!(!process.off && process.seen_job.is_none(), "worker {worker} cannot be told to leave");
        }
        Action::Kill { worker, .. } => assert!(world.processes.contains_key(worker)),
        Action::Check(worker) => {
            let process = world.processes.get(worker).expect("a worker that is there");
            assert!(process.seen_job.is_none() && !process.off, "worker {worker} cannot be asked");
        }
        Action::Unreserve(jobs) => {
            assert!(!jobs.is_empty());
            for job in jobs {
                let held = &world.reservations[job];
                assert_eq!((held.runs, held.at, held.end), (0, None, None), "job {job} cannot be given back");
            }
        }
        Action::Verify(job) => assert!(!world.verifying.contains(job)),
        Action::Inspect(classes) => assert!(classes.iter().all(|class| !class.contains('('))),
        Action::Finished(finished) => {
            let held = &world.reservations[&finished.job];
            assert_eq!(held.end, None, "job {} leaves twice", finished.job);
            let right = match finished.outcome {
                Outcome::Done => held.deleted && !held.failed,
                Outcome::Released => held.released,
                Outcome::Failed => held.failed || held.failing,
                Outcome::Left => {
                    let gone = held.died || held.is_settled();
                    let unreplayed = gone && (!world.schedule.config.replay || held.replay_deaths >= REPLAYS);
                    // The worker that popped it is gone, and never ran it.
                    let unrun = world.schedule.config.native && (held.runs == 0 || gone);
                    exits || held.kept || unreplayed || unrun
                }
                Outcome::Lost => held.lost || held.is_settled(),
            };
            assert!(right, "{finished:?} of {held:?}");
        }
        Action::Look | Action::Sleep => {
            assert!(!world.told.0 && world.told.1.is_empty() && world.stopping.is_none(), "it cannot sleep");
        }
        Action::Quarantined(_) | Action::Wake | Action::Share(_) | Action::Exit => {}
    }
}

/// Invariants when everything is over.
pub fn end(world: &World) {
    for (id, held) in &world.reservations {
        let end = held.end.unwrap_or_else(|| panic!("job {id} was lost: {held:?}"));
        assert!(held.runs <= 1);
        match end {
            End::Unreserved | End::Unseen => assert_eq!(held.runs, 0),
            End::Finished(Outcome::Left | Outcome::Lost) => {}
            // Cancelled before it ran: it failed, once.
            End::Finished(outcome) if held.runs == 0 => {
                let replays = held.replays == 1 + held.replay_deaths || held.replays == held.replay_deaths;
                assert!(
                    world.messages[held.uid].cancelled && outcome == Outcome::Failed && replays,
                    "job {id}: {held:?}"
                );
            }
            End::Finished(_) => {
                assert_eq!(held.runs, 1);
                // Its end was replayed once, unless a replay died itself.
                let replays = if held.died || held.kept { 1 + held.replay_deaths } else { 0 };
                assert!(held.replays == replays || held.replays == held.replay_deaths, "job {id}: {held:?}");
            }
        }
    }
    for (uid, message) in world.messages.iter().enumerate() {
        let counted = |held: &&Reservation| held.uid == uid && (held.end != Some(End::Unreserved) || held.lost);
        let runs = world.reservations.values().filter(counted).count();
        assert_eq!(message.attempts as usize, runs, "attempts of message {uid}");
        if world.stopping.is_none() {
            assert!(
                matches!(message.place, Place::Done | Place::Failed | Place::Elsewhere),
                "message {uid}: {message:?}"
            );
        }
    }
}
