//! How many lanes and pooled workers there are, and how much room for jobs that makes.

use super::machine::{Phase, Schedule};
use super::{Action, Now, StopReason};
use crate::routing::{PerTier, Tier};

/// Lanes at rest.
const LANES: usize = 1;
/// Milliseconds that an inline job waits before another lane is added, per lane and core already there.
const LANE_PATIENCE: u64 = 25;
/// Milliseconds that a job waits for the pool before there is pressure.
const PRESSURE: u64 = 1_000;
/// Milliseconds after which a lane, or a pooled worker, that is not needed is let go.
const IDLE: PerTier<u64> = PerTier::new(10_000, 30_000, u64::MAX);
/// Milliseconds of one window in which finished jobs are counted.
const WINDOW: u64 = 50;

impl Schedule {
    fn starting(&self, tier: Tier) -> usize {
        self.workers.counts(tier).starting
    }

    /// Jobs that wait for a tier and for nothing else.
    fn startable(&self, tier: Tier) -> usize {
        self.waiting[tier].ready(&self.gates)
    }

    fn counting(&self, tier: Tier) -> usize {
        self.workers.counts(tier).counting
    }

    pub(super) fn live(&self, tier: Tier) -> usize {
        self.workers.counts(tier).live
    }

    pub(super) fn running(&self, tier: Tier) -> usize {
        self.workers.counts(tier).busy
    }

    /// No process that could run a job exists, and new ones die: nothing more is reserved.
    pub(super) fn is_helpless(&self) -> bool {
        self.backoff.iter().any(|backoff| backoff.is_failing())
            && self.workers.all_counts().all(|counts| counts.counting == counts.starting)
    }

    /// Inline jobs are taken a little ahead, so that a lane finds its next one at once: the more of them
    /// lanes have finished lately, the more.
    pub(super) fn inline_room(&self, now: u64) -> usize {
        let lanes = self.counting(Tier::Inline);
        let growing = self.live(Tier::Inline) < self.config.max_concurrent[Tier::Inline];
        if lanes == 0 && !growing {
            return 0;
        }
        let pace = if now / WINDOW <= self.pace.0 + 1 { self.pace.1.max(self.pace.2) } else { 0 };
        let at_hand = if self.config.ahead { 2 } else { 1 };
        let ahead = at_hand * lanes.max(1) + (pace / 2).min(48);
        let room = ahead.saturating_sub(self.startable(Tier::Inline));
        // In batches while it flows: a call for each single job would cost more than the job.
        if room < ahead / 2 { 0 } else { room }
    }

    pub(super) fn pooled_room(&self) -> usize {
        let busy = self.running(Tier::Pooled);
        let most = self.config.pool_max_size.min(self.config.max_concurrent[Tier::Pooled]);
        let taken = busy + self.startable(Tier::Pooled);
        // Past its usual size the pool only grows when a job waits: one then has to.
        let at_once = if self.config.ahead { most } else { most.min(self.config.pool_size.max(busy + 1)) };
        at_once.saturating_sub(taken)
    }

    pub(super) fn isolated_room(&self) -> usize {
        let live = self.live(Tier::Isolated);
        let most = self.config.max_concurrent[Tier::Isolated];
        most.saturating_sub(live + self.startable(Tier::Isolated))
    }

    /// Whether as many jobs wait for a full tier as it has processes: each of these has its next one.
    pub(super) fn is_backed_up(&self) -> bool {
        let most = &self.config.max_concurrent;
        self.startable(Tier::Pooled) >= self.config.pool_max_size.min(most[Tier::Pooled]).max(1)
            || self.startable(Tier::Isolated) >= most[Tier::Isolated].max(1)
    }

    /// Whether jobs that wait for the pool will soon find a worker there.
    pub(super) fn pool_has_room(&self) -> bool {
        if self.running(Tier::Pooled) >= self.config.max_concurrent[Tier::Pooled] {
            return false;
        }
        let starting = self.starting(Tier::Pooled);
        !self.workers.idle(Tier::Pooled).is_empty() || self.startable(Tier::Pooled) <= starting
    }

    pub(super) fn count_pace(&mut self, now: u64) {
        let window = now / WINDOW;
        if self.pace.0 != window {
            let last = if self.pace.0 + 1 == window { self.pace.1 } else { 0 };
            self.pace = (window, 0, last);
        }
        self.pace.1 += 1;
    }

