//! PHP processes, and external influences on them and on the app.

use super::model::*;
use super::world::{QUEUES, World};
use crate::routing::Tier;
use crate::schedule::{Cause, Done, Event, JobId, JobKind, WorkerId};

impl World {
    /// Sends a frame to a process; frames arrive in order.
    pub fn send(&mut self, worker: WorkerId, frame: Frame) {
        let late = self.now + self.latency();
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.in_at = process.in_at.max(late);
        let at = process.in_at;
        self.at(at, Next::Frame(worker, frame));
    }

    /// A process sends an event to the runtime; events of one process arrive in order.
    fn emit(&mut self, worker: WorkerId, event: Event) {
        let late = self.now + self.latency();
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.out_at = process.out_at.max(late);
        let at = process.out_at;
        self.at(at, Next::Tell(event));
    }

    fn doing(&self, worker: WorkerId) -> Doing {
        self.processes.get(&worker).map_or(Doing::Dead, |process| process.doing)
    }

    fn set(&mut self, worker: WorkerId, doing: Doing) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.doing = doing;
        }
    }

    pub fn started(&mut self, worker: WorkerId) {
        if self.doing(worker) != Doing::Booting {
            return;
        }
        if self.rng.chance(self.faults.launch) {
            self.die(worker, Cause::Exit(1));
        } else if self.rng.chance(self.faults.silent) {
            // The boot never ends.
        } else {
            self.after(3, 300, Next::Booted(worker));
        }
    }

    pub fn booted(&mut self, worker: WorkerId) {
        if self.doing(worker) != Doing::Booting {
            return;
        }
        if self.rng.chance(self.faults.boot) {
            self.die(worker, Cause::BootFailed("no database".to_owned()));
            return;
        }
        self.set(worker, Doing::Idle);
        self.emit(worker, Event::Ready { worker, done: None });
        if self.rng.chance(self.faults.idle_death) {
            self.after(0, 20_000, Next::Killed(worker));
        }
        self.read(worker);
    }

    pub fn frame(&mut self, worker: WorkerId, frame: Frame) {
        if matches!(self.doing(worker), Doing::Dead) {
            return;
        }
        if let Some(process) = self.processes.get_mut(&worker) {
            process.inbox.push_back(frame);
        }
        if matches!(frame, Frame::Job(..)) && self.rng.chance(self.faults.unread) {
            if self.rng.chance(300) && self.doing(worker) == Doing::Idle {
                // Over its memory limit: it had decided to leave before it saw the job.
                self.set(worker, Doing::Ending);
                self.emit(worker, Event::Stopping { worker, status: 12, done: None });
                self.leave(worker);
            } else {
                self.die(worker, Cause::Signal(9));
            }
            return;
        }
        self.read(worker);
    }

    /// An idle process reads its messages.
    fn read(&mut self, worker: WorkerId) {
        while matches!(self.doing(worker), Doing::Idle | Doing::Popping(Some(_))) {
            let Some(frame) = self.processes.get_mut(&worker).and_then(|process| process.inbox.pop_front()) else {
                return;
            };
            match frame {
                Frame::Check if self.rng.chance(self.faults.silent) => {}
                Frame::Check => {
                    let (down, paused) = (self.down, self.paused.iter().cloned().collect());
                    self.emit(worker, Event::State { down, paused });
                }
                Frame::Stop if matches!(self.doing(worker), Doing::Popping(_)) => {
                    // It first runs the job that it has popped.
                    self.processes.get_mut(&worker).expect("it is there").quits = true;
                }
                Frame::Pop => {
                    self.set(worker, Doing::Popping(None));
                    let low = if self.rng.chance(self.faults.slow) { 1_000 } else { 0 };
                    let high = if self.rng.chance(300) { 1_000 } else { 5 };
                    self.after(low, low + high, Next::Look(worker));
                }
                Frame::Stop => {
                    self.set(worker, Doing::Ending);
                    if self.rng.chance(700) {
                        self.emit(worker, Event::Stopping { worker, status: 0, done: None });
                    }
                    self.leave(worker);
                }
                Frame::Job(job, kind, receipt) => {
                    if receipt {
                        self.emit(worker, Event::Taken(worker));
                    }
                    self.start(worker, job, kind);
                }
            }
        }
    }

    /// A process that looks for a job finds one, or none, or fails.
    pub fn look(&mut self, worker: WorkerId) {
        if self.doing(worker) != Doing::Popping(None) {
            return;
        }
        if self.rng.chance(self.faults.silent) {
            // The server never answers.
            return;
        }
        if self.rng.chance(self.faults.boot) {
            self.emit(worker, Event::PopFailed(worker));
            if self.rng.chance(500) {
                // A lost connection ends the worker.
                self.set(worker, Doing::Ending);
                self.emit(worker, Event::Stopping { worker, status: 0, done: None });
                self.leave(worker);
                return;
            }
        } else if let Some(spec) = self.find(worker) {
            let job = spec.id;
            if self.rng.chance(self.faults.unread) {
                self.unseen(job);
                self.die(worker, Cause::Signal(9));
                return;
            }
            self.set(worker, Doing::Popping(Some(job)));
            self.emit(worker, Event::Popped { worker, job: spec });
            self.read(worker);
            return;
        }
        self.set(worker, Doing::Idle);
        self.emit(worker, Event::Ready { worker, done: None });
        self.read(worker);
    }

    fn leave(&mut self, worker: WorkerId) {
        let slow = self.rng.chance(self.faults.slow);
        self.after(0, if slow { 30_000 } else { 20 }, Next::Left(worker));
    }

    fn start(&mut self, worker: WorkerId, job: JobId, kind: JobKind) {
        self.set(worker, Doing::Running(job, kind));
        // Rarely, as it changes the treatment of all jobs of the class.
        if self.rng.chance(3) {
            self.emit(worker, Event::Printed(job));
        }
        self.processes.get_mut(&worker).expect("it runs").read = Some(job);
        let ours = self.messages[self.reservations[&job].uid].place == Place::Reserved(job);
        let held = self.reservations.get_mut(&job).expect("known");
        held.lost |= !ours;
        match kind {
            JobKind::Run => held.runs += 1,
            JobKind::Crash | JobKind::Timeout | JobKind::Release | JobKind::Cancel => held.replays += 1,
        }
        let message = &self.messages[held.uid];
        let (low, high) = self.classes[message.class].ms;
        let config = &self.schedule.config;
        let defaults = config.defaults(self.classes[message.class].name, message.queue);
        let told = message.timeout.or(defaults.timeout);
        let timeout = told.map_or(config.timeout_ms, |seconds| u64::from(seconds) * 1000);
        let mut ms = self.rng.between(low, high);
        let mut way = Way::Well;
        if self.rng.chance(self.faults.job) {
            way = *self.rng.pick(&[
                Way::Throws,
                Way::Releases,
                Way::Exits,
                Way::Fatal,
                Way::Segfault,
                Way::Segfault,
                Way::DiesAfterwards,
                Way::DiesUnsaid,
                Way::DiesFailing,
                Way::Hangs,
                Way::Alarm,
                Way::LosesCount,
                Way::Grows,
            ]);
        }
        if kind != JobKind::Run {
            ms = ms.min(50);
            let dies = matches!(
                way,
                Way::Exits | Way::Fatal | Way::Segfault | Way::DiesAfterwards | Way::DiesFailing | Way::Hangs
            );
            way = if dies { way } else { Way::Throws };
        } else if timeout > 0 && (ms >= timeout || matches!(way, Way::Hangs | Way::Alarm)) {
            way = if way == Way::Hangs { Way::Hangs } else { Way::Alarm };
            ms = timeout;
        } else if matches!(way, Way::Hangs | Way::Alarm) {
            way = Way::Well;
        }
        if way != Way::Hangs {
            self.after(ms, ms, Next::Ends(worker, job, way));
        }
    }

    pub fn ends(&mut self, worker: WorkerId, job: JobId, way: Way) {
        let Doing::Running(running, kind) = self.doing(worker) else { return };
        assert_eq!(running, job, "a process runs one job at a time");
        let fails = self.messages[self.reservations[&job].uid].attempts >= 3 || self.rng.chance(100);
        match way {
            Way::Throws if kind == JobKind::Cancel => self.settle(job, false, false, true),
            Way::Well | Way::Grows => self.settle(job, true, false, false),
            Way::DiesAfterwards if kind == JobKind::Run => self.settle(job, true, false, false),
            Way::DiesUnsaid => self.settle(job, false, !fails, fails),
            Way::Releases => self.settle(job, false, true, false),
            // A job past its timeout is released, unless it is to stay reserved as under Laravel.
            Way::Throws
                if kind == JobKind::Release || kind == JobKind::Timeout && !fails && self.schedule.config.replay =>
            {
                self.settle(job, false, true, false);
            }
            Way::Throws if kind != JobKind::Timeout || fails => self.settle(job, false, !fails, fails),
            Way::Alarm if fails => self.settle(job, false, false, true),
            Way::Throws | Way::Alarm => self.reservations.get_mut(&job).expect("known").kept = true,
            _ => {}
        }
        let said = done(&self.reservations[&job]);
        match way {
            Way::Exits | Way::Fatal => {
                let fatal = (way == Way::Fatal).then(|| "Allowed memory size exhausted".to_owned());
                self.emit(worker, Event::Died { worker, fatal, done: said });
                self.die(worker, Cause::Exit(255));
            }
            Way::DiesFailing => {
                self.reservations.get_mut(&job).expect("known").failing = true;
                self.emit(worker, Event::Deleted { worker, failed: true });
                self.die(worker, Cause::Signal(11));
            }
            Way::Segfault | Way::DiesUnsaid => self.die(worker, Cause::Signal(11)),
            Way::DiesAfterwards => {
                if said.deleted {
                    self.emit(worker, Event::Deleted { worker, failed: false });
                }
                self.die(worker, Cause::Signal(11));
            }
            Way::Alarm => self.stop_after(worker, 1, said),
            Way::Grows => self.stop_after(worker, 12, said),
            Way::LosesCount => self.emit(worker, Event::Ready { worker, done: None }),
            Way::Hangs => {}
            Way::Well | Way::Throws | Way::Releases => {
                if said.deleted && self.rng.chance(500) {
                    self.emit(worker, Event::Deleted { worker, failed: false });
                }
                let quits = self.processes[&worker].quits;
                if quits || self.processes[&worker].tier == Tier::Isolated && self.rng.chance(800) {
                    self.stop_after(worker, 0, said);
                    return;
                }
                let claimed = match self.rng.chance(900) {
                    true => self.processes.get_mut(&worker).and_then(|process| process.tickets.pop_front()),
                    false => None,
                };
                match claimed {
                    // It has read the ticket, and has reported neither the end of its job nor the claim.
                    Some(_) if self.rng.chance(self.faults.unread) => self.die(worker, Cause::Signal(9)),
                    Some(next) => {
                        self.emit(worker, Event::Next { worker, done: said, job: next });
                        self.start(worker, next, JobKind::Run);
                    }
                    None => {
                        self.set(worker, Doing::Idle);
                        self.emit(worker, Event::Ready { worker, done: Some(said) });
                        self.read(worker);
                    }
                }
            }
        }
    }

    fn stop_after(&mut self, worker: WorkerId, status: i32, said: Done) {
        self.set(worker, Doing::Ending);
        self.emit(worker, Event::Stopping { worker, status, done: Some(said) });
        self.leave(worker);
    }

    /// Laravel settles a job; without effect if its reservation is no longer ours.
    fn settle(&mut self, job: JobId, deleted: bool, released: bool, failed: bool) {
        let held = self.reservations.get_mut(&job).expect("known");
        (held.deleted, held.released, held.failed) = (deleted || failed, released, failed);
        let uid = held.uid;
        let message = &mut self.messages[uid];
        if message.place != Place::Reserved(job) {
            return;
        }
        message.place = match (failed, released) {
            (true, _) => Place::Failed,
            (_, true) => Place::Delayed,
            _ => Place::Done,
        };
        if released {
            self.after(0, 5_000, Next::Back(uid));
        }
    }

    /// The end of a process.
    pub fn die(&mut self, worker: WorkerId, cause: Cause) {
        let doing = self.doing(worker);
        if doing == Doing::Dead {
            return;
        }
        if let Doing::Running(job, kind) = doing {
            let held = self.reservations.get_mut(&job).expect("known");
            match kind {
                JobKind::Run => held.died = !held.is_settled(),
                JobKind::Crash | JobKind::Timeout | JobKind::Release | JobKind::Cancel => held.replay_deaths += 1,
            }
        }
        self.set(worker, Doing::Dead);
        let late = self.now + self.latency();
        if let Some(process) = self.processes.get_mut(&worker) {
            process.out_at = process.out_at.max(late);
            let at = process.out_at;
            self.at(at, Next::Gone(worker, cause));
        }
    }

    /// The template has booted the app, which may have changed, or has failed to.
    pub fn boot(&mut self) {
        if self.rng.chance(self.faults.boot) {
            self.after(100, 3_000, Next::Boot);
            self.tell(Event::BootFailed);
            return;
        }
        match self.rng.below(10) {
            0 => {
                // Reserved jobs are given back first.
                self.after(0, 500, Next::Tell(Event::Booted));
                self.tell(Event::Moved);
            }
            1 => {
                self.at(self.now, Next::Tell(Event::Booted));
                self.tell(Event::Renewed);
            }
            _ => self.tell(Event::Booted),
        }
    }

    /// An external influence.
    pub fn chaos(&mut self) {
        if self.healed {
            return;
        }
        self.after(50, 5_000, Next::Chaos);
        if !self.rng.chance(self.faults.chaos) {
            return;
        }
        let workers: Vec<_> = self.processes.keys().copied().collect();
        let jobs: Vec<_> = self.reservations.iter().filter(|(_, held)| held.end.is_none()).map(|(id, _)| *id).collect();
        if self.rng.chance(self.faults.succeed) {
            self.tell(Event::HandOver);
            return;
        }
        if self.faults.settings > 0 && self.rng.chance(self.faults.settings) {
            let config = super::limits::limited(self.schedule.config.clone(), &mut self.rng);
            let config = self.steered.over(config);
            self.configure(config);
            self.tell(Event::Tick);
            return;
        }
        if self.faults.steer > 0 && self.rng.chance(self.faults.steer) {
            self.steer(&workers);
            return;
        }
        match self.rng.below(14) {
            12 => self.tell(Event::Wake),
            13 => self.tell(Event::PoolExpected(60_000)),
            0 => self.tell(Event::Restart),
            11 => self.tell(Event::Reload),
            1 => self.down = self.rng.chance(self.faults.signals),
            2 | 3 => {
                let queue = QUEUES[self.rng.below(2) as usize].to_owned();
                if self.paused.contains(&queue) || !self.rng.chance(self.faults.signals) {
                    self.paused.remove(&queue);
                } else {
                    self.paused.insert(queue);
                }
            }
            4 if !workers.is_empty() => {
                let worker = *self.rng.pick(&workers);
                self.tell(Event::MemoryOver { worker, used: 300, limit: 256 });
            }
            5 | 6 if !jobs.is_empty() => self.lose(&jobs),
            7..=9 if !workers.is_empty() => {
                let worker = *self.rng.pick(&workers);
                self.die(worker, Cause::Signal(9));
            }
            10 if self.rng.chance(self.faults.stop) => {
                self.tell(Event::Drain);
                if self.rng.chance(300) {
                    self.tell(Event::Drain);
                } else if self.rng.chance(500) {
                    self.after(0, 5_000, Next::Tell(Event::Drain));
                }
            }
            _ => {}
        }
    }

    /// A reservation expires, and another worker takes the job; the schedule is told, or has to find out.
    fn lose(&mut self, jobs: &[JobId]) {
        let job = *self.rng.pick(jobs);
        let held = &self.reservations[&job];
        if held.at.is_none() || self.rng.chance(100) {
            let uid = held.uid;
            if self.messages[uid].place == Place::Reserved(job) {
                self.messages[uid].place = Place::Elsewhere;
                self.reservations.get_mut(&job).expect("known").lost = true;
            }
        }
        if self.rng.chance(700) {
            self.tell(Event::LeaseLost(job));
        }
    }
}
