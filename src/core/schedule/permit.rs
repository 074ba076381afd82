//! Limits that hosts share: what this one may start, and when it asks whoever keeps them.
//!
//! A gate of such a limit lets pass what was *granted*. A place that a job has left is taken by the next one of this host as
//! long as nobody else waits; with a rate each start is asked for. What was granted and not used soon goes back. While
//! nobody answers, none passes.

use super::gate::Limit;
use super::machine::{Phase, Schedule};
use super::{Action, Now};
use crate::arbiter::{Claim, Grant, LEASE_MS};
use crate::routing::Tier;

/// Milliseconds from a refusal to the next question: the least, and the most.
const PAUSE_MS: (u64, u64) = (150, 1_000);
/// Milliseconds after which what is not used goes back, and somebody looks whether others wait.
const IDLE_MS: u64 = 500;
/// Milliseconds after which a lease is renewed.
const RENEW_MS: u64 = LEASE_MS / 3;
/// Milliseconds by which a lease ends earlier here than for others.
const MARGIN_MS: u64 = LEASE_MS / 6;
/// Milliseconds that an answer may take; then it is none.
const PATIENCE_MS: u64 = 5_000;
/// Starts that are asked for at once.
const MOST: usize = 64;

/// What is known here of a limit that hosts share.
#[derive(Clone, Debug, Default)]
pub(super) struct Permit {
    pub name: String,
    /// Starts that were granted and not used.
    granted: usize,
    /// Since when.
    since: u64,
    /// The number of the last question.
    call: u64,
    /// With what we count there, as far as we know.
    counted: usize,
    /// A question is under way since then.
    asked: Option<u64>,
    /// When the last one was.
    last: u64,
    /// None for more starts before then.
    next: u64,
    /// How often it was refused since.
    refused: u32,
    /// When our lease ends.
    until: u64,
    /// Others wait.
    others: bool,
    /// Nobody has answered the last question.
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

    /// Whether the last question had no answer.
    pub fn is_away(&self) -> bool {
        self.is_away
    }

    /// Whether nothing is known of it there.
    pub fn is_as_new(&self) -> bool {
        self.granted == 0 && self.counted == 0 && self.asked.is_none()
    }

    pub fn take(&mut self) {
        self.granted = self.granted.saturating_sub(1);
    }

    pub fn give(&mut self, now: u64, limit: &Limit, passed: usize, unstarted: bool) {
        // More may have been there when the limit came.
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

    /// The same after other settings: what was granted is given back.
    pub fn follow(&mut self, old: &Permit) {
        if self.name == old.name {
            *self = Self { granted: 0, ..old.clone() };
        }
    }

    /// When it is to be asked next, if `want` jobs more would start and `passed` are with processes.
    fn due(&self, want: usize, passed: usize, leaving: bool) -> Option<u64> {
        if let Some(asked) = self.asked {
            return Some(asked + PATIENCE_MS);
        }
        let idle = |since: u64| since + if leaving { 0 } else { IDLE_MS };
        // A place that others wait for is theirs at once.
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

    /// The question of now.
    fn ask(&mut self, now: u64, limit: Limit, passed: usize, want: usize) -> Claim {
        // What was there to be used for long was not needed: others may have it first.
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

    /// The answer, or that there is none.
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
        // Whoever is refused again and again asks more rarely.
        self.refused = if starts == 0 { self.refused + 1 } else { 0 };
        if starts == 0 {
            let (least, most) = PAUSE_MS;
            let pause = wait_ms.unwrap_or(least << self.refused.min(4)).clamp(least, most);
            self.next = self.next.max(now + pause);
        }
    }
}

impl Schedule {
    /// Asks for what shared limits may let start, gives back what is not needed, and renews what is.
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

    /// When one of them is to be asked next.
    pub(super) fn ask_at(&self) -> Option<u64> {
        if !self.gates.are_shared() || self.phase == Phase::Over {
            return None;
        }
        let leaving = self.phase != Phase::Running;
        let due = |(gate, want): (usize, usize)| {
            let (permit, passed) = self.gates.shared(gate)?;
            permit.due(want, passed, leaving)
        };
        // What was due at the last event has been asked.
        self.wants().into_iter().filter_map(due).map(|at| at.max(self.seen + 1)).min()
    }

    /// The gates of shared limits, and how many jobs wait for each and for nothing else.
    fn wants(&self) -> Vec<(usize, usize)> {
        let serving = self.phase == Phase::Running && !self.down && !self.is_waking();
        let wanted = |gate: usize| {
            let tiers = Tier::ALL.into_iter().filter(|tier| serving && self.config.max_concurrent[*tier] > 0);
            tiers.map(|tier| self.waiting[tier].want(&self.gates, gate)).sum()
        };
        self.gates.all_shared().map(|gate| (gate, wanted(gate))).collect()
    }

    /// Whether nobody answers for a limit that hosts share: none of what it bounds starts.
    pub fn is_unheard(&self) -> bool {
        let gates = || self.gates.all_shared().filter_map(|gate| self.gates.shared(gate));
        self.gates.are_shared() && gates().any(|(permit, _)| permit.is_away())
    }

    /// Whoever keeps a shared limit has answered, or has not.
    pub(super) fn shared(&mut self, now: Now, name: &str, call: u64, grant: Option<Grant>) {
        self.gates.answered(now.ms, name, call, grant);
    }
}

impl super::gates::Gates {
    /// What comes too late is not used: that it was granted is known there until the next question.
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
