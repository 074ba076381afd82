//! Limits shared by two schedules: a simulated arbiter, and a check that both together keep the limits.

use std::collections::BTreeMap;

use super::model::*;
use super::rng::Rng;
use super::world::World;
use super::{check, is_done, limits};
use crate::arbiter::{Claim, Shared};
use crate::schedule::Event;

/// Keeps the shared limits.
#[derive(Debug, Default)]
pub struct Arbiter {
    kept: BTreeMap<String, Shared>,
    /// The last request of each host.
    calls: BTreeMap<(&'static str, String), u64>,
    /// Requests before this time are lost.
    away: u64,
}

impl World {
    /// A request arrives, or is lost.
    pub fn share(&mut self, claim: &Claim) {
        let mut arbiter = self.arbiter.borrow_mut();
        let last = arbiter.calls.entry((self.host, claim.name.clone())).or_default();
        // A late request would not match the stored state, and its sender has given up.
        let is_late = *last > claim.call;
        *last = claim.call.max(*last);
        let is_heard = self.now >= arbiter.away && !is_late && !self.rng.chance(self.faults.deaf);
        let grant = is_heard.then(|| {
            let kept = arbiter.kept.entry(claim.name.clone()).or_default();
            let grant = kept.ask(self.now, self.host, claim);
            // Through its text form, as it is stored.
            *kept = Shared::read(&kept.write());
            grant
        });
        drop(arbiter);
        let grant = grant.filter(|_| !self.rng.chance(self.faults.deaf));
        let at = self.now + self.latency();
        self.at(at, Next::Tell(Event::Shared { name: claim.name.clone(), call: claim.call, grant }));
    }
}

/// Two hosts with the same limits, each with its own jobs. Returns the number of steps.
pub fn two_hosts(seed: u64, rng: &mut Rng, faults: Faults) -> u64 {
    let config = limits::all_shared(limits::limited(config(), rng));
    let mut hosts = [World::new(seed, config.clone(), faults), World::new(seed, config, faults)];
    let [one, other] = &mut hosts;
    (other.host, other.arbiter) = ("other", one.arbiter.clone());
    other.rng = Rng(seed ^ 0x07e4);
    for host in &mut hosts {
        for _ in 0..host.rng.between(5, 40) {
            let at = host.rng.between(1_000, 6_000);
            host.dispatch(at);
        }
        host.at(30_000, Next::Heal);
        host.tell(Event::Tick);
    }
    // One of them may disappear at any time: its share is free some time after.
    let death = rng.chance(300).then(|| rng.between(2_000, 20_000));
    let mut steps = 0;
    while !hosts.iter().all(is_done) {
        let next = hosts.iter_mut().filter_map(|host| Some((host.next_at()?, host))).min_by_key(|(at, _)| *at);
        let (at, host) = next.expect("nothing will ever happen again");
        assert!(at < super::DONE, "jobs of {} are never done: {:?}", host.host, host.schedule);
        host.step();
        steps += 1;
        let (now, healed) = (host.now, host.healed);
        if !healed && rng.chance(faults.deaf / 20) {
            hosts[0].arbiter.borrow_mut().away = now + rng.between(100, 20_000);
        }
        if death.is_some_and(|death| now >= death) {
            let [one, _] = hosts;
            return steps + alone(one);
        }
        together(&hosts);
    }
    for host in &mut hosts {
        host.tell(Event::Drain);
        while host.exited.is_none() && host.step() {}
        check::end(host);
    }
    steps
}

/// Both hosts together have no more jobs with processes than a limit allows.
fn together(hosts: &[World; 2]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for host in hosts {
        for (name, count) in limits::count(host) {
            *counts.entry(name).or_default() += count;
        }
    }
    for (name, limit) in limits::bounds(&hosts[0]) {
        let (count, most) = (counts.get(&name).copied().unwrap_or(0), limit.max_concurrent.unwrap_or(usize::MAX));
        assert!(count <= most, "{count} of {name} are with processes of both hosts, and {most} may");
    }
    let [one, other] = hosts;
    limits::rates_of_both(one, other);
}

/// The other host is gone.
fn alone(mut host: World) -> u64 {
    let mut steps = 0;
    while !is_done(&host) {
        assert!(host.step(), "nothing will ever happen again");
        assert!(host.now < super::DONE, "jobs are never done");
        steps += 1;
    }
    steps
}
