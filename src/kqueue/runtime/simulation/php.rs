//! Simulated PHP processes, and the launchers that start them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use kqueue_core::schedule::WorkerId;
use kqueue_core::wire::coordinator::{Listed, Purpose, Refusal, Unit, UnitEnd, UnitLimits};
use kqueue_core::wire::{Done, FromWorker, Mode, Parts, Unforkable, VERSION, kind};

use super::world::{Senders, World};
use crate::launch::{Exit, LaunchError, LaunchEvent, Launcher, Order, UnitError, UnitNotice, Units};
use crate::workers::{Outbox, Peer, Said};

/// A PHP process.
pub struct Process {
    pub pid: i32,
    number: WorkerId,
    mode: Mode,
    /// The template that forked it.
    template: Option<i32>,
    pub unit: RefCell<Option<Unit>>,
    /// Kills it.
    pub kill: Notify,
    /// The last job that it was given and its result, of which the next runtime may not have heard.
    last: Cell<u64>,
    outcome: RefCell<Option<Done>>,
    /// It closed its connection with frames unread.
    unread: Cell<bool>,
}

/// How a connection ended.
enum End {
    /// The process ends with this exit status.
    Exit(Exit),
    /// The runtime is gone. Processes in units wait for the next one.
    Runtime,
    /// The connection was refused: it came too early.
    Refused,
}

/// Decodes a frame as PHP does: kind, header, body.
fn read(frame: &Parts) -> (u8, Value, Vec<u8>) {
    let bytes = frame.to_vec();
    let length = u32::from_be_bytes(bytes[5..9].try_into().unwrap()) as usize;
    (bytes[4], serde_json::from_slice(&bytes[9..9 + length]).unwrap(), bytes[9 + length..].to_vec())
}

impl World {
    /// Starts a process, and returns its id.
    pub fn spawn(self: &Rc<Self>, number: WorkerId, mode: Mode, template: Option<i32>, unit: Option<Unit>) -> i32 {
        let pid = self.pid();
        let unit = RefCell::new(unit);
        let (kill, last) = (Notify::new(), Cell::new(0));
        let outcome = RefCell::new(None);
        let process =
            Rc::new(Process { pid, number, mode, template, unit, kill, last, outcome, unread: Cell::new(false) });
        self.processes.borrow_mut().insert(pid, process.clone());
        let world = self.clone();
        tokio::task::spawn_local(async move {
            let exit = tokio::select! {
                biased;
                () = process.kill.notified() => Exit::Signal(9),
                exit = world.live(&process) => exit,
            };
            world.bury(&process, exit).await;
        });
        pid
    }

    /// Ends a process: its connection closes and its exit status is reported, in either order.
    async fn bury(self: &Rc<Self>, process: &Process, exit: Exit) {
        let job = self.running.borrow().iter().find(|(_, pid)| **pid == process.pid).map(|(job, _)| *job);
        if let Some(job) = job {
            self.ends(job);
        }
        self.processes.borrow_mut().remove(&process.pid);
        let Some(senders) = self.senders.borrow().clone() else { return };
        let unread = process.unread.get();
        let closed = Said::Closed { worker: process.number, pid: process.pid, unread, fault: None };
        let connection_first = self.chance(500);
        if connection_first {
            let _ = senders.said.send(closed).await;
            self.pause(3).await;
            self.announce(process, exit, &senders).await;
        } else {
            self.announce(process, exit, &senders).await;
            self.pause(3).await;
            let _ = senders.said.send(closed).await;
        }
    }

