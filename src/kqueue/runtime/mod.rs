//! The runtime of one app: wires queue, schedule and PHP processes together.
//!
//! All decisions about jobs are the schedule's. This module tells it what happens and does what it says:
//! one task owns all state and handles one input after the other; what takes time (a call to the queue, a
//! process to start) runs beside it and comes back as an input.

mod act;
mod end;
mod failure;
mod hear;
mod held;
mod input;
mod limits;
mod outcome;
mod processes;
mod queue;
mod service;
mod start;
mod takeover;
#[cfg(test)]
mod testing;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::launch::{LaunchEvent, UnitNotice};
use crate::workers::Said;
use kqueue_config::{Loaded, Settings};
use kqueue_core::schedule::{Action, Event, Now, Schedule};

pub(crate) use start::find_script;

use end::Stage;
use held::HeldJobs;
use input::Input;
use processes::units::UnitSide;
use processes::{ProcessEvent, Processes};
use queue::QueueSide;
use service::horizon::DUTIES;
use service::reload::Reload;
use service::{Service, health};
use start::App;

pub use failure::StartFailure;
pub use service::reload::Reread;

/// Inputs that may wait to be handled before those who bring them have to wait.
const INPUTS: usize = 1024;
/// Inputs handled before the queue is looked after again.
const BATCH: usize = 64;
/// Milliseconds that the schedule's clock shows when we begin: what it adopts began before.
const BEFORE_MS: u64 = 1 << 40;

/// Runs one app's queues until told to stop. On SIGHUP, `reread` brings the settings as they are then.
///
/// # Errors
/// Whatever ends the runtime before its time: an app that does not boot, settings that cannot work.
pub async fn run(loaded: Loaded, reread: Reread) -> anyhow::Result<ExitCode> {
    let app = loaded.settings.app.clone();
    let ended = LocalSet::new().run_until(start::run(loaded, reread)).await;
    if let Err(error) = &ended {
        health::failed(&app, error);
    }
    ended
}

/// Everything there is, in the hands of one task.
struct Runtime {
    settings: Rc<Settings>,
    app: App,
    schedule: Schedule,
    /// What the schedule is still to be told.
    events: VecDeque<Event>,
    is_telling: bool,
    held: HeldJobs,
    queue: QueueSide,
    processes: Processes,
    service: Service,
    inputs: mpsc::Sender<Input>,
    said: mpsc::Receiver<Said>,
    launched: mpsc::Receiver<LaunchEvent>,
    heard: mpsc::Receiver<Input>,
    started: Instant,
    /// Value of the app's restart signal, once known.
    restart: Option<Option<String>>,
    /// The last fault in reading the app's signals, so that it is told once.
    signal_fault: Option<String>,
    timers: Timers,
    killed: bool,
    stage: Stage,
    /// What we end for, if it is an error.
    failure: Option<anyhow::Error>,
    reload: Reload,
}

/// When something is due that no input brings.
#[derive(Debug, Default)]
struct Timers {
    renew: Option<Instant>,
    memory: Option<Instant>,
    save: Option<Instant>,
    max_time: Option<Instant>,
}

impl Runtime {
    fn now(&self) -> Now {
        Now {
            ms: BEFORE_MS + self.started.elapsed().as_millis() as u64,
            epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }

    /// Tells the schedule, and does what it says. What doing so brings about is told afterwards, in order.
    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        if self.is_telling {
            return;
        }
        self.is_telling = true;
        let mut actions = Vec::new();
        while let Some(event) = self.next_event() {
            self.schedule.on(self.now(), event, &mut actions);
            // Who waits for a job comes before what is merely told.
            actions.sort_by_key(|action| matches!(action, Action::Finished(_)));
            actions.drain(..).for_each(|action| self.act(action));
        }
        self.is_telling = false;
    }

