//! Processes that are units of a service manager: pooled workers as services, isolated jobs in scopes.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::launch::{Exit, LaunchError, UnitError, UnitNotice, Units};
use crate::runtime::Runtime;
use crate::runtime::held::record::Record;
use crate::runtime::queue::QueueInput;
use crate::workers::Worker;
use kqueue_core::schedule::{Cause, Event, JobId, JobKind, StopReason, WorkerId};
use kqueue_core::wire::coordinator::{Purpose, Refusal, Unit, UnitEnd, UnitLimits};
use kqueue_core::wire::{Mode, Parts, ToWorker};
use kqueue_system::log::JobRecord;

/// What a scope may run longer than its job's deadline, so that we are the first to end it.
const SLACK: Duration = Duration::from_secs(2);
/// The service manager is asked for this long why we are to stop.
const PURPOSE: Duration = Duration::from_secs(3);
/// A restart of the manager takes less.
const RESTART: Duration = Duration::from_secs(5);
/// How often, and after what pause, a start is tried again that was refused for the moment.
const BUSY: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);
/// MB by which PHP's own limit is below that of the scope: its error has a stack trace, and comes first.
const HEADROOM: u32 = 4;

/// The manager of units, and what waits for it.
pub struct UnitSide {
    pub manager: Rc<dyn Units>,
    pub notices: mpsc::Receiver<UnitNotice>,
    /// Pooled workers for which no number is free yet.
    waiting: VecDeque<WorkerId>,
    /// Sets our scopes apart from those of earlier runtimes.
    era: u64,
    /// Since when the manager does not answer.
    lost: Option<Instant>,
}

impl UnitSide {
    pub fn new(manager: Rc<dyn Units>, notices: mpsc::Receiver<UnitNotice>, era: u64) -> Self {
        Self { manager, notices, waiting: VecDeque::new(), era, lost: None }
    }

    /// For how long the manager has not answered.
    pub fn lost(&self) -> Option<Duration> {
        self.lost.map(|at| at.elapsed()).filter(|silence| *silence > RESTART)
    }
}

/// What is told of a job only once its unit is gone, and with it all that the unit has to say.
#[derive(Clone, Debug)]
pub struct Usage {
    pub memory_peak: Option<u64>,
    pub cpu_usec: Option<u64>,
}

impl From<&UnitEnd> for Usage {
    fn from(end: &UnitEnd) -> Self {
        Self { memory_peak: end.memory_peak, cpu_usec: end.cpu_usec }
    }
}

impl Runtime {
    /// Starts a pooled worker as a unit, under the lowest number that is free.
    pub fn start_unit(&mut self, worker: WorkerId) {
        let taken: Vec<u32> = self
            .processes
            .workers
            .values()
            .filter_map(|known| match known.unit {
                Some(Unit::Worker(number)) => Some(number),
                _ => None,
            })
            .collect();
        let most = u32::try_from(self.settings.tiers.pool_max_size).unwrap_or(u32::MAX);
        let free = (1..=most).find(|number| !taken.contains(number));
        let Some(side) = &mut self.processes.units else { return };
        let Some(number) = free else {
            side.waiting.push_back(worker);
            return;
        };
        if let Some(known) = self.processes.workers.get_mut(&worker) {
            known.unit = Some(Unit::Worker(number));
        }
        let order = crate::runtime::start::order(&self.settings, &self.app, number.into(), Mode::Pooled);
        let (manager, inputs) = (side.manager.clone(), self.inputs.clone());
        self.read_output_of_unit(worker);
        tokio::task::spawn_local(async move {
            let mut started = manager.start(number, &order).await;
            for _ in 0..BUSY {
                // One of that number is about to end, or the coordinator has too much to do.
                match &started {
                    Err(error) if error.refusal == Refusal::Busy => tokio::time::sleep(PAUSE).await,
                    _ => break,
                }
                started = manager.start(number, &order).await;
            }
            let result = started.map_err(|error| LaunchError::Unit(error.text));
            let _ = inputs.send(QueueInput::Started { worker, result }).await;
        });
    }

    /// Reads what a unit prints into its own stream, from wherever the last reader stopped.
    pub fn read_output_of_unit(&mut self, id: WorkerId) {
        let (outputs, directory) = (&self.processes.printing.outputs, &self.settings.runtime_dir);
        let Some(worker) = self.processes.workers.get_mut(&id) else { return };
        let own = match &worker.unit {
            Some(Unit::Worker(number)) => outputs.of_unit(directory, u64::from(*number), id),
            Some(Unit::Scope(_)) => outputs.of_surviving_fork(directory, id),
            None => return,
        };
        worker.own = own.inspect_err(|error| tracing::warn!("cannot read what worker {id} prints: {error}")).ok();
    }

