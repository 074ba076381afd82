//! Scenarios, one per guarantee, in a world with fixed durations and no randomness.

mod cancel;
mod classes;
mod limits;
mod overruns;
mod pop;
mod reload;
mod requeue;
mod shared;
mod shares;
mod sleep;
mod whole;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::simulation::config;
use super::{
    Action, Cause, Config, Done, Event, Inspection, JobId, JobKind, JobSpec, Now, Outcome, Schedule, StopReason,
    WorkerId,
};
use crate::arbiter::Shared;
use crate::payload::{Hints, LimitHint};
use crate::routing::{History, Tier};

/// Milliseconds that a process takes to be ready.
const BOOT: u64 = 100;

/// A job on the queue.
#[derive(Clone)]
struct Task {
    class: &'static str,
    queue: &'static str,
    /// Its duration in milliseconds; [`u64::MAX`] never ends.
    ms: u64,
    hints: Hints,
    tenant: Option<u64>,
    /// Its limit key.
    key: Option<u64>,
}

fn task(class: &'static str, ms: u64) -> Task {
    Task { class, queue: "default", ms, hints: Hints::default(), tenant: None, key: None }
}

struct Start {
    class: &'static str,
    worker: WorkerId,
    kind: JobKind,
    at: u64,
}

struct Shop {
    schedule: Schedule,
    now: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    queue: VecDeque<Task>,
    tasks: BTreeMap<JobId, Task>,
    tiers: BTreeMap<WorkerId, Tier>,
    /// The app throws when it boots.
    broken: bool,
    starts: Vec<Start>,
    ahead: BTreeMap<WorkerId, Vec<JobId>>,
    ends: Vec<(JobId, Outcome, u64)>,
    launches: Vec<(u64, WorkerId)>,
    stops: Vec<(WorkerId, StopReason)>,
    kills: Vec<(WorkerId, Cause)>,
    /// When a worker was sent to look for a job.
    looks: Vec<u64>,
    exited: Option<u64>,
    /// Milliseconds until the app is needed.
    sight: Option<u64>,
    /// When it fell asleep.
    sleeps: Vec<u64>,
    /// Shared limits, and whether the arbiter fails to answer.
    shared: BTreeMap<String, Shared>,
    unheard: bool,
    /// Limits that classes declare.
    declared: BTreeMap<&'static str, LimitHint>,
}

impl Shop {
    fn new(config: Config) -> Self {
        let mut shop = Self {
            schedule: Schedule::new(config, History::new()),
            now: 0,
            agenda: BTreeMap::new(),
            sequence: 0,
            queue: VecDeque::new(),
            tasks: BTreeMap::new(),
            tiers: BTreeMap::new(),
            broken: false,
            starts: Vec::new(),
            ahead: BTreeMap::new(),
            ends: Vec::new(),
            launches: Vec::new(),
            stops: Vec::new(),
            kills: Vec::new(),
            looks: Vec::new(),
            exited: None,
            sight: None,
            sleeps: Vec::new(),
            shared: BTreeMap::new(),
            unheard: false,
            declared: BTreeMap::new(),
        };
        shop.feed_once(Event::Tick);
        shop
    }

    /// A shop after the boot of the processes that it keeps idle.
    fn open(config: Config) -> Self {
        let mut shop = Self::new(config);
        shop.until(1_000);
        shop
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.agenda.insert((at, self.sequence), event);
    }

    fn push(&mut self, count: usize, task: Task) {
        self.queue.extend(std::iter::repeat_n(task, count));
        self.reserve();
    }

    fn now(&self) -> Now {
        Now { ms: self.now, epoch: self.now / 1000 }
    }

    fn until(&mut self, end: u64) {
        while self.exited.is_none() {
            let due = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let wake = self.schedule.next_wake();
            let Some(next) = [due, wake].into_iter().flatten().min().filter(|at| *at <= end) else { break };
            assert!(due == Some(next) || next > self.now, "woken without end at {next}");
            self.now = self.now.max(next);
            let event = if due == Some(next) { self.agenda.pop_first().map(|(_, event)| event) } else { None };
            self.feed(event.unwrap_or(Event::Tick));
        }
        self.now = self.now.max(end);
    }

    fn reserve(&mut self) {
        while self.exited.is_none() {
            let tasks = self.take(self.schedule.wanted(self.now()));
            if tasks.is_empty() {
                break;
            }
            let specs = tasks.into_iter().map(|task| self.reserve_one(task)).collect();
            self.feed(Event::Reserved(specs));
        }
        if self.exited.is_none() && self.queue.is_empty() && self.schedule.wanted(self.now()) > 0 {
            let settled = self.schedule.settled();
            self.feed_once(Event::Empty { settled });
        }
    }

    /// Takes available tasks, as a backend does: from one queue after the other.
    fn take(&mut self, count: usize) -> Vec<Task> {
        let mut names = self.schedule.config.queues.clone();
        if names.is_empty() {
            names = vec!["default".to_owned()];
        }
        let mut tasks = Vec::new();
        for name in self.schedule.open_queues(&names) {
            while tasks.len() < count
                && let Some(at) = self.queue.iter().position(|task| task.queue == *name)
            {
                tasks.extend(self.queue.remove(at));
            }
        }
        tasks
    }

