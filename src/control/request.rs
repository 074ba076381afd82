//! Requests on the control socket. Pure data.

use serde::{Deserialize, Serialize};

use crate::history::JobState;
use crate::steered::BrokenMessage;

/// Bytes of the largest request that is read, its line break included.
pub const LARGEST_REQUEST: u64 = 64 << 10;

/// One request: `{"ask":"jobs","state":"failed","limit":20}` and a line break.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// The current state: [`Snapshot`](crate::Snapshot).
    Snapshot,
    /// Jobs: [`Jobs`](crate::Jobs).
    Jobs(JobsFilter),
    /// Everything known about one job: [`Timeline`](crate::Timeline).
    Job {
        /// Its uuid.
        uuid: String,
        /// Whether to include its payload. Only the app's user and root get it.
        #[serde(default)]
        payload: bool,
    },
    /// Figures by class and queue: [`Stats`](crate::Stats).
    Stats(StatsFilter),
    /// Figures over time: [`Series`](crate::Series).
    Series {
        /// Selects the figures.
        #[serde(flatten)]
        filter: StatsFilter,
        /// Maximum number of points; the span of one is a whole number of minutes or hours.
        #[serde(default)]
        points: u32,
        /// Whether to include each queue separately.
        #[serde(default)]
        by_queue: bool,
    },
    /// Events other than those of jobs: [`Happenings`](crate::Happenings).
    Events(EventsFilter),
    /// Counters and histograms since the runtime's start: [`Metrics`](crate::Metrics).
    Metrics,
    /// Classes that run isolated because they have killed processes: [`Quarantine`](crate::Quarantine).
    Quarantine,
    /// A page of the dashboard: [`PageAnswer`](crate::PageAnswer). Only for the app's own route to its dashboard. A
    /// server for several apps renders pages itself from other replies: it must not trust a page made by a runtime.
    Page {
        /// The page's path below the mount point: `jobs`; empty for the first page.
        #[serde(default)]
        path: String,
        /// Its query, without the question mark.
        #[serde(default)]
        query: String,
        /// The mount point of the pages: `/kqueue`.
        #[serde(default)]
        base: String,
        /// Present if the viewer may act. The page's forms carry this token, by which the app verifies that they are
        /// its own.
        #[serde(default)]
        token: Option<String>,
    },
    /// A form of such a page: it is carried out, and answered with a [`PageAnswer`](crate::PageAnswer). Needs
    /// permission to act.
    Form {
        /// The action: `pause`.
        deed: String,
        /// Its fields, encoded as a browser sends them.
        #[serde(default)]
        fields: String,
        /// The mount point of the pages.
        #[serde(default)]
        base: String,
        /// The user who sent it.
        #[serde(default)]
        by: String,
    },
    /// An action on behalf of a user other than the peer: [`Acted`](crate::Acted). Needs permission to act.
    OnBehalf {
        /// That user's name: for the log, beside the peer's own.
        by: String,
        /// The action.
        act: Act,
    },
    /// An action: [`Acted`](crate::Acted). Needs permission to act.
    #[serde(untagged)]
    Act(Act),
}

/// Actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Act {
    /// Start no further jobs of a queue or a class. Running jobs continue.
    Pause {
        /// The queue; every queue if class is absent too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The class; the last part of its name is enough if a known class ends with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
        /// Duration in seconds; absent: until it is resumed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Resume a queue or a class that an operator has paused.
    Resume {
        /// The queue; everything if class is absent too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The class.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
    },
    /// End the quarantine of a class.
    Lift {
        /// The class; its last part is enough.
        class: String,
    },
    /// Cancel jobs of this runtime: running ones, and reserved ones that wait. Answered with
    /// [`Cancelled`](crate::Cancelled).
    Cancel(CancelJobs),
    /// As [`Act::Cancel`], and through the app's own PHP also jobs that are not reserved: for clients that cannot run
    /// that PHP. Answered with [`Acted`](crate::Acted).
    CancelEverywhere(CancelJobs),
    /// Move waiting jobs of this runtime. Answered with [`Moved`](crate::Moved).
    Move(MoveJobs),
    /// As [`Act::Move`], and through the app's own PHP also jobs that are not reserved. Answered with
    /// [`Acted`](crate::Acted).
    MoveEverywhere(MoveJobs),
    /// Change the maximum number of pooled workers.
    Pool {
        /// The number; absent: that of the settings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<usize>,
        /// Duration in seconds; absent: until it is reset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Put failed jobs back into their queues, as `queue:retry` does.
    RetryFailed(FailedJobs),
    /// Remove failed jobs from Laravel's table of failed jobs.
    ForgetFailed(FailedJobs),
    /// List, put back or drop messages that were set aside because Laravel cannot run them, through the app's own PHP.
    /// Answered with [`Acted`](crate::Acted).
    Broken(BrokenMessages),
    /// What the command line has the app's PHP do, for those who cannot run it. Answered with
    /// [`EntrustedEnd`](crate::EntrustedEnd).
    Errand(Entrusted),
    /// Replace a process after its current job.
    Recycle {
        /// The process's number; absent: all processes, pooled workers one by one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<u64>,
    },
}

/// Selects waiting and running jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chosen {
    /// By uuid; empty: all jobs that match the other fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uuids: Vec<String>,
    /// Of this class; the last part of its name is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// The jobs to cancel, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CancelJobs {
    /// The jobs.
    #[serde(flatten)]
    pub chosen: Chosen,
    /// Delete the jobs instead of failing them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
    /// Dry run: only report the jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry: bool,
}

/// The jobs to move, and where to: to the front of their queues, to another queue, or, delayed ones, to now. With none of
/// these, they are only listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveJobs {
    /// The jobs.
    #[serde(flatten)]
    pub chosen: Chosen,
    /// To the front of their queues.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub front: bool,
    /// The jobs given by uuid are already at the front of their queues: those that arrive here later run before those
    /// that are here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub coming: bool,
    /// To this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Make delayed jobs due. The runtime itself holds none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
    /// Dry run: only report the jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry: bool,
}

/// Selects failed jobs: one, or all of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedJobs {
    /// One job, by uuid or by its id in Laravel's table of failed jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Jobs of this class; the last part of its name is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// What to do with messages that were set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenAct {
    /// List them; one that is named with its contents, which only the app's user and root get.
    #[default]
    List,
    /// Put them back into their queue.
    Requeue,
    /// Remove them.
    Drop,
}

/// Selects messages that were set aside: one, or all of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokenMessages {
    /// What to do with them.
    pub act: BrokenAct,
    /// The queue that they were set aside from.
    pub queue: String,
    /// One message, by the id in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// New contents of one message that is put back. Only the app's user and root may give them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// Which command a task is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrandKind {
    /// `kqueue failed`.
    #[default]
    Failed,
    /// `kqueue broken`.
    Broken,
    /// `kqueue cancel`: jobs that are not reserved.
    Cancel,
    /// `kqueue move`: jobs that are not reserved.
    Move,
}

impl ErrandKind {
    /// The mode of `worker.php` that carries it out.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Cancel => "cancel",
            Self::Move => "move",
        }
    }

    /// The kind of this mode.
    pub fn of(mode: &str) -> Option<Self> {
        [Self::Failed, Self::Broken, Self::Cancel, Self::Move].into_iter().find(|kind| kind.mode() == mode)
    }
}

/// A task for the app's PHP. It can name no text to match and no new contents: these concern what is in a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entrusted {
    /// For which command.
    pub kind: ErrandKind,
    /// Of `failed`: `list`, `retry`, `forget`. Of `broken`: `list`, `requeue`, `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// The ids of failed jobs or broken messages; empty: all that match the other fields.
    pub ids: Vec<String>,
    /// The uuids of waiting jobs; empty: all that match the other fields.
    pub uuids: Vec<String>,
    /// The queues to look through; empty: those of the app.
    pub queues: Vec<String>,
    /// Failed jobs of this queue.
    pub queue: Option<String>,
    /// Jobs of this class; the last part of its name is enough.
    pub class: Option<String>,
    /// Waiting jobs with this tag.
    pub tag: Option<String>,
    /// Jobs that failed at this time or later, in seconds since 1970.
    pub since: Option<u64>,
    /// Maximum number in a list.
    pub limit: u32,
    /// Only count what is selected.
    pub dry: bool,
    /// Delete cancelled jobs instead of failing them.
    pub delete: bool,
    /// Where to: `front`, `now`, or `to` another queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// That queue.
    pub to: Option<String>,
}

