//! The template process, retired templates that still have children, and forks that wait for a template.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use rustix::process::{PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{ProcessEvent, Processes};
use crate::launch::Exit;
use crate::workers::Outbox;
use kqueue_core::backoff::Backoff;
use kqueue_core::schedule::{Cause, WorkerId};
use kqueue_core::wire::{Mode, Parts, ToWorker, Unforkable};

/// Minimum and maximum delay before a template that keeps dying is started again.
const DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Forks of a template that does not share compiled code. With more of them, their copies take more memory than what
/// is shared.
const UNSHARED: u32 = 3;

/// One template process.
#[derive(Debug)]
struct Template {
    pid: i32,
    outbox: Option<Outbox>,
    ready: bool,
    /// Time of its start.
    born: Instant,
    /// The first worker that it forked: worker ids ascend, so later ones are its own too.
    first: Option<WorkerId>,
    /// Forks until another template takes over; without limit where they share compiled code.
    forks: Option<u32>,
}

/// All templates.
#[derive(Debug)]
pub struct Templates {
    current: Option<Template>,
    /// Replaced ones, which live until their last child has ended: only they can report its exit status.
    retired: Vec<Template>,
    /// Forks to be ordered once a template is ready.
    pending: VecDeque<(WorkerId, Mode)>,
    deaths: Backoff,
    retry: Option<Instant>,
    dismissed: bool,
    /// Why the last one ended; cleared once another one is ready.
    fault: Option<String>,
}

impl Templates {
    pub fn new() -> Self {
        Self {
            current: None,
            retired: Vec::new(),
            pending: VecDeque::new(),
            deaths: Backoff::after_one(DELAYS.0, DELAYS.1),
            retry: None,
            dismissed: false,
            fault: None,
        }
    }

    /// Notes a started template. If two were requested at once the later one counts; the other's process id is
    /// returned, to be killed.
    #[must_use]
    pub fn started(&mut self, pid: i32, shares: bool) -> Option<i32> {
        self.retry = None;
        let forks = (!shares).then_some(UNSHARED);
        let template = Template { pid, outbox: None, ready: false, born: Instant::now(), first: None, forks };
        self.current.replace(template).map(|other| other.pid)
    }

    /// Why the last template ended, until another one is ready.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Deadline of the booting template, which may take `limit`.
    pub fn deadline(&self, limit: Duration) -> Option<Instant> {
        self.current.as_ref().filter(|template| !template.ready).map(|template| template.born + limit)
    }

    pub fn awaits(&self, worker: WorkerId) -> bool {
        self.pending.iter().any(|(other, _)| *other == worker)
    }

    fn pid(&self) -> Option<i32> {
        self.current.as_ref().map(|template| template.pid)
    }

    pub fn is(&self, pid: i32) -> bool {
        self.current.as_ref().is_some_and(|template| template.pid == pid)
    }

    /// Whether a process that connects as the template is the one we started.
    pub fn expects(&self, pid: i32) -> bool {
        self.current.as_ref().is_some_and(|template| {
            template.outbox.is_none() && kqueue_system::processes::descends_from(pid, template.pid)
        })
    }

    /// Notes the template's connection. `pid` may differ from the one that was started, where `php` is a wrapper.
    pub fn connected(&mut self, pid: i32, outbox: Outbox) {
        if let Some(template) = &mut self.current {
            template.pid = pid;
            template.outbox = Some(outbox);
        }
    }

    pub fn ready(&mut self, pid: i32) {
        if let Some(template) = self.current.as_mut().filter(|template| template.pid == pid) {
            template.ready = true;
            self.fault = None;
        }
    }

    /// Has the current template exit once its children have. One that still boots has none and may never read this: its
    /// process id is returned, to be killed.
    #[must_use]
    pub fn retire(&mut self) -> Option<i32> {
        let template = self.current.take()?;
        if let Some(outbox) = &template.outbox {
            outbox.send(ToWorker::Stop { reason: "restart" }.encode());
        }
        let unready = (!template.ready).then_some(template.pid);
        self.retired.push(template);
        unready
    }

    /// Gives up templates, as the app cannot be forked. Returns the pending forks.
    pub fn dismiss(&mut self) -> VecDeque<(WorkerId, Mode)> {
        // It is ready, so it need not be killed: it has reported that it cannot fork.
        let _ = self.retire();
        self.dismissed = true;
        std::mem::take(&mut self.pending)
    }

    /// Allows templates again.
    pub fn recall(&mut self) {
        self.dismissed = false;
    }

    /// The connection of a template, current or retired.
    fn outbox(&self, pid: i32) -> Option<Outbox> {
        let all = self.current.iter().chain(&self.retired);
        all.filter(|template| template.pid == pid).find_map(|template| template.outbox.clone())
    }

