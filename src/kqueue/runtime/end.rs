//! The shutdown of a runtime, in stages: finished jobs are removed from the queue, then every process leaves, then
//! those left are killed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kqueue_core::schedule::{StopReason, WorkerId};
use kqueue_core::wire::ToWorker;

use super::Runtime;
use super::service::health;
use crate::workers::WorkerProcess;

/// Timeout for settling finished jobs.
const SETTLING: Duration = Duration::from_secs(10);
/// Timeout for processes to leave once all jobs are settled.
const LEAVING: Duration = Duration::from_secs(2);

/// Stage of the shutdown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Jobs run.
    Working,
    /// Finished jobs are removed and waiting ones given back, until this deadline.
    Settling(Instant),
    /// Processes leave, until this deadline.
    Leaving(Instant),
    /// Nothing is waited for any more.
    Done,
}

/// State of the shutdown.
#[derive(Debug)]
pub(super) struct End {
    pub stage: Stage,
    /// Jobs were killed instead of waited for.
    pub killed: bool,
    /// The error that ended the runtime, if any.
    pub failure: Option<anyhow::Error>,
}

impl End {
    pub fn new() -> Self {
        Self { stage: Stage::Working, killed: false, failure: None }
    }
}

impl Runtime {
    /// Enters the next stage, if this one is over.
    pub(super) fn advance(&mut self) {
        loop {
            let now = Instant::now();
            if matches!(self.end.stage, Stage::Working) {
                self.leave_if_replaced();
            }
            self.end.stage = match self.end.stage {
                Stage::Working if self.schedule.is_over() => {
                    health::farewell();
                    self.service.observer.close();
                    self.service.history.save(&self.schedule.history);
                    self.queue.look_again();
                    Stage::Settling(now + SETTLING)
                }
                Stage::Settling(until) if self.queue.is_settled() || now >= until => {
                    let left = self.queue.unsettled();
                    if left > 0 {
                        tracing::error!(
                            "the queue does not answer: jobs that could not be settled and will run again after retry_after: {left}"
                        );
                    }
                    for (_, worker) in self.leaving() {
                        worker.send(ToWorker::Stop { reason: StopReason::Drain.as_str() }.encode());
                    }
                    Stage::Leaving(now + LEAVING)
                }
                Stage::Leaving(until) if self.end.killed || now >= until || self.leaving().next().is_none() => {
                    Stage::Done
                }
                Stage::Working | Stage::Settling(_) | Stage::Leaving(_) | Stage::Done => return,
            };
        }
    }

    /// When the next step of the shutdown is due.
    pub(super) fn end_wake(&self) -> Option<Instant> {
        let until = match self.end.stage {
            Stage::Working => return None,
            Stage::Settling(until) => [self.queue.settling_wake(), Some(until)].into_iter().flatten().min(),
            Stage::Leaving(until) => Some(until),
            Stage::Done => Some(Instant::now()),
        };
        [until, self.processes.ends_wake()].into_iter().flatten().min()
    }

    /// The processes that end with the runtime.
    pub(super) fn leaving(&self) -> impl Iterator<Item = (&WorkerId, &WorkerProcess)> {
        self.processes.workers.iter().filter(|(id, _)| !self.schedule.is_left(**id))
    }

    /// Kills processes that have not left, and saves all state.
    pub(super) async fn end(&mut self) -> anyhow::Result<ExitCode> {
        self.service.history.save_last(&self.schedule.history).await;
        if let Some(save) = self.service.cancels.save() {
            let _ = tokio::task::spawn_blocking(save).await;
        }
        self.processes.retire_template();
        for (id, worker) in &mut self.processes.workers {
            // Its output is for the next runtime.
            if let Some(own) = worker.own.take_if(|_| self.schedule.is_left(*id)) {
                own.leave();
            }
        }
        self.processes.end_units(|worker| self.schedule.is_left(worker)).await;
        self.processes.launcher.sweep().await;
        for (record, finished) in self.held.all_unlogged() {
            self.log_outcome(&record, finished);
        }
        self.held.write(self.queue.is_removing());
        let told: Vec<String> = self.held.tally().iter().map(|(outcome, jobs)| format!("{jobs} {outcome}")).collect();
        let told = if told.is_empty() { "no job ran".to_owned() } else { told.join(", ") };
        tracing::info!("stopped: {told}");
        self.happened("runtime", format!("stopped: {told}"));
        self.recorder.close().await;
        match self.end.failure.take() {
            Some(error) => Err(error),
            None if self.end.killed => Ok(ExitCode::FAILURE),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}