impl Entrusted {
    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        !self.dry && self.act.as_deref() != Some("list")
    }
}

/// The result of such a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntrustedEnd {
    /// The version of this format.
    pub version: u32,
    /// What PHP has answered, without the contents of jobs.
    pub answers: Vec<serde_json::Value>,
    /// Why it has failed, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it still runs; the result will be in the log.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
}

/// The result of an action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acted {
    /// The version of this format.
    pub version: u32,
    /// Messages, one line each.
    pub said: Vec<String>,
    /// What [`Act::Broken`] has listed, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<BrokenMessage>,
}

/// Selects events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventsFilter {
    /// Those that began or ended at this time or later, in seconds since 1970.
    pub since: u64,
    /// Those that began before this second had passed, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Of these kinds; empty: of every kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Maximum number, latest first; 0 is the runtime's default.
    pub limit: u32,
}

/// Selects jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobsFilter {
    /// Only jobs in this state; absent: jobs that have ended, latest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// Of this class; the last part of its name is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// With this text in their uuid, class, queue, tags or cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// That ended (or were queued, where they have not) at this time or later, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// That ended before this time, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The `next` of an earlier reply, to continue from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Maximum number; 0 is the runtime's default.
    pub limit: u32,
}

/// Selects figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsFilter {
    /// Of this class; the last part of its name is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// From this time, in seconds since 1970; absent: the last hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Up to this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_short_lines() {
        let jobs = Request::Jobs(JobsFilter { state: Some(JobState::Failed), limit: 20, ..JobsFilter::default() });
        let pause = Request::Act(Act::Pause { queue: Some("mail".to_owned()), class: None, seconds: Some(60) });
        let chosen = Chosen { class: Some("A".to_owned()), ..Chosen::default() };
        let cancel = Request::Act(Act::Cancel(CancelJobs { chosen, delete: true, dry: false }));
        let chosen = Chosen { uuids: vec!["u".to_owned()], ..Chosen::default() };
        let of_class = Chosen { class: Some("A".to_owned()), ..Chosen::default() };
        let to_now = MoveJobs { chosen: of_class, now: true, ..MoveJobs::default() };
        let to_now = Request::Act(Act::MoveEverywhere(to_now));
        let to_front = Request::Act(Act::Move(MoveJobs { chosen, front: true, ..MoveJobs::default() }));
        for (request, text) in [
            (Request::Snapshot, r#"{"ask":"snapshot"}"#),
            (jobs, r#"{"ask":"jobs","state":"failed","limit":20}"#),
            (Request::Metrics, r#"{"ask":"metrics"}"#),
            (pause, r#"{"ask":"pause","queue":"mail","seconds":60}"#),
            (Request::Act(Act::Recycle { worker: Some(7) }), r#"{"ask":"recycle","worker":7}"#),
            (cancel, r#"{"ask":"cancel","class":"A","delete":true}"#),
            (to_front, r#"{"ask":"move","uuids":["u"],"front":true}"#),
            (to_now, r#"{"ask":"move_everywhere","class":"A","now":true}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        let series: Request = serde_json::from_str(r#"{"ask":"series","queue":"mail","points":60}"#).unwrap();
        let filter = StatsFilter { queue: Some("mail".to_owned()), ..StatsFilter::default() };
        assert_eq!(series, Request::Series { filter, points: 60, by_queue: false });
        assert!(serde_json::from_str::<Request>(r#"{"ask":"moon"}"#).is_err());
    }
}
