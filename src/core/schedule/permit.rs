//! Limits shared between hosts: what this host may start, and when it asks the arbiter.
//!
//! The gate of such a limit lets pass what was *granted*. A place that a job has left goes to the next job of this host
//! as long as no other host waits; with a rate, each start is asked for. Unused grants soon go back. Without an answer,
//! none passes.

use super::gate::Limit;
use super::machine::{Phase, Schedule};
use super::{Action, Now};
use crate::arbiter::{Claim, Grant, LEASE_MS};
use crate::routing::Tier;

/// Milliseconds from a refusal to the next request: minimum and maximum.
const PAUSE_MS: (u64, u64) = (150, 1_000);
/// Milliseconds after which unused starts and places go back, and the limit is asked whether others wait.
const IDLE_MS: u64 = 500;
/// Milliseconds after which a lease is renewed.
const RENEW_MS: u64 = LEASE_MS / 3;
/// Milliseconds by which a lease ends earlier here than at the arbiter.
const MARGIN_MS: u64 = LEASE_MS / 6;
/// Milliseconds to wait for an answer; then it counts as missing.
const PATIENCE_MS: u64 = 5_000;
/// Maximum of starts per request.
const MOST: usize = 64;

/// Local state of a shared limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Permit {
    pub name: String,
    /// Starts that were granted and not used.
    granted: usize,
    /// Since when there are some (milliseconds).
    since: u64,
    /// Number of the last request.
    call: u64,
    /// What the arbiter counts for this host, as far as known.
    counted: usize,
    /// When the pending request was sent, if one is (milliseconds).
    asked: Option<u64>,
    /// When the last request was sent (milliseconds).
    last: u64,
    /// Earliest request for more starts (milliseconds).
    next: u64,
    /// Refusals in a row.
    refused: u32,
    /// When the lease of this host ends (milliseconds).
    until: u64,
    /// Whether other hosts wait.
    others: bool,
    /// Whether the last request was not answered.
    is_away: bool,
}

impl Permit {
    pub fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// Jobs that may pass now.
    pub fn room(&self, now: u64) -> usize {
        if self.is_away || now >= self.until { 0 } else { self.granted }
    }

    /// Whether the last request was not answered.
    pub fn is_away(&self) -> bool {
        self.is_away
    }

    /// Whether the arbiter holds nothing for this host.
    pub fn is_as_new(&self) -> bool {
        self.granted == 0 && self.counted == 0 && self.asked.is_none()
    }

    pub fn take(&mut self) {
        self.granted = self.granted.saturating_sub(1);
    }

    pub fn give(&mut self, now: u64, limit: &Limit, passed: usize, unstarted: bool) {
        // More jobs may have been running when the limit was introduced.
        let has_room = limit.max_concurrent.is_none_or(|most| passed + self.granted < most);
        if has_room && (unstarted || limit.rate.is_none() && !self.others) {
            self.gets(now, 1);
        }
    }

    fn gets(&mut self, now: u64, starts: usize) {
        if self.granted == 0 {
            self.since = now;
        }
        self.granted += starts;
    }

    /// Takes over from the permit of earlier settings; the next request returns what was granted.
    pub fn follow(&mut self, old: &Permit) {
        if self.name == old.name {
            *self = Self { granted: 0, ..old.clone() };
        }
    }

    /// When the next request is due (milliseconds), if `want` more jobs would start and `passed` are with processes.
    fn due(&self, want: usize, passed: usize, leaving: bool) -> Option<u64> {
        if let Some(asked) = self.asked {
            return Some(asked + PATIENCE_MS);
        }
        let idle = |since: u64| since + if leaving { 0 } else { IDLE_MS };
        // A place for which others wait is returned at once.
        let left = if self.others { self.last } else { idle(self.last) };
        let times = [
            (self.counted > passed + self.granted).then_some(left),
            (self.granted > 0).then_some(idle(self.since)),
            (self.counted < passed).then_some(self.last),
            (want > 0 && self.granted == 0).then_some(self.next),
            (passed > 0).then_some(self.last + RENEW_MS),
        ];
        let at = times.into_iter().flatten().min();
        if self.is_away { at.map(|at| at.max(self.next)) } else { at }
    }