    /// A number may be free again.
    pub fn start_waiting_units(&mut self) {
        while let Some(worker) = self.processes.units.as_mut().and_then(|side| side.waiting.pop_front()) {
            if self.processes.workers.contains_key(&worker) {
                self.start_unit(worker);
                return;
            }
        }
    }

    /// Puts an isolated process into its scope; only then it gets its job.
    pub fn scope(&mut self, id: WorkerId, job: JobId, kind: JobKind, frame: Parts) {
        let limits = self.limits(job);
        let Some(side) = &self.processes.units else { return };
        let (Some(worker), Some(record)) = (self.processes.workers.get_mut(&id), self.held.get(job)) else {
            return;
        };
        let part: String = record.uuid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
        let name = format!("{}-{:x}-{id}", part.to_ascii_lowercase(), side.era).trim_start_matches('-').to_owned();
        let Some(pid) = worker.pid else { return };
        worker.unit = Some(Unit::Scope(name.clone()));
        let (manager, inputs) = (side.manager.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let result = manager.scope(&name, pid, &limits).await;
            let _ = inputs.send(QueueInput::Scoped { worker: id, job, kind, frame, result }).await;
        });
    }

    pub fn scoped(&mut self, id: WorkerId, job: JobId, kind: JobKind, frame: Parts, result: Result<(), UnitError>) {
        let Some(worker) = self.processes.workers.get_mut(&id) else { return };
        let class = self.held.get(job).map(|record| record.class.clone()).unwrap_or_default();
        match result {
            Ok(()) => {
                self.note_given(id, job, kind);
                let sent = self.processes.workers.get(&id).is_some_and(|worker| worker.send(frame));
                if !sent && let Some(worker) = self.processes.workers.get_mut(&id) {
                    worker.closed.get_or_insert((Instant::now(), true)).1 = true;
                }
            }
            Err(error) => {
                tracing::warn!("{class} waits: no scope for it: {error}");
                // It has seen nothing of the job, which goes to another process.
                worker.unit = None;
                worker.closed = Some((Instant::now(), true));
                worker.outbox = None;
                if let Some(pid) = worker.pid {
                    self.processes.launcher.kill(pid);
                }
                self.settle_ends();
            }
        }
    }

    /// What an isolated job may use.
    fn limits(&self, job: JobId) -> UnitLimits {
        let caps = &self.settings.isolated;
        let declared = self.schedule.declared(job);
        // The settings are both the default and the bound: a job may ask for less.
        let capped = |own: Option<u32>, most: u32| Some(u64::from(own.map_or(most, |own| own.min(most))));
        let grace = self.settings.timeout_grace + SLACK;
        let time = self.schedule.time_limit(job).map(|time| time + grace);
        let time = [time, caps.time].into_iter().flatten().min();
        UnitLimits {
            memory_max: Some(u64::from(self.memory_limit(job)) << 20),
            runtime_max_usec: time.map(|time| time.as_micros() as u64),
            tasks_max: capped(declared.max_tasks, caps.tasks_max),
            cpu_weight: capped(declared.cpu_weight, caps.cpu_weight),
            io_weight: capped(declared.io_weight, caps.io_weight),
        }
    }

    /// MB that an isolated job may have.
    fn memory_limit(&self, job: JobId) -> u32 {
        let declared = self.schedule.max_memory_mb(job).unwrap_or(self.settings.recycle.isolated_memory_max_mb);
        self.settings.isolated.memory_mb.map_or(declared, |cap| declared.min(cap))
    }

    /// MB that PHP is told an isolated job may have.
    pub fn php_memory_limit(&self, job: JobId) -> u32 {
        let limit = self.memory_limit(job);
        if self.processes.units.is_some() { limit - HEADROOM.min(limit / 2) } else { limit }
    }

    pub fn on_unit(&mut self, notice: UnitNotice) {
        match notice {
            UnitNotice::Ended { unit, end } => {
                let worker = self
                    .processes
                    .workers
                    .iter()
                    .find(|(_, known)| known.unit.as_ref() == Some(&unit))
                    .map(|(id, _)| *id);
                if let Some(worker) = worker {
                    self.unit_ended(worker, end);
                }
            }
            UnitNotice::Lost => {
                if let Some(side) = &mut self.processes.units {
                    side.lost.get_or_insert_with(Instant::now);
                }
                tracing::warn!("the coordinator is gone; what runs goes on, nothing new is started");
            }
            UnitNotice::Back => {
                if let Some(side) = &mut self.processes.units {
                    side.lost = None;
                }
                tracing::info!("the coordinator answers again");
                self.watch_units();
            }
        }
    }

    /// Has the end of all our units told.
    pub fn watch_units(&self) {
        let Some(side) = &self.processes.units else { return };
        // One that is being started is watched by whoever starts it.
        let known = self.processes.workers.values().filter(|worker| worker.pid.is_some());
        let units: Vec<Unit> = known.filter_map(|worker| worker.unit.clone()).collect();
        if units.is_empty() {
            return;
        }
        let manager = side.manager.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = manager.watch(&units).await {
                tracing::warn!("cannot watch our units: {error}");
            }
        });
    }

    fn unit_ended(&mut self, id: WorkerId, end: UnitEnd) {
        let Some(worker) = self.processes.workers.get_mut(&id) else { return };
        let took = worker.job.and_then(|job| self.held.get(job)).and_then(|record| record.delivered);
        let ran = took.map_or(0, |at| at.elapsed().as_millis() as u64);
        let mega = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        worker.unit_cause = match end.result.as_str() {
            "oom-kill" => {
                Some(Cause::OutOfMemory { limit: end.memory_max.map_or(0, mega), peak: end.memory_peak.map(mega) })
            }
            "timeout" | "watchdog" => Some(Cause::Timeout(ran)),
            _ => None,
        };
        if worker.exit.is_none() {
            worker.exit = match (end.signal, end.code) {
                (Some(signal), _) => Some(Exit::Signal(signal)),
                (None, Some(code)) => Some(Exit::Code(code)),
                (None, None) => None,
            };
        }
        worker.unit_end = Some(end);
        if worker.outbox.is_none() {
            worker.closed.get_or_insert((Instant::now(), false));
        }
        self.settle_ends();
    }

    /// What a unit used goes to the story of the job that ran in it.
    pub fn account(&mut self, id: WorkerId, worker: &Worker) {
        let usage = worker.unit_end.as_ref().filter(|_| worker.mode == Mode::Isolated).map(Usage::from);
        if let Some((record, finished)) = self.held.unlogged(id) {
            self.tell_story(&Record { usage, ..record }, finished);
        } else if let Some(record) = worker.last.and_then(|job| self.held.get_mut(job)) {
            record.usage = usage;
        }
    }

    /// Kills a process and, where it has a unit, all that is in it.
    pub fn end_process(&self, unit: Option<&Unit>, pid: Option<i32>) {
        if let (Some(side), Some(unit)) = (&self.processes.units, unit.cloned()) {
            let manager = side.manager.clone();
            tokio::task::spawn_local(async move {
                match manager.kill(&unit).await {
                    Err(error) if error.refusal != Refusal::Absent => tracing::warn!("cannot kill {unit:?}: {error}"),
                    _ => {}
                }
            });
        }
        if let Some(pid) = pid {
            self.processes.launcher.kill(pid);
        }
    }

    /// Asks why we are to stop: a restart leaves running what can do without us.
    pub fn ask_purpose(&self) -> bool {
        let Some(side) = &self.processes.units else { return false };
        let (manager, inputs) = (side.manager.clone(), self.inputs.clone());
        tokio::task::spawn_local(async move {
            let purpose = match tokio::time::timeout(PURPOSE, manager.purpose()).await {
                Ok(Ok(purpose)) => purpose,
                // When nobody can tell, nothing may be left behind.
                _ => Purpose::Stop,
            };
            let _ = inputs.send(QueueInput::Purpose(purpose)).await;
        });
        true
    }

    pub fn on_purpose(&mut self, purpose: Purpose) {
        if self.schedule.is_stopping() {
            return;
        }
        if purpose == Purpose::Restart {
            tracing::info!("to be started again: pooled and isolated jobs run on");
            self.tell(Event::HandOver);
        } else {
            self.drain();
        }
    }

    /// Ends the units that are left when we stop for good.
    pub async fn end_units(&self) {
        let Some(side) = &self.processes.units else { return };
        let left = self.processes.workers.iter().filter(|(id, _)| !self.schedule.is_left(**id));
        let kills = left.filter_map(|(_, worker)| worker.unit.as_ref()).map(|unit| side.manager.kill(unit));
        // All at once: where nobody answers, the time is up once and not once for each.
        let _ = tokio::time::timeout(PURPOSE, futures_util::future::join_all(kills)).await;
    }

    /// Tells of a job: here, and what is notable in the coordinator's journal too.
    pub fn publish(&self, record: &JobRecord<'_>) {
        record.emit();
        if let Some(side) = &self.processes.units
            && let Some(priority) = record.notable()
        {
            side.manager.tell(priority, &record.line(), record.fields());
        }
    }

    /// An isolated process may go: what became of its job is written down.
    pub fn release_isolated(&self, id: WorkerId) {
        if let Some(worker) = self.processes.workers.get(&id).filter(|worker| worker.mode == Mode::Isolated)
            && self.processes.units.is_some()
        {
            worker.send(ToWorker::Stop { reason: StopReason::Idle.as_str() }.encode());
        }
    }
}
