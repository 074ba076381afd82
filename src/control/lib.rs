//! The client's side of the control socket: requests, replies, and the apps that can be asked.
//!
//! A peer connects, sends one [`Request`] as JSON on one line, and gets one JSON object and the end of the connection.
//! A peer that sends nothing gets a [`Snapshot`], as in versions without requests. Replies come from a process of the
//! app's user and cannot be trusted: their text must be made harmless before it is shown.
#![doc = include_str!("protocol.md")]

mod client;
mod figures;
mod find;
mod headline;
mod history;
mod page;
mod request;
mod snapshot;
mod steered;
mod systemd;

pub use client::{AskError, ask, raw, request};
pub use figures::{ClassFigures, Figures, Metrics, MetricsRow, Point, QueueFigures, QueueSeries, Series, Stats};
pub use find::{Found, find, find_all, find_knowing, verdicts};
pub use history::{EVENT_KINDS, Happening, Happenings, Job, JobState, Jobs, Timeline};
pub use page::PageAnswer;
pub use request::{
    Act, Acted, BrokenAct, BrokenMessages, CancelJobs, Chosen, Entrusted, EntrustedEnd, ErrandKind, EventsFilter,
    FailedJobs, JobsFilter, LARGEST_REQUEST, MoveJobs, Request, StatsFilter,
};
pub use snapshot::{
    Failure, Paused, Process, Queue, RunningJob, Sizes, Snapshot, State, TierLoad, VERSION, WaitingJob,
};
pub use steered::{BrokenMessage, Cancelled, Moved, PausedClass, PoolSize, Quarantine, QuarantinedClass};
pub use systemd::{Verdict, blocks, show};

/// The group whose members may connect.
pub const GROUP: &str = "kqueue";
