//! Limits of classes and queues in the world: what they are, and whether they are kept, by an account of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::model::*;
use super::rng::Rng;
use super::world::{QUEUES, World};
use crate::routing::Tier;
use crate::schedule::machine::Phase;
use crate::schedule::{Action, Config, JobId, JobKind, Limit, Rate, Schedule};

/// What is known of limits outside of the schedule.
#[derive(Debug, Default)]
pub struct Account {
    /// When jobs were given to a process, of those that did not come back unread.
    starts: BTreeMap<JobId, u64>,
    /// Jobs that have been given to a process before, whether or not they came back.
    tried: BTreeSet<JobId>,
    /// Some were by what the last event has brought about.
    started: bool,
    /// Jobs of a class or queue that ran, or were with a process, at once after the last event.
    counts: BTreeMap<String, usize>,
    /// Of a queue of which a job of this tier could start, those of the others that have started there since one of its own.
    passed_over: BTreeMap<(Tier, &'static str), BTreeMap<&'static str, BTreeSet<JobId>>>,
}

impl Account {
    /// Others count from now on, or those of a new runtime do.
    pub fn forget(&mut self, schedule: &Schedule) {
        self.starts.clear();
        self.passed_over.clear();
        self.counts.clear();
        for job in schedule.jobs.values().filter(|job| job.is_out()) {
            *self.counts.entry(job.class.clone()).or_default() += 1;
            *self.counts.entry(job.queue.clone()).or_default() += 1;
        }
    }
}

/// Limits as somebody might write them, the mean ones included.
pub fn limited(mut config: Config, rng: &mut Rng) -> Config {
    config.queues = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
    (config.class_limits, config.queue_limits, config.queue_waiting) = Default::default();
    for class in classes() {
        if rng.chance(400) {
            config.class_limits.insert(class.name.to_owned(), limit(rng));
        }
    }
    for queue in QUEUES {
        if rng.chance(300) {
            config.queue_limits.insert(queue.to_owned(), limit(rng));
        }
        if rng.chance(500) {
            config.queue_weights.insert(queue.to_owned(), *rng.pick(&[1, 2, 5, 100]));
        }
        if rng.chance(200) {
            config.queue_waiting.insert(queue.to_owned(), *rng.pick(&[1, 3, 20]));
        }
    }
    config
}

fn limit(rng: &mut Rng) -> Limit {
    let max_concurrent = rng.chance(600).then(|| *rng.pick(&[1, 1, 2, 5]));
    let rate =
        Rate { jobs: *rng.pick(&[1, 7, 30]), per_ms: *rng.pick(&[1_000, 7_777]), burst: *rng.pick(&[1, 1, 3, 10]) };
    Limit { max_concurrent, rate: (max_concurrent.is_none() || rng.chance(300)).then_some(rate) }
}

/// Whether a limit lets a job wait. Counted from where the jobs are; that there are tokens, by the schedule.
pub fn hold(schedule: &Schedule, job: JobId) -> bool {
    let job = &schedule.jobs[&job];
    let out = |which: &dyn Fn(&str, &str) -> bool| {
        schedule.jobs.values().filter(|other| other.is_out() && which(&other.class, &other.queue)).count()
    };
    let full = |limit: Option<&Limit>, running: usize| {
        limit.and_then(|limit| limit.max_concurrent).is_some_and(|most| running >= most)
    };
    let config = &schedule.config;
    full(config.class_limits.get(&job.class), out(&|class, _| class == job.class))
        || full(config.queue_limits.get(&job.queue), out(&|_, queue| queue == job.queue))
        || schedule.gates.opens_at(job.pass).is_some_and(|at| at > schedule.seen)
}

/// After every event: of each class and queue no more runs than may.
pub fn all(world: &mut World) {
    let config = &world.schedule.config;
    if config.queues.is_empty() || config.native {
        return;
    }
    let mut running: BTreeMap<&'static str, usize> = BTreeMap::new();
    for process in world.processes.values() {
        if let Doing::Running(job, JobKind::Run) = process.doing {
            let message = &world.messages[world.reservations[&job].uid];
            *running.entry(world.classes[message.class].name).or_default() += 1;
            *running.entry(message.queue).or_default() += 1;
        }
    }
    let mut out: BTreeMap<&str, usize> = BTreeMap::new();
    for job in world.schedule.jobs.values().filter(|job| job.is_out()) {
        *out.entry(&job.class).or_default() += 1;
        *out.entry(&job.queue).or_default() += 1;
    }
    let mut counts = BTreeMap::new();
    for (name, limit) in config.class_limits.iter().chain(&config.queue_limits) {
        let of = |counts: &BTreeMap<&str, usize>| counts.get(name.as_str()).copied().unwrap_or(0);
        let (runs, out, before) = (of(&running), of(&out), world.limits.counts.get(name).copied().unwrap_or(0));
        // What was out when the limit came goes on.
        let most = limit.max_concurrent.unwrap_or(usize::MAX).max(before);
        assert!(runs <= most && out <= most, "{runs} of {name} run at once, and {out} are with a process");
        counts.insert(name.clone(), runs.max(out));
    }
    world.limits.counts = counts;
    pass_over(world);
    // One that waits again, or was given back, has not been.
    let jobs = &world.schedule.jobs;
    let held = |job: &JobId| jobs.get(job).map(|job| job.is_out());
    let gone = |job: &JobId| world.reservations[job].end != Some(End::Unreserved);
    // Now, for it may be lost before another one starts.
    world.limits.starts.retain(|job, _| held(job).unwrap_or_else(|| gone(job)));
    if std::mem::take(&mut world.limits.started) {
        rates(world);
    }
}

/// A job is given to a process.
pub fn action(world: &mut World, action: &Action) {
    match action {
        // An isolated one was when its process was asked for.
        Action::Deliver { worker, kind: JobKind::Run, .. } if world.processes[worker].tier == Tier::Isolated => {}
        Action::Deliver { worker, job, kind: JobKind::Run, .. } | Action::Ahead { worker, job } => {
            starts(world, *job, world.processes[worker].tier);
        }
        Action::Launch { job: Some(job), .. } => starts(world, *job, Tier::Isolated),
        _ => {}
    }
}

fn starts(world: &mut World, job: JobId, tier: Tier) {
    world.limits.starts.insert(job, world.now);
    world.limits.started = true;
    // One that came back unread has had its turn.
    let again = !world.limits.tried.insert(job);
    if world.schedule.config.queue_weights.is_empty() {
        return;
    }
    let queue = world.messages[world.reservations[&job].uid].queue;
    world.limits.passed_over.insert((tier, queue), BTreeMap::new());
    for ((of, waits), starts) in &mut world.limits.passed_over {
        if *of != tier || *waits == queue || again {
            continue;
        }
        starts.entry(queue).or_default().insert(job);
    }
}

/// Which queues could start a job more in each tier.
fn pass_over(world: &mut World) {
    let schedule = &world.schedule;
    let mut open = BTreeSet::new();
    if schedule.phase == Phase::Running && !schedule.config.queue_weights.is_empty() {
        for tier in Tier::ALL {
            for job in schedule.waiting[tier].iter().filter(|job| !hold(schedule, *job)) {
                open.insert((tier, world.messages[world.reservations[&job].uid].queue));
            }
        }
    }
    // One of which none waits any more has not been passed over.
    world.limits.passed_over.retain(|place, _| open.contains(place));
    let weights = &world.schedule.config.queue_weights;
    let weight = |queue: &str| u64::from(weights.get(queue).copied().unwrap_or(1));
    for ((tier, waits), starts) in &world.limits.passed_over {
        for (queue, started) in starts {
            let (count, most) = (started.len() as u64, weight(queue).div_ceil(weight(waits)) + 1);
            assert!(count <= most, "{count} of {queue} have started in {tier} while one of {waits} waited");
        }
    }
    for place in open {
        world.limits.passed_over.entry(place).or_default();
    }
}

/// Over no time have more started than a rate lets.
fn rates(world: &World) {
    let config = &world.schedule.config;
    for (name, limit) in config.class_limits.iter().chain(&config.queue_limits) {
        let Some(rate) = limit.rate else { continue };
        let of_it = |id: &JobId| {
            let message = &world.messages[world.reservations[id].uid];
            [world.classes[message.class].name, message.queue].contains(&name.as_str())
        };
        let mut starts: Vec<u64> = world.limits.starts.iter().filter(|(id, _)| of_it(id)).map(|(_, at)| *at).collect();
        starts.sort_unstable();
        for (at, since) in starts.iter().enumerate() {
            let most = u64::from(rate.burst) + (world.now - since) * u64::from(rate.jobs) / rate.per_ms;
            let many = (starts.len() - at) as u64;
            assert!(many <= most, "{many} of {name} have started in {} ms, and {most} may", world.now - since);
        }
    }
}
