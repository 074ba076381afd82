//! The simulated world: an event-driven clock, a queue, PHP processes, and a driver that carries out a schedule's
//! actions as the runtime does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::check;
use super::fair;
use super::limits;
use super::model::*;
use super::rng::Rng;
use super::shared::Arbiter;
use super::steer::Steered;
use crate::routing::History;
use crate::schedule;
use crate::schedule::worker::Worker;
use crate::schedule::{Action, Config, Event, Inspection, JobId, Now, Outcome, Schedule, WorkerId};

pub const QUEUES: [&str; 2] = ["high", "default"];
/// Milliseconds after which a job left reserved comes back by itself.
pub(super) const RETRY_AFTER: u64 = 15_000;

pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub schedule: Schedule,
    pub faults: Faults,
    pub classes: Vec<Class>,
    pub messages: Vec<Message>,
    pub reservations: BTreeMap<JobId, Reservation>,
    pub processes: BTreeMap<WorkerId, Process>,
    /// Current signals of the app, and those last reported to the schedule.
    pub down: bool,
    pub paused: BTreeSet<String>,
    pub told: (bool, BTreeSet<String>),
    pub verifying: BTreeSet<JobId>,
    /// When the schedule was over, and when it was told to stop.
    pub exited: Option<u64>,
    pub stopping: Option<u64>,
    /// It was told to hand over.
    pub handing_over: bool,
    /// Adopted processes that the earlier runtime had told to leave, or that had announced it.
    pub extra: usize,
    /// Milliseconds that the clock has jumped since the stop.
    pub jumped: u64,
    pub healed: bool,
    pub steps: u64,
    pub ticks: u64,
    pub limits: limits::Account,
    pub fair: fair::Account,
    /// The arbiter of shared limits, and the name of this host.
    pub arbiter: Rc<RefCell<Arbiter>>,
    pub host: &'static str,
    /// Orders of operators, on top of the settings.
    pub steered: Steered,
    /// Print events and actions.
    tells: bool,
    pub(super) agenda: BTreeMap<(u64, u64), Next>,
    sequence: u64,
    pub(super) queue: BTreeMap<&'static str, Vec<Uid>>,
    pub(super) reserving: bool,
    /// The queues of the last call.
    pub(super) asked: Vec<String>,
    /// The last call found nothing and nothing has arrived since; no call before this time.
    pub(super) dry: Option<u64>,
    pub(super) next_job: JobId,
    out: Vec<Action>,
}

impl World {
    pub fn new(seed: u64, config: Config, faults: Faults) -> Self {
        let mut rng = Rng(seed);
        let classes = limits::declared(classes(), &config, &mut rng);
        Self {
            rng,
            now: 1_000,
            schedule: Schedule::new(config, History::new()),
            faults,
            classes,
            messages: Vec::new(),
            reservations: BTreeMap::new(),
            processes: BTreeMap::new(),
            down: false,
            paused: BTreeSet::new(),
            told: (false, BTreeSet::new()),
            verifying: BTreeSet::new(),
            exited: None,
            stopping: None,
            handing_over: false,
            extra: 0,
            jumped: 0,
            healed: false,
            steps: 0,
            ticks: 0,
            limits: limits::Account::default(),
            fair: fair::Account::default(),
            arbiter: Rc::default(),
            host: "one",
            steered: Steered::default(),
            tells: std::env::var_os("KQUEUE_SIM_SEED").is_some(),
            agenda: BTreeMap::new(),
            sequence: 0,
            queue: QUEUES.iter().map(|queue| (*queue, Vec::new())).collect(),
            reserving: false,
            asked: Vec::new(),
            dry: None,
            next_job: 1,
            out: Vec::new(),
        }
    }

    pub fn clock(&self) -> Now {
        Now { ms: self.now, epoch: self.now / 1000 }
    }

    pub fn at(&mut self, at: u64, next: Next) {
        self.sequence += 1;
        self.agenda.insert((at, self.sequence), next);
    }

    pub fn after(&mut self, low: u64, high: u64, next: Next) {
        let at = self.now + self.rng.between(low, high);
        self.at(at, next);
    }

    /// A latency: mostly close to nothing, sometimes long.
    pub fn latency(&mut self) -> u64 {
        if self.rng.chance(self.faults.slow) { self.rng.between(100, 3_000) } else { self.rng.below(3) }
    }

