//! Processes that are units of a service manager: pooled workers as services, isolated jobs in scopes.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use kqueue_core::schedule::{Cause, WorkerId};
use kqueue_core::wire::Mode;
use kqueue_core::wire::coordinator::{Listed, Purpose, Refusal, Unit, UnitEnd};

use super::{Answer, ProcessEvent, Processes};
use crate::launch::{Exit, LaunchError, UnitError, UnitNotice, Units};
use crate::workers::WorkerProcess;

/// Timeout for killing all units at shutdown.
const END: Duration = Duration::from_secs(3);
/// A restart of the unit manager takes less; a longer silence is an outage.
const RESTART: Duration = Duration::from_secs(5);
/// Timeout of the query why we are to stop.
const PURPOSE: Duration = Duration::from_secs(3);
/// Attempts and delay for a start that the manager refuses as busy.
const BUSY: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// The unit manager, and workers that wait for a unit.
pub struct UnitSide {
    pub(super) manager: Rc<dyn Units>,
    notices: mpsc::Receiver<UnitNotice>,
    /// Pooled workers for which no unit number is free yet.
    waiting: VecDeque<WorkerId>,
    /// Distinguishes our scopes from those of earlier runtimes.
    era: u64,
    /// Since when the manager has not answered.
    lost: Option<Instant>,
}

impl UnitSide {
    pub fn new(manager: Rc<dyn Units>, notices: mpsc::Receiver<UnitNotice>, era: u64) -> Self {
        Self { manager, notices, waiting: VecDeque::new(), era, lost: None }
    }

    /// The name of a worker's scope: begins with the job's UUID, and is unique within the app.
    pub(super) fn scope_name(&self, id: WorkerId, uuid: &str) -> String {
        let part: String = uuid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
        format!("{}-{:x}-{id}", part.to_ascii_lowercase(), self.era).trim_start_matches('-').to_owned()
    }

    /// How long the manager has not answered, if longer than a restart takes.
    fn lost(&self) -> Option<Duration> {
        self.lost.map(|at| at.elapsed()).filter(|silence| *silence > RESTART)
    }
}

impl Processes {
    /// Whether pooled workers read the app's config file themselves whenever they start.
    pub fn workers_read_file(&self) -> bool {
        self.units.as_ref().is_some_and(|side| side.manager.workers_read_file())
    }

    /// Starts a pooled worker as a unit under the lowest free number, or has it wait for one.
    pub fn start_unit(&mut self, worker: WorkerId) {
        let taken: Vec<u32> = self
            .workers
            .values()
            .filter_map(|known| match known.unit {
                Some(Unit::Worker(number)) => Some(number),
                _ => None,
            })
            .collect();
        let most = u32::try_from(self.recipe.settings().pool_max_size).unwrap_or(u32::MAX);
        let free = (1..=most).find(|number| !taken.contains(number));
        let Some(side) = &mut self.units else { return };
        let Some(number) = free else {
            side.waiting.push_back(worker);
            return;
        };
        if let Some(known) = self.workers.get_mut(&worker) {
            known.unit = Some(Unit::Worker(number));
        }
        let order = (!side.manager.workers_read_file()).then(|| self.recipe.order(number.into(), Mode::Pooled));
        let (manager, answer) = (side.manager.clone(), self.answer.clone());
        *self.orders.entry("start").or_default() += 1;
        self.read_output_of_unit(worker);
        tokio::task::spawn_local(async move {
            let mut started = manager.start(number, order.as_ref()).await;
            for _ in 0..BUSY {
                // The unit of that number is about to end, or the coordinator is overloaded.
                match &started {
                    Err(error) if error.refusal == Refusal::Busy => tokio::time::sleep(PAUSE).await,
                    _ => break,
                }
                started = manager.start(number, order.as_ref()).await;
            }
            let result = started.map_err(|error| LaunchError::Unit(error.text));
            let _ = answer.send(Answer::Started { worker, result }).await;
        });
    }

    /// Reads the output of a unit from its own stream, from where the last reader stopped.
    pub fn read_output_of_unit(&mut self, id: WorkerId) {
        let (outputs, directory) = (&self.printing.outputs, &self.recipe.settings().runtime_dir);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let own = match &worker.unit {
            Some(Unit::Worker(number)) => outputs.of_unit(directory, u64::from(*number), id),
            Some(Unit::Scope(_)) => outputs.of_surviving_fork(directory, id),
            None => return,
        };
        worker.own = own.inspect_err(|error| tracing::warn!("cannot read the output of worker {id}: {error}")).ok();
    }

    /// Starts a waiting worker, if any: a unit number may be free.
    pub fn start_waiting_units(&mut self) {
        while let Some(worker) = self.units.as_mut().and_then(|side| side.waiting.pop_front()) {
            if self.workers.contains_key(&worker) {
                self.start_unit(worker);
                return;
            }
        }
    }

