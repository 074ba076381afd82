//! Figures for the alerts.

use std::time::Instant;

use kqueue_control::State;
use kqueue_core::alerts::Figures;

use super::Runtime;

impl Runtime {
    /// Begins and ends alerts, if due. All figures but the queue sizes are taken from existing measurements.
    pub(super) fn look_after_alerts(&mut self, now: Instant) {
        if !self.service.alerts.is_due(now) {
            return;
        }
        self.queue.count(now, &self.app.queues);
        let mut outline = self.outline();
        outline.conclude();
        let (oom, crashed) = self.deaths();
        let depths = self.service.alerts.depths.borrow();
        let queues =
            self.app.queues.iter().map(|queue| (queue.clone(), depths.get(queue).copied().flatten())).collect();
        drop(depths);
        let figures = Figures {
            up: !matches!(outline.state, State::Starting),
            queues,
            failed: self.held.tally().get("failed").copied().unwrap_or_default(),
            oom,
            crashed,
            degraded: outline.reason.filter(|_| outline.state == State::Degraded),
            coordinator: self.processes.manager_lost().map(|silence| silence.as_millis() as u64),
        };
        let at = self.now();
        self.service.alerts.look(now, at, &figures);
    }
}