    /// Many jobs of the quickest class at the same time.
    pub fn burst(&mut self, at: u64, count: u64) {
        let quickest = self.classes.len() - 1;
        (0..count).for_each(|_| self.dispatch_of(quickest, at));
    }

    pub fn dispatch(&mut self, at: u64) {
        let class = self.rng.below(self.classes.len() as u64) as usize;
        self.dispatch_of(class, at);
    }

    fn dispatch_of(&mut self, class: usize, at: u64) {
        let timeout = *self.rng.pick(&[None, None, None, Some(2), Some(45), Some(120)]);
        let message = Message {
            class,
            queue: QUEUES[self.rng.below(2) as usize],
            bytes: self.rng.between(100, 3_000) as usize,
            timeout,
            priority: if self.rng.chance(100) { Some(self.rng.below(9) as i32 - 4) } else { None },
            attempts: 0,
            place: Place::Delayed,
            cancelled: false,
            front: 0,
        };
        self.messages.push(message);
        self.at(at, Next::Arrive(self.messages.len() - 1));
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.tells {
            eprintln!("{:>9} {}", self.now, what());
        }
    }

    /// Time of the next event.
    pub fn next_at(&self) -> Option<u64> {
        let due = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let wake = if self.exited.is_some() { None } else { self.schedule.next_wake() };
        due.into_iter().chain(wake).min()
    }

