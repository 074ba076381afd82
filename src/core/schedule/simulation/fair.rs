//! Tenants in the simulation: an independent check that the jobs of one tenant do not hold up those of another.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::routing::Tier;
use crate::schedule::job::{Stage, Turn};
use crate::schedule::{Action, Config, JobId, JobKind};

/// Jobs of one queue, priority and tier.
type Line = (Tier, Turn);

/// A tenant that waits in a line.
#[derive(Debug, Default)]
struct Waits {
    jobs: BTreeSet<JobId>,
    /// Its jobs that left the line without a start since it began to wait: those behind them do not move up.
    left: usize,
    /// Starts of each other tenant in the line since its own last start.
    passed_by: BTreeMap<u64, usize>,
}

/// Account of tenants, kept outside of the schedule.
#[derive(Debug, Default)]
pub struct Account {
    waits: BTreeMap<(Line, u64), Waits>,
    /// Jobs started by the last event.
    started: Vec<JobId>,
    /// Jobs that have ever been started: one that came back unread has had its turn.
    tried: BTreeSet<JobId>,
}

/// Resets the account, for other settings or another runtime.
pub fn forget(world: &mut World) {
    world.fair.waits.clear();
}

/// Records that a job is given to a process.
pub fn action(world: &mut World, action: &Action) {
    match action {
        Action::Deliver { worker, kind: JobKind::Run, .. } if world.processes[worker].tier == Tier::Isolated => {}
        Action::Deliver { job, kind: JobKind::Run, .. }
        | Action::Ahead { job, .. }
        | Action::Launch { job: Some(job), .. } => {
            world.fair.started.push(*job);
        }
        _ => {}
    }
}

/// Whether tenants alone decide the order within a line: a limit passes by jobs, and lets several go at once.
fn applies(world: &World) -> bool {
    let config: &Config = &world.schedule.config;
    let free = config.class_limits.is_empty() && config.queue_limits.is_empty() && world.schedule.limits.is_empty();
    free && !config.queues.is_empty() && !config.native
}

/// After every event: while jobs of a tenant wait, at most two of each other tenant start in the same line, the rest of
/// the round that was under way and the next, and one more for each job of its own that was taken away unstarted.
pub fn all(world: &mut World) {
    let started = std::mem::take(&mut world.fair.started);
    if !applies(world) {
        forget(world);
        world.fair.tried.extend(started);
        return;
    }
    let (schedule, account) = (&world.schedule, &mut world.fair);
    let line = |job: JobId| {
        let job = schedule.jobs.get(&job)?;
        Some(((job.tier, job.turn.in_round(0)), job.tenant?))
    };
    for id in &started {
        let again = !account.tried.insert(*id);
        let Some((of, tenant)) = line(*id) else { continue };
        for ((_, waits), entry) in account.waits.iter_mut().filter(|((line, _), _)| *line == of) {
            entry.jobs.remove(id);
            if *waits == tenant {
                entry.passed_by.clear();
            } else if !again {
                *entry.passed_by.entry(tenant).or_default() += 1;
            }
        }
    }
    let mut now: BTreeMap<(Line, u64), BTreeSet<JobId>> = BTreeMap::new();
    for (id, _) in schedule.jobs.iter().filter(|(_, job)| job.stage == Stage::Waiting) {
        if let Some(place) = line(*id) {
            now.entry(place).or_default().insert(*id);
        }
    }
    account.waits.retain(|place, _| now.contains_key(place));
    for (place, jobs) in now {
        let entry = account.waits.entry(place).or_default();
        entry.left += entry.jobs.difference(&jobs).count();
        entry.jobs = jobs;
        for (tenant, count) in &entry.passed_by {
            let most = 2 + entry.left;
            assert!(*count <= most, "{count} jobs of tenant {tenant} have started while one of {place:?} waited");
        }
    }
}
