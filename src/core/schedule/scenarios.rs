//! The promises, one by one, in a world where everything takes the time it should and nothing is random.

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
    /// What it takes; [`u64::MAX`] is for ever.
    ms: u64,
    hints: Hints,
    tenant: Option<u64>,
    /// Its value of what its class is limited by.
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
    /// When a worker was sent to look for a job by itself.
    looks: Vec<u64>,
    exited: Option<u64>,
    /// Milliseconds until the app is needed.
    sight: Option<u64>,
    /// When it fell asleep.
    sleeps: Vec<u64>,
    /// Limits that hosts share, and that whoever keeps them does not answer.
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

    /// One that has booted what it keeps at rest.
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

    /// Takes what is there, as a backend does: from one queue after the other.
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
            // These workers claim nothing: all that is sent ahead comes back.
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

#[test]
fn three_jobs_of_three_seconds_take_three_seconds() {
    let mut shop = Shop::open(config());
    shop.push(3, task("Slow", 3_000));
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 3);
    let took = shop.done("Slow") - 1_000;
    assert!(took < 3_000 + 2 * BOOT, "took {took}");
}

#[test]
fn a_job_starts_at_once_on_an_idle_system() {
    let mut shop = Shop::open(config());
    shop.until(60_000);
    shop.push(1, task("Quick", 5));
    shop.until(61_000);
    let late = shop.starts[0].at - 60_000;
    assert!(late <= 2, "started after {late} ms");
}

fn unknown_light_jobs_pass_unknown_heavy_ones(config: Config) {
    let mut shop = Shop::open(config);
    shop.push(50, task("Heavy", 5_000));
    shop.push(100, task("Light", 10));
    shop.until(200_000);
    assert_eq!(shop.ends.len(), 150);
    assert_eq!(shop.starts_of("Light").len(), 100);
    // The second wave starts when the first of the heavy ones have ended.
    let second = shop.starts_of("Heavy")[0] + 5_000;
    assert!(shop.done("Light") < second, "light ones done at {}, second wave at {second}", shop.done("Light"));
}

#[test]
fn unknown_light_jobs_pass_unknown_heavy_ones_beside_a_pool_of_ten() {
    unknown_light_jobs_pass_unknown_heavy_ones(config());
}

#[test]
fn unknown_light_jobs_pass_unknown_heavy_ones_beside_a_pool_of_four() {
    unknown_light_jobs_pass_unknown_heavy_ones(Config { pool_size: 4, pool_max_size: 4, ..config() });
}

#[test]
fn a_heavy_isolated_job_never_delays_inline_ones() {
    let mut shop = Shop::open(config());
    shop.push(30, Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 20_000) });
    for n in 0..100 {
        shop.until(1_100 + n * 50);
        let light = Task { hints: Hints { isolated: Some(false), ..Hints::default() }, ..task("Light", 10) };
        shop.push(1, light);
    }
    shop.until(8_000);
    let starts = shop.starts_of("Light");
    assert_eq!(starts.len(), 100);
    for (n, start) in starts.iter().enumerate() {
        let late = start - (1_100 + n as u64 * 50);
        assert!(late <= 15, "job {n} waited for {late} ms");
    }
    assert_eq!(shop.starts_of("Report").len(), 5);
}

#[test]
fn a_full_tier_does_not_stop_the_others_until_too_many_wait() {
    let mut shop = Shop::open(Config { max_waiting: 40, ..config() });
    let alone = Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 100_000) };
    shop.push(20, alone.clone());
    shop.until(2_000);
    assert!(shop.queue.is_empty());
    assert!(shop.schedule.wanted(shop.now()) > 0);
    shop.push(100, alone);
    shop.until(3_000);
    assert_eq!(shop.schedule.waiting()[Tier::Isolated].len(), 40);
    assert_eq!(shop.schedule.wanted(shop.now()), 0);
}

#[test]
fn where_returning_a_job_counts_an_attempt_none_is_taken_that_would_wait_for_long() {
    let mut shop = Shop::open(Config { ahead: false, pool_size: 2, pool_max_size: 3, ..config() });
    // Of a class that is not known yet: it may be for any tier, and all are for the pool.
    let slow = Task {
        hints: Hints { estimated_duration: Some(Duration::from_secs(10)), ..Hints::default() },
        ..task("Slow", 60_000)
    };
    shop.push(30, slow);
    shop.until(20_000);
    let running = shop.starts_of("Slow").len();
    assert_eq!(running, 3);
    let waiting = shop.schedule.waiting()[Tier::Pooled].len();
    assert!(waiting <= config().max_concurrent[Tier::Inline].max(3), "{waiting} wait");
    assert_eq!(shop.schedule.wanted(shop.now()), 0);
    assert_eq!(shop.queue.len(), 30 - running - waiting);
}

#[test]
fn priority_orders_those_that_wait() {
    let mut shop = Shop::open(Config { pool_size: 1, pool_max_size: 1, pool_min_idle: 1, ..config() });
    let known = |class, priority| Task {
        hints: Hints { priority, estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() },
        ..task(class, 2_000)
    };
    shop.push(1, known("First", None));
    shop.push(1, known("Low", Some(-1)));
    shop.push(1, known("Plain", None));
    shop.push(1, known("High", Some(9)));
    shop.until(20_000);
    let order: Vec<_> = shop.starts.iter().map(|start| start.class).collect();
    assert_eq!(order, ["First", "High", "Plain", "Low"]);
}

