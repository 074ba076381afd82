//! Handles signals and requests: SIGTERM, SIGHUP and SIGUSR1, and faults that end the runtime.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Runtime;
use super::service::Request;
use super::service::health;
use super::service::release::Release;
use super::service::signals::Asked;
use super::service::upgrade::is_replaced;
use kqueue_core::schedule::{Event, Standing};
use kqueue_core::wire::coordinator::Purpose;
use kqueue_system::systemd::health::is_listening;

impl Runtime {
    pub(super) fn on_signal(&mut self, asked: Asked) {
        match asked {
            Asked::Stop(signal) => self.stop(signal),
            Asked::Reload => self.reload(),
        }
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Ask(ask) => self.answer(*ask),
            Request::Upgrade => {
                let restarted = self.is_restarted();
                self.service.upgrade.when_idle(restarted);
            }
        }
    }

    /// SIGTERM, SIGINT, SIGQUIT: running jobs may finish. A second signal kills them.
    fn stop(&mut self, signal: &str) {
        let running = self.running();
        if self.schedule.is_stopping() {
            tracing::warn!("{signal} again: killing the running jobs ({running})");
            self.end.killed |= running > 0;
        } else {
            tracing::info!("{signal}: waiting for the running jobs ({running}), giving back the others");
        }
        health::stopping();
        if self.schedule.is_stopping() || !self.processes.ask_purpose() {
            self.drain();
        }
    }

    /// The reason of a stop is known: on a restart, jobs whose processes outlive the runtime run on.
    pub(super) fn on_purpose(&mut self, purpose: Purpose) {
        if self.schedule.is_stopping() {
            return;
        }
        if purpose == Purpose::Restart {
            tracing::info!("restart: pooled and isolated jobs keep running");
            self.tell(Event::HandOver);
        } else {
            self.drain();
        }
    }

    /// Drains: running jobs may finish, and those that ask for it are notified. A second call kills them.
    fn drain(&mut self) {
        if !self.schedule.is_stopping() {
            // Only these: in any other job, a signal would interrupt a blocking call.
            let told = self.leaving().filter(|(_, worker)| worker.job.is_some() && worker.job == worker.interruptible);
            for pid in told.filter_map(|(_, worker)| worker.pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        self.tell(Event::Drain);
    }

    /// Ends the runtime for this error, in the same order as for a signal.
    pub(super) fn fail(&mut self, error: anyhow::Error) {
        if self.end.failure.is_some() {
            return;
        }
        let running = self.running();
        if running > 0 {
            tracing::error!("{error:#}; waiting for the running jobs ({running}), then exiting");
        }
        self.end.failure = Some(error);
        self.drain();
    }

    pub(super) fn look_at_max_time(&mut self, now: Instant) {
        if self.max_time.take_if(|at| *at <= now).is_some() && !self.schedule.is_stopping() {
            tracing::info!("--max-time reached: stopping after the running jobs");
            self.tell(Event::Drain);
        }
    }

    /// Replaces every process, for `queue:restart` and the like.
    pub(super) fn restart_all(&mut self, why: &str) {
        tracing::info!("{why}: replacing every PHP process after its current job");
        self.happened("deploy", format!("{why}: every PHP process is replaced"));
        self.replace_template();
        self.tell(Event::Restart);
    }

    /// Boots the app anew for processes started from now on.
    pub(super) fn replace_template(&mut self) {
        if self.is_asleep() {
            return;
        }
        self.nap.release = Release::read(&self.settings.path);
        self.processes.replace_template();
        self.replace_duties();
    }

    /// A PHP process uses another protocol version. If our program was replaced, so were our PHP files: processes
    /// started from now on work with the other version only.
    pub(super) fn on_foreign(&mut self) {
        if self.is_restarted() && self.schedule.standing() == Standing::Running && is_replaced() {
            tracing::warn!("another version of kqueue is installed, with another protocol: restarting into it");
            self.tell(Event::HandOver);
        }
    }

    /// Restarts into a newly installed version once no job is held.
    pub(super) fn leave_if_replaced(&mut self) {
        let idle = self.schedule.standing() == Standing::Running && self.schedule.job_count() == 0;
        // Before the first reply of the queue, the service manager would take this for a failed start.
        if self.service.upgrade.is_wanted() && idle && self.queue.has_answered() {
            tracing::info!("no job is held: exiting, to be restarted");
            self.tell(Event::HandOver);
            self.settle();
        }
    }

    /// Whether a service manager would start us again, with our processes running on meanwhile.
    pub(super) fn is_restarted(&self) -> bool {
        self.processes.outlive() && is_listening()
    }

    fn running(&self) -> usize {
        self.processes.workers.values().filter(|worker| worker.job.is_some()).count()
    }
}