    /// Handles one event. False when there will never be another.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        if self.rng.chance(self.faults.jump) {
            let jump = self.rng.between(1_000, 100_000);
            self.now += jump;
            self.jumped += jump;
        }
        let due = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let wake = if self.exited.is_some() { None } else { self.schedule.next_wake() };
        if let Some(wake) = wake.filter(|wake| due.is_none_or(|due| *wake < due)) {
            self.now = self.now.max(wake);
            self.ticks += 1;
            self.feed(Event::Tick);
            return true;
        }
        let Some(((at, _), next)) = self.agenda.pop_first() else { return false };
        self.now = self.now.max(at);
        self.happen(next);
        self.reserve();
        check::sleep(self);
        true
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Tell(event) => self.tell(event),
            Next::Arrive(uid) | Next::Back(uid) => {
                let message = &mut self.messages[uid];
                message.place = Place::Queue;
                if let Some(queue) = self.queue.get_mut(message.queue) {
                    queue.push(uid);
                }
                self.dry = None;
            }
            Next::Pop { settled, count, queues } => self.pop(settled, count, &queues),
            Next::Give(jobs) => self.given(&jobs),
            Next::Share(claim) => self.share(&claim),
            Next::Verify(job) => {
                let ours = self.reservations.get(&job).is_some_and(|held| !held.lost && !held.is_settled());
                let at = self.now + self.latency();
                self.at(at, Next::Tell(Event::Verified { job, ours }));
            }
            Next::Chaos => self.chaos(),
            Next::Heal => {
                self.faults = NO_FAULTS;
                self.healed = true;
                self.down = false;
                self.paused.clear();
                self.let_go();
            }
            Next::Boot => self.boot(),
            Next::Started(worker) => self.started(worker),
            Next::Booted(worker) => self.booted(worker),
            Next::Frame(worker, frame) => self.frame(worker, frame),
            Next::Look(worker) => self.look(worker),
            Next::Ends(worker, job, way) => self.ends(worker, job, way),
            Next::Left(worker) => {
                let cause = crate::schedule::Cause::Exit(0);
                self.die(worker, cause);
            }
            Next::Gone(worker, cause) => {
                let process = &self.processes[&worker];
                // A message that was never read has not begun, even if sent to a dead process.
                let unread =
                    process.seen_job.is_some() && process.seen_job != process.read || !process.tickets.is_empty();
                self.tell(Event::Gone { worker, cause, unread });
            }
            Next::Killed(worker) => self.die(worker, crate::schedule::Cause::Signal(9)),
        }
    }

    /// Records what the event tells the schedule, and feeds it.
    pub fn tell(&mut self, mut event: Event) {
        limits::whose(self, &mut event);
        match &event {
            Event::Reserved(_) => (self.reserving, self.dry) = (false, None),
            Event::Empty { .. } => {
                self.reserving = false;
                // A job that arrived after the look is seen by the next one, which blocks.
                let is_dry = |queue: &String| self.queue.get(queue.as_str()).is_none_or(Vec::is_empty);
                if self.asked.iter().all(is_dry) {
                    self.dry = Some(self.now + 5_000);
                    self.at(self.now + 5_000, Next::Tell(Event::Tick));
                }
            }
            Event::Ready { worker, done } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    if done.is_some()
                        && let Some(job) = process.seen_job.take()
                    {
                        self.reservations.get_mut(&job).expect("known").at = None;
                    }
                    process.seen_idle = process.seen_job.is_none();
                }
            }
            Event::Popped { worker, job } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    process.seen_job = Some(job.id);
                    process.seen_idle = false;
                }
                self.reservations.get_mut(&job.id).expect("known").at = Some(*worker);
            }
            Event::Recalled { worker, .. } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    process.refused = self.schedule.workers.get(*worker).and_then(Worker::job);
                }
            }
            Event::Next { worker, job, .. } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    let last = process.seen_job.replace(*job).expect("it had one");
                    self.reservations.get_mut(&last).expect("known").at = None;
                    self.reservations.get_mut(job).expect("known").at = Some(*worker);
                }
            }
            Event::Stopping { worker, done, .. } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    process.off = true;
                    if done.is_some()
                        && let Some(job) = process.seen_job.take()
                    {
                        self.reservations.get_mut(&job).expect("known").at = None;
                    }
                }
            }
            Event::Gone { worker, unread, .. } => {
                let process = self.processes.remove(worker).expect("gone once");
                if let Some(job) = process.seen_job {
                    let held = self.reservations.get_mut(&job).expect("known");
                    held.at = None;
                    if !unread {
                        held.verified = false;
                    }
                }
            }
            Event::Verified { job, ours } => {
                self.verifying.remove(job);
                self.reservations.get_mut(job).expect("known").verified |= ours;
            }
            Event::Cancel { job, .. } => {
                let uid = self.reservations.get(job).expect("known").uid;
                self.messages[uid].cancelled = true;
            }
            Event::Requeue { job, place: schedule::Place::Away } => {
                let held = self.reservations.get_mut(job).expect("known");
                let other = QUEUES.iter().find(|queue| **queue != self.messages[held.uid].queue);
                held.to = other.copied();
            }
            Event::State { down, paused } => self.told = (*down, paused.iter().cloned().collect()),
            Event::Drain | Event::HandOver if self.stopping.is_none() => {
                self.handing_over = matches!(event, Event::HandOver);
                self.stopping = Some(self.now);
                self.jumped = 0;
            }
            _ => {}
        }
        self.feed(event);
    }

    fn feed(&mut self, event: Event) {
        let over = self.exited.is_some();
        let mut out = std::mem::take(&mut self.out);
        if !matches!(event, Event::Tick) {
            self.note(|| format!("{event:?}"));
        }
        let brought = matches!(event, Event::Reserved(_));
        self.schedule.on(self.clock(), event, &mut out);
        let exits = out.contains(&Action::Exit);
        for action in out.drain(..) {
            self.note(|| format!("    {action:?}"));
            if over && !matches!(&action, Action::Finished(finished) if finished.outcome == Outcome::Left) {
                assert!(brought && matches!(action, Action::Unreserve(_)), "after the end: {action:?}");
            }
            self.perform(action, exits);
        }
        self.out = out;
        self.steered.shrinks(&self.schedule);
        limits::all(self);
        fair::all(self);
        check::all(self);
    }

    fn perform(&mut self, action: Action, exits: bool) {
        check::action(self, &action, exits);
        limits::action(self, &action);
        fair::action(self, &action);
        match action {
            Action::Launch { worker, tier, .. } => {
                let process = Process {
                    tier,
                    doing: Doing::Booting,
                    read: None,
                    tickets: Default::default(),
                    refused: None,
                    inbox: Default::default(),
                    in_at: 0,
                    out_at: 0,
                    seen_idle: false,
                    seen_job: None,
                    off: false,
                    queues: Vec::new(),
                    quits: false,
                };
                self.processes.insert(worker, process);
                let at = self.now + self.latency();
                self.at(at, Next::Started(worker));
            }
            Action::Deliver { worker, job, kind, receipt, .. } => {
                let process = self.processes.get_mut(&worker).expect("checked");
                process.seen_idle = false;
                process.seen_job = Some(job);
                self.reservations.get_mut(&job).expect("checked").at = Some(worker);
                self.send(worker, Frame::Job(job, kind, receipt));
            }
            Action::Ahead { worker, job } => {
                let process = self.processes.get_mut(&worker).expect("checked");
                if self.rng.chance(self.faults.offer) {
                    self.at(self.now, Next::Tell(Event::Recalled { worker, jobs: vec![job] }));
                } else {
                    process.tickets.push_back(job);
                }
            }
            Action::Recall(worker) => {
                // Taken out of the same pipe, at once: tickets that a process has claimed are not in it.
                let jobs = self.processes.get_mut(&worker).expect("checked").tickets.drain(..).collect();
                self.at(self.now, Next::Tell(Event::Recalled { worker, jobs }));
            }
            Action::Stop { worker, .. } => {
                self.processes.get_mut(&worker).expect("checked").off = true;
                self.send(worker, Frame::Stop);
            }
            Action::Kill { worker, .. } => {
                self.processes.get_mut(&worker).expect("checked").off = true;
                let at = self.now + self.latency();
                self.at(at, Next::Killed(worker));
            }
            Action::Unreserve(jobs) => {
                for job in &jobs {
                    self.reservations.get_mut(job).expect("checked").end = Some(End::Unreserved);
                }
                let at = self.now + self.latency();
                self.at(at, Next::Give(jobs));
            }
            Action::Verify(job) => {
                self.verifying.insert(job);
                let at = self.now + self.latency();
                self.at(at, Next::Verify(job));
            }
            Action::Share(claim) => {
                let at = self.now + self.latency();
                self.at(at, Next::Share(claim));
            }
            Action::Inspect(classes) => self.inspect(&classes),
            Action::Check(worker) => self.send(worker, Frame::Check),
            Action::Pop(worker) => {
                let all: Vec<String> = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
                let queues = self.schedule.queues_to_pop(&all).into_iter().cloned().collect();
                let process = self.processes.get_mut(&worker).expect("checked");
                (process.seen_idle, process.queues) = (false, queues);
                self.send(worker, Frame::Pop);
            }
            Action::Finished(finished) => {
                let held = self.reservations.get_mut(&finished.job).expect("checked");
                held.end = Some(End::Finished(finished.outcome));
                let uid = held.uid;
                // A popped job comes back whether or not the runtime is there.
                let stays = self.exited.is_some() && !self.schedule.config.native;
                if self.messages[uid].place == Place::Reserved(finished.job) && !stays {
                    self.messages[uid].place = Place::Delayed;
                    self.at(self.now + RETRY_AFTER, Next::Back(uid));
                }
            }
            Action::Quarantined(_) | Action::Sleep => {}
            Action::Look => {
                let at = self.now + self.latency();
                let within = self.in_sight();
                self.at(at, Next::Tell(Event::Sighted(within)));
            }
            Action::Wake => self.after(3, 300, Next::Boot),
            Action::Exit => self.exited = Some(self.now),
        }
    }

    /// Milliseconds until the next delayed job, as reported by the queue; 0 if it does not answer.
    fn in_sight(&mut self) -> Option<u64> {
        if self.rng.chance(self.faults.silent) {
            return Some(0);
        }
        let due = self.agenda.iter().find(|(_, next)| matches!(next, Next::Back(_)));
        due.map(|((at, _), _)| at.saturating_sub(self.now))
    }

    fn inspect(&mut self, classes: &[String]) {
        if self.rng.chance(self.faults.silent) {
            return;
        }
        let (mut answer, mut limits) = (Vec::new(), Vec::new());
        for class in classes {
            if !self.rng.chance(self.faults.silent) {
                let known = self.classes.iter().find(|known| known.name == class).expect("one of ours");
                answer.push((class.clone(), known.hints));
                limits.push((class.clone(), known.limit.clone()));
            }
        }
        let at = self.now + 1 + self.latency();
        let found = Inspection { hints: answer, limits, ..Inspection::default() };
        self.at(at, Next::Tell(Event::Inspected(found)));
    }
}
