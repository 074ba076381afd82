//! Which alerts begin and end: figures with their time in, messages out. Pure: no clock, no I/O.
//!
//! An alert is an episode: it begins once, and ends once, however often it is looked at. What goes to and fro about its
//! limit is one episode: it ends when all has been well for as long as the limit, a minute at the most. What nobody knows
//! (a queue that does not answer) changes nothing. Episodes are kept by whoever calls, and outlive a restart.

#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schedule::Now;
use window::{Least, Window};

/// The longest time for which all must be well before an episode is over.
const CALM: u64 = 60_000;
/// The time in which a queue grows, in milliseconds.
pub const GROWTH: u64 = 600_000;

/// What an alert is about. The words are the keys of `[alerts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Jobs of a queue wait for too long.
    Wait,
    /// A queue grows.
    BacklogGrowth,
    /// Many jobs fail.
    FailureRate,
    /// Many processes are killed at their memory limit.
    OomRate,
    /// Many processes die.
    CrashRate,
    /// The app runs, and its jobs do not.
    Degraded,
    /// The coordinator does not answer.
    CoordinatorGone,
    /// The runtime does not run.
    Down,
    /// Nothing: somebody tries the targets.
    Test,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Wait => "wait",
            Kind::BacklogGrowth => "backlog_growth",
            Kind::FailureRate => "failure_rate",
            Kind::OomRate => "oom_rate",
            Kind::CrashRate => "crash_rate",
            Kind::Degraded => "degraded",
            Kind::CoordinatorGone => "coordinator_gone",
            Kind::Down => "down",
            Kind::Test => "test",
        }
    }
}

/// So often in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Often {
    /// How often at least.
    pub times: u64,
    /// In so many milliseconds.
    pub span: u64,
}

/// What is watched; times are milliseconds. What is absent is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// The longest wait.
    pub wait: Option<u64>,
    /// The longest wait of some queues, in place of that.
    pub waits: BTreeMap<String, u64>,
    /// The most that a queue may grow within [`GROWTH`].
    pub growth: Option<u64>,
    /// Failed jobs.
    pub failures: Option<Often>,
    /// Processes killed at their memory limit.
    pub oom: Option<Often>,
    /// Processes that died.
    pub crashes: Option<Often>,
    /// The longest time of being degraded.
    pub degraded: Option<u64>,
    /// The longest silence of the coordinator.
    pub coordinator: Option<u64>,
}

impl Watch {
    /// The longest wait of a queue.
    fn wait_of(&self, queue: &str) -> Option<u64> {
        self.waits.get(queue).copied().or(self.wait)
    }

    /// Whether sizes of queues are needed.
    #[must_use]
    pub fn queues(&self) -> bool {
        self.wait.is_some() || !self.waits.is_empty() || self.growth.is_some()
    }

    /// The shortest time that is watched, in milliseconds.
    #[must_use]
    pub fn shortest(&self) -> Option<u64> {
        let often = [self.failures, self.oom, self.crashes].into_iter().flatten().map(|often| often.span);
        let times = [self.wait, self.degraded, self.coordinator, self.growth.map(|_| CALM)].into_iter().flatten();
        often.chain(times).chain(self.waits.values().copied()).min()
    }
}

/// How many jobs a queue has that could run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Jobs.
    pub jobs: u64,
    /// Milliseconds that the first of them has waited, where that is known.
    pub oldest: Option<u64>,
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The runtime has begun to work.
    pub up: bool,
    /// Each queue that is worked; absent where nobody knows.
    pub queues: BTreeMap<String, Option<Depth>>,
    /// Jobs that failed for good, since the start.
    pub failed: u64,
    /// Processes killed at their memory limit, since the start.
    pub oom: u64,
    /// Processes that died, since the start.
    pub crashed: u64,
    /// Why jobs do not run as they should, where they do not.
    pub degraded: Option<String>,
    /// For how many milliseconds the coordinator has not answered.
    pub coordinator: Option<u64>,
}

