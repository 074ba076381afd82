//! The alerts of an app: open ones are kept in the state directory, and notifications are sent beside the loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kqueue_config::{Rate, Settings};
use kqueue_core::alerts::{Alerts as Decision, Depth, Figures, Often, Watch};
use kqueue_core::schedule::Now;

use crate::alert::{self, Kept, Message, Teller};
use crate::kept::KeptFile;

/// Maximum and minimum interval between two checks.
const LOOKS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// How old the file's record of a lasting alert may be.
const BEHIND: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Alerts {
    app: String,
    file: KeptFile,
    watch: Watch,
    decision: Decision,
    teller: Teller,
    /// Queue sizes at the last sample.
    pub depths: Rc<RefCell<BTreeMap<String, Option<Depth>>>>,
    /// An earlier runtime failed to start, or was reported as down.
    was_down: bool,
    due: Option<Instant>,
    written: Instant,
}

impl Alerts {
    /// With the open alerts that an earlier runtime saved in the state directory.
    pub fn new(settings: &Settings) -> Self {
        let (file, kept) = Kept::load(&settings.state_dir);
        let mut alerts = Self {
            app: settings.app.clone(),
            file,
            watch: watch(settings),
            was_down: kept.failing.is_some(),
            decision: Decision::new(kept.open),
            teller: Teller::new(settings.tables.alerts()),
            depths: Rc::default(),
            due: None,
            written: Instant::now(),
        };
        alerts.due = alerts.is_on().then(Instant::now);
        alerts
    }

    /// Applies new settings.
    pub fn configure(&mut self, settings: &Settings) {
        self.watch = watch(settings);
        self.teller.configure(settings.tables.alerts());
        self.due = self.is_on().then(Instant::now);
    }

    /// Whether there is anything to watch.
    fn is_on(&self) -> bool {
        self.was_down || self.watch != Watch::default() || self.decision.open().next().is_some()
    }

    /// Interval at which queue sizes are needed, if they are.
    pub fn sizes(&self) -> Option<Duration> {
        let shortest = self.watch.waits.values().copied().chain(self.watch.wait).min();
        self.watch.queues().then(|| shortest.map_or(LOOKS.0, |ms| Duration::from_millis(ms / 2)).max(LOOKS.1))
    }

    /// When the next check is due.
    pub fn wake(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a check is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Checks the figures, and sends notifications of alerts that begin or end.
    pub fn look(&mut self, at: Instant, now: Now, figures: &Figures) {
        let changes = self.decision.look(now, &self.watch, figures);
        let back = self.was_down && figures.up;
        if back {
            self.was_down = false;
        }
        let lasts = self.decision.open().next().is_some() && at.duration_since(self.written) > BEHIND;
        if back || lasts || !changes.is_empty() {
            self.save(at);
        }
        for change in changes {
            self.teller.tell(Message::new(&self.app, &change, now.epoch));
        }
        let shortest = self.watch.shortest().map_or(LOOKS.0, |ms| Duration::from_millis(ms / 4));
        self.due = self.is_on().then(|| at + shortest.clamp(LOOKS.1, LOOKS.0));
    }

    fn save(&mut self, at: Instant) {
        self.written = at;
        let kept = Kept { open: self.decision.open().cloned().collect(), failing: None };
        let save = kept.save(&mut self.file);
        tokio::task::spawn_local(async move {
            let written = tokio::task::spawn_blocking(save).await;
            if let Ok(Err(error)) = written {
                tracing::warn!("{error}; after a restart, notifications of open alerts may be sent again");
            }
        });
    }
}

/// The conditions to watch according to the settings.
fn watch(settings: &Settings) -> Watch {
    let said = settings.tables.alerts();
    let millis = |time: Duration| time.as_millis() as u64;
    let often = |rate: Rate| Often { times: u64::from(rate.jobs), span: millis(rate.per) };
    let waits = settings.tables.queue.iter();
    Watch {
        wait: said.wait.map(millis),
        waits: waits.filter_map(|(queue, of)| Some((queue.clone(), millis(of.alert_wait?)))).collect(),
        growth: said.backlog_growth.map(u64::from),
        failures: said.failure_rate.map(often),
        oom: said.oom_rate.map(often),
        crashes: said.crash_rate.map(often),
        degraded: said.degraded.map(millis),
        coordinator: said.coordinator_gone.map(millis),
    }
}

/// Records a failed start, and alerts once starts have failed for as long as the settings allow. For a runtime that is
/// about to end, which systemd starts again.
pub async fn start_failed(settings: &Settings, why: &str) {
    let Some(most) = settings.tables.alerts().down else { return };
    let epoch = super::observer::epoch();
    alert::down(settings, epoch, why, |since| epoch.saturating_sub(since) >= most.as_secs(), PATIENCE).await;
}

/// Timeout for sending that alert before the runtime ends.
const PATIENCE: Duration = Duration::from_secs(20);
