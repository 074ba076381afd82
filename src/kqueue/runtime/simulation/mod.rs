//! The loop of the runtime with its real owners, in a world that is not there: queue, launcher, manager of units and PHP
//! are played by this module, and fail as a seed says.
//!
//! The schedule by itself is simulated in `kqueue_core`, with a clock of its own. Here time is real, so little of it passes:
//! what is shown is that loop, owners and ledger together lose no job and run none twice, through failed calls and sends,
//! dying processes, templates that hang, and runtimes that follow each other. `KQUEUE_SIM_SEED=n cargo test -p kqueue --lib
//! loop_simulation` runs one seed alone.

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
/// By when all must be done.
const DONE: Duration = Duration::from_secs(40);

/// How one runtime follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// It does not.
    None,
    /// It is stopped, and started again later.
    Stop,
    /// It is restarted: what is in units runs on.
    HandOver,
    /// It is killed: what is in units runs on, all else dies with it.
    Kill,
}

fn simulate(seed: u64, units: bool, tier: &'static str, faults: Faults, succession: Succession) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&tokio, async {
        let world = World::new(seed, units, tier, faults);
        eprintln!("seed {seed}: {units} {tier} {succession:?}");
        (0..JOBS).for_each(|_| world.dispatch());
        let first = world.start().await;
        if succession != Succession::None {
            // Somewhere in the middle.
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
    });
}

async fn finish(world: &Rc<World>, runtime: world::Running) {
    world.until("all jobs are done", || world.done() == JOBS).await;
    world.stop(runtime, Purpose::Stop).await;
    world.check();
}

/// Runs seeds of a kind, or the one that is asked for.
fn seeds(from: u64, one: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let count = 2 * number("KQUEUE_SIM_SCALE").unwrap_or(1);
    let asked = number("KQUEUE_SIM_SEED");
    (from..from + count).filter(|seed| asked.is_none_or(|asked| asked == *seed)).for_each(one);
}

const TIERS: [&str; 3] = ["inline", "pooled", "isolated"];

#[test]
fn loop_simulation_without_faults() {
    for (from, tier) in [0, 1_000, 2_000].into_iter().zip(TIERS) {
        for units in [false, true] {
            seeds(from, |seed| simulate(seed, units, tier, Faults::none(), Succession::None));
        }
    }
}

#[test]
fn loop_simulation_with_failing_calls_sends_offers_and_processes() {
    for (from, tier) in [10_000, 11_000, 12_000].into_iter().zip(TIERS) {
        for units in [false, true] {
            seeds(from, |seed| simulate(seed, units, tier, Faults::some(), Succession::None));
        }
    }
}

#[test]
fn loop_simulation_of_a_template_that_hangs() {
    for tier in ["inline", "isolated"] {
        seeds(20_000, |seed| {
            let faults = Faults { templates_that_hang: 2, ..Faults::none() };
            simulate(seed, false, tier, faults, Succession::None);
        });
    }
}

#[test]
fn loop_simulation_of_a_stop() {
    for (from, tier) in [30_000, 31_000, 32_000].into_iter().zip(TIERS) {
        seeds(from, |seed| simulate(seed, seed % 2 == 0, tier, Faults::some(), Succession::Stop));
    }
}

#[test]
fn loop_simulation_of_a_hand_over() {
    for (from, tier) in [40_000, 41_000, 42_000].into_iter().zip(TIERS) {
        seeds(from, |seed| simulate(seed, true, tier, Faults::some(), Succession::HandOver));
    }
}

#[test]
fn loop_simulation_of_a_runtime_that_is_killed() {
    for (from, tier) in [50_000, 51_000, 52_000].into_iter().zip(TIERS) {
        seeds(from, |seed| simulate(seed, true, tier, Faults::some(), Succession::Kill));
    }
}