/// Something that has begun, and is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// What it is about.
    pub kind: Kind,
    /// The queue; empty where it is about none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When it last was so.
    pub seen: u64,
    /// What was said.
    pub said: String,
    /// Jobs that the queue had before it grew.
    #[serde(default)]
    pub base: u64,
}

/// An episode has begun, or is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether it has begun.
    pub begun: bool,
    /// Which one.
    pub episode: Episode,
    /// What there is to say, in one line without the app's name.
    pub text: String,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    open: BTreeMap<(Kind, String), Episode>,
    failures: Window,
    oom: Window,
    crashes: Window,
    least: BTreeMap<String, Least>,
    degraded: Option<u64>,
}

/// What one look says of one alert.
enum Verdict {
    /// It is so: what there is to say, and what the queue had before.
    Holds(String, u64),
    /// It is so, and nothing new.
    Lasts,
    /// It is not so; it is over when that has been so for so many milliseconds.
    Calm(u64),
    /// Nobody knows.
    Unknown,
    /// Nobody wants to know any more.
    Unwatched,
}

impl Alerts {
    /// With what has begun before.
    #[must_use]
    pub fn new(open: Vec<Episode>) -> Self {
        let open = open.into_iter().map(|episode| ((episode.kind, episode.queue.clone()), episode)).collect();
        Self { open, ..Self::default() }
    }

    /// What has begun and is not over.
    pub fn open(&self) -> impl Iterator<Item = &Episode> {
        self.open.values()
    }

    /// What begins and ends with these figures.
    pub fn look(&mut self, now: Now, watch: &Watch, figures: &Figures) -> Vec<Change> {
        let mut changes = Vec::new();
        for queue in self.queues(figures) {
            let verdict = waits(&queue, watch, figures);
            changes.extend(self.judge(now, Kind::Wait, &queue, verdict));
            let verdict = self.grows(now, &queue, watch, figures);
            changes.extend(self.judge(now, Kind::BacklogGrowth, &queue, verdict));
        }
        self.least.retain(|queue, _| figures.queues.contains_key(queue));
        let counted = [
            (Kind::FailureRate, watch.failures, figures.failed, "jobs failed"),
            (Kind::OomRate, watch.oom, figures.oom, "processes were killed at their memory limit"),
            (Kind::CrashRate, watch.crashes, figures.crashed, "PHP processes died"),
        ];
        for (kind, often, total, what) in counted {
            let window = match kind {
                Kind::FailureRate => &mut self.failures,
                Kind::OomRate => &mut self.oom,
                _ => &mut self.crashes,
            };
            let verdict = counts(window, now, often, total, what);
            changes.extend(self.judge(now, kind, "", verdict));
        }
        let verdict = self.is_degraded(now, watch, figures);
        changes.extend(self.judge(now, Kind::Degraded, "", verdict));
        changes.extend(self.judge(now, Kind::CoordinatorGone, "", is_silent(watch, figures)));
        let back = if figures.up { Verdict::Calm(0) } else { Verdict::Unknown };
        changes.extend(self.judge(now, Kind::Down, "", back));
        changes
    }

    /// Those that are worked, and those of which something has begun.
    fn queues(&self, figures: &Figures) -> Vec<String> {
        let mut all: Vec<String> = figures.queues.keys().cloned().collect();
        all.extend(self.open.keys().map(|(_, queue)| queue.clone()).filter(|queue| !queue.is_empty()));
        all.sort();
        all.dedup();
        all
    }

    fn grows(&mut self, now: Now, queue: &str, watch: &Watch, figures: &Figures) -> Verdict {
        let (Some(most), Some(depth)) = (watch.growth, figures.queues.get(queue)) else { return Verdict::Unwatched };
        let Some(Depth { jobs, .. }) = *depth else { return Verdict::Unknown };
        let (least, whole) = self.least.entry(queue.to_owned()).or_default().of(now.ms, jobs, GROWTH);
        let growth = jobs.saturating_sub(least);
        let half = most / 2;
        match self.open.get(&(Kind::BacklogGrowth, queue.to_owned())) {
            _ if growth > most => {
                let minutes = GROWTH / 60_000;
                Verdict::Holds(
                    format!("queue {queue} has grown by {growth} jobs to {jobs} within {minutes} minutes"),
                    least,
                )
            }
            Some(episode) if jobs > episode.base.saturating_add(half) && (growth > half || !whole) => Verdict::Lasts,
            _ => Verdict::Calm(0),
        }
    }

