//! Answers requests on the control socket: from the runtime's own tables at once, from history and queue beside the
//! loop.

use std::collections::HashMap;

use kqueue_control::{Job, JobState, Jobs, JobsFilter, Request, Timeline, VERSION};
use kqueue_core::schedule::{JobId, WorkerView};
use kqueue_system::harmless;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Runtime;
use super::held::epoch_ms;
use super::held::record::Record;
use super::listing::{Place, Search};
use super::status::NAME;
use crate::backend::Listing;
use crate::control::{Ask, unable};
use crate::history::{is_wanted, why};

/// Jobs in one reply: the default and the maximum.
const PAGE: (usize, usize) = (50, 500);
/// Maximum bytes of a payload in a reply.
const PAYLOAD: usize = 1 << 20;

impl Runtime {
    pub(super) fn answer(&mut self, Ask { request, owner, who, answer }: Ask) {
        let recorder = self.recorder.clone();
        match request {
            Request::Snapshot => self.tell_snapshot(answer),
            Request::Jobs(filter) => match filter.state {
                Some(JobState::Running) => send(answer, &self.own_jobs(&filter)),
                Some(JobState::Waiting) => self.tell_queued(filter, Listing::Waiting, answer),
                Some(JobState::Delayed) => self.tell_queued(filter, Listing::Delayed, answer),
                _ => beside(answer, async move { recorder.jobs(filter).await }),
            },
            Request::Job { uuid, payload } => {
                let timeline = self.timeline(&uuid, payload && owner);
                let filter = JobsFilter { text: Some(uuid.clone()), ..JobsFilter::default() };
                let search = |which, state| self.search(JobsFilter { state: Some(state), ..filter.clone() }, which);
                let searches =
                    [search(Listing::Waiting, JobState::Waiting), search(Listing::Delayed, JobState::Delayed)];
                beside(answer, async move {
                    let (mut attempts, events, lacks) = recorder.job(uuid.clone()).await;
                    let mut lacks = [timeline.lacks, lacks].concat();
                    let ended = |job: &Job| matches!(job.state, Some(JobState::Done | JobState::Failed));
                    let is_here = !timeline.attempts.is_empty() || attempts.last().is_some_and(ended);
                    attempts.extend(timeline.attempts);
                    if !is_here && !uuid.is_empty() {
                        let mut queued = Jobs::default();
                        for search in searches {
                            search.add_to(&mut queued).await;
                        }
                        attempts.extend(queued.jobs.into_iter().filter(|job| job.uuid == uuid).take(1));
                        lacks.extend(queued.lacks.into_iter().take(1));
                    }
                    Timeline { attempts, events, lacks, ..timeline }
                });
            }
            Request::Stats(filter) => {
                let queues = self.app.queues.clone();
                let limits = self.class_limits();
                beside(answer, async move {
                    let mut stats = recorder.stats(filter, queues).await;
                    stats.classes.iter_mut().for_each(|class| class.memory_limit = limits.of(class));
                    stats
                });
            }
            Request::Series { filter, points, by_queue } => {
                beside(answer, async move { recorder.series(filter, points, by_queue).await });
            }
            Request::Events(filter) => beside(answer, async move { recorder.events(filter).await }),
            Request::Metrics => send(answer, &self.metrics()),
            Request::Quarantine => send(answer, &self.quarantine()),
            Request::Act(act) if owner || self.settings.operators => self.steer(act, owner, &who, answer),
            Request::Act(_) => {
                let why = "only the app's user and root may do that, and the group kqueue if the app's file in \
                           /etc/kqueue sets operators = true";
                drop(answer.send(unable(why)));
            }
            // Composed by the control socket from the replies above.
            Request::Page { .. } | Request::Form { .. } | Request::OnBehalf { .. } => {}
        }
    }

    /// Replies with jobs that do not run: held ones first, then those not reserved.
    fn tell_queued(&self, filter: JobsFilter, which: Listing, answer: oneshot::Sender<Vec<u8>>) {
        let place = filter.after.as_deref().and_then(Place::read);
        let mut told = match which {
            Listing::Waiting if place.is_none() => self.own_jobs(&filter),
            _ => Jobs { version: VERSION, ..Jobs::default() },
        };
        if told.next.is_some() {
            return send(answer, &told);
        }
        let search = self.search(filter, which);
        beside(answer, async move {
            search.add_to(&mut told).await;
            told
        });
    }

    /// A search in the queues for jobs that are not reserved.
    fn search(&self, filter: JobsFilter, which: Listing) -> Search {
        Search {
            looker: self.queue.looker(),
            queues: self.app.queues.clone(),
            from: filter.after.as_deref().and_then(Place::read).unwrap_or_default(),
            limit: page(filter.limit),
            settings: self.settings.clone(),
            filter,
            which,
        }
    }

