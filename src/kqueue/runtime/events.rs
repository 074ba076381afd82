//! Routes events of the components: to the schedule, and to the components that they concern.

use std::time::Instant;

use super::end::Stage;
use super::processes::ProcessEvent;
use super::queue::QueueEvent;
use super::service::health;
use super::service::horizon::DUTIES;
use super::{Runtime, held::ledger::Given};
use kqueue_core::schedule::{Cause, Event, JobId, JobKind, WorkerId};
use kqueue_system::log::PHP_TARGET;

impl Runtime {
    /// The next event for the schedule.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if let Some(event) = self.queue.events.pop_front() {
                self.on_queue(event);
            } else {
                let event = self.processes.events.pop_front()?;
                self.on_process(event);
            }
        }
    }

    fn on_queue(&mut self, event: QueueEvent) {
        match event {
            QueueEvent::Opened => health::ready(),
            QueueEvent::Silent(why) => {
                if !self.queue.has_answered() {
                    self.service.health.waits_for_queue(Instant::now());
                }
                self.queue_is_silent(why);
            }
            QueueEvent::Answers => self.over("queue"),
            QueueEvent::Rang => self.tell(Event::Rung),
            QueueEvent::Sighted(within) => self.tell(Event::Sighted(within)),
            QueueEvent::Shared { name, call, grant } => self.tell(Event::Shared { name, call, grant }),
            QueueEvent::Elsewhere => self.is_elsewhere(),
            QueueEvent::Reserved(jobs) => self.admit(jobs),
            QueueEvent::Empty { settled } => self.tell(Event::Empty { settled }),
            QueueEvent::Removed(jobs) => self.held.removed(jobs),
            QueueEvent::RenewalDue => self.queue.renew(self.held.leased()),
            QueueEvent::Renewed(jobs) => {
                for (job, receipt, ours) in jobs {
                    if self.held.renewed(job, receipt, ours) {
                        self.tell(Event::LeaseLost(job));
                    }
                }
            }
            QueueEvent::Returned(jobs) => self.held.returned(jobs),
            QueueEvent::Verified { job, receipt, ours } => {
                if ours {
                    self.held.verified(job, receipt);
                }
                self.tell(Event::Verified { job, ours });
            }
            // During the shutdown an error changes nothing.
            QueueEvent::Unusable(_) | QueueEvent::Abandoned(_) if !matches!(self.end.stage, Stage::Working) => {}
            QueueEvent::Unusable(error) => {
                self.fail(anyhow::Error::new(error).context(format!("queue connection '{}'", self.app.connection)));
            }
            QueueEvent::Abandoned(error) => {
                self.fail(anyhow::anyhow!("queue connection '{}': {error}", self.app.connection));
            }
        }
    }

    fn on_process(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Ended(worker) => self.ended(worker),
            ProcessEvent::Gone(DUTIES, cause) => self.service.duties.gone(&cause),
            ProcessEvent::Gone(worker, cause) => self.tell(Event::Gone { worker, cause, unread: false }),
            ProcessEvent::Given { worker, job, kind } => self.note_given(worker, job, kind),
            ProcessEvent::NotScoped { job, error, runs } => {
                let class = self.held.get(job).map_or("a job", |record| &record.class);
                let so = if runs { "runs within the limits of a pooled worker" } else { "waits" };
                tracing::warn!("cannot create a scope for {class}, which {so}: {error}");
            }
            ProcessEvent::MemoryOver { worker, used, limit } => self.tell(Event::MemoryOver { worker, used, limit }),
            ProcessEvent::Printed(lines) => self.log_printed(lines),
            ProcessEvent::Purpose(purpose) => self.on_purpose(purpose),
            ProcessEvent::TemplateGone(how) => {
                self.happened("worker", format!("the template process failed: {how}"));
                self.tell(Event::BootFailed);
            }
            ProcessEvent::ManagerLost => self.began("coordinator", "outage", "unit manager unreachable".to_owned()),
            ProcessEvent::ManagerBack => self.over("coordinator"),
        }
    }

    /// Handles the end of a process, once all is known of it.
    fn ended(&mut self, id: WorkerId) {
        self.processes.begin_turn();
        self.log_printed(self.processes.output_of(id));
        let Some(worker) = self.processes.workers.remove(&id) else { return };
        self.departed(id, &worker);
        self.account(id, &worker);
        let cause = worker.cause();
        if let Cause::BootFailed(_) = cause {
            tracing::error!("{} worker {id}: {cause}", worker.mode);
        }
        if id == DUTIES {
            // The schedule does not know processes that run no jobs.
            return self.service.duties.gone(&cause);
        }
        if let Some(job) = worker.job.filter(|_| worker.unread()) {
            self.held.waits_again(job);
        }
        self.tell(Event::Gone { worker: id, cause, unread: worker.unread() });
    }

    /// Records the process in which a job is about to run.
    pub(super) fn note_given(&mut self, id: WorkerId, job: JobId, kind: JobKind) {
        if let Some(worker) = self.processes.workers.get(&id) {
            let (mode, unit, pid) = (worker.mode, worker.unit.clone(), worker.pid.unwrap_or(0));
            self.held.given(job, Given { worker: id, mode, unit, pid, at: super::held::epoch_ms(), kind });
        }
    }

    /// Logs lines of output, each with its job.
    pub(super) fn log_printed(&mut self, lines: Vec<super::processes::printed::PrintedLine>) {
        for line in lines {
            let (text, number, tier) = (&line.text, line.worker, line.tier.map(kqueue_core::routing::Tier::name));
            let Some((id, record)) = line.job.and_then(|job| Some((job, self.held.get(job)?))) else {
                tracing::info!(target: PHP_TARGET, kqueue_tier = tier, kqueue_worker = number, "{text}");
                continue;
            };
            tracing::info!(
                target: PHP_TARGET,
                kqueue_job = record.uuid,
                kqueue_class = record.class,
                kqueue_queue = record.reservation.queue,
                kqueue_attempt = record.attempt,
                kqueue_tier = tier,
                kqueue_worker = number,
                "{}: {text}", record.class,
            );
            if !self.schedule.prints(&record.class) {
                self.tell(Event::Printed(id));
            }
        }
    }
}
