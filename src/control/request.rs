//! What may be asked. Touches nothing.

use serde::{Deserialize, Serialize};

use crate::history::JobState;

/// Bytes of the largest request that is read, its line break included.
pub const LARGEST_REQUEST: u64 = 16 << 10;

/// One request: `{"ask":"jobs","state":"failed","limit":20}` and a line break.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Everything at this moment: [`Snapshot`](crate::Snapshot).
    Snapshot,
    /// Jobs: [`Jobs`](crate::Jobs).
    Jobs(JobsFilter),
    /// Everything known of one job: [`Timeline`](crate::Timeline).
    Job {
        /// Its uuid.
        uuid: String,
        /// Whether its payload is asked for too. Only the app's user and root get it.
        #[serde(default)]
        payload: bool,
    },
    /// Figures by class and queue: [`Stats`](crate::Stats).
    Stats(StatsFilter),
    /// Figures over time: [`Series`](crate::Series).
    Series {
        /// What they are of.
        #[serde(flatten)]
        filter: StatsFilter,
        /// How many points there may be; the span of one is a whole number of minutes or hours.
        #[serde(default)]
        points: u32,
        /// Whether each queue is told by itself, too.
        #[serde(default)]
        by_queue: bool,
    },
    /// What happened beside jobs: [`Happenings`](crate::Happenings).
    Events {
        /// Not before this time, in seconds since 1970.
        #[serde(default)]
        since: u64,
        /// At most so many, the latest first; 0 is as many as the runtime thinks best.
        #[serde(default)]
        limit: u32,
    },
    /// Counters and histograms since the runtime's start: [`Metrics`](crate::Metrics).
    Metrics,
    /// Classes that run isolated because they have killed processes: [`Quarantine`](crate::Quarantine).
    Quarantine,
    /// A page of the dashboard: [`PageAnswer`](crate::PageAnswer). For the app's own door to it; whoever shows pages of
    /// several apps makes them of the other answers, for a page that a runtime makes is the word of its app.
    Page {
        /// Which one, below the place where they are mounted: `jobs`; empty for the first one.
        #[serde(default)]
        path: String,
        /// Its query, without the question mark.
        #[serde(default)]
        query: String,
        /// Where they are mounted: `/kqueue`.
        #[serde(default)]
        base: String,
        /// Whoever sees the page may act from it: what its forms are to carry so that the app knows them for its own.
        #[serde(default)]
        token: Option<String>,
    },
    /// A form of such a page: it is carried out, and answered with a [`PageAnswer`](crate::PageAnswer). For those who may act.
    Form {
        /// What it does: `pause`.
        deed: String,
        /// Its fields, as a browser sends them.
        #[serde(default)]
        fields: String,
        /// Where pages are mounted.
        #[serde(default)]
        base: String,
        /// Who has sent it.
        #[serde(default)]
        by: String,
    },
    /// Something is to be done on behalf of somebody else than the peer: [`Acted`](crate::Acted). For those who may act.
    OnBehalf {
        /// Whose: for the log, beside the peer's own name.
        by: String,
        /// What.
        act: Act,
    },
    /// Something is to be done: [`Acted`](crate::Acted). For those who may act.
    #[serde(untagged)]
    Act(Act),
}

/// What may be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Act {
    /// Start no further job of a queue or of a class. What runs, runs on.
    Pause {
        /// The queue; absent, and no class either: of every queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The class; its last part is enough where one that is known ends so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
        /// For so long; absent: until it is resumed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Go on with a queue or a class that an operator has paused.
    Resume {
        /// The queue; absent, and no class either: with everything.
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
    /// Cancel jobs that are this runtime's: those that run, and those that are reserved and wait. Answered with
    /// [`Cancelled`](crate::Cancelled).
    Cancel(CancelJobs),
    /// The same, and by the app's own PHP those that nobody has reserved: for whoever cannot ask that. Answered with
    /// [`Acted`](crate::Acted).
    CancelEverywhere(CancelJobs),
    /// Put jobs that are this runtime's and wait elsewhere. Answered with [`Moved`](crate::Moved).
    Move(MoveJobs),
    /// The same, and by the app's own PHP those that nobody has reserved. Answered with [`Acted`](crate::Acted).
    MoveEverywhere(MoveJobs),
    /// Change how many pooled workers there may be.
    Pool {
        /// So many; absent: as the settings say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<usize>,
        /// For so long; absent: until that is taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Put failed jobs back into their queues, as `queue:retry` does.
    RetryFailed(FailedJobs),
    /// Remove failed jobs from Laravel's record of them.
    ForgetFailed(FailedJobs),
    /// Let a process leave after its job, and another one take its place.
    Recycle {
        /// Its number; absent: every one, pooled workers one by one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<u64>,
    },
}

/// Which jobs, of those that wait or run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chosen {
    /// These, by uuid; none: all that the others pick.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uuids: Vec<String>,
    /// Of this class, or of one whose last part this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// Which jobs are to be cancelled, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CancelJobs {
    /// Which.
    #[serde(flatten)]
    pub chosen: Chosen,
    /// Remove them, and fail none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
    /// Only say which would be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry: bool,
}

/// Which jobs are to be put elsewhere, and where: to the front, to another queue, or to now. None of these: it is only asked which
/// there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveJobs {
    /// Which.
    #[serde(flatten)]
    pub chosen: Chosen,
    /// To the front of their queues.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub front: bool,
    /// Those that are named are at the front in their queues by now: those that are not here yet go before what is here as they
    /// come.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub coming: bool,
    /// To this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Delayed ones to now. The runtime has none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
    /// Only say which would be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry: bool,
}

/// Which failed jobs: one, or all of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedJobs {
    /// This one, by uuid or by the number that Laravel's record has for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Those of this class, or of one whose last part this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acted {
    /// The version of this form.
    pub version: u32,
    /// What came of it, in lines.
    pub said: Vec<String>,
}

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobsFilter {
    /// In this state alone; those that have ended, the latest first, where this is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// Of this class, or of one whose last part this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// With this in their uuid, class, queue, tags or cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// That ended (or were queued, where they have not) at this time or later, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// That ended before this time, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Goes on where an earlier answer ended: its `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many; 0 is as many as the runtime thinks best.
    pub limit: u32,
}

/// Which figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsFilter {
    /// Of this class, or of one whose last part this is.
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
