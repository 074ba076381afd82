//! How units end: waits for the end, reads the result, and releases the unit.

use std::time::Duration;

use super::error::SystemdError;
use super::manager::Manager;
use super::memory::Observation;
use kqueue_core::wire::coordinator::UnitEnd;

/// Interval at which the state of a unit is polled without a signal: one may have been lost.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Interval at which memory is read where systemd does not report the peak.
const LOOK: Duration = Duration::from_millis(200);

/// `si_code` of a process that exited.
const CLD_EXITED: i32 = 1;
/// `si_code`s of a process that was killed by a signal, without and with a core dump.
const CLD_KILLED: [i32; 2] = [2, 3];

impl Manager {
    /// Waits until a unit does not exist or does not run (any more), and returns how it ended. The unit is released
    /// then, so its end can be read by one caller only.
    pub async fn ended(&self, unit: &str) -> UnitEnd {
        let watch = self.signals.watch(unit);
        let Some(held) = self.hold_what_is_there(unit).await else { return UnitEnd::default() };
        let mut seen = self.observation(unit).await;
        while held && self.is_running(unit).await {
            self.changed(&watch.changed, &mut seen).await;
        }
        drop(watch);
        let mut end = self.end_of(unit).await.unwrap_or_default();
        if let Some(seen) = seen {
            seen.complete(&mut end, unit.ends_with(".scope"));
        }
        end
    }

    /// Returns when the unit may have ended. Reads its memory meanwhile, if it is observed.
    async fn changed(&self, changed: &tokio::sync::Notify, seen: &mut Option<Observation>) {
        let asked = tokio::time::Instant::now();
        while let Some(seen) = seen.as_mut().filter(|_| asked.elapsed() < ASK_AGAIN) {
            seen.look();
            tokio::select! {
                () = changed.notified() => return seen.look(),
                () = seen.wait() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let _ = tokio::time::timeout(ASK_AGAIN, changed.notified()).await;
    }

    /// Takes a reference to a unit that may have been created elsewhere. `Some(false)` if that fails; `None` if there
    /// is no such unit. A scope that is gone must not be queried: systemd would load an empty one.
    async fn hold_what_is_there(&self, unit: &str) -> Option<bool> {
        match self.call(self.proxy.list_units_by_names(&[unit])).await {
            // The list has a row for every name; "not-found" is the load state of those that do not exist.
            Ok(rows) if rows.first().is_none_or(|row| row.2 == "not-found") => None,
            // A refusal means that it is gone by now. Without an answer it may still run.
            Ok(_) => Some(!matches!(self.hold(unit).await, Err(SystemdError::Said { .. }))),
            // Unknown. The wait asks again.
            Err(_) => Some(true),
        }
    }

    /// Waits until a service has been stopped for good: it does not run, and has no pending start. One that has failed
    /// in a way that prevents its restart counts as stopped only after a stop job: the operator who fixes it expects
    /// the rest to be still running.
    pub async fn stopped(&self, unit: &str) {
        let watch = self.signals.watch(unit);
        // Whether its jobs are unknown: at first, and when signals may have been lost.
        let mut is_unseen = true;
        loop {
            let was_ordered = watch.was_ordered.take();
            match self.rest(unit).await.as_ref().map(Option::as_deref) {
                Ok(Some(_)) if was_ordered => return,
                Ok(Some("inactive")) if is_unseen => return,
                Ok(Some("failed")) if is_unseen && !self.failed_by_itself(unit).await => return,
                Ok(_) => {}
                Err(_) => watch.was_ordered.set(was_ordered),
            }
            is_unseen = tokio::time::timeout(ASK_AGAIN, watch.changed.notified()).await.is_err();
        }
    }

    /// Whether a failed service is not restarted because of how it failed. Otherwise it would have been restarted by
    /// now, unless it was stopped.
    async fn failed_by_itself(&self, unit: &str) -> bool {
        let read = async {
            let proxy = self.unit_type(unit).await?;
            let (statuses, signals) = self.call(proxy.restart_prevent_exit_status()).await?;
            let prevents = match self.call(proxy.exec_main_code()).await? {
                CLD_EXITED => statuses,
                _ => signals,
            };
            let status = self.call(proxy.exec_main_status()).await?;
            Ok::<_, SystemdError>(prevents.contains(&status) || self.call(proxy.restart()).await? == "no")
        };
        read.await.unwrap_or(true)
    }

    /// The state of a unit that does not run and has no job; `None` for one that runs or is about to.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn rest(&self, unit: &str) -> Result<Option<String>, SystemdError> {
        let proxy = self.unit(unit).await?;
        // The job first: a unit that the job has started meanwhile shows in its state.
        let (job, _) = self.call(proxy.job()).await?;
        let state = self.call(proxy.active_state()).await?;
        Ok((job == 0 && matches!(state.as_str(), "inactive" | "failed")).then_some(state))
    }

    /// Whether a unit runs. It counts as running if systemd does not answer.
    async fn is_running(&self, unit: &str) -> bool {
        let Ok(proxy) = self.unit(unit).await else { return false };
        match self.call(proxy.active_state()).await {
            Ok(state) => !matches!(state.as_str(), "inactive" | "failed"),
            Err(SystemdError::Said { .. }) => false,
            Err(_) => true,
        }
    }

    /// Reads how a unit ended and releases it. `None` when systemd no longer knows.
    pub(super) async fn end_of(&self, unit: &str) -> Option<UnitEnd> {
        let end = self.read_end(unit).await;
        self.release(unit).await;
        if end.as_ref().is_some_and(|end| end.result != "success") {
            let _ = self.reset(unit).await;
        }
        end
    }

    async fn read_end(&self, unit: &str) -> Option<UnitEnd> {
        let since = self.unit(unit).await.ok()?;
        // A unit that was unloaded meanwhile is loaded again by the call, without its past.
        if self.call(since.inactive_enter_timestamp_monotonic()).await.ok()? == 0 {
            return None;
        }
        let proxy = self.unit_type(unit).await.ok()?;
        let result = self.call(proxy.result()).await.ok()?;
        let known = |value: Result<u64, SystemdError>| value.ok().filter(|value| *value != u64::MAX);
        let (mut code, mut signal) = (None, None);
        if unit.ends_with(".service") {
            let status = self.call(proxy.exec_main_status()).await.ok();
            match self.call(proxy.exec_main_code()).await {
                Ok(CLD_EXITED) => code = status,
                Ok(how) if CLD_KILLED.contains(&how) => signal = status,
                _ => {}
            }
        }
        let memory_peak = match self.can.memory_peak {
            true => known(self.call(proxy.memory_peak()).await),
            false => None,
        };
        Some(UnitEnd {
            result,
            code,
            signal,
            memory_peak,
            memory_max: known(self.call(proxy.memory_max()).await),
            cpu_usec: known(self.call(proxy.cpu_usage_nsec()).await).map(|nsec| nsec / 1000),
        })
    }

    /// Our own observation of a unit's memory, if systemd does not report the peak but the kernel does.
    async fn observation(&self, unit: &str) -> Option<Observation> {
        if self.can.memory_peak {
            return None;
        }
        let proxy = self.unit_type(unit).await.ok()?;
        Observation::of(&self.call(proxy.control_group()).await.ok()?)
    }
}