    fn is_degraded(&mut self, now: Now, watch: &Watch, figures: &Figures) -> Verdict {
        let Some(most) = watch.degraded else { return Verdict::Unwatched };
        let Some(why) = &figures.degraded else {
            self.degraded = None;
            return Verdict::Calm(most.min(CALM));
        };
        let lasts = now.ms.saturating_sub(*self.degraded.get_or_insert(now.ms));
        match lasts > most {
            true => Verdict::Holds(format!("degraded for {}: {why}", span(lasts)), 0),
            // It was so before a restart too.
            false => Verdict::Lasts,
        }
    }

    /// Begins or ends an episode, or lets it be.
    fn judge(&mut self, now: Now, kind: Kind, queue: &str, verdict: Verdict) -> Option<Change> {
        let key = (kind, queue.to_owned());
        let open = self.open.get_mut(&key);
        match (verdict, open) {
            (Verdict::Holds(said, base), None) => {
                let (queue, since) = (queue.to_owned(), now.epoch);
                let episode = Episode { kind, queue, since, seen: since, said: said.clone(), base };
                self.open.insert(key, episode.clone());
                Some(Change { begun: true, episode, text: said })
            }
            (Verdict::Holds(..) | Verdict::Lasts, Some(episode)) => {
                episode.seen = now.epoch;
                None
            }
            (Verdict::Calm(calm), Some(episode)) if now.epoch.saturating_sub(episode.seen) >= calm / 1000 => {
                self.end(now, &key, "over")
            }
            (Verdict::Unwatched, Some(_)) => self.end(now, &key, "no longer watched"),
            _ => None,
        }
    }

    fn end(&mut self, now: Now, key: &(Kind, String), how: &str) -> Option<Change> {
        let episode = self.open.remove(key)?;
        let lasted = span(now.epoch.saturating_sub(episode.since).saturating_mul(1000));
        let text = format!("{how} after {lasted}: {}", episode.said);
        Some(Change { begun: false, episode, text })
    }
}

fn waits(queue: &str, watch: &Watch, figures: &Figures) -> Verdict {
    let (Some(most), Some(depth)) = (watch.wait_of(queue), figures.queues.get(queue)) else {
        return Verdict::Unwatched;
    };
    match *depth {
        Some(Depth { oldest: Some(oldest), .. }) if oldest > most => {
            let (oldest, most) = (span(oldest), span(most));
            Verdict::Holds(format!("queue {queue}: a job has waited for {oldest}, longer than {most}"), 0)
        }
        None | Some(Depth { jobs: 1.., oldest: None }) => Verdict::Unknown,
        Some(_) => Verdict::Calm(most.min(CALM)),
    }
}

fn counts(window: &mut Window, now: Now, often: Option<Often>, total: u64, what: &str) -> Verdict {
    let Some(Often { times, span: within }) = often else {
        window.count(now.ms, total, CALM);
        return Verdict::Unwatched;
    };
    let (count, more) = window.count(now.ms, total, within);
    match count >= times {
        true if more => Verdict::Holds(format!("{count} {what} within {}", span(within)), 0),
        true => Verdict::Unknown,
        false => Verdict::Calm(within),
    }
}

fn is_silent(watch: &Watch, figures: &Figures) -> Verdict {
    let Some(most) = watch.coordinator else { return Verdict::Unwatched };
    match figures.coordinator {
        Some(silence) if silence > most => {
            Verdict::Holds(format!("the coordinator has not answered for {}", span(silence)), 0)
        }
        Some(_) => Verdict::Lasts,
        None => Verdict::Calm(most.min(CALM)),
    }
}

/// A time in words: `75 s`, `5 min`, `2 h`.
fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