    pub(super) fn size_lanes(&mut self, now: Now, out: &mut Vec<Action>) {
        let tier = Tier::Inline;
        let serving = self.phase == Phase::Running && !self.down;
        if self.backoff[tier].wait(now.ms).is_none() && self.live(tier) < self.config.max_concurrent[tier].max(1) {
            let starting = self.starting(tier);
            // Where workers pop by themselves, nobody else is handed a job.
            let rest =
                self.phase == Phase::Running && self.counting(tier) < LANES && !self.config.native && !self.is_asleep();
            let replays = !self.replays.is_empty() && starting == 0 && self.starting(Tier::Pooled) == 0;
            let probes = serving && !self.pool_has_room() && self.next_probe().is_some();
            let late = serving && self.lane_pressure_at().is_some_and(|at| now.ms >= at);
            if rest || starting == 0 && (replays || probes || late) {
                self.launch(now, tier, None, out);
            }
        }
        self.retire(now, tier, LANES, out);
    }

    /// When the first waiting inline job will have waited too long for the lanes there are. With more
    /// lanes than cores it is ever more likely that another one would only take time from the others.
    fn lane_pressure_at(&self) -> Option<u64> {
        // Where a lane is there, it waits for something else.
        let waits = self.is_waking() || !self.workers.idle(Tier::Inline).is_empty();
        let (_, since) = self.waiting[Tier::Inline].first(&self.gates).filter(|_| !waits)?;
        let crowd = self.counting(Tier::Inline) / self.config.cores.max(1);
        Some(since + LANE_PATIENCE * (1 + crowd as u64))
    }

    pub(super) fn size_pool(&mut self, now: Now, out: &mut Vec<Action>) {
        let tier = Tier::Pooled;
        if self.phase == Phase::Running {
            let waiting = if self.down { 0 } else { self.startable(tier) };
            let busy = self.running(tier);
            let pressed = self.waiting[tier].oldest(&self.gates).is_some_and(|since| now.ms >= since + PRESSURE);
            let mut want = (self.kept(now.ms) + waiting + self.idle_pool(now.ms)).min(self.config.pool_size);
            if pressed {
                want = want.max((busy + waiting).min(self.config.pool_max_size));
            }
            if self.flooded_at().is_some_and(|at| now.ms >= at) {
                want = want.max((busy + 1).min(self.config.pool_max_size));
            }
            let mut live = self.live(tier);
            let mut starting = self.starting(tier);
            // Booting an app is work for a core: more at once would only make each of them later.
            while live < want && starting < 2 * self.config.cores.max(1) && self.backoff[tier].wait(now.ms).is_none() {
                self.launch(now, tier, None, out);
                live += 1;
                starting += 1;
            }
        }
        // There are too many since the pool was made smaller: none of them gets another job.
        let surplus = self.live(tier).saturating_sub(self.config.pool_max_size);
        let idle = self.workers.idle(tier).iter().take(surplus).map(|(_, id)| *id);
        for id in idle.collect::<Vec<_>>() {
            self.stop_worker(now, id, StopReason::Idle, out);
        }
        self.retire(now, tier, self.idle_pool(now.ms), out);
    }

    fn retire(&mut self, now: Now, tier: Tier, keep: usize, out: &mut Vec<Action>) {
        let idle = self.workers.idle(tier);
        let late = |since: &u64| now.ms >= since.saturating_add(IDLE[tier]);
        let spare = idle.iter().take(idle.len().saturating_sub(keep));
        let spare: Vec<_> = spare.take_while(|(since, _)| late(since)).map(|(_, id)| *id).collect();
        for id in spare {
            self.stop_worker(now, id, StopReason::Idle, out);
        }
    }

    /// When the first worker will be let go because more are idle than are kept.
    pub(super) fn retire_at(&self, tier: Tier) -> Option<u64> {
        let keep = match tier {
            Tier::Inline => LANES,
            Tier::Pooled => self.idle_pool(self.seen),
            Tier::Isolated => return None,
        };
        let idle = self.workers.idle(tier);
        let (since, _) = idle.first().filter(|_| idle.len() > keep)?;
        Some(since.saturating_add(IDLE[tier]))
    }

    /// When waiting alone will change how many workers are wanted.
    pub(super) fn pressure_at(&self, now: u64) -> Option<u64> {
        if self.phase != Phase::Running || self.down {
            return None;
        }
        let lanes =
            self.lane_pressure_at().filter(|_| self.live(Tier::Inline) < self.config.max_concurrent[Tier::Inline]);
        let pool = self.waiting[Tier::Pooled].oldest(&self.gates).map(|since| since + PRESSURE);
        // Once that time is past, it takes another event to make a difference.
        [lanes, pool, self.flooded_at()].into_iter().flatten().filter(|at| *at > now).min()
    }
}