    /// The request for now.
    fn ask(&mut self, now: u64, limit: Limit, passed: usize, want: usize) -> Claim {
        // Starts unused for long were not needed: others may have them first.
        let is_idle = self.granted > 0 && self.since + IDLE_MS <= now;
        let want = if is_idle { 0 } else { want.min(MOST) };
        let unused = std::mem::take(&mut self.granted);
        if is_idle {
            self.next = now + PAUSE_MS.1;
        }
        (self.asked, self.last, self.counted) = (Some(now), now, passed);
        self.call += 1;
        Claim { name: self.name.clone(), call: self.call, limit, used: passed, want, unused }
    }

    /// Takes in the answer, or its absence.
    fn answered(&mut self, now: u64, grant: Option<Grant>) {
        let Some(asked) = self.asked.take() else { return };
        let Some(Grant { starts, others, wait_ms }) = grant else {
            self.is_away = true;
            self.next = now + PAUSE_MS.1;
            return;
        };
        (self.is_away, self.others) = (false, others);
        self.until = asked + LEASE_MS - MARGIN_MS;
        self.gets(now, starts);
        self.counted += starts;
        // After repeated refusals, requests become rarer.
        self.refused = if starts == 0 { self.refused + 1 } else { 0 };
        if starts == 0 {
            let (least, most) = PAUSE_MS;
            let pause = wait_ms.unwrap_or(least << self.refused.min(4)).clamp(least, most);
            self.next = self.next.max(now + pause);
        }
    }
}

impl Schedule {
    /// Requests starts from shared limits, returns unused ones, and renews leases.
    pub(super) fn ask_others(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.gates.are_shared() || self.phase == Phase::Over {
            return;
        }
        for (gate, want) in self.wants() {
            let leaving = self.phase != Phase::Running;
            let Some((permit, limit, passed)) = self.gates.permit(gate) else { continue };
            if permit.due(want, passed, leaving).is_none_or(|at| now.ms < at) {
                continue;
            }
            if permit.asked.is_some() {
                permit.answered(now.ms, None);
                continue;
            }
            out.push(Action::Share(permit.ask(now.ms, limit, passed, want)));
        }
        self.gates.refresh(now.ms);
    }

    /// When the next request is due (milliseconds).
    pub(super) fn ask_at(&self) -> Option<u64> {
        if !self.gates.are_shared() || self.phase == Phase::Over {
            return None;
        }
        let leaving = self.phase != Phase::Running;
        let due = |(gate, want): (usize, usize)| {
            let (permit, passed) = self.gates.shared(gate)?;
            permit.due(want, passed, leaving)
        };
        // Requests due at the last event have been sent.
        self.wants().into_iter().filter_map(due).map(|at| at.max(self.seen + 1)).min()
    }

    /// The gates of shared limits, and how many jobs wait for each of them alone.
    fn wants(&self) -> Vec<(usize, usize)> {
        let serving = self.phase == Phase::Running && !self.down && !self.is_waking();
        let wanted = |gate: usize| {
            let tiers = Tier::ALL.into_iter().filter(|tier| serving && self.config.max_concurrent[*tier] > 0);
            tiers.map(|tier| self.waiting[tier].want(&self.gates, gate)).sum()
        };
        self.gates.all_shared().map(|gate| (gate, wanted(gate))).collect()
    }

    /// Whether the arbiter does not answer for some shared limit: none of its jobs starts.
    pub fn is_unheard(&self) -> bool {
        let gates = || self.gates.all_shared().filter_map(|gate| self.gates.shared(gate));
        self.gates.are_shared() && gates().any(|(permit, _)| permit.is_away())
    }

    /// The arbiter has answered a request, or has failed to.
    pub(super) fn shared(&mut self, now: Now, name: &str, call: u64, grant: Option<Grant>) {
        self.gates.answered(now.ms, name, call, grant);
    }
}

impl super::gates::Gates {
    /// Takes in an answer. A late one is ignored: the arbiter counts its grant until the next request.
    fn answered(&mut self, now: u64, name: &str, call: u64, grant: Option<Grant>) {
        let gates: Vec<usize> = self.all_shared().collect();
        for gate in gates {
            if let Some((permit, ..)) = self.permit(gate)
                && permit.name == name
                && permit.call == call
            {
                permit.answered(now, grant);
            }
        }
        self.refresh(now);
    }
}
