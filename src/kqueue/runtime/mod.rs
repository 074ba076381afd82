//! The runtime of one app: wires queue, schedule and PHP processes together.
//!
//! A single task owns all state and handles one input at a time. Each input goes to the component that it concerns; the
//! components' events go to the schedule, and the actions that it decides on go back to the components. Operations that
//! take time (a queue call, a process start) run beside the loop and return as inputs.
//!
//! The components are the folders here. They depend neither on each other nor on this module; the files beside them
//! route the events of one component to the others.

mod act;
mod admit;
mod alerts;
mod app;
mod ask;
mod boot;
mod broken;
mod cancel;
mod chronicle;
mod deliver;
mod end;
mod entrusted;
mod errand;
mod events;
mod failure;
mod hear;
mod held;
mod horizon;
mod limits;
mod listing;
mod outcome;
mod pauses;
mod pop;
mod processes;
mod queue;
mod reload;
mod requeue;
mod service;
#[cfg(test)]
mod simulation;
mod slack;
mod sleep;
mod start;
mod status;
mod steer;
mod stop;
mod takeover;
#[cfg(test)]
mod testing;
mod usual;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::history::Recorder;
use crate::workers::Said;
use kqueue_config::{Loaded, Settings};
use kqueue_control::Snapshot;
use kqueue_core::schedule::{Action, Event, Now, Schedule};

pub use failure::StartFailure;
pub use service::settings::Reread;
pub(crate) use start::find_script;

use app::App;
use chronicle::Chronicle;
use end::{End, Stage};
use held::HeldJobs;
use processes::Processes;
use queue::QueueSide;
use service::settings::SettingsSource;
use service::signals::Asked;
use service::{Service, health};
use slack::Slack;
use sleep::Nap;
use usual::Habit;

/// Capacity of each input channel; senders wait while it is full.
const INPUTS: usize = 1024;
/// Messages handled in one go before the queue is served again.
const BATCH: usize = 64;
/// Milliseconds on the schedule's clock at startup; adopted jobs began before that.
const BEFORE_MS: u64 = 1 << 40;

/// Runs one app's queues until asked to stop. On SIGHUP, `reread` returns the current settings.
///
/// # Errors
/// Whatever ends the runtime early: an app that does not boot, settings that cannot work.
pub async fn run(loaded: Loaded, reread: Reread) -> anyhow::Result<ExitCode> {
    let settings = loaded.settings.clone();
    let ended = LocalSet::new().run_until(start::run(loaded, reread)).await;
    if let Err(error) = &ended {
        health::failed(&settings.app, error);
        service::alerts::start_failed(&settings, &format!("{error:#}")).await;
    }
    ended
}

/// The complete state, owned by one task.
struct Runtime {
    settings: Rc<Settings>,
    /// Origin of the settings, for reloads.
    source: SettingsSource,
    app: App,
    schedule: Schedule,
    /// Events not yet passed to the schedule.
    events: VecDeque<Event>,
    held: HeldJobs,
    queue: QueueSide,
    processes: Processes,
    service: Service,
    /// History of jobs and events.
    recorder: Recorder,
    chronicle: Chronicle,
    said: mpsc::Receiver<Said>,
    started: Instant,
    /// Deadline of `--max-time`.
    max_time: Option<Instant>,
    end: End,
    nap: Nap,
    habit: Habit,
    slack: Slack,
}

impl Runtime {
    fn now(&self) -> Now {
        Now {
            ms: BEFORE_MS + self.started.elapsed().as_millis() as u64,
            epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }

    /// Queues an event for the schedule, until the current input has been handled.
    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Passes all queued events to the schedule and carries out its actions. Events caused by these are passed on
    /// afterwards, in order: the schedule is never re-entered.
    fn settle(&mut self) {
        let mut actions = Vec::new();
        while let Some(event) = self.next_event() {
            self.schedule.on(self.now(), event, &mut actions);
            // Workers that wait for a job are served before finished jobs are logged.
            actions.sort_by_key(|action| matches!(action, Action::Finished(_)));
            actions.drain(..).for_each(|action| self.act(action));
        }
    }

    /// Runs the main loop until the schedule is over, then the stages of the shutdown. `signals` carries stop and
    /// reload requests.
    async fn work(&mut self, mut signals: mpsc::Receiver<Asked>) -> anyhow::Result<ExitCode> {
        let Snapshot { laravel, php, .. } = self.service.observer.about();
        let text = format!("started: kqueue {}, Laravel {laravel}, PHP {php}", env!("CARGO_PKG_VERSION"));
        self.happened("runtime", text);
        self.tell(Event::Tick);
        self.settle();
        loop {
            self.advance();
            let works = match self.end.stage {
                Stage::Working => true,
                Stage::Settling(_) | Stage::Leaving(_) => false,
                Stage::Done => break,
            };
            if works {
                self.work_queue();
                self.look_after_health();
            } else {
                self.queue.settle();
            }
            self.held.write(self.queue.is_removing());
            let wake = self.next_wake();
            self.processes.begin_turn();
            tokio::select! {
                biased;
                Some(asked) = signals.recv(), if works => self.on_signal(asked),
                Some(said) = self.said.recv() => self.hear_all(said),
                input = self.queue.next() => self.queue.handle(input),
                input = self.processes.next() => self.processes.handle(input),
                request = self.service.next(), if works => self.on_request(request),
                () = tokio::time::sleep_until(wake.into()) => self.on_time(),
            }
            self.settle();
        }
        self.end().await
    }

    /// Handles all messages that have arrived before the queue is called again, so that calls are batched.
    fn hear_all(&mut self, first: Said) {
        self.hear(first);
        for _ in 0..BATCH {
            self.settle();
            match self.said.try_recv() {
                Ok(said) => self.hear(said),
                Err(_) => return,
            }
        }
    }

    /// When [`Runtime::on_time`] is due if no input arrives first.
    fn next_wake(&self) -> Instant {
        if let Some(wake) = self.end_wake() {
            return wake;
        }
        let schedule =
            self.schedule.next_wake().map(|ms| self.started + Duration::from_millis(ms.saturating_sub(BEFORE_MS)));
        [schedule, self.max_time, self.queue.wake(), self.processes.wake(), self.service.wake(), self.look_wake()]
            .into_iter()
            .chain([self.nap_wake(), self.slack_wake()])
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(60))
            // At most once per millisecond, whatever the timers say.
            .max(Instant::now() + Duration::from_millis(1))
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.processes.look_after_ends(now);
        if !matches!(self.end.stage, Stage::Working) {
            return;
        }
        self.queue.on_time(now);
        self.processes.on_time(now);
        self.service.history.on_time(now, &self.schedule.history);
        self.look_after_pauses(now);
        self.keep_cancels();
        self.look_after_duties(now);
        self.look_after_alerts(now);
        self.look_at_queues(now);
        self.look_at_release(now);
        self.look_at_habit();
        self.give_back_memory(now);
        self.look_at_max_time(now);
        self.tell(Event::Tick);
    }
}