    pub fn on_unit(&mut self, notice: UnitNotice) {
        match notice {
            UnitNotice::Ended { unit, end } => {
                let find = |place: fn(&WorkerProcess) -> &Option<Unit>| {
                    self.workers.iter().find(|(_, known)| place(known).as_ref() == Some(&unit)).map(|(id, _)| *id)
                };
                if let Some(worker) = find(|known| &known.unit) {
                    self.unit_ended(worker, end);
                } else if let Some(worker) = find(|known| &known.bounds) {
                    self.bounds_ended(worker, &end);
                }
            }
            UnitNotice::Lost => {
                if let Some(side) = &mut self.units {
                    side.lost.get_or_insert_with(Instant::now);
                }
                self.events.push_back(ProcessEvent::ManagerLost);
                tracing::warn!(
                    "lost the connection to the coordinator or systemd; running units continue, no new ones are started"
                );
            }
            UnitNotice::Back => {
                if let Some(side) = &mut self.units {
                    side.lost = None;
                }
                self.events.push_back(ProcessEvent::ManagerBack);
                tracing::info!("the coordinator answers again");
                self.watch_units();
            }
        }
    }

    /// Subscribes to the ends of all our units.
    pub fn watch_units(&self) {
        let Some(side) = &self.units else { return };
        // A unit that is being started is watched by the start order.
        let known = self.workers.values().filter(|worker| worker.pid.is_some());
        let units: Vec<Unit> = known.flat_map(units_of).cloned().collect();
        if units.is_empty() {
            return;
        }
        let manager = side.manager.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = manager.watch(&units).await {
                tracing::warn!("cannot watch the app's units: {error}");
            }
        });
    }

    pub(super) fn unit_ended(&mut self, id: WorkerId, end: UnitEnd) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.unit_cause = cause(worker, &end).or(worker.unit_cause.take());
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

    /// The scope of a job has ended whose process is a service as well.
    fn bounds_ended(&mut self, id: WorkerId, end: &UnitEnd) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.bounds = None;
        worker.unit_cause = cause(worker, end).or(worker.unit_cause.take());
        self.settle_ends();
    }

    /// Kills a process and everything in its unit.
    pub fn end_process(&self, unit: Option<&Unit>, pid: Option<i32>) {
        if let (Some(side), Some(unit)) = (&self.units, unit.cloned()) {
            let manager = side.manager.clone();
            tokio::task::spawn_local(async move {
                match manager.kill(&unit).await {
                    Err(error) if error.refusal != Refusal::Absent => tracing::warn!("cannot kill {unit:?}: {error}"),
                    _ => {}
                }
            });
        }
        if let Some(pid) = pid {
            self.launcher.kill(pid);
        }
    }

    /// Kills our units at shutdown, but those for which `is_left` holds.
    pub async fn end_units(&self, is_left: impl Fn(WorkerId) -> bool) {
        let Some(side) = &self.units else { return };
        let left = self.workers.iter().filter(|(id, _)| !is_left(**id));
        let kills = left.flat_map(|(_, worker)| units_of(worker)).map(|unit| side.manager.kill(unit));
        // Concurrently, so that an unresponsive manager costs the timeout once.
        let _ = tokio::time::timeout(END, futures_util::future::join_all(kills)).await;
    }

    /// Writes a log line about a job to the coordinator's journal, too.
    pub fn note(&self, priority: u8, message: &str, fields: BTreeMap<String, String>) {
        if let Some(side) = &self.units {
            side.manager.tell(priority, message, fields);
        }
    }

    /// Lists the app's units; empty where there is no unit manager.
    ///
    /// # Errors
    /// When the manager does not answer.
    pub async fn list_units(&mut self) -> Result<Vec<Listed>, UnitError> {
        match &self.units {
            Some(side) => {
                *self.orders.entry("list").or_default() += 1;
                side.manager.list().await
            }
            None => Ok(Vec::new()),
        }
    }

    /// How long the unit manager has not answered, if longer than a restart takes.
    pub fn manager_lost(&self) -> Option<Duration> {
        self.units.as_ref()?.lost()
    }

    /// Queries why we are to stop; [`super::ProcessEvent::Purpose`] reports it. False where there is no unit manager.
    pub fn ask_purpose(&self) -> bool {
        let Some(side) = &self.units else { return false };
        let (manager, answer) = (side.manager.clone(), self.answer.clone());
        tokio::task::spawn_local(async move {
            let purpose = match tokio::time::timeout(PURPOSE, manager.purpose()).await {
                Ok(Ok(purpose)) => purpose,
                // Without an answer nothing may be left running.
                _ => Purpose::Stop,
            };
            let _ = answer.send(Answer::Purpose(purpose)).await;
        });
        true
    }
}

fn units_of(worker: &WorkerProcess) -> impl Iterator<Item = &Unit> {
    worker.unit.iter().chain(&worker.bounds)
}

/// The cause of a process's end, where its unit knows more than the exit status says.
fn cause(worker: &WorkerProcess, end: &UnitEnd) -> Option<Cause> {
    let mega = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    match end.result.as_str() {
        "oom-kill" => {
            Some(Cause::OutOfMemory { limit: end.memory_max.map_or(0, mega), peak: end.memory_peak.map(mega) })
        }
        "timeout" | "watchdog" => Some(Cause::Timeout(worker.given.map_or(0, |at| at.elapsed().as_millis() as u64))),
        _ => None,
    }
}

/// The next notice of the unit manager; pending forever if there is none.
pub(super) async fn next_notice(units: &mut Option<UnitSide>) -> Option<UnitNotice> {
    match units {
        Some(side) => side.notices.recv().await,
        None => std::future::pending().await,
    }
}
