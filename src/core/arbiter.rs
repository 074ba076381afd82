//! Limits shared by several hosts: the stored state of one limit, and the grant for a request. Pure: the store provides
//! the time and replaces the text with compare-and-swap.
//!
//! A host counts with the jobs that it reported as running plus the starts granted with that request, until its lease
//! ends. Leases expire only while requests arrive: an outage of the store ends none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schedule::{Limit, Rate};

/// Lease of a host that makes no further request, in milliseconds.
pub const LEASE_MS: u64 = 30_000;
/// Milliseconds without any request after which leases stop running.
const SILENCE_MS: u64 = 10_000;
/// Milliseconds of waiting after which a host takes precedence over hosts that have waited less long.
const TURN_MS: u64 = 300;
/// Milliseconds after its last request for which a waiting host is assumed to still wait.
const WAITS_MS: u64 = 2_500;
/// Maximum number of hosts of one limit.
const HOSTS: usize = 500;

/// A request of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Name of the limit: `class:App\Jobs\Import`, `queue:mail`, or for one value `class:App\Jobs\Import:42`.
    pub name: String,
    /// Number of this request, repeated with the reply.
    pub call: u64,
    /// The limit itself.
    pub limit: Limit,
    /// Jobs that have started on the host and not ended.
    pub used: usize,
    /// Jobs that it wants to start now.
    pub want: usize,
    /// Starts granted by its last request that it did not use.
    pub unused: usize,
}

/// The reply to a host, valid until its next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Number of jobs that it may start.
    pub starts: usize,
    /// Other hosts wait, or more jobs run than allowed: the end of a job does not by itself let this host start
    /// another.
    pub others: bool,
    /// Milliseconds until the rate allows another start; `None` if the rate is not what is missing.
    pub wait_ms: Option<u64>,
}

/// The stored state of one limit. Times are milliseconds of the shared clock.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Shared {
    /// Time of the last request.
    seen: u64,
    /// Level of the token bucket, in units of 1/`per_ms` of a start; `None` is full.
    level: Option<u64>,
    hosts: BTreeMap<String, Host>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Host {
    /// Running jobs as last reported, plus starts granted then.
    used: usize,
    /// End of its lease.
    until: u64,
    /// If it waits: since when, and the time of its last request.
    waits: Option<(u64, u64)>,
}

