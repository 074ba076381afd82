//! The simulated world that outlives each runtime: the queue, the processes, and the faults.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kqueue_control::{Act, CancelJobs, Cancelled, Chosen, MoveJobs, Request};
use kqueue_core::routing::History;
use kqueue_core::schedule::Schedule;
use kqueue_core::wire::coordinator::{Purpose, Unit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::php::{Manager, Process, Starter};
use super::server::{Server, Store, number};
use super::{Asked, DONE};
use crate::backend::QueueBackend;
use crate::control::Ask;
use crate::launch::output::Outputs;
use crate::launch::{LaunchEvent, UnitNotice};
use crate::runtime::app::App;
use crate::runtime::end::End;
use crate::runtime::held::HeldJobs;
use crate::runtime::held::ledger::Ledger;
use crate::runtime::processes::Processes;
use crate::runtime::processes::printed::Printing;
use crate::runtime::processes::recipe::Recipe;
use crate::runtime::processes::template::Templates;
use crate::runtime::processes::units::UnitSide;
use crate::runtime::queue::QueueSide;
use crate::runtime::queue::doorbell::Doorbell;
use crate::runtime::service::Service;
use crate::runtime::service::alerts::Alerts;
use crate::runtime::service::app_signals::AppSignals;
use crate::runtime::service::cancels::Cancels;
use crate::runtime::service::health::Health;
use crate::runtime::service::history_file::HistoryFile;
use crate::runtime::service::horizon::Duties;
use crate::runtime::service::observer::{self, Observer};
use crate::runtime::service::overrides::Overrides;
use crate::runtime::service::pauses::Pauses;
use crate::runtime::service::settings::SettingsSource;
use crate::runtime::service::upgrade::Upgrade;
use crate::runtime::start::schedule_config;
use crate::runtime::{Runtime, testing};
use crate::workers::Said;

/// Rates of faults, in permille unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A queue call fails before it has taken effect, and again after.
    pub call: u64,
    /// A process dies while it runs a job.
    pub death: u64,
    /// A process closes its connection before it reads the next frame.
    pub deaf: u64,
    /// A process cannot be started, forked, or put into its scope.
    pub start: u64,
    /// A lane has no pipe for tickets, so that no job can be sent ahead.
    pub no_tickets: u64,
    /// The app sleeps after a short idle time.
    pub sleeps: bool,
    /// Number of templates that hang without a message.
    pub templates_that_hang: u64,
    /// Operators cancel jobs and move them.
    pub steers: bool,
}

impl Faults {
    pub fn none() -> Self {
        Self {
            call: 0,
            death: 0,
            deaf: 0,
            start: 0,
            no_tickets: 0,
            sleeps: false,
            templates_that_hang: 0,
            steers: false,
        }
    }

    pub fn some() -> Self {
        Self {
            call: 60,
            death: 60,
            deaf: 40,
            start: 60,
            no_tickets: 500,
            sleeps: false,
            templates_that_hang: 0,
            steers: false,
        }
    }
}

/// Senders of the current runtime's inputs.
pub struct Senders {
    pub said: mpsc::Sender<Said>,
    pub launched: mpsc::Sender<LaunchEvent>,
    pub notices: mpsc::Sender<UnitNotice>,
    pub asks: mpsc::Sender<Ask>,
}

/// A running runtime.
pub struct Running {
    asked: mpsc::Sender<Asked>,
    task: JoinHandle<anyhow::Result<ExitCode>>,
}

/// See the module.
pub struct World {
    pub units: bool,
    pub faults: Faults,
    tier: &'static str,
    rng: Cell<u64>,
    directory: tempfile::TempDir,
    pub store: RefCell<Store>,
    dispatched: Cell<u64>,
    /// How many times each job was finished.
    finished: RefCell<BTreeMap<u64, u32>>,
    /// The process that runs each job.
    pub running: RefCell<BTreeMap<u64, i32>>,
    /// Jobs that were cancelled before they ran.
    cancelled: RefCell<BTreeSet<u64>>,
    /// Jobs that may have been finished unnoticed, since a runtime was killed meanwhile.
    excused: RefCell<BTreeSet<u64>>,
    pub processes: RefCell<BTreeMap<i32, Rc<Process>>>,
    pids: Cell<i32>,
    hung: Cell<u64>,
    eras: Cell<u64>,
    /// Era of the current runtime; operations of a killed one never complete.
    current: Cell<u64>,
    pub purpose: Cell<Purpose>,
    pub senders: RefCell<Option<Rc<Senders>>>,
}

