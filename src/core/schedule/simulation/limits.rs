//! Limits of classes and queues in the simulation: their generation, and an independent check that they are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::model::*;
use super::rng::Rng;
use super::world::{QUEUES, World};
use crate::payload::LimitHint;
use crate::routing::Tier;
use crate::schedule::job::Job;
use crate::schedule::machine::Phase;
use crate::schedule::{Action, Config, Defaults, Event, JobId, JobKind, Limit, Rate, Schedule};

/// Maximum of milliseconds between the grant of a shared limit and the start of the job, as answers may be late.
const SLACK: u64 = 4_000;

/// Account of limits, kept outside of the schedule.
#[derive(Debug, Default)]
pub struct Account {
    /// When jobs were given to a process, without those that came back unread.
    starts: BTreeMap<JobId, u64>,
    /// Jobs that were with a process when the limits came: they have passed, and may start again.
    passed: BTreeSet<JobId>,
    /// Jobs that have ever been given to a process, whether or not they came back.
    tried: BTreeSet<JobId>,
    /// The last event has changed the limits.
    pub anew: bool,
    /// The last event has started jobs.
    started: bool,
    /// Jobs of each class or queue that ran, or were with a process, after the last event.
    counts: BTreeMap<String, usize>,
    /// For each queue with a job of this tier that could start: jobs of other queues that have started in the tier
    /// since its own last start.
    passed_over: BTreeMap<(Tier, &'static str), BTreeMap<&'static str, BTreeSet<JobId>>>,
}

/// Resets the account, for other limits or for those of a new runtime.
pub fn forget(world: &mut World) {
    world.limits.starts.clear();
    world.limits.passed = world.schedule.jobs.iter().filter(|(_, job)| job.is_out()).map(|(id, _)| *id).collect();
    world.limits.passed_over.clear();
    super::fair::forget(world);
    world.limits.counts = count(world);
}

/// Jobs of each class, value and queue that are with a process.
pub fn count(world: &World) -> BTreeMap<String, usize> {
    let mut out: BTreeMap<String, usize> = BTreeMap::new();
    for id in world.schedule.jobs.iter().filter(|(_, job)| job.is_out()).map(|(id, _)| id) {
        for name in names(world, world.reservations[id].uid) {
            *out.entry(name).or_default() += 1;
        }
    }
    out
}

/// Arbitrary limits, including extreme ones.
pub fn limited(mut config: Config, rng: &mut Rng) -> Config {
    config.queues = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
    (config.class_limits, config.queue_limits, config.queue_waiting) = Default::default();
    (config.class_by, config.class_defaults, config.queue_defaults) = Default::default();
    (config.class_shared, config.queue_shared) = Default::default();
    let shares = rng.chance(300);
    for class in classes() {
        if rng.chance(400) {
            config.class_limits.insert(class.name.to_owned(), limit(rng));
        }
        if shares && rng.chance(500) {
            config.class_shared.insert(class.name.to_owned());
        }
        if rng.chance(200) {
            config.class_by.insert(class.name.to_owned(), by(rng));
        }
        if rng.chance(200) {
            config.class_defaults.insert(class.name.to_owned(), defaults(rng));
        }
    }
    for queue in QUEUES {
        if rng.chance(300) {
            config.queue_limits.insert(queue.to_owned(), limit(rng));
        }
        if shares && rng.chance(500) {
            config.queue_shared.insert(queue.to_owned());
        }
        if rng.chance(200) {
            config.queue_defaults.insert(queue.to_owned(), defaults(rng));
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

fn defaults(rng: &mut Rng) -> Defaults {
    Defaults {
        tier: rng.chance(300).then(|| *rng.pick(&[Tier::Inline, Tier::Pooled, Tier::Isolated])),
        memory_mb: rng.chance(200).then(|| *rng.pick(&[64, 4_000])),
        priority: rng.chance(300).then(|| *rng.pick(&[-3, 5])),
        timeout: rng.chance(500).then(|| *rng.pick(&[0, 3, 50])),
    }
}

fn limit(rng: &mut Rng) -> Limit {
    let max_concurrent = rng.chance(600).then(|| *rng.pick(&[1, 1, 2, 5]));
    let rate =
        Rate { jobs: *rng.pick(&[1, 7, 30]), per_ms: *rng.pick(&[1_000, 7_777]), burst: *rng.pick(&[1, 1, 3, 10]) };
    Limit { max_concurrent, rate: (max_concurrent.is_none() || rng.chance(300)).then_some(rate) }
}

/// Whether a limit holds a job back. Concurrency is counted from the jobs; tokens are taken from the schedule.
pub fn hold(schedule: &Schedule, job: JobId) -> bool {
    let job = &schedule.jobs[&job];
    let out = |which: &dyn Fn(&Job) -> bool| schedule.jobs.values().filter(|job| job.is_out() && which(job)).count();
    let full = |limit: Option<Limit>, running: usize| {
        limit.and_then(|limit| limit.max_concurrent).is_some_and(|most| running >= most)
    };
    // A shared limit lets pass what its permit grants.
    let shared = schedule.gates.of(job.pass).any(|gate| gate.permit.is_some() && gate.room() == 0);
    // Values without a gate of their own share a limit.
    shared
        || full(
            of_class(schedule, &job.class).map(|(limit, _)| limit),
            out(&|other| other.pass.class == job.pass.class),
        )
        || full(schedule.config.queue_limits.get(&job.queue).copied(), out(&|other| other.queue == job.queue))
        || schedule.gates.opens_at(job.pass).is_some_and(|at| at > schedule.seen)
}

/// The limit of a class from its declaration and the settings, and the value per which it counts.
fn of_class(schedule: &Schedule, class: &str) -> Option<(Limit, Option<String>)> {
    let (config, declared) = (&schedule.config, schedule.limits.get(class).cloned().unwrap_or_default());
    let mut limit = config.class_limits.get(class).copied().unwrap_or_default();
    if limit.max_concurrent != Some(0) {
        limit.max_concurrent = declared.concurrent.or(limit.max_concurrent);
        if let Some((jobs, seconds)) = declared.rate {
            let burst = declared.burst.unwrap_or((jobs / seconds).max(1));
            limit.rate = Some(Rate { jobs, per_ms: u64::from(seconds) * 1000, burst });
        }
    }
    let by = declared.by.or_else(|| config.class_by.get(class).cloned());
    (limit != Limit::default()).then_some((limit, by))
}

/// The counters of a message: its class, or its class and value, and its queue.
fn names(world: &World, uid: Uid) -> [String; 2] {
    let message = &world.messages[uid];
    let class = world.classes[message.class].name;
    let by = of_class(&world.schedule, class).and_then(|(_, by)| by);
    let class = by.map_or(class.to_owned(), |by| format!("{class} of {:?}", value(&by, uid)));
    [class, message.queue.to_owned()]
}

/// Limits of all messages, by counter.
pub fn bounds(world: &World) -> BTreeMap<String, Limit> {
    let mut bounds = BTreeMap::new();
    let queues = &world.schedule.config.queue_limits;
    for uid in world.reservations.values().map(|held| held.uid) {
        let message = &world.messages[uid];
        let [class, queue] = names(world, uid);
        bounds.extend(queues.get(message.queue).map(|limit| (queue, *limit)));
        bounds.extend(of_class(&world.schedule, world.classes[message.class].name).map(|(limit, _)| (class, limit)));
    }
    bounds
}

/// Limits of queues, for native pop.
pub fn of_queues(config: Config, rng: &mut Rng) -> Config {
    let mut queue_limits = BTreeMap::new();
    for queue in QUEUES {
        if rng.chance(600) {
            queue_limits.insert(queue.to_owned(), limit(rng));
        }
    }
    Config { queue_limits, ..config }
}

/// Limits that classes declare.
pub fn declared(mut classes: Vec<Class>, config: &Config, rng: &mut Rng) -> Vec<Class> {
    let none = config.class_limits.is_empty() && config.queue_limits.is_empty();
    if config.queues.is_empty() || config.native || none {
        return classes;
    }
    for class in &mut classes {
        if rng.chance(250) {
            class.limit = Some(LimitHint {
                concurrent: rng.chance(700).then(|| 1 + rng.below(2) as usize),
                rate: rng.chance(300).then(|| (*rng.pick(&[1, 5]), *rng.pick(&[1, 9]))),
                burst: rng.chance(500).then(|| 1 + rng.below(3) as u32),
                by: rng.chance(600).then(|| by(rng)),
            })
            .filter(|limit| limit.concurrent.is_some() || limit.rate.is_some());
        }
    }
    classes
}

fn by(rng: &mut Rng) -> String {
    (*rng.pick(&["tenant", "user"])).to_owned()
}

/// The value of a message under a name: none, or one of more values than get gates.
fn value(by: &str, uid: Uid) -> Option<u64> {
    let of = if by == "tenant" { uid % 6 } else { uid / 2 % 3 };
    (of > 0).then_some(of as u64)
}

/// The limit keys of all jobs held.
pub fn keys<'a>(world: &World, by: impl Fn(&str) -> Option<&'a str>) -> Vec<(JobId, Option<u64>)> {
    let key = |id: &JobId, job: &Job| Some((*id, value(by(&job.class)?, world.reservations[id].uid)));
    world.schedule.jobs.iter().filter_map(|(id, job)| key(id, job)).collect()
}

/// Sets the limit keys in an event, as the runtime does.
pub fn whose(world: &mut World, event: &mut Event) {
    match event {
        Event::Reserved(specs) => {
            for spec in specs {
                let by = world.schedule.is_limited_by(&spec.class);
                spec.key = by.and_then(|by| value(by, world.reservations[&spec.id].uid));
            }
        }
        Event::Inspected(found) => {
            let schedule = &world.schedule;
            let declared = |class: &str| match found.limits.iter().find(|(name, _)| name == class) {
                Some((_, limit)) => limit.as_ref(),
                None => schedule.limits.get(class),
            };
            let changed = found.limits.iter().any(|(class, limit)| schedule.limits.get(class) != limit.as_ref());
            found.keys = keys(world, |class| schedule.limited_by(class, declared(class)));
            if changed {
                world.limits.starts.clear();
                world.limits.anew = true;
            }
        }
        _ => {}
    }
}

/// After every event: no class or queue exceeds its concurrency limit.
pub fn all(world: &mut World) {
    let config = &world.schedule.config;
    if config.queues.is_empty() || config.native && config.queue_limits.is_empty() {
        return;
    }
    if std::mem::take(&mut world.limits.anew) {
        forget(world);
    }
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for process in world.processes.values() {
        if let Doing::Running(job, JobKind::Run) = process.doing {
            for name in names(world, world.reservations[&job].uid) {
                *running.entry(name).or_default() += 1;
            }
        }
    }
    let out = count(world);
    let mut counts = BTreeMap::new();
    for (name, limit) in bounds(world) {
        let of = |counts: &BTreeMap<String, usize>| counts.get(&name).copied().unwrap_or(0);
        let (runs, out, before) = (of(&running), of(&out), of(&world.limits.counts));
        // Jobs that were out when the limit came continue.
        let most = limit.max_concurrent.unwrap_or(usize::MAX).max(before);
        assert!(runs <= most && out <= most, "{runs} of {name} run at once, and {out} are with a process");
        counts.insert(name, runs.max(out));
    }
    world.limits.counts = counts;
    pass_over(world);
    // Jobs that wait again or were given back have not started.
    let jobs = &world.schedule.jobs;
    let held = |job: &JobId| jobs.get(job).map(|job| job.is_out());
    let gone = |job: &JobId| world.reservations[job].end != Some(End::Unreserved);
    // Must be done now, as a job may be lost before another one starts.
    world.limits.starts.retain(|job, _| held(job).unwrap_or_else(|| gone(job)));
    if std::mem::take(&mut world.limits.started) {
        rates(world);
    }
}

/// Records that a job is given to a process.
pub fn action(world: &mut World, action: &Action) {
    match action {
        // An isolated job was recorded when its process was launched.
        Action::Deliver { worker, kind: JobKind::Run, .. } if world.processes[worker].tier == Tier::Isolated => {}
        Action::Deliver { worker, job, kind: JobKind::Run, .. } | Action::Ahead { worker, job } => {
            let (tier, route) = (world.processes[worker].tier, world.schedule.jobs[job].route);
            // Where the pool stands in for lanes, the job counts as one that waited for a lane.
            let waited = route.map(|route| route.tier).filter(|route| *route == Tier::Inline);
            starts(world, *job, waited.unwrap_or(tier));
        }
        Action::Launch { job: Some(job), .. } => starts(world, *job, Tier::Isolated),
        _ => {}
    }
}

fn starts(world: &mut World, job: JobId, tier: Tier) {
    if !world.limits.passed.contains(&job) {
        world.limits.starts.insert(job, world.now);
    }
    world.limits.started = true;
    // A job that came back unread has had its turn.
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

/// Determines which queues could start another job in each tier, and checks their shares.
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
    // A queue without waiting jobs is not passed over.
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

/// In no period have more jobs started than a rate allows.
fn rates(world: &World) {
    for (name, limit) in bounds(world) {
        rate(world.now, &name, limit, &[world]);
    }
}

/// The same for two hosts together.
pub fn rates_of_both(one: &World, other: &World) {
    for (name, limit) in bounds(one) {
        rate(one.now.max(other.now), &name, limit, &[one, other]);
    }
}

fn rate(now: u64, name: &str, limit: Limit, worlds: &[&World]) {
    let Some(rate) = limit.rate else { return };
    let mut starts = Vec::new();
    let mut slack = 0;
    for world in worlds {
        let of_it = |id: &JobId| names(world, world.reservations[id].uid).iter().any(|of| of == name);
        starts.extend(world.limits.starts.iter().filter(|(id, _)| of_it(id)).map(|(_, at)| *at));
        let config = &world.schedule.config;
        if config.native {
            // Its class is known only after an inspection.
            slack = SLACK;
        }
        let is_shared = |names: &BTreeSet<String>| names.iter().any(|of| name.starts_with(of.as_str()));
        if is_shared(&config.class_shared) || is_shared(&config.queue_shared) {
            slack = SLACK;
        }
    }
    starts.sort_unstable();
    for (at, since) in starts.iter().enumerate() {
        let most = u64::from(rate.burst) + (now + slack - since) * u64::from(rate.jobs) / rate.per_ms;
        let many = (starts.len() - at) as u64;
        assert!(many <= most, "{many} of {name} have started in {} ms, and {most} may", now - since);
    }
}

/// Makes every limit shared; the classes of all hosts declare the same.
pub fn all_shared(mut config: Config) -> Config {
    config.class_shared = classes().into_iter().map(|class| class.name.to_owned()).collect();
    config.queue_shared = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
    config
}