impl Shared {
    /// Reads the output of [`Shared::write`]; anything else yields an empty state.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Serialises the state as JSON.
    pub fn write(&self) -> String {
        // Plain fields always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Milliseconds for which the state has to be stored after the last request.
    pub fn keep_ms(limit: &Limit) -> u64 {
        let fills = limit.rate.map_or(0, |rate| full(&rate).div_ceil(rate.jobs.max(1).into()));
        fills.max(2 * LEASE_MS) + SILENCE_MS
    }

    /// Handles the request of a host at `now`, in milliseconds of a clock that all hosts share.
    pub fn ask(&mut self, now: u64, host: &str, claim: &Claim) -> Grant {
        let now = self.goes_by(now, &claim.limit);
        let mut mine = self.hosts.remove(host).unwrap_or(Host { used: 0, until: 0, waits: None });
        mine.used = claim.used;
        let rate = claim.limit.rate;
        if let (Some(rate), Some(level)) = (rate, &mut self.level) {
            let back = (claim.unused as u64).saturating_mul(rate.per_ms);
            *level = level.saturating_add(back).min(full(&rate));
        }
        let level = rate.map(|rate| self.level.unwrap_or(full(&rate)));
        let tokens = rate.zip(level).map_or(usize::MAX, |(rate, level)| whole(level / rate.per_ms.max(1)));
        let used: usize = self.hosts.values().map(|host| host.used).sum::<usize>() + mine.used;
        let places = claim.limit.max_concurrent.map_or(usize::MAX, |most| most.saturating_sub(used));
        let waiting = |host: &Host| host.waits.filter(|(_, said)| now <= said.saturating_add(WAITS_MS));
        let since = mine.waits.map_or(now, |(since, _)| since);
        let before = |(waits, _): (u64, u64)| waits < since && now >= waits.saturating_add(TURN_MS);
        let first = self.hosts.values().filter_map(waiting).filter(|waits| before(*waits)).count();
        let room = places.min(tokens).saturating_sub(first);
        let starts = if self.hosts.len() < HOSTS { room.min(claim.want) } else { 0 };
        mine.used += starts;
        mine.until = now + LEASE_MS;
        mine.waits = match starts {
            _ if starts == claim.want => None,
            0 => Some((since, now)),
            // Granted in part: it waits for the rest from now on.
            _ => Some((now, now)),
        };
        if let (Some(rate), Some(level)) = (rate, level) {
            self.level = Some(level.saturating_sub((starts as u64).saturating_mul(rate.per_ms)));
        }
        // If more jobs run than the limit allows, the end of one does not make room.
        let is_over = claim.limit.max_concurrent.is_some_and(|most| used > most);
        let others = is_over || self.hosts.values().filter_map(waiting).next().is_some();
        let missing = rate.zip(self.level).filter(|(rate, level)| places > 0 && *level < rate.per_ms);
        let wait_ms = missing.map(|(rate, level)| (rate.per_ms - level).div_ceil(rate.jobs.max(1).into()));
        if mine.used > 0 || mine.waits.is_some() {
            self.hosts.insert(host.to_owned(), mine);
        }
        Grant { starts, others, wait_ms }
    }

    /// Advances to `now`: extends leases by a silence, drops expired hosts, refills the bucket. Returns the time, which
    /// never goes back.
    fn goes_by(&mut self, now: u64, limit: &Limit) -> u64 {
        let now = now.max(self.seen);
        let gap = now - self.seen;
        let silence = gap.saturating_sub(SILENCE_MS);
        self.seen = now;
        for host in self.hosts.values_mut() {
            host.until = host.until.saturating_add(silence);
        }
        self.hosts.retain(|_, host| host.until > now);
        self.level = match (limit.rate, self.level) {
            (Some(rate), Some(level)) => {
                let more = gap.saturating_mul(rate.jobs.into());
                Some(level.saturating_add(more).min(full(&rate)))
            }
            _ => None,
        };
        now
    }
}

fn full(rate: &Rate) -> u64 {
    u64::from(rate.burst).saturating_mul(rate.per_ms)
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(most: usize, used: usize, want: usize) -> Claim {
        Claim { limit: Limit { max_concurrent: Some(most), rate: None }, used, want, ..Claim::default() }
    }

    fn rate(jobs: u32, burst: u32, want: usize, unused: usize) -> Claim {
        let limit = Limit { max_concurrent: None, rate: Some(Rate { jobs, per_ms: 1_000, burst }) };
        Claim { limit, want, unused, ..Claim::default() }
    }

    #[test]
    fn all_hosts_together_have_what_the_limit_lets() {
        let mut shared = Shared::default();
        assert_eq!(shared.ask(0, "a", &at_once(3, 0, 2)).starts, 2);
        let given = shared.ask(1, "b", &at_once(3, 0, 5));
        assert_eq!((given.starts, given.others), (1, false));
        // The reported number of running jobs replaces earlier grants.
        assert_eq!(shared.ask(2, "a", &at_once(3, 1, 0)), Grant { starts: 0, others: true, wait_ms: None });
        assert_eq!(shared.ask(3, "b", &at_once(3, 1, 5)).starts, 1);
        assert_eq!(Shared::read(&shared.write()), shared);
        assert_eq!(Shared::read("nonsense"), Shared::default());
    }

    #[test]
    fn a_host_that_is_gone_counts_no_longer_and_an_outage_ends_no_lease() {
        let mut shared = Shared::default();
        assert_eq!(shared.ask(0, "a", &at_once(1, 0, 1)).starts, 1);
        let mut starts = Vec::new();
        for second in 1..=40 {
            starts.push(shared.ask(second * 1_000, "b", &at_once(1, 0, 1)).starts);
        }
        assert_eq!(starts.iter().position(|starts| *starts > 0), Some(29));
        // An outage of an hour.
        assert_eq!(shared.ask(3_640_000, "a", &at_once(1, 0, 1)).starts, 0);
        // A clock that goes back counts as one that stands still.
        assert_eq!(shared.ask(0, "a", &at_once(1, 0, 1)).starts, 0);
    }

    #[test]
    fn who_waits_has_its_turn() {
        let mut shared = Shared::default();
        shared.ask(0, "a", &at_once(1, 0, 9));
        assert_eq!(shared.ask(10, "b", &at_once(1, 0, 9)).starts, 0);
        // Before `TURN_MS` has passed, the present holder goes on.
        assert_eq!(shared.ask(200, "a", &at_once(1, 0, 9)).starts, 1);
        assert_eq!(shared.ask(400, "a", &at_once(1, 0, 9)), Grant { starts: 0, others: true, wait_ms: None });
        assert_eq!(shared.ask(410, "b", &at_once(1, 0, 9)).starts, 1);
        assert_eq!(shared.ask(420, "a", &at_once(1, 0, 9)).starts, 0);
        // A host that no longer reports that it waits loses its precedence.
        assert_eq!(shared.ask(9_000, "b", &at_once(1, 0, 9)).starts, 1);
    }

    #[test]
    fn over_no_time_more_start_than_the_bucket_lets() {
        let mut shared = Shared::default();
        assert_eq!(shared.ask(0, "a", &rate(2, 3, 2, 0)).starts, 2);
        let given = shared.ask(0, "b", &rate(2, 3, 9, 0));
        assert_eq!((given.starts, given.wait_ms), (1, Some(500)));
        assert_eq!(shared.ask(499, "a", &rate(2, 3, 9, 0)).starts, 0);
        // Unused starts are returned to the bucket.
        assert_eq!(shared.ask(499, "b", &rate(2, 3, 1, 1)).starts, 1);
        assert_eq!(shared.ask(100_000, "a", &rate(2, 3, 9, 0)).starts, 3);
    }
}
