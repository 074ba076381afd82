//! Seeded simulation of the schedule with faults of every kind.
//!
//! A seed determines the configuration, the jobs, and every fault: failed boots, deaths, hangs, missing or late
//! answers, operators' actions, clock jumps. `check` defines the invariants after every event. `KQUEUE_SIM_SEED=n cargo
//! test simulation -- --nocapture` runs a single seed and prints its events.

mod check;
mod cost;
mod fair;
mod limits;
mod model;
mod php;
mod queue;
mod rng;
mod shared;
mod steer;
mod succession;
mod world;

pub(super) use model::config;
use model::{FEW_FAULTS, Faults, NO_FAULTS, Next, Place, any_config, native};
use rng::Rng;
use world::World;

use super::machine::LEAVE_MS;
use super::{Config, Event};
use crate::routing::Tier;

/// Milliseconds until which jobs arrive, after which no faults occur, and by which all jobs must be done.
const ARRIVE: u64 = 8_000;
const HEAL: u64 = 20_000;
const DONE: u64 = 4 * 3_600_000;

/// Prints the seed that failed.
struct Witness {
    seed: u64,
    world: World,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}", self.world.schedule.config);
            eprintln!("at {} ms; again with KQUEUE_SIM_SEED={}", self.world.now, self.seed);
        }
    }
}

fn run(seed: u64, jobs: u64, config: Config, faults: Faults) -> u64 {
    run_with(seed, jobs, 0, config, faults)
}

fn run_with(seed: u64, jobs: u64, bursts: u64, config: Config, faults: Faults) -> u64 {
    let stop_ms = config.stop_ms;
    let mut witness = Witness { seed, world: World::new(seed, config, faults) };
    let world = &mut witness.world;
    for _ in 0..jobs {
        let at = world.rng.between(1_000, ARRIVE);
        world.dispatch(at);
    }
    for _ in 0..bursts {
        let (at, count) = (world.rng.between(1_000, ARRIVE), world.rng.between(20, 60));
        world.burst(at, count);
    }
    world.after(0, 5_000, Next::Chaos);
    world.at(HEAL, Next::Heal);
    world.tell(Event::Tick);
    while world.exited.is_none() || world.handing_over {
        if world.exited.is_some() {
            world.succeed();
            continue;
        }
        assert!(world.step(), "nothing will ever happen again");
        if let Some(since) = world.stopping {
            let latest = since + stop_ms + LEAVE_MS / 2 + world.jumped;
            assert!(world.now <= latest || world.exited.is_some(), "told to stop at {since}, and it does not end");
        } else if world.healed && is_done(world) {
            rest(world);
            world.tell(Event::Drain);
        }
        assert!(world.now < DONE + world.jumped, "jobs are never done");
        assert!(world.ticks < 3 * world.steps / 4 + 1_000, "woken too often");
    }
    assert!(world.schedule.is_over());
    // Events still under way at the end come in.
    world.faults = NO_FAULTS;
    let end = world.now + 60_000;
    while world.now < end && world.step() {}
    check::end(world);
    world.steps
}

fn is_done(world: &World) -> bool {
    let ended = |place| matches!(place, Place::Done | Place::Failed | Place::Elsewhere);
    world.schedule.job_count() == 0 && world.messages.iter().all(|message| ended(message.place))
}

/// After an idle period, no more processes are left than are kept.
fn rest(world: &mut World) {
    if world.rng.chance(700) {
        return;
    }
    let end = world.now + 100_000;
    while world.now < end {
        if !world.step() {
            assert!(world.schedule.is_asleep(), "idle workers are looked after");
            break;
        }
    }
    if world.schedule.config.idle_ms.is_some() && !world.schedule.config.native {
        assert!(world.schedule.is_asleep(), "it has nothing to do, and does not sleep: {:?}", world.schedule);
        wakes(world);
        return;
    }
    let native = world.schedule.config.native;
    let lanes = usize::from(!native);
    for (tier, keep) in
        [(Tier::Inline, lanes), (Tier::Pooled, world.schedule.idle_pool(world.now)), (Tier::Isolated, 0)]
    {
        let idle = world.schedule.workers.idle(tier).len();
        assert!(idle <= keep, "{idle} idle workers in {tier}");
        let ages = world.schedule.config.worker_max_ms > 0;
        assert!(ages || native || idle == keep, "{idle} idle workers in {tier}");
    }
}

/// Jobs that arrive while the app sleeps are done without any other event.
fn wakes(world: &mut World) {
    for _ in 0..world.rng.between(1, 3) {
        world.dispatch(world.now + 10);
    }
    while !is_done(world) {
        assert!(world.step(), "it sleeps for ever");
    }
}

/// Runs `count` seeds, times KQUEUE_SIM_SCALE, or only KQUEUE_SIM_SEED.
fn seeds(from: u64, count: u64, one: impl Fn(u64, &mut Rng) -> u64) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let asked = number("KQUEUE_SIM_SEED");
    let count = count * number("KQUEUE_SIM_SCALE").unwrap_or(1);
    let range = asked.map_or(from..from + count, |seed| seed..seed + 1);
    if asked.is_some_and(|seed| !(from..from + count).contains(&seed)) {
        return;
    }
    let mut steps = 0;
    for seed in range {
        steps += one(seed, &mut Rng(seed ^ 0x5eed));
    }
    println!("{steps} steps");
}

/// Any configuration, and 5 to `most` jobs.
fn storms(from: u64, count: u64, most: u64, faults: Faults) {
    seeds(from, count, |seed, rng| {
        let config = any_config(rng);
        run(seed, rng.between(5, most), config, faults)
    });
}

#[test]
fn all_goes_well() {
    seeds(1_000_000, 100, |seed, rng| run(seed, rng.between(10, 60), config(), NO_FAULTS));
}