    /// Notes the end of a template; true if it was the current one.
    pub fn gone(&mut self, pid: i32) -> bool {
        self.retired.retain(|template| template.pid != pid);
        if !self.is(pid) {
            return false;
        }
        self.current = None;
        self.try_again();
        true
    }

    /// Schedules another start, after a growing delay.
    fn try_again(&mut self) {
        self.retry = Some(Instant::now() + self.deaths.failed());
    }

    /// A forked worker has finished a job; if the current template forked it, the template works and the delay is
    /// reset.
    pub fn worked(&mut self, worker: WorkerId) {
        if self.current.as_ref().and_then(|template| template.first).is_some_and(|first| worker >= first) {
            self.deaths.succeeded();
        }
    }

    /// Whether the current one can be forked.
    pub fn is_ready(&self) -> bool {
        self.current.as_ref().is_some_and(|template| template.ready)
    }

    /// Retires the current template and cancels any retry.
    #[must_use]
    fn rest(&mut self) -> Option<i32> {
        (self.retry, self.fault, self.deaths) = (None, None, Backoff::after_one(DELAYS.0, DELAYS.1));
        self.retire()
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.retry.is_some_and(|at| at <= now)
    }

    pub fn wake(&self) -> Option<Instant> {
        self.retry
    }

    fn forked(&mut self, worker: WorkerId) {
        if let Some(template) = &mut self.current {
            template.first.get_or_insert(worker);
        }
    }

    /// Whether the current template has forked all that it may.
    fn is_used_up(&self) -> bool {
        self.current.as_ref().is_some_and(|template| template.forks == Some(0))
    }

    /// Orders a fork from the current template, if it is ready.
    fn order(&mut self, frame: Parts) -> bool {
        let sent = self.send(frame);
        if let Some(forks) = self.current.as_mut().filter(|_| sent).and_then(|template| template.forks.as_mut()) {
            *forks = forks.saturating_sub(1);
        }
        sent
    }

    /// Sends a frame to the current template, if it is ready.
    pub fn send(&self, frame: Parts) -> bool {
        self.current
            .as_ref()
            .filter(|template| template.ready)
            .and_then(|template| template.outbox.as_ref())
            .is_some_and(|outbox| outbox.send(frame))
    }
}

/// ` in 3.0 s`; empty where there is no delay.
fn after(delay: Duration) -> String {
    if delay.is_zero() { String::new() } else { format!(" in {:.1} s", delay.as_secs_f64()) }
}

impl Processes {
    /// Starts a new template beside retired ones, unless templates were given up.
    pub fn start_template(&mut self) {
        if self.templates.dismissed {
            self.templates.retry = None;
            return;
        }
        self.templates.retry = None;
        self.start_process(0, Mode::Template);
    }

    /// Forks a process for a lane or an isolated job, as soon as a template is ready.
    pub fn fork(&mut self, worker: WorkerId, mode: Mode) {
        if self.templates.is_used_up() {
            self.retire_template();
            (self.recipe.forking.hurry, self.recipe.forking.share) = (true, true);
            self.start_template();
        }
        if !self.templates.order(self.recipe.fork(worker, mode)) && !self.templates.awaits(worker) {
            self.templates.pending.push_back((worker, mode));
        }
    }

    /// A template has booted: orders the pending forks.
    pub fn template_ready(&mut self, pid: i32) {
        (self.recipe.forking.hurry, self.recipe.forking.share) = (false, true);
        self.templates.ready(pid);
        for (worker, mode) in std::mem::take(&mut self.templates.pending) {
            // Skips workers that were given up meanwhile.
            if self.workers.contains_key(&worker) {
                self.fork(worker, mode);
            }
        }
    }

    /// The template has forked a worker, or could not.
    pub fn forked(&mut self, template: i32, worker: WorkerId, pid: i32, error: Option<String>, unforkable: Unforkable) {
        if !unforkable.held.is_empty() {
            if let Some(known) = self.workers.get(&worker) {
                self.templates.pending.push_back((worker, known.mode));
            }
            return self.cannot_fork(template, unforkable);
        }
        self.watch_fork(template, pid);
        if pid < 0 {
            let why = error.unwrap_or_default();
            tracing::error!("cannot fork: {why}");
            self.workers.remove(&worker);
            self.gone(worker, Cause::BootFailed(format!("cannot fork: {why}")));
        } else if let Some(known) = self.workers.get_mut(&worker) {
            known.pid = Some(pid);
            self.templates.forked(worker);
        } else {
            // The worker was given up before its fork.
            self.launcher.kill(pid);
        }
    }

