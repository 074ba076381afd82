//! Simulation of the runtime's loop with its real components: queue, launcher, unit manager and PHP are simulated, and
//! fail by a random seed.
//!
//! The schedule alone is simulated in `kqueue_core`, with a clock of its own. Here time is real, so runs are short:
//! they show that loop, components and ledger together lose no job and run none twice, through failed calls and sends,
//! dying processes, templates that hang, and successive runtimes. `KQUEUE_SIM_SEED=n cargo test -p kqueue --lib
//! loop_simulation` runs a single seed.

mod php;
mod server;
mod world;

use std::rc::Rc;
use std::time::Duration;

use kqueue_core::wire::coordinator::Purpose;
use tokio::task::LocalSet;

use super::service::signals::Asked;
use world::{Faults, World};

/// Jobs of one run.
const JOBS: u64 = 60;
/// Concurrent runs.
const AT_ONCE: usize = 4;
/// Deadline for all jobs.
const DONE: Duration = Duration::from_secs(40);

/// How one runtime follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// There is a single runtime.
    None,
    /// It is stopped, and started again later.
    Stop,
    /// It is restarted: processes in units run on.
    HandOver,
    /// It is killed: processes in units run on, all others die with it.
    Kill,
}

fn simulate(seed: u64, units: bool, tier: &'static str, faults: Faults, succession: Succession) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&tokio, async {
        let world = World::new(seed, units, tier, faults);
        eprintln!("seed {seed}: {units} {tier} {succession:?}");
        (0..JOBS).for_each(|_| world.dispatch());
        let first = world.start().await;
        let steering = faults.steers.then(|| {
            let world = world.clone();
            tokio::task::spawn_local(async move {
                loop {
                    world.pause(6).await;
                    world.steer().await;
                }
            })
        });
        if succession != Succession::None {
            // At a random point of the run.
            let middle = JOBS * world.between(10, 70) / 100;
            world.until("half of the jobs are done", || world.done() >= middle).await;
            match succession {
                Succession::Kill => world.kill(first).await,
                Succession::HandOver => world.stop(first, Purpose::Restart).await,
                Succession::Stop | Succession::None => world.stop(first, Purpose::Stop).await,
            }
            let second = world.start().await;
            finish(&world, second).await;
        } else {
            finish(&world, first).await;
        }
        steering.inspect(|steering| steering.abort());
    });
}

/// Jobs come one at a time, some of them around the moment in which the app falls asleep.
fn simulate_sleep(seed: u64, units: bool, tier: &'static str, faults: Faults) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&tokio, async {
        let world = World::new(seed, units, tier, faults);
        eprintln!("seed {seed}: {units} {tier} asleep now and then");
        let runtime = world.start().await;
        let mut slept = false;
        for jobs in 1..=JOBS / 4 {
            world.dispatch();
            world.until("the job is done", || world.done() == jobs).await;
            tokio::time::sleep(Duration::from_millis(world.between(80, 160))).await;
            slept |= world.processes.borrow().is_empty();
        }
        world.until("its processes have ended", || world.processes.borrow().is_empty()).await;
        assert!(slept, "it has slept between two jobs");
        world.dispatch();
        world.until("the last job is done", || world.done() == JOBS / 4 + 1).await;
        world.stop(runtime, Purpose::Stop).await;
        world.check();
    });
}

async fn finish(world: &Rc<World>, runtime: world::Running) {
    world.until("all jobs are done", || world.done() == JOBS).await;
    world.stop(runtime, Purpose::Stop).await;
    world.check();
}

/// Runs seeds in each tier, with units and without, or the seed of the environment: several at once, since they mostly
/// wait.
fn each_tier(from: u64, one: impl Fn(u64, bool, &'static str) + Sync) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let count = 2 * number("KQUEUE_SIM_SCALE").unwrap_or(1);
    let asked = number("KQUEUE_SIM_SEED");
    let mut runs = Vec::new();
    for (tier, first) in TIERS.into_iter().zip((from..).step_by(1_000)) {
        let seeds = (first..first + count).filter(|seed| asked.is_none_or(|asked| asked == *seed));
        runs.extend(seeds.flat_map(|seed| [(seed, false, tier), (seed, true, tier)]));
    }
    for some in runs.chunks(AT_ONCE) {
        std::thread::scope(|threads| {
            some.iter().for_each(|(seed, units, tier)| drop(threads.spawn(|| one(*seed, *units, tier))));
        });
    }
}

const TIERS: [&str; 3] = ["inline", "pooled", "isolated"];

#[test]
fn loop_simulation_without_faults() {
    each_tier(0, |seed, units, tier| simulate(seed, units, tier, Faults::none(), Succession::None));
}

#[test]
fn loop_simulation_with_failing_calls_sends_offers_and_processes() {
    each_tier(10_000, |seed, units, tier| simulate(seed, units, tier, Faults::some(), Succession::None));
}

#[test]
fn loop_simulation_of_a_template_that_hangs() {
    let faults = Faults { templates_that_hang: 2, ..Faults::none() };
    each_tier(20_000, |seed, units, tier| {
        // Pooled workers are not forked from a template.
        if !units && tier != "pooled" {
            simulate(seed, false, tier, faults, Succession::None);
        }
    });
}

#[test]
fn loop_simulation_of_sleep() {
    each_tier(60_000, |seed, units, tier| simulate_sleep(seed, units, tier, Faults { sleeps: true, ..Faults::none() }));
    each_tier(70_000, |seed, units, tier| simulate_sleep(seed, units, tier, Faults { sleeps: true, ..Faults::some() }));
}

#[test]
fn loop_simulation_of_a_stop() {
    each_tier(30_000, |seed, units, tier| simulate(seed, units, tier, Faults::some(), Succession::Stop));
}

#[test]
fn loop_simulation_of_a_hand_over() {
    each_tier(40_000, |seed, units, tier| {
        if units {
            simulate(seed, true, tier, Faults::some(), Succession::HandOver);
        }
    });
}

#[test]
fn loop_simulation_of_operators_who_cancel_and_move() {
    let calm = Faults { steers: true, ..Faults::none() };
    each_tier(80_000, |seed, units, tier| simulate(seed, units, tier, calm, Succession::None));
    let some = Faults { steers: true, ..Faults::some() };
    each_tier(90_000, |seed, units, tier| simulate(seed, units, tier, some, Succession::None));
    for (from, succession) in
        [(100_000, Succession::Stop), (110_000, Succession::HandOver), (120_000, Succession::Kill)]
    {
        each_tier(from, |seed, units, tier| {
            if units || succession == Succession::Stop {
                simulate(seed, units, tier, some, succession);
            }
        });
    }
}

#[test]
fn loop_simulation_of_a_runtime_that_is_killed() {
    each_tier(50_000, |seed, units, tier| {
        if units {
            simulate(seed, true, tier, Faults::some(), Succession::Kill);
        }
    });
}
