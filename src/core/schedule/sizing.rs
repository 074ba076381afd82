//! The number of lanes and pooled workers, and how many jobs are reserved for them.

use super::machine::{Phase, Schedule};
use super::{Action, Now, StopReason};
use crate::routing::{PerTier, Tier};

/// Lanes kept idle.
const LANES: usize = 1;
/// Milliseconds that an inline job waits before another lane is added; multiplied by 1 plus the lanes per core.
const LANE_PATIENCE: u64 = 25;
/// Milliseconds that a job waits for the pool before the pool counts as under pressure.
const PRESSURE: u64 = 1_000;
/// Milliseconds after which a surplus idle lane or pooled worker is stopped.
const IDLE: PerTier<u64> = PerTier::new(10_000, 30_000, u64::MAX);
/// Milliseconds of one window in which finished jobs are counted.
const WINDOW: u64 = 50;

impl Schedule {
    fn starting(&self, tier: Tier) -> usize {
        self.workers.counts(tier).starting
    }

    /// Jobs of a tier that wait for a worker, and for no limit.
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

    /// No process exists that could run a job, and new ones die: nothing more is reserved.
    pub(super) fn is_helpless(&self) -> bool {
        self.backoff.iter().any(|backoff| backoff.is_failing())
            && self.workers.all_counts().all(|counts| counts.counting == counts.starting)
    }

    /// Room for inline jobs. They are reserved a little ahead, so that a lane finds its next one at once: the more, the
    /// more jobs lanes have finished lately.
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
        // In batches while jobs flow: a call for each single job would cost more than the job.
        if room < ahead / 2 { 0 } else { room }
    }

    pub(super) fn pooled_room(&self) -> usize {
        let busy = self.running(Tier::Pooled);
        let most = self.config.pool_max_size.min(self.config.max_concurrent[Tier::Pooled]);
        let taken = busy + self.startable(Tier::Pooled);
        // Beyond its usual size the pool grows only for waiting jobs, so one has to wait.
        let at_once = if self.config.ahead { most } else { most.min(self.config.pool_size.max(busy + 1)) };
        at_once.saturating_sub(taken)
    }

    pub(super) fn isolated_room(&self) -> usize {
        let live = self.live(Tier::Isolated);
        let most = self.config.max_concurrent[Tier::Isolated];
        most.saturating_sub(live + self.startable(Tier::Isolated))
    }

    /// Whether as many jobs wait for a full tier as it has processes, so that each has its next one.
    pub(super) fn is_backed_up(&self) -> bool {
        let most = &self.config.max_concurrent;
        self.startable(Tier::Pooled) >= self.config.pool_max_size.min(most[Tier::Pooled]).max(1)
            || self.startable(Tier::Isolated) >= most[Tier::Isolated].max(1)
    }

    /// Whether jobs that wait for the pool will soon get a worker there.
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
            // With native pop, lanes are delivered no jobs.
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

    /// When the first waiting inline job will have waited too long for the present lanes (milliseconds). The more lanes
    /// per core, the likelier another one would only take CPU time from the rest.
    fn lane_pressure_at(&self) -> Option<u64> {
        // While a lane is idle, the job waits for something else.
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
            // Booting an app occupies a core: more boots at once would only delay each other.
            while live < want && starting < 2 * self.config.cores.max(1) && self.backoff[tier].wait(now.ms).is_none() {
                self.launch(now, tier, None, out);
                live += 1;
                starting += 1;
            }
        }
        // Surplus since the pool was made smaller: none of them gets another job.
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

    /// When the first surplus idle worker is to be stopped (milliseconds).
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

    /// When waiting alone changes how many workers are wanted (milliseconds).
    pub(super) fn pressure_at(&self, now: u64) -> Option<u64> {
        if self.phase != Phase::Running || self.down {
            return None;
        }
        let lanes =
            self.lane_pressure_at().filter(|_| self.live(Tier::Inline) < self.config.max_concurrent[Tier::Inline]);
        let pool = self.waiting[Tier::Pooled].oldest(&self.gates).map(|since| since + PRESSURE);
        // Once that time has passed, only another event makes a difference.
        [lanes, pool, self.flooded_at()].into_iter().flatten().filter(|at| *at > now).min()
    }
}
