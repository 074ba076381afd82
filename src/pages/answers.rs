//! The requests of a view to a runtime, and the answers.

use kqueue_control::{Happenings, Jobs, Quarantine, Request, Series, Snapshot, Stats, Timeline};
use kqueue_system::harmless;
use serde::de::{DeserializeOwned, IgnoredAny};

/// Maximum entries in [`Answers::lacks`].
const LACKS: usize = 8;

/// The field of [`Answers`] that an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The current state.
    Snapshot,
    /// Figures by class and queue.
    Stats,
    /// Figures over time.
    Series,
    /// The jobs listed.
    Jobs,
    /// Running jobs.
    Running,
    /// Failed jobs.
    Failed,
    /// One job.
    Timeline,
    /// Events beside jobs.
    Events,
    /// Classes that run isolated because they killed processes.
    Quarantine,
}

/// A request, and the slot for its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// The slot.
    pub slot: Slot,
    /// The request.
    pub request: Request,
}

impl Need {
    /// A request for this slot.
    pub fn new(slot: Slot, request: Request) -> Self {
        Self { slot, request }
    }
}

/// The answers that a page is rendered from.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The current state.
    pub snapshot: Snapshot,
    /// Figures by class and queue.
    pub stats: Stats,
    /// Figures over time.
    pub series: Series,
    /// The jobs listed.
    pub jobs: Jobs,
    /// Running jobs.
    pub running: Jobs,
    /// Failed jobs.
    pub failed: Jobs,
    /// One job.
    pub timeline: Timeline,
    /// Events beside jobs.
    pub events: Happenings,
    /// Classes that run isolated because they killed processes.
    pub quarantine: Quarantine,
    /// What is missing and why, without duplicates.
    pub lacks: Vec<String>,
}

impl Answers {
    /// Stores an answer, as JSON, or the reason why there is none.
    pub fn put(&mut self, slot: Slot, answer: Result<&[u8], String>) {
        let told = match slot {
            Slot::Snapshot => take(answer, &mut self.snapshot, true, |_| &[]),
            Slot::Stats => take(answer, &mut self.stats, false, |stats| &stats.lacks),
            Slot::Series => take(answer, &mut self.series, false, |series| &series.lacks),
            Slot::Jobs => take(answer, &mut self.jobs, false, |jobs| &jobs.lacks),
            Slot::Running => take(answer, &mut self.running, false, |jobs| &jobs.lacks),
            Slot::Failed => take(answer, &mut self.failed, false, |jobs| &jobs.lacks),
            Slot::Timeline => take(answer, &mut self.timeline, false, |timeline| &timeline.lacks),
            Slot::Events => take(answer, &mut self.events, false, |events| &events.lacks),
            Slot::Quarantine => take(answer, &mut self.quarantine, false, |_| &[]),
        };
        match told {
            Ok(lacks) => lacks.into_iter().for_each(|lack| self.lack(&lack)),
            Err(why) => self.lack(&why),
        }
    }

    /// Notes that something is missing.
    pub fn lack(&mut self, why: &str) {
        let why = harmless::line(why, 300);
        if self.lacks.len() < LACKS && !self.lacks.contains(&why) {
            self.lacks.push(why);
        }
    }
}

/// The forms of a reply without an answer.
#[derive(serde::Deserialize)]
struct Unable {
    unable: Option<String>,
    refused: Option<IgnoredAny>,
    /// An old runtime, which reads no requests, always answers with its snapshot.
    launcher: Option<IgnoredAny>,
}

/// Parses an answer into its place. Returns what it reports as missing.
fn take<T: DeserializeOwned>(
    answer: Result<&[u8], String>,
    place: &mut T,
    is_snapshot: bool,
    lacks: impl Fn(&T) -> &[String],
) -> Result<Vec<String>, String> {
    let bytes = answer?;
    match serde_json::from_slice(bytes) {
        Ok(Unable { unable: Some(why), .. }) => return Err(why),
        Ok(Unable { refused: Some(_), .. }) => return Err("permission denied by the runtime".to_owned()),
        Ok(Unable { launcher: Some(_), .. }) if !is_snapshot => {
            return Err("the runtime is an older version, which does not support this request; restart it".to_owned());
        }
        _ => {}
    }
    *place = serde_json::from_slice(bytes).map_err(|_| "the runtime sent an invalid reply".to_owned())?;
    Ok(lacks(place).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_once_and_in_bounds() {
        let mut answers = Answers::default();
        answers.put(Slot::Stats, Ok(br#"{"version":1,"unable":"history is off"}"#));
        answers.put(Slot::Series, Err("history is off".to_owned()));
        answers.put(Slot::Jobs, Ok(br#"{"jobs":[{"uuid":"a"}],"lacks":["the queue\nmail cannot be listed"]}"#));
        answers.put(Slot::Snapshot, Ok(b"[]x"));
        answers.put(Slot::Failed, Ok(br#"{"version":1,"app":"shop","launcher":"process"}"#));
        answers.put(Slot::Snapshot, Ok(br#"{"version":1,"app":"shop","launcher":"process"}"#));
        assert_eq!(answers.snapshot.app, "shop");
        assert_eq!(answers.jobs.jobs.len(), 1);
        let nonsense = "the runtime sent an invalid reply";
        let older = answers.lacks.pop().unwrap();
        assert!(older.contains("older version"), "{older}");
        assert_eq!(answers.lacks, ["history is off", "the queue mail cannot be listed", nonsense]);
        (0..99).for_each(|number| answers.lack(&number.to_string()));
        assert_eq!(answers.lacks.len(), LACKS);
    }
}
