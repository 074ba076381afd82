//! Decides which alerts begin and end: timestamped figures in, changes out. Pure: no clock, no I/O.
//!
//! An alert is an episode: it begins once and ends once, however often the figures are evaluated. A figure that
//! oscillates around its limit is one episode: it ends when the figure has been below the limit for a calm period,
//! which is the limit itself for times (a minute at most) and the window for rates. Unknown figures (a queue that does
//! not answer) change nothing. Callers store the episodes, which outlive a restart.

#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schedule::Now;
use window::{Least, Window};

/// Upper bound of the calm period for limits that are times, in milliseconds.
const CALM: u64 = 60_000;
/// The window in which the growth of a queue is measured, in milliseconds.
pub const GROWTH: u64 = 600_000;

/// The kind of an alert. The serialised names are the keys of `[alerts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Jobs of a queue wait too long.
    Wait,
    /// A queue grows.
    BacklogGrowth,
    /// Many jobs fail.
    FailureRate,
    /// Many processes are killed at their memory limit.
    OomRate,
    /// Many processes die.
    CrashRate,
    /// The app runs, but its jobs do not run as they should.
    Degraded,
    /// The coordinator does not answer.
    CoordinatorGone,
    /// The runtime is not running.
    Down,
    /// A test of the targets.
    Test,
}

impl Kind {
    /// The serialised name.
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

/// A number of events in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Often {
    /// Minimum number of events.
    pub times: u64,
    /// The window, in milliseconds.
    pub span: u64,
}

/// The limits that are watched; times are milliseconds. Absent ones are not watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Maximum wait of a job.
    pub wait: Option<u64>,
    /// Maximum wait by queue, in place of `wait`.
    pub waits: BTreeMap<String, u64>,
    /// Maximum growth of a queue within [`GROWTH`], in jobs.
    pub growth: Option<u64>,
    /// Failed jobs.
    pub failures: Option<Often>,
    /// Processes killed at their memory limit.
    pub oom: Option<Often>,
    /// Processes that died.
    pub crashes: Option<Often>,
    /// Maximum time of being degraded.
    pub degraded: Option<u64>,
    /// Maximum time without an answer of the coordinator.
    pub coordinator: Option<u64>,
}

impl Watch {
    /// The maximum wait of a queue, in milliseconds.
    fn wait_of(&self, queue: &str) -> Option<u64> {
        self.waits.get(queue).copied().or(self.wait)
    }

    /// Whether the depths of queues are needed.
    #[must_use]
    pub fn queues(&self) -> bool {
        self.wait.is_some() || !self.waits.is_empty() || self.growth.is_some()
    }

    /// The shortest time among the limits, in milliseconds; a minute stands for the growth of queues.
    #[must_use]
    pub fn shortest(&self) -> Option<u64> {
        let often = [self.failures, self.oom, self.crashes].into_iter().flatten().map(|often| often.span);
        let times = [self.wait, self.degraded, self.coordinator, self.growth.map(|_| CALM)].into_iter().flatten();
        often.chain(times).chain(self.waits.values().copied()).min()
    }
}

/// The jobs of a queue that are ready to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Number of jobs.
    pub jobs: u64,
    /// Wait of the oldest one so far in milliseconds, if known.
    pub oldest: Option<u64>,
}

/// The current figures of an app.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The runtime has started to process jobs.
    pub up: bool,
    /// Each queue that is worked; `None` if its depth is unknown.
    pub queues: BTreeMap<String, Option<Depth>>,
    /// Jobs that failed permanently since the start.
    pub failed: u64,
    /// Processes killed at their memory limit, since the start.
    pub oom: u64,
    /// Processes that died, since the start.
    pub crashed: u64,
    /// The reason why jobs do not run as they should, if so.
    pub degraded: Option<String>,
    /// Milliseconds since the coordinator stopped answering; `None` while it answers.
    pub coordinator: Option<u64>,
}

/// An alert that has begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// The kind of the alert.
    pub kind: Kind,
    /// The queue; empty if the alert is not about a queue.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// Start, in epoch seconds.
    pub since: u64,
    /// When the condition last held, in epoch seconds.
    pub seen: u64,
    /// The text of the alert when it began.
    pub said: String,
    /// For [`Kind::BacklogGrowth`]: jobs in the queue before it grew.
    #[serde(default)]
    pub base: u64,
}

/// The begin or the end of an episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// True for a begin, false for an end.
    pub begun: bool,
    /// The episode.
    pub episode: Episode,
    /// The message, one line without the app's name.
    pub text: String,
}

/// The open episodes, and the windows of the figures that conditions depend on.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    open: BTreeMap<(Kind, String), Episode>,
    failures: Window,
    oom: Window,
    crashes: Window,
    least: BTreeMap<String, Least>,
    degraded: Option<u64>,
}

/// The result of one evaluation for one alert.
enum Verdict {
    /// The condition holds: the text, and the jobs of the queue before its growth.
    Holds(String, u64),
    /// An open episode goes on; none begins.
    Lasts,
    /// The condition does not hold; an open episode ends once that has lasted for so many milliseconds.
    Calm(u64),
    /// The figures are unknown.
    Unknown,
    /// The alert is not configured, or the queue no longer worked.
    Unwatched,
}

impl Alerts {
    /// With the stored open episodes.
    #[must_use]
    pub fn new(open: Vec<Episode>) -> Self {
        let open = open.into_iter().map(|episode| ((episode.kind, episode.queue.clone()), episode)).collect();
        Self { open, ..Self::default() }
    }

    /// The open episodes.
    pub fn open(&self) -> impl Iterator<Item = &Episode> {
        self.open.values()
    }

    /// Evaluates the figures and returns the episodes that begin or end.
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

    /// The queues that are worked, and those with open episodes.
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
            // An episode may be open from before a restart, which reset the time.
            false => Verdict::Lasts,
        }
    }

    /// Begins, continues or ends the episode of an alert.
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

/// Formats milliseconds: `75 s`, `5 min`, `2 h`.
fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