    fn reserve_one(&mut self, task: Task) -> JobSpec {
        let id = self.tasks.len() as JobId + 1;
        self.tasks.insert(id, task.clone());
        let Task { class, queue, hints, tenant, .. } = task;
        let key = self.schedule.is_limited_by(class).and(task.key);
        let (class, queue) = (class.to_owned(), queue.to_owned());
        JobSpec {
            id,
            class,
            wrapper: None,
            queue,
            bytes: 100,
            timeout: None,
            hints,
            tenant,
            key,
            cancel: None,
            front: 0,
        }
    }

    fn feed(&mut self, event: Event) {
        self.feed_once(event);
        self.reserve();
    }

    fn feed_once(&mut self, mut event: Event) {
        if let Event::Inspected(found) = &mut event {
            found.keys = self.tasks.iter().map(|(id, task)| (*id, task.key)).collect();
        }
        let mut out = Vec::new();
        self.schedule.on(self.now(), event, &mut out);
        for action in out {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::Launch { worker, tier, .. } => {
                self.launches.push((now, worker));
                self.tiers.insert(worker, tier);
                let cause = Cause::BootFailed("no".to_owned());
                let failed = Event::Gone { worker, cause, unread: false };
                self.at(now + BOOT, if self.broken { failed } else { Event::Ready { worker, done: None } });
            }
            Action::Pop(worker) => {
                self.looks.push(now);
                let found = if self.broken { None } else { self.queue.pop_front().map(|task| self.reserve_one(task)) };
                if self.broken {
                    self.at(now + 1, Event::PopFailed(worker));
                }
                let answer = found.map_or(Event::Ready { worker, done: None }, |job| Event::Popped { worker, job });
                self.at(now + 1, answer);
            }
            Action::Deliver { worker, job, kind, .. } => {
                let Task { class, ms, .. } = self.tasks[&job].clone();
                self.starts.push(Start { class, worker, kind, at: now });
                let mut done = Done { deleted: true, ..Done::default() };
                let mut at = now.checked_add(ms);
                if kind != JobKind::Run {
                    done.failed = true;
                    at = Some(now + 5);
                }
                if let Some(at) = at {
                    self.at(at, Event::Ready { worker, done: Some(done) });
                }
            }
            Action::Stop { worker, reason } => {
                self.stops.push((worker, reason));
                self.at(now + 2, Event::Gone { worker, cause: Cause::Exit(0), unread: false });
            }
            Action::Kill { worker, cause } => {
                self.kills.push((worker, cause));
                self.at(now + 1, Event::Gone { worker, cause: Cause::Signal(9), unread: false });
            }
            Action::Verify(job) => self.at(now + 1, Event::Verified { job, ours: true }),
            Action::Inspect(classes) => {
                let limits: Vec<_> =
                    classes.iter().map(|class| (class.clone(), self.declared.get(class.as_str()).cloned())).collect();
                let hints = classes.into_iter().map(|class| (class, Hints::default())).collect();
                self.at(now + 1, Event::Inspected(Inspection { hints, limits, ..Inspection::default() }));
            }
            Action::Share(claim) => {
                let grant = (!self.unheard).then(|| {
                    let kept = self.shared.entry(claim.name.clone()).or_default();
                    kept.ask(now, "this", &claim)
                });
                self.at(now + 1, Event::Shared { name: claim.name, call: claim.call, grant });
            }
            Action::Check(_) => self.at(now + 1, Event::State { down: false, paused: Vec::new() }),
            Action::Finished(finished) => self.ends.push((finished.job, finished.outcome, now)),
            Action::Exit => self.exited = Some(now),
            Action::Quarantined(_) => {}
            Action::Look => self.at(now + 1, Event::Sighted(self.sight)),
            Action::Sleep => self.sleeps.push(now),
            Action::Wake => self.at(now + BOOT, if self.broken { Event::BootFailed } else { Event::Booted }),
            // These workers claim nothing: all jobs sent ahead come back.
            Action::Ahead { worker, job } => self.ahead.entry(worker).or_default().push(job),
            Action::Recall(worker) => {
                let jobs = self.ahead.remove(&worker).unwrap_or_default();
                self.at(now, Event::Recalled { worker, jobs });
            }
            Action::Unreserve(jobs) => {
                for job in jobs.into_iter().rev() {
                    self.queue.push_front(self.tasks[&job].clone());
                }
            }
        }
    }

    fn starts_of(&self, class: &str) -> Vec<u64> {
        self.starts.iter().filter(|start| start.class == class).map(|start| start.at).collect()
    }

    /// When the last job of a class had ended.
    fn done(&self, class: &str) -> u64 {
        let of_class = |(job, ..): &&(JobId, Outcome, u64)| self.tasks[job].class == class;
        self.ends.iter().filter(of_class).map(|(.., at)| *at).max().unwrap_or(0)
    }

    fn live(&self, tier: Tier) -> usize {
        self.schedule.workers().filter(|worker| worker.tier == tier && worker.state != "leaving").count()
    }
}