#[test]
fn any_configuration_with_few_faults() {
    let faults = Faults {
        launch: 20,
        boot: 20,
        idle_death: 20,
        unread: 20,
        offer: 50,
        job: 100,
        silent: 5,
        slow: 20,
        chaos: 200,
        signals: 300,
        ..NO_FAULTS
    };
    storms(2_000_000, 600, 35, faults);
}

#[test]
fn bursts_of_quick_jobs_are_sent_ahead() {
    let faults =
        Faults { boot: 20, idle_death: 20, unread: 5, offer: 100, job: 20, chaos: 100, signals: 100, ..NO_FAULTS };
    seeds(6_000_000, 200, |seed, rng| {
        let config = any_config(rng);
        run_with(seed, rng.below(8), rng.between(2, 6), config, faults)
    });
}

#[test]
fn every_fault_often() {
    let faults = Faults {
        launch: 100,
        boot: 100,
        idle_death: 100,
        unread: 100,
        offer: 50,
        job: 500,
        silent: 100,
        slow: 100,
        chaos: 800,
        jump: 3,
        signals: 500,
        ..NO_FAULTS
    };
    storms(3_000_000, 600, 30, faults);
}

#[test]
fn told_to_stop_in_the_middle() {
    let faults = Faults {
        launch: 30,
        boot: 30,
        idle_death: 30,
        unread: 50,
        offer: 50,
        job: 300,
        silent: 50,
        slow: 100,
        chaos: 1000,
        jump: 1,
        signals: 200,
        stop: 1000,
        ..NO_FAULTS
    };
    storms(4_000_000, 900, 35, faults);
}

#[test]
fn one_runtime_after_the_other() {
    let faults = Faults {
        boot: 30,
        idle_death: 30,
        unread: 30,
        offer: 50,
        job: 200,
        slow: 100,
        chaos: 700,
        jump: 1,
        signals: 200,
        succeed: 300,
        ..NO_FAULTS
    };
    storms(5_000_000, 400, 35, faults);
}

#[test]
fn limits_are_kept() {
    seeds(8_000_000, 60, |seed, rng| run(seed, rng.between(10, 60), limits::limited(config(), rng), NO_FAULTS));
    let few = Faults { chaos: 300, settings: 100, ..FEW_FAULTS };
    let many = Faults { boot: 100, unread: 100, job: 400, silent: 50, chaos: 800, signals: 500, stop: 500, ..few };
    let faults = [(few, 8_100_000), (many, 8_200_000), (Faults { succeed: 300, ..few }, 8_300_000)];
    for (faults, from) in faults {
        seeds(from, 120, |seed, rng| {
            let config = limits::limited(any_config(rng), rng);
            run_with(seed, rng.between(5, 35), rng.below(3), config, faults)
        });
    }
}

#[test]
fn tenants_take_turns() {
    let config = |mut config: Config, rng: &mut Rng| {
        config = limits::limited(config, rng);
        (config.class_limits, config.queue_limits) = Default::default();
        config
    };
    let steered = Faults { chaos: 500, steer: 600, signals: 300, ..NO_FAULTS };
    seeds(9_700_000, 60, |seed, rng| {
        let config = config(self::config(), rng);
        run_with(seed, rng.between(20, 80), rng.below(3), config, steered)
    });
    let few = Faults { chaos: 600, settings: 50, steer: 300, ..FEW_FAULTS };
    for (faults, from) in [(few, 9_800_000), (Faults { succeed: 300, ..few }, 9_900_000)] {
        seeds(from, 80, |seed, rng| {
            let config = config(any_config(rng), rng);
            run_with(seed, rng.between(20, 60), rng.below(3), config, faults)
        });
    }
}

#[test]
fn hosts_share_limits() {
    seeds(9_500_000, 30, |seed, rng| shared::two_hosts(seed, rng, NO_FAULTS));
    let few = Faults { deaf: 100, ..Faults { jump: 0, ..FEW_FAULTS } };
    seeds(9_600_000, 60, |seed, rng| shared::two_hosts(seed, rng, few));
}

#[test]
fn operators_steer() {
    seeds(9_000_000, 40, |seed, rng| {
        let faults = Faults { chaos: 500, steer: 900, ..NO_FAULTS };
        run(seed, rng.between(10, 60), limits::limited(config(), rng), faults)
    });
    let few = Faults { chaos: 600, settings: 50, steer: 600, ..FEW_FAULTS };
    let many = Faults { boot: 100, unread: 100, job: 400, silent: 50, chaos: 900, signals: 500, stop: 500, ..few };
    let faults = [(few, 9_100_000), (many, 9_200_000), (Faults { succeed: 300, ..few }, 9_300_000)];
    for (faults, from) in faults {
        seeds(from, 80, |seed, rng| {
            let config = limits::limited(any_config(rng), rng);
            run_with(seed, rng.between(5, 35), rng.below(3), config, faults)
        });
    }
}

#[test]
fn workers_pop_by_themselves() {
    seeds(7_000_000, 100, |seed, rng| run(seed, rng.between(10, 60), native(config()), NO_FAULTS));
    let few = Faults { offer: 0, chaos: 300, signals: 400, ..FEW_FAULTS };
    let many = Faults { boot: 100, unread: 100, job: 400, silent: 50, chaos: 800, signals: 500, stop: 500, ..few };
    let faults = [(few, 7_100_000), (many, 7_200_000), (Faults { succeed: 300, ..few }, 7_300_000)];
    for (faults, from) in faults {
        seeds(from, 250, |seed, rng| {
            let config = limits::of_queues(native(any_config(rng)), rng);
            run(seed, rng.between(5, 35), config, faults)
        });
    }
}