#[test]
fn a_job_of_an_earlier_queue_goes_before_all_that_wait_from_later_ones() {
    let queues = vec!["high".to_owned(), "default".to_owned()];
    let mut shop = Shop::open(Config { queues, pool_size: 1, pool_max_size: 1, pool_min_idle: 1, ..config() });
    let known = |class, priority| Task {
        hints: Hints { priority, estimated_duration: Some(Duration::from_secs(2)), ..Hints::default() },
        ..task(class, 2_000)
    };
    shop.push(1, known("First", None));
    shop.push(2, known("Low", Some(9)));
    shop.until(500);
    shop.push(1, Task { queue: "high", ..known("Late", None) });
    shop.until(20_000);
    let order: Vec<_> = shop.starts.iter().map(|start| start.class).collect();
    assert_eq!(order, ["First", "Late", "Low", "Low"]);
}

#[test]
fn an_app_that_does_not_boot_is_tried_ever_less_often_and_nothing_is_reserved() {
    let mut shop = Shop::new(config());
    shop.broken = true;
    // Those of the first moment are fine.
    shop.until(100);
    let workers: Vec<_> = shop.schedule.workers().map(|worker| worker.id).collect();
    for worker in workers {
        shop.feed(Event::Gone { worker, cause: Cause::Exit(255), unread: false });
    }
    shop.until(120_000);
    assert_eq!(shop.schedule.wanted(shop.now()), 0);
    assert_eq!(shop.schedule.unready(), Some((Tier::Inline, &Cause::BootFailed("no".to_owned()))));
    let late = shop.launches.iter().filter(|(at, _)| *at > 60_000).count();
    assert!(late < 30, "{late} launches in a minute");
    // Once it boots again, all is as before.
    shop.broken = false;
    shop.queue.push_back(task("Quick", 5));
    shop.until(160_000);
    assert_eq!(shop.ends.len(), 1);
    assert_eq!(shop.schedule.unready(), None);
}

#[test]
fn a_restart_replaces_every_worker_and_drops_no_job() {
    let mut shop = Shop::open(config());
    shop.push(6, task("Slow", 3_000));
    shop.push(3, Task { hints: Hints { isolated: Some(true), ..Hints::default() }, ..task("Report", 3_000) });
    // Some run, and some are on their way.
    shop.until(1_050);
    let before: Vec<_> = shop.schedule.workers().map(|worker| worker.id).collect();
    shop.feed(Event::Restart);
    shop.until(20_000);
    assert_eq!(shop.ends.len(), 9);
    assert!(shop.ends.iter().all(|(_, outcome, _)| *outcome == Outcome::Done));
    assert_eq!(shop.starts.len(), 9);
    assert!(shop.schedule.workers().all(|worker| !before.contains(&worker.id)), "an old one is still there");
}

#[test]
fn it_ends_after_exactly_so_many_jobs() {
    let mut shop = Shop::open(Config { max_jobs: 7, ..config() });
    shop.push(20, task("Quick", 5));
    shop.until(10_000);
    assert!(shop.exited.is_some());
    assert_eq!((shop.ends.len(), shop.queue.len()), (7, 13));
}

#[test]
fn it_ends_when_the_queue_is_empty() {
    let mut shop = Shop::new(Config { stop_when_empty: true, ..config() });
    shop.push(25, task("Quick", 5));
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 25);
    assert!(shop.exited.is_some_and(|at| at < 2_000));
}

#[test]
fn an_answer_from_before_a_job_was_settled_does_not_end_it() {
    let mut shop = Shop::new(Config { stop_when_empty: true, ..config() });
    let asked = shop.schedule.settled();
    shop.push(1, task("Quick", 5));
    while shop.ends.is_empty() {
        let ((at, _), event) = shop.agenda.pop_first().expect("it runs");
        shop.now = at;
        shop.feed_once(event);
    }
    shop.feed_once(Event::Empty { settled: asked });
    assert_eq!(shop.exited, None);
    let settled = shop.schedule.settled();
    shop.feed_once(Event::Empty { settled });
    assert!(shop.exited.is_some());
}

#[test]
fn idle_workers_retire() {
    let mut shop = Shop::open(config());
    let inline = Hints { isolated: Some(false), ..Hints::default() };
    shop.push(200, Task { hints: inline, ..task("Lane", 300) });
    shop.push(40, task("Slow", 3_000));
    shop.until(60_000);
    assert_eq!(shop.ends.len(), 240);
    shop.until(120_000);
    assert_eq!((shop.live(Tier::Inline), shop.live(Tier::Pooled), shop.live(Tier::Isolated)), (1, 2, 0));
    assert!(shop.stops.iter().all(|(_, reason)| *reason == StopReason::Idle));
}

#[test]
fn in_maintenance_nothing_runs_and_afterwards_all_does() {
    let mut shop = Shop::open(config());
    shop.push(5, task("Slow", 3_000));
    shop.until(1_010);
    shop.feed(Event::State { down: true, paused: Vec::new() });
    let running = shop.starts.len();
    assert_eq!(shop.queue.len(), 5 - running);
    // It is asked for as long as it takes; the answer here is that it is over.
    shop.until(10_000);
    assert_eq!(shop.ends.len(), 5);
}