impl World {
    pub fn new(seed: u64, units: bool, tier: &'static str, faults: Faults) -> Rc<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("artisan"), "").unwrap();
        Rc::new(Self {
            units,
            faults,
            tier,
            rng: Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            directory,
            store: RefCell::default(),
            dispatched: Cell::new(0),
            finished: RefCell::default(),
            running: RefCell::default(),
            cancelled: RefCell::default(),
            excused: RefCell::default(),
            processes: RefCell::default(),
            // Above any process id that the kernel assigns.
            pids: Cell::new(100_000_000),
            hung: Cell::new(0),
            eras: Cell::new(1),
            current: Cell::new(0),
            purpose: Cell::new(Purpose::Stop),
            senders: RefCell::new(None),
        })
    }

    fn next(&self) -> u64 {
        let mut state = self.rng.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.rng.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn chance(&self, permille: u64) -> bool {
        self.next() % 1000 < permille
    }

    /// Sleeps at random for at most this many milliseconds.
    pub async fn pause(&self, most: u64) {
        tokio::time::sleep(Duration::from_micros(self.between(0, most * 1000))).await;
    }

    /// Returns only if the runtime of this era is the current one.
    pub async fn is_current(&self, era: u64) {
        if self.current.get() != era {
            std::future::pending().await
        }
    }

    pub fn pid(&self) -> i32 {
        self.pids.replace(self.pids.get() + 1)
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Directory of the lanes' pipes.
    fn runtime_dir(&self) -> PathBuf {
        // Pipes cannot be created in a directory that does not exist.
        if self.chance(self.faults.no_tickets) { self.path().join("absent") } else { self.path() }
    }

    pub fn dispatch(&self) {
        let job = self.dispatched.get();
        self.dispatched.set(job + 1);
        self.store.borrow_mut().pending.push_back(job);
    }

    pub fn payload(&self, job: u64) -> Bytes {
        let class = format!("App\\\\Jobs\\\\Kind{}", job % 3);
        format!(
            r#"{{"uuid":"{job}","displayName":"{class}","job":"Illuminate\\Queue\\CallQueuedHandler@call","data":{{"commandName":"{class}"}}}}"#
        )
        .into()
    }

    /// An operator cancels or moves a random job, whatever its state.
    pub async fn steer(&self) {
        let Some(senders) = self.senders.borrow().clone() else { return };
        let uuid = self.between(0, self.dispatched.get() - 1).to_string();
        let chosen = Chosen { uuids: vec![uuid], ..Chosen::default() };
        let act = match self.between(0, 2) {
            0 => Act::Cancel(CancelJobs { chosen, delete: self.chance(300), dry: false }),
            1 => Act::Move(MoveJobs { chosen, front: true, coming: self.chance(500), ..MoveJobs::default() }),
            _ => Act::Move(MoveJobs { chosen, to: Some("other".to_owned()), ..MoveJobs::default() }),
        };
        let cancels = matches!(act, Act::Cancel(_));
        let (answer, told) = oneshot::channel();
        let ask = Ask { request: Request::Act(act), owner: true, who: "somebody".to_owned(), answer };
        // A stopping runtime accepts no request, or sends no reply.
        let _ = senders.asks.send(ask).await;
        drop(senders);
        if let Ok(told) = told.await
            && cancels
        {
            let told: Cancelled = serde_json::from_slice(&told).unwrap();
            self.cancelled.borrow_mut().extend(told.waiting.iter().map(|uuid| uuid.parse::<u64>().unwrap()));
        }
    }

    /// Whether the next template hangs.
    pub fn hangs(&self) -> bool {
        self.hung.replace(self.hung.get() + 1) < self.faults.templates_that_hang
    }

    /// A process begins to run (`is_run`) or to settle a job.
    pub fn begins(&self, job: u64, pid: i32, is_run: bool) {
        // A lane may have claimed a job sent ahead to it before it was cancelled.
        let may_run = self.tier == "inline" || !self.cancelled.borrow().contains(&job);
        assert!(!is_run || may_run, "job {job} was cancelled, and runs");
        let other = self.running.borrow_mut().insert(job, pid);
        assert_eq!(other, None, "job {job} runs twice at the same time");
        assert!(!self.is_finished(job) || self.is_excused(job), "job {job} runs again after it was finished");
    }

    /// The job runs no longer.
    pub fn ends(&self, job: u64) {
        self.running.borrow_mut().remove(&job);
    }

    /// The job has completed, or was failed.
    pub fn finishes(&self, job: u64) {
        *self.finished.borrow_mut().entry(job).or_default() += 1;
    }

    fn is_finished(&self, job: u64) -> bool {
        self.finished.borrow().contains_key(&job)
    }

    fn is_excused(&self, job: u64) -> bool {
        self.excused.borrow().contains(&job)
    }

    /// Number of jobs that are finished and removed from the queue.
    pub fn done(&self) -> u64 {
        let store = self.store.borrow();
        let there = |job: &u64| store.pending.contains(job) || store.reserved.contains_key(job);
        self.finished.borrow().keys().filter(|job| !there(job)).count() as u64
    }

    /// Waits for a condition, and panics after [`DONE`].
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + DONE;
        while !is_so() {
            let store = self.store.borrow();
            assert!(
                Instant::now() < end,
                "it was waited in vain until {what}: {} done, {:?} pending, {:?} reserved, running {:?}",
                self.done(),
                store.pending,
                store.reserved.keys(),
                self.running.borrow(),
            );
            drop(store);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Checks the invariants at the end: each job finished once, nothing left behind.
    pub fn check(&self) {
        let finished = self.finished.borrow();
        for job in 0..self.dispatched.get() {
            let times = finished.get(&job).copied().unwrap_or(0);
            assert!(times == 1 || times > 1 && self.is_excused(job), "job {job} was finished {times} times");
        }
        assert!(self.running.borrow().is_empty());
        let store = self.store.borrow();
        assert!(store.pending.is_empty() && store.reserved.is_empty());
        let left: Vec<i32> = self.processes.borrow().keys().copied().collect();
        assert!(left.is_empty(), "processes are left: {left:?}");
    }

    /// Starts a runtime, as `start::run` does.
    pub async fn start(self: &Rc<Self>) -> Running {
        let (said_in, said) = mpsc::channel(1024);
        let (launched_in, launched) = mpsc::channel(1024);
        let (notices_in, notices) = mpsc::channel(1024);
        let (asks_in, asks) = mpsc::channel(1);
        let senders = Senders { said: said_in, launched: launched_in, notices: notices_in, asks: asks_in.clone() };
        *self.senders.borrow_mut() = Some(Rc::new(senders));
        let era = self.eras.replace(self.eras.get() + 1);
        self.current.set(era);
        let flags = [
            ("default_tier", self.tier),
            ("boot_timeout", "1s"),
            ("pool_size", "2"),
            ("pool_max_size", "3"),
            ("stop_timeout", "20s"),
            ("worker_max_jobs", "20"),
            ("idle_after", if self.faults.sleeps { "100ms" } else { "never" }),
        ];
        let loaded = testing::loaded(&self.path(), &flags);
        let mut settings = loaded.settings.clone();
        (settings.runtime_dir, settings.state_dir) = (self.runtime_dir(), self.path());
        let settings = Rc::new(settings);
        let units = self.units.then(|| UnitSide::new(Rc::new(Manager(self.clone())), notices, era));
        let backend: Rc<dyn QueueBackend> = Rc::new(Server::new(self.clone(), era));
        let (ledger, left) = match self.units.then(|| Ledger::open(&settings.state_dir, &*backend).unwrap()) {
            Some((ledger, left)) => (Some(ledger), left),
            None => Default::default(),
        };
        if self.units {
            // Reservations in no ledger come back when their leases expire.
            let known: BTreeSet<u64> = left.values().map(|held| number(&held.reservation)).collect();
            self.store.borrow_mut().lose(|job| !known.contains(&job));
        }
        let recipe = Recipe::new(settings.clone(), "worker.php".into(), &self.path(), self.units);
        let capabilities = backend.capabilities();
        let history = History::new();
        let launcher = Rc::new(Starter(self.clone(), era));
        let mut runtime = Runtime {
            app: App {
                connection: "redis".to_owned(),
                own_queue: "default".to_owned(),
                queues: vec!["default".to_owned()],
                backend: serde_json::Value::Null,
                may_ack: true,
                ack: true,
                signals: true,
            },
            events: VecDeque::new(),
            held: HeldJobs::new(ledger, era << 20),
            queue: QueueSide::new(backend, Doorbell::bind(&self.path(), capabilities), &settings),
            processes: Processes::new(
                Templates::new(),
                launcher,
                launched,
                units,
                Printing::new(Outputs::new()),
                recipe,
            ),
            service: Service {
                health: Health::new(),
                upgrade: Upgrade::new().unwrap(),
                observer: Observer::new(asks, asks_in, observer::starting("shop")),
                duties: Duties::new(None),
                history: HistoryFile::new(&settings.state_dir, &history),
                app: AppSignals::default(),
                pauses: Pauses::load(&settings.state_dir),
                overrides: Overrides::load(&settings.state_dir),
                cancels: Cancels::load(&settings.state_dir),
                fronts: Default::default(),
                pauses_end: None,
                alerts: Alerts::new(&settings),
                errand: Default::default(),
            },
            schedule: Schedule::new(schedule_config(&settings, &settings.queues, true, false, true), history),
            recorder: crate::history::Recorder::new(&settings.state_dir, Some(50)),
            chronicle: Default::default(),
            said,
            started: Instant::now(),
            max_time: None,
            end: End::new(),
            nap: crate::runtime::sleep::Nap::default(),
            habit: crate::runtime::usual::Habit::new(0),
            slack: Default::default(),
            source: SettingsSource::new(Box::new(|| anyhow::bail!("never")), loaded, Default::default()),
            settings,
        };
        runtime.processes.start_template();
        if runtime.processes.outlive() {
            let there = runtime.processes.list_units().await.unwrap();
            runtime.take_over(left, &there);
        }
        let (asked, requests) = mpsc::channel(4);
        let work = async move {
            let ended = runtime.work(requests).await;
            runtime.check_history();
            ended
        };
        Running { asked, task: tokio::task::spawn_local(work) }
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(&self, runtime: Running, purpose: Purpose) {
        self.purpose.set(purpose);
        runtime.asked.send(Asked::Stop("SIGTERM")).await.unwrap();
        let end = tokio::time::timeout(DONE, runtime.task).await.expect("told to stop, and it does not end");
        end.unwrap().unwrap();
        *self.senders.borrow_mut() = None;
        self.after(|process| purpose == Purpose::Stop || process.unit.borrow().is_none()).await;
        if purpose == Purpose::Stop {
            // Jobs that failed calls left unsettled come back when their leases expire.
            let unsettled = self.unsettled();
            assert!(self.faults.call > 0 || unsettled.is_empty(), "jobs {unsettled:?} are finished and not settled");
            self.excused.borrow_mut().extend(unsettled);
            self.store.borrow_mut().expire();
        }
    }

    /// Kills the runtime, as SIGKILL does.
    pub async fn kill(&self, runtime: Running) {
        // It may not have heard of what its lanes finished or were about to finish.
        let processes = self.processes.borrow().clone();
        let in_unit = |pid: &i32| processes.get(pid).is_some_and(|process| process.unit.borrow().is_some());
        let lost =
            self.running.borrow().iter().filter(|(_, pid)| !in_unit(pid)).map(|(job, _)| *job).collect::<Vec<_>>();
        self.excused.borrow_mut().extend(lost);
        self.excused.borrow_mut().extend(self.unsettled());
        self.current.set(0);
        runtime.task.abort();
        let _ = runtime.task.await;
        *self.senders.borrow_mut() = None;
        self.after(|process| process.unit.borrow().is_none()).await;
    }

    /// Jobs that are finished and still reserved in the queue.
    fn unsettled(&self) -> Vec<u64> {
        self.store.borrow().reserved.keys().copied().filter(|job| self.is_finished(*job)).collect()
    }

    /// After the end of a runtime, kills the processes for which `dies` holds and waits until they are gone.
    async fn after(&self, dies: impl Fn(&Process) -> bool) {
        let all: Vec<Rc<Process>> = self.processes.borrow().values().cloned().collect();
        all.iter().filter(|process| dies(process)).for_each(|process| process.kill.notify_one());
        let pids: Vec<i32> = all.iter().filter(|process| dies(process)).map(|process| process.pid).collect();
        let end = Instant::now() + DONE;
        while self.processes.borrow().keys().any(|pid| pids.contains(pid)) {
            assert!(Instant::now() < end, "they do not die");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The process in a unit.
    pub fn in_unit(&self, unit: &Unit) -> Option<Rc<Process>> {
        self.processes.borrow().values().find(|process| process.unit.borrow().as_ref() == Some(unit)).cloned()
    }
}

impl Runtime {
    /// Each ended attempt is in the history once, with its outcome.
    fn check_history(&self) {
        let mut recorded = BTreeMap::new();
        for (outcome, attempts) in self.recorder.metrics().into_iter().flat_map(|row| row.figures.outcomes) {
            *recorded.entry(outcome).or_default() += attempts;
        }
        let told: BTreeMap<String, u64> =
            self.held.tally().iter().map(|(outcome, jobs)| ((*outcome).to_owned(), *jobs)).collect();
        assert_eq!(recorded, told, "recorded, and told");
    }
}