    /// What the schedule is to be told next: what was brought about before, and what has become of processes.
    fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match self.processes.events.pop_front()? {
                ProcessEvent::Ended(worker) => self.ended(worker),
                ProcessEvent::Gone(DUTIES, cause) => self.duties_gone(&cause),
                ProcessEvent::Gone(worker, cause) => {
                    self.events.push_back(Event::Gone { worker, cause, unread: false });
                }
            }
        }
    }

    /// Tells the schedule what has become of processes.
    fn settle(&mut self) {
        while let Some(event) = self.next_event() {
            self.tell(event);
        }
    }

    /// Works until the schedule says that it is over.
    async fn work(&mut self) -> anyhow::Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        self.tell(Event::Tick);
        loop {
            self.advance();
            let works = match self.stage {
                Stage::Working => true,
                Stage::Settling(_) | Stage::Leaving(_) => false,
                Stage::Done => break,
            };
            if works {
                self.look_after_queue();
                self.look_after_health();
            } else {
                self.settle_queue();
            }
            self.write_ledger();
            let wake = self.next_wake();
            let stop = tokio::select! {
                biased;
                _ = terminate.recv(), if works => Some("SIGTERM"),
                _ = interrupt.recv(), if works => Some("SIGINT"),
                _ = quit.recv(), if works => Some("SIGQUIT"),
                _ = hangup.recv(), if works => {
                    self.reload();
                    None
                }
                () = self.service.upgrade.asked(), if works => {
                    self.upgrade_when_idle();
                    None
                }
                Some(said) = self.said.recv() => {
                    self.processes.printing.outputs.begin();
                    self.hear(said);
                    self.hear_more();
                    None
                }
                Some(input) = self.heard.recv() => {
                    self.processes.printing.outputs.begin();
                    // At the end nothing more can come of an error.
                    if let Err(error) = self.on_input(input)
                        && works
                    {
                        self.fail(error);
                    }
                    None
                }
                Some(event) = self.launched.recv() => {
                    self.on_launched(event);
                    None
                }
                Some(notice) = next_notice(&mut self.processes.units) => {
                    self.processes.on_unit(notice);
                    None
                }
                () = self.processes.printing.outputs.ready() => {
                    self.pass_on_output();
                    None
                }
                Some(ask) = self.service.observer.asks.recv(), if works => {
                    self.answer_ask(ask);
                    None
                }
                Some(()) = self.queue.bell.rings.recv(), if works => {
                    self.queue.fetch.look_again();
                    None
                }
                () = tokio::time::sleep_until(wake.into()) => {
                    self.on_time();
                    None
                }
            };
            if let Some(signal) = stop {
                self.stop(signal);
            }
            self.settle();
        }
        self.end().await;
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        Ok(if self.killed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// What has come in meanwhile is handled before the queue is asked again: so calls come in batches.
    fn hear_more(&mut self) {
        for _ in 0..BATCH {
            match self.said.try_recv() {
                Ok(said) => self.hear(said),
                Err(_) => return,
            }
        }
    }

    /// Ends for this error, as orderly as for a signal: what runs may finish, and is settled.
    fn fail(&mut self, error: anyhow::Error) {
        if self.failure.is_some() {
            return;
        }
        let running = self.processes.workers.values().filter(|worker| worker.job.is_some()).count();
        if running > 0 {
            tracing::error!("{error:#}; waiting for {running} running jobs, then ending");
        }
        self.failure = Some(error);
        self.drain();
    }

    fn stop(&mut self, signal: &str) {
        let running = self.processes.workers.values().filter(|worker| worker.job.is_some()).count();
        if self.schedule.is_stopping() {
            tracing::warn!("{signal} again: killing {running} running jobs");
            self.killed |= running > 0;
        } else {
            tracing::info!("{signal}: waiting for {running} running jobs, giving back the others");
        }
        self.notify(&[sd_notify::NotifyState::Stopping]);
        if self.schedule.is_stopping() || !self.ask_purpose() {
            self.drain();
        }
    }

    /// What runs may finish, and is told that it is waited for; asked for twice, it is killed.
    fn drain(&mut self) {
        let first = !self.schedule.is_stopping();
        self.tell(Event::Drain);
        if first {
            // No other job: a signal would cut short whatever it waits for.
            let told = self.leaving().filter(|(_, worker)| worker.job.is_some() && worker.job == worker.interruptible);
            for pid in told.filter_map(|(_, worker)| worker.pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
    }

    /// Boots the app anew, for the processes that come from now on.
    fn replace_template(&mut self) {
        self.processes.replace_template();
        self.replace_duties();
    }

    fn restart_all(&mut self, why: &str) {
        tracing::info!("{why}: replacing every PHP process after its current job");
        self.replace_template();
        self.tell(Event::Restart);
    }

    fn notify(&self, states: &[sd_notify::NotifyState<'_>]) {
        // Without a service manager there is nobody to notify.
        let _ = sd_notify::notify(states);
    }

    /// When to look around, if nothing happens before.
    fn next_wake(&self) -> Instant {
        if let Some(wake) = self.end_wake() {
            return wake;
        }
        let schedule =
            self.schedule.next_wake().map(|ms| self.started + Duration::from_millis(ms.saturating_sub(BEFORE_MS)));
        let Timers { renew, memory, save, max_time } = self.timers;
        let ends = self.processes.ends;
        let retry = self.queue.fetch.retry_at();
        let template = self.processes.templates.wake();
        let boot = self.processes.templates.deadline(self.settings.boot_timeout);
        let health = self.service.health.wake();
        let backlog = self.queue.backlog.wake();
        let duties = self.service.duties.wake();
        [schedule, renew, memory, save, ends, max_time, retry, template, boot, health, backlog, duties]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(60))
            // Never twice in one millisecond, whatever the timers say.
            .max(Instant::now() + Duration::from_millis(1))
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        let due = |timer: &mut Option<Instant>| timer.take_if(|at| *at <= now).is_some();
        if due(&mut self.processes.ends) {
            self.processes.settle_ends();
        }
        if !matches!(self.stage, Stage::Working) {
            return;
        }
        if due(&mut self.timers.renew) {
            self.renew();
        }
        if due(&mut self.timers.memory) {
            self.watch_memory();
        }
        if due(&mut self.timers.save) {
            self.save_history();
        }
        if due(&mut self.timers.max_time) && !self.schedule.is_stopping() {
            tracing::info!("the time of --max-time is over");
            self.tell(Event::Drain);
        }
        self.processes.watch_template(now);
        self.look_after_duties(now);
        if self.processes.templates.is_due(now) {
            self.processes.start_template();
        }
        self.tell(Event::Tick);
    }
}

/// What the manager of units says next; never, where there is none.
async fn next_notice(units: &mut Option<UnitSide>) -> Option<UnitNotice> {
    match units {
        Some(side) => side.notices.recv().await,
        None => std::future::pending().await,
    }
}