    /// Tells the template when its child has ended, so that it reports the exit status. Where the kernel has no pidfd,
    /// the template finds out by itself, a little later.
    fn watch_fork(&self, template: i32, pid: i32) {
        // A failed fork has no valid process id.
        let child = Some(pid).filter(|pid| *pid > 0).and_then(rustix::process::Pid::from_raw);
        let held = child.and_then(|child| pidfd_open(child, PidfdFlags::NONBLOCK).ok());
        let (Some(held), Some(outbox)) = (held, self.templates.outbox(template)) else { return };
        tokio::task::spawn_local(async move {
            // Sound here: the descriptor is owned, and not moved out while it is registered.
            #[allow(deprecated)]
            if let Ok(held) = AsyncFd::with_interest(held, Interest::READABLE) {
                let _ = held.readable().await;
            }
            outbox.send(ToWorker::Reap.encode());
        });
    }

    /// Boots the app anew for processes started from now on.
    pub fn replace_template(&mut self) {
        self.retire_template();
        if self.recipe.forking.start_over() {
            self.templates.recall();
        }
        self.start_template();
    }

    /// The app falls asleep: ends the template.
    pub fn sleep(&mut self) {
        if let Some(pid) = self.templates.rest() {
            self.launcher.kill(pid);
        }
    }

    /// The app wakes up. False where no template is started. `changed`: the app may have changed, so a template boots
    /// and describes it even if nothing is forked.
    pub fn wake_up(&mut self, changed: bool) -> bool {
        if changed {
            self.recipe.forking.start_over();
        }
        if !changed && !self.recipe.forking.is_on() {
            return false;
        }
        self.templates.recall();
        (self.recipe.forking.hurry, self.recipe.forking.share) = (true, false);
        self.start_template();
        true
    }

    /// Whether lanes and isolated jobs can get a process now. Where nothing is forked, starts the processes that waited
    /// for a template.
    pub fn can_start(&mut self) -> bool {
        if self.recipe.forking.is_on() {
            return self.templates.is_ready();
        }
        self.templates.dismiss().into_iter().for_each(|(worker, mode)| self.start_process(worker, mode));
        true
    }

    /// Has the template exit once the processes that it forked have ended.
    pub fn retire_template(&mut self) {
        if let Some(pid) = self.templates.retire() {
            self.launcher.kill(pid);
        }
    }

    /// Kills a template that exceeds `boot_timeout`: pending forks would wait forever.
    pub fn watch_template(&mut self, now: Instant) {
        let limit = self.recipe.settings().boot_timeout;
        let Some(pid) = self.templates.deadline(limit).filter(|at| *at <= now).and(self.templates.pid()) else {
            return;
        };
        self.launcher.kill(pid);
        let cause = Cause::Boot(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self.template_gone(pid, None, Some(format!("it {cause} (boot_timeout), and was killed")));
    }

    /// A ready template has not forked a process in time: it hangs, so it is killed, and another one started.
    pub fn fork_unanswered(&mut self, worker: WorkerId) {
        let hangs = self.templates.current.as_ref().filter(|template| template.ready && !self.templates.awaits(worker));
        let Some(pid) = hangs.map(|template| template.pid) else { return };
        // The template alone, without its children, which run jobs.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        self.template_gone(pid, None, Some("it did not answer a fork request, and was killed".to_owned()));
    }

    /// A template has ended.
    pub fn template_gone(&mut self, pid: i32, exit: Option<Exit>, why: Option<String>) {
        if !self.templates.gone(pid) {
            return;
        }
        let how = match (why, exit) {
            (Some(why), _) => why,
            (None, Some(Exit::Signal(signal))) => Cause::Signal(signal).to_string(),
            (None, Some(Exit::Code(code))) => format!("exit status {code}"),
            (None, None) => "connection lost".to_owned(),
        };
        self.template_failed(how);
    }

    /// A template could not be started.
    pub fn template_not_started(&mut self, why: String) {
        self.templates.try_again();
        self.template_failed(why);
    }

    fn template_failed(&mut self, how: String) {
        let delay = self.templates.retry.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        self.events.push_back(ProcessEvent::TemplateGone(how.clone()));
        tracing::warn!("the template process failed ({how}); starting another{}", after(delay));
        self.templates.fault = Some(how);
        // Forks that it was asked for and has not reported never will be.
        let orphans: Vec<_> = self
            .workers
            .iter()
            .filter(|(id, worker)| {
                worker.forked && worker.pid.is_none() && !self.templates.pending.iter().any(|(other, _)| other == *id)
            })
            .map(|(id, _)| *id)
            .collect();
        for worker in orphans {
            self.workers.remove(&worker);
            self.gone(worker, Cause::Vanished);
        }
    }
}