    async fn announce(&self, process: &Process, exit: Exit, senders: &Senders) {
        let (code, signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
        let unit = process.unit.borrow().clone();
        if let Some(unit) = unit {
            let result = if code == Some(0) { "success" } else { "signal" }.to_owned();
            let end = UnitEnd { result, code, signal, ..UnitEnd::default() };
            let _ = senders.notices.send(UnitNotice::Ended { unit, end }).await;
        }
        let (worker, pid) = (process.number, process.pid);
        match process.template {
            None if process.unit.borrow().is_none() || process.mode != Mode::Pooled => {
                let _ = senders.launched.send(LaunchEvent::Ended { worker, pid, exit }).await;
            }
            None => {}
            Some(template) => {
                let message = FromWorker::Exited { worker: worker.to_string(), code, signal };
                let _ = senders.said.send(Said::Message { worker: 0, pid: template, message }).await;
            }
        }
    }

    /// Life of a process: with one runtime after the other, where it outlives them.
    async fn live(self: &Rc<Self>, process: &Rc<Process>) -> Exit {
        if process.mode == Mode::Template && self.hangs() {
            std::future::pending::<()>().await;
        }
        let mut met = false;
        loop {
            let senders = self.senders.borrow().clone();
            let end = match senders {
                Some(senders) => self.serve(process, &senders, met).await,
                None => End::Refused,
            };
            match end {
                End::Exit(exit) => return exit,
                End::Runtime if process.unit.borrow().is_none() => return Exit::Code(0),
                End::Runtime => met = true,
                End::Refused => {}
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn serve(self: &Rc<Self>, process: &Rc<Process>, senders: &Senders, met: bool) -> End {
        let (outbox, mut frames) = Outbox::pair(64);
        let number = match &*process.unit.borrow() {
            Some(Unit::Worker(number)) => u64::from(*number),
            _ => process.number,
        };
        let hello = FromWorker::Hello {
            version: VERSION,
            mode: process.mode,
            worker: number.to_string(),
            pid: process.pid as u32,
            php: "8.4".to_owned(),
            job: met.then(|| process.last.get()),
        };
        let peer = Peer { pid: process.pid, uid: 0 };
        if senders.said.send(Said::Hello { worker: number, hello, peer, outbox }).await.is_err() {
            return End::Runtime;
        }
        let mut connection = Connection { world: self, process, senders, number };
        if !met && process.template.is_none() {
            match frames.recv().await {
                Some(frame) if read(&frame).0 == kind::WELCOME => {}
                _ => return End::Refused,
            }
        }
        self.pause(3).await;
        let outcome = process.outcome.borrow().clone();
        if process.mode == Mode::Isolated && met {
            if process.last.get() == 0 {
                return End::Exit(Exit::Code(0));
            }
            return connection.part(outcome.unwrap(), &mut frames).await;
        }
        if !connection.ready(outcome).await {
            return End::Runtime;
        }
        connection.obey(&mut frames).await
    }
}

/// A connected process.
struct Connection<'a> {
    world: &'a Rc<World>,
    process: &'a Rc<Process>,
    senders: &'a Senders,
    number: WorkerId,
}

impl Connection<'_> {
    async fn say(&self, message: FromWorker) -> bool {
        self.senders.said.send(Said::Message { worker: self.number, pid: self.process.pid, message }).await.is_ok()
    }

    async fn ready(&self, done: Option<Done>) -> bool {
        self.say(FromWorker::Ready { done, app: None, unforkable: Unforkable::default(), fault: None }).await
    }

    async fn obey(&mut self, frames: &mut mpsc::Receiver<Parts>) -> End {
        let mut ahead = VecDeque::new();
        loop {
            let Some(frame) = frames.recv().await else { return End::Runtime };
            if self.process.mode != Mode::Template && self.world.chance(self.world.faults.deaf) {
                self.process.unread.set(true);
                return End::Exit(Exit::Code(1));
            }
            let (kind, header, body) = read(&frame);
            let more = match kind {
                kind::CHECK => {
                    let (paused, restart, error, sizes) = Default::default();
                    self.say(FromWorker::State { down: false, paused, restart, error, sizes }).await
                }
                kind::INSPECT => {
                    let names = header["classes"].as_array().unwrap().iter();
                    let classes = names.map(|name| (name.as_str().unwrap().to_owned(), Default::default())).collect();
                    let (missing, unloadable, ignored) = Default::default();
                    self.say(FromWorker::Hints { classes, missing, unloadable, ignored }).await
                }
                kind::FORK => self.fork(&header).await,
                kind::STOP => return End::Exit(Exit::Code(0)),
                kind::JOB if !header["ticket"].is_null() => {
                    ahead.push_back((header, body));
                    true
                }
                kind::JOB => match self.work(header, body, &mut ahead, frames).await {
                    Ok(more) => more,
                    Err(exit) => return End::Exit(exit),
                },
                _ => true,
            };
            if !more {
                return End::Runtime;
            }
        }
    }

    /// The only job of this process is over. It waits for Stop, which confirms that the result is recorded.
    async fn part(&self, done: Done, frames: &mut mpsc::Receiver<Parts>) -> End {
        if !self.say(FromWorker::Stopping { status: 0, done: Some(done), fault: None }).await {
            return End::Runtime;
        }
        if !self.world.units {
            return End::Exit(Exit::Code(0));
        }
        loop {
            match frames.recv().await {
                Some(frame) if read(&frame).0 == kind::STOP => return End::Exit(Exit::Code(0)),
                Some(_) => {}
                None => return End::Runtime,
            }
        }
    }

    async fn fork(&self, header: &Value) -> bool {
        let worker = header["worker"].as_str().unwrap().to_owned();
        let mode: Mode = serde_json::from_value(header["mode"].clone()).unwrap();
        let failed = self.world.chance(self.world.faults.start);
        let pid = match failed {
            true => -1,
            false => self.world.spawn(worker.parse().unwrap(), mode, Some(self.process.pid), None),
        };
        let error = failed.then(|| "as the seed says".to_owned());
        self.say(FromWorker::Forked { worker, pid, error, unforkable: Unforkable::default() }).await
    }

    /// Runs a job, and the jobs that it claims after it.
    async fn work(
        &self,
        mut header: Value,
        mut body: Vec<u8>,
        ahead: &mut VecDeque<(Value, Vec<u8>)>,
        frames: &mut mpsc::Receiver<Parts>,
    ) -> Result<bool, Exit> {
        loop {
            let done = self.run(&header, &body).await?;
            while let Ok(frame) = frames.try_recv() {
                let (kind, header, body) = read(&frame);
                if kind == kind::JOB {
                    ahead.push_back((header, body));
                }
            }
            if self.process.mode == Mode::Isolated {
                return match self.part(done, frames).await {
                    End::Exit(exit) => Err(exit),
                    End::Runtime | End::Refused => Ok(false),
                };
            }
            let Some(ticket) = self.ticket() else {
                // All jobs sent ahead were taken back, or will be.
                ahead.clear();
                return Ok(self.ready(Some(done)).await);
            };
            let Some((next, payload)) = find(ticket, ahead, frames).await else { return Ok(false) };
            let job = next["id"].as_u64().unwrap();
            self.process.last.set(job);
            if !self.say(FromWorker::Next { done, job }).await {
                return Ok(false);
            }
            (header, body) = (next, payload);
        }
    }

    /// Claims the next ticket, if there is one.
    fn ticket(&self) -> Option<u64> {
        let path = self.world.path().join(format!("lane-{}.tickets", self.process.number));
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let pipe: std::io::Result<File> = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let mut ticket = [0; 8];
        pipe.and_then(|mut pipe| pipe.read_exact(&mut ticket)).is_ok().then(|| u64::from_be_bytes(ticket))
    }

    async fn run(&self, header: &Value, body: &[u8]) -> Result<Done, Exit> {
        let id = header["id"].as_u64().unwrap();
        self.process.last.set(id);
        *self.process.outcome.borrow_mut() = None;
        let payload: Value = serde_json::from_slice(&body[..header["payload"].as_u64().unwrap() as usize]).unwrap();
        let job: u64 = payload["uuid"].as_str().unwrap().parse().unwrap();
        let is_run = header["kind"] == "run";
        if header["receipt"] == true {
            self.say(FromWorker::Taken).await;
        }
        self.world.begins(job, self.process.pid, is_run);
        self.world.pause(4).await;
        if is_run && self.world.chance(self.world.faults.death) {
            return Err(if self.world.chance(500) { Exit::Signal(11) } else { Exit::Code(255) });
        }
        self.world.ends(job);
        let ack = header["ack"] == true;
        if !ack {
            assert!(self.world.store.borrow_mut().remove(job), "job {job} is not reserved any more");
        }
        self.world.finishes(job);
        let done = Done { deleted: true, failed: !is_run, ack, ..Done::default() };
        *self.process.outcome.borrow_mut() = Some(done.clone());
        Ok(done)
    }
}

/// Launcher of processes that are not units.
pub struct Starter(pub Rc<World>, pub u64);

#[async_trait(?Send)]
impl Launcher for Starter {
    async fn start(&self, order: &Order) -> Result<i32, LaunchError> {
        self.0.pause(3).await;
        self.0.is_current(self.1).await;
        if order.mode != Mode::Template && self.0.chance(self.0.faults.start) {
            return Err(LaunchError::Unit("as the seed says".to_owned()));
        }
        Ok(self.0.spawn(order.worker, order.mode, None, None))
    }

    fn kill(&self, pid: i32) {
        if let Some(process) = self.0.processes.borrow().get(&pid) {
            process.kill.notify_one();
        }
    }

    async fn sweep(&self) {}
}

/// Launcher of units.
pub struct Manager(pub Rc<World>);

fn refused(refusal: Refusal) -> UnitError {
    UnitError { refusal, text: "as the seed says".to_owned() }
}

#[async_trait(?Send)]
impl Units for Manager {
    async fn start(&self, worker: u32, order: Option<&Order>) -> Result<i32, UnitError> {
        self.0.pause(3).await;
        if self.0.chance(self.0.faults.start) {
            return Err(refused(Refusal::Failed));
        }
        let number = order.map_or(0, |order| order.worker);
        let pid = self.0.spawn(number, Mode::Pooled, None, Some(Unit::Worker(worker)));
        Ok(pid)
    }

    fn workers_read_file(&self) -> bool {
        false
    }

    fn holds(&self, unit: &Unit, _: &str, pid: i32) -> bool {
        self.0.in_unit(unit).is_some_and(|process| process.pid == pid)
    }

    async fn kill(&self, unit: &Unit) -> Result<(), UnitError> {
        let process = self.0.in_unit(unit).ok_or_else(|| refused(Refusal::Absent))?;
        process.kill.notify_one();
        Ok(())
    }

    async fn scope(&self, name: &str, pid: i32, _: &UnitLimits) -> Result<(), UnitError> {
        self.0.pause(3).await;
        let process = self.0.processes.borrow().get(&pid).cloned();
        let Some(process) = process.filter(|_| !self.0.chance(self.0.faults.start)) else {
            return Err(refused(Refusal::Failed));
        };
        *process.unit.borrow_mut() = Some(Unit::Scope(name.to_owned()));
        Ok(())
    }

    async fn watch(&self, units: &[Unit]) -> Result<(), UnitError> {
        let gone = units.iter().filter(|unit| self.0.in_unit(unit).is_none());
        let Some(senders) = self.0.senders.borrow().clone() else { return Ok(()) };
        for unit in gone {
            let end = UnitEnd { result: "success".to_owned(), ..UnitEnd::default() };
            let _ = senders.notices.send(UnitNotice::Ended { unit: unit.clone(), end }).await;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Listed>, UnitError> {
        let listed = |process: &Rc<Process>| {
            let unit = process.unit.borrow().clone()?;
            Some(Listed { unit, state: "active".to_owned(), pid: process.pid, memory: None })
        };
        Ok(self.0.processes.borrow().values().filter_map(listed).collect())
    }

    async fn purpose(&self) -> Result<Purpose, UnitError> {
        Ok(self.0.purpose.get())
    }

    fn tell(&self, _: u8, _: &str, _: BTreeMap<String, String>) {}
}

/// Finds the job of a ticket. Jobs sent before it were taken back; the job itself may still be on its way.
async fn find(
    ticket: u64,
    ahead: &mut VecDeque<(Value, Vec<u8>)>,
    frames: &mut mpsc::Receiver<Parts>,
) -> Option<(Value, Vec<u8>)> {
    loop {
        while let Some((header, body)) = ahead.pop_front() {
            if header["id"] == ticket {
                return Some((header, body));
            }
        }
        let (kind, header, body) = read(&frames.recv().await?);
        if kind == kind::JOB {
            ahead.push_back((header, body));
        }
    }
}