    /// Running and waiting jobs that are held, in the order in which they were reserved.
    fn own_jobs(&self, filter: &JobsFilter) -> Jobs {
        let limit = page(filter.limit);
        let after: JobId = filter.after.as_ref().and_then(|after| after.parse().ok()).unwrap_or(0);
        let running = self.running_jobs();
        let mut ids: Vec<JobId> = self.held.iter().map(|(id, _)| id).filter(|id| *id > after).collect();
        ids.sort_unstable();
        let jobs = ids.into_iter().filter_map(|id| Some((id, self.own_job(id, self.held.get(id)?, &running))));
        let mut found: Vec<(JobId, Job)> =
            jobs.filter(|(_, job)| is_wanted(job, filter)).take(limit.saturating_add(1)).collect();
        let mut next = None;
        if found.len() > limit {
            found.truncate(limit);
            next = found.last().map(|(id, _)| id.to_string());
        }
        Jobs { version: VERSION, jobs: found.into_iter().map(|(_, job)| job).collect(), next, lacks: Vec::new() }
    }

    /// The processes that run jobs, by job.
    pub(super) fn running_jobs(&self) -> HashMap<JobId, WorkerView> {
        self.schedule.workers().filter_map(|view| Some((view.job?, view))).collect()
    }

    /// The reply's entry of a held job.
    fn own_job(&self, id: JobId, record: &Record, running: &HashMap<JobId, WorkerView>) -> Job {
        let name = |text: &str| harmless::line(text, NAME);
        let now = epoch_ms();
        let view = running.get(&id);
        let route = self.schedule.route_of(id);
        let tier = view.map(|view| view.tier).or(route.map(|route| route.tier));
        let started = record.started.filter(|_| view.is_some());
        let usage = record.usage();
        Job {
            uuid: name(&record.uuid),
            class: name(&record.class),
            queue: name(&record.reservation.queue),
            tags: record.tags.iter().map(|tag| name(tag)).collect(),
            state: Some(if view.is_some() { JobState::Running } else { JobState::Waiting }),
            attempt: record.attempt,
            tier: tier.map(|tier| tier.name().to_owned()),
            why: route.zip(tier).map(|(route, tier)| why(route, tier)),
            worker: view.map(|view| view.id),
            queued: Some(record.queued),
            due: None,
            started,
            ended: None,
            wait_ms: Some(started.unwrap_or(now).saturating_sub(record.ready)),
            ms: started.map(|started| now.saturating_sub(started)),
            memory_peak: usage.memory_peak,
            cpu_usec: usage.cpu_usec,
            timeout: Some(self.seconds_for(record)),
            cause: None,
        }
    }

    /// The timeline of one job from the runtime's own tables. `payload`: whether to include its payload.
    fn timeline(&self, uuid: &str, payload: bool) -> Timeline {
        let own = self.held.iter().find(|(_, record)| record.uuid == uuid && !uuid.is_empty());
        let running = self.running_jobs();
        let mut lacks = Vec::new();
        let payload = own.filter(|_| payload).and_then(|(_, record)| {
            let bytes = &record.reservation.payload;
            if bytes.len() > PAYLOAD {
                lacks.push(format!("the payload is too large to be shown: {} bytes", bytes.len()));
            }
            (1..=PAYLOAD).contains(&bytes.len()).then(|| String::from_utf8_lossy(bytes).into_owned())
        });
        Timeline {
            version: VERSION,
            uuid: harmless::line(uuid, NAME),
            attempts: own.map(|(id, record)| self.own_job(id, record, &running)).into_iter().collect(),
            events: Vec::new(),
            journal: self.journal(uuid),
            payload,
            lacks,
        }
    }

    /// The command that shows the output of a job, if that is in the journal.
    fn journal(&self, uuid: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let named = !uuid.is_empty() && uuid.len() <= NAME && uuid.chars().all(is_plain);
        // Set by the service manager if our output goes to the journal.
        let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
        (named && in_journal).then(|| {
            let app = &self.settings.app;
            let unit = format!("kqueue@{app}.service");
            match kqueue_system::systemd::process::is_in(std::process::id() as i32, &unit) {
                true => format!("journalctl -u kqueue@{app} KQUEUE_JOB={uuid}"),
                false => format!("journalctl KQUEUE_APP={app} KQUEUE_JOB={uuid}"),
            }
        })
    }
}

/// The maximum number of jobs in a reply.
fn page(limit: u32) -> usize {
    match usize::try_from(limit).unwrap_or(PAGE.1) {
        0 => PAGE.0,
        limit => limit.min(PAGE.1),
    }
}

/// Sends a reply once it is available, without blocking the loop.
fn beside<T: Serialize + 'static>(answer: oneshot::Sender<Vec<u8>>, made: impl Future<Output = T> + 'static) {
    tokio::task::spawn_local(async move { send(answer, &made.await) });
}

fn send(answer: oneshot::Sender<Vec<u8>>, told: &impl Serialize) {
    let _ = answer.send(serde_json::to_vec(told).unwrap_or_default());
}
