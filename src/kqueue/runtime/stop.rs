//! Signals and requests: what SIGTERM, SIGHUP and SIGUSR1 bring about, and a fault that ends the runtime.

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
            Request::Ask(ask) => self.answer(ask),
            Request::Upgrade => {
                let restarted = self.is_restarted();
                self.service.upgrade.when_idle(restarted);
            }
        }
    }

    /// SIGTERM, SIGINT, SIGQUIT: what runs may finish. A second one kills it.
    fn stop(&mut self, signal: &str) {
        let running = self.running();
        if self.schedule.is_stopping() {
            tracing::warn!("{signal} again: killing {running} running jobs");
            self.end.killed |= running > 0;
        } else {
            tracing::info!("{signal}: waiting for {running} running jobs, giving back the others");
        }
        health::stopping();
        if self.schedule.is_stopping() || !self.processes.ask_purpose() {
            self.drain();
        }
    }

    /// Why we are to stop is known: a restart leaves running what can do without us.
    pub(super) fn on_purpose(&mut self, purpose: Purpose) {
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

    /// What runs may finish, and is told that it is waited for; asked for twice, it is killed.
    fn drain(&mut self) {
        if !self.schedule.is_stopping() {
            // No other job: a signal would cut short whatever it waits for.
            let told = self.leaving().filter(|(_, worker)| worker.job.is_some() && worker.job == worker.interruptible);
            for pid in told.filter_map(|(_, worker)| worker.pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        self.tell(Event::Drain);
    }

    /// Ends for this error, as orderly as for a signal: what runs may finish, and is settled.
    pub(super) fn fail(&mut self, error: anyhow::Error) {
        if self.end.failure.is_some() {
            return;
        }
        let running = self.running();
        if running > 0 {
            tracing::error!("{error:#}; waiting for {running} running jobs, then ending");
        }
        self.end.failure = Some(error);
        self.drain();
    }

    pub(super) fn look_at_max_time(&mut self, now: Instant) {
        if self.max_time.take_if(|at| *at <= now).is_some() && !self.schedule.is_stopping() {
            tracing::info!("the time of --max-time is over");
            self.tell(Event::Drain);
        }
    }

    /// `queue:restart` and its like.
    pub(super) fn restart_all(&mut self, why: &str) {
        tracing::info!("{why}: replacing every PHP process after its current job");
        self.happened("deploy", format!("{why}: every PHP process is replaced"));
        self.replace_template();
        self.tell(Event::Restart);
    }

    /// Boots the app anew, for the processes that come from now on.
    pub(super) fn replace_template(&mut self) {
        if self.is_asleep() {
            return;
        }
        self.nap.release = Release::read(&self.settings.path);
        self.processes.replace_template();
        self.replace_duties();
    }

    /// A PHP process speaks another protocol. Where our program has been replaced, so have our PHP files: what is
    /// started from now on can only work with the other version.
    pub(super) fn on_foreign(&mut self) {
        if self.is_restarted() && self.schedule.standing() == Standing::Running && is_replaced() {
            tracing::warn!("another version of kqueue is installed, with another protocol: restarting into it");
            self.tell(Event::HandOver);
        }
    }

    /// Where another version is wanted, this one leaves when it has nothing to do.
    pub(super) fn leave_if_replaced(&mut self) {
        let idle = self.schedule.standing() == Standing::Running && self.schedule.job_count() == 0;
        // Before the queue has answered, the manager would take it for a failed start.
        if self.service.upgrade.is_wanted() && idle && self.queue.has_answered() {
            tracing::info!("no job is held: leaving, to be started again");
            self.tell(Event::HandOver);
            self.settle();
        }
    }

    /// Whether somebody would start us again, and our processes would live on meanwhile.
    pub(super) fn is_restarted(&self) -> bool {
        self.processes.outlive() && is_listening()
    }

    fn running(&self) -> usize {
        self.processes.workers.values().filter(|worker| worker.job.is_some()).count()
    }
}
