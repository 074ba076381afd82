//! The alerts of an app: what has begun is kept in the state directory, and told beside the runtime's own work.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kqueue_config::{Rate, Settings};
use kqueue_core::alerts::{Alerts as Decision, Depth, Figures, Often, Watch};
use kqueue_core::schedule::Now;

use crate::alert::{self, Kept, Message, Teller};
use crate::kept::KeptFile;

/// Between two looks, at the most and at the least.
const LOOKS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// For how long the file may lack that something still lasts.
const BEHIND: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Alerts {
    app: String,
    file: KeptFile,
    watch: Watch,
    decision: Decision,
    teller: Teller,
    /// Sizes of queues, as they were seen last.
    pub depths: Rc<RefCell<BTreeMap<String, Option<Depth>>>>,
    /// An earlier runtime did not start, or was told to be down.
    was_down: bool,
    due: Option<Instant>,
    written: Instant,
}

impl Alerts {
    /// With what an earlier runtime has left in the state directory.
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

    /// Works by these settings from now on.
    pub fn configure(&mut self, settings: &Settings) {
        self.watch = watch(settings);
        self.teller.configure(settings.tables.alerts());
        self.due = self.is_on().then(Instant::now);
    }

    /// Whether there is anything to look for.
    fn is_on(&self) -> bool {
        self.was_down || self.watch != Watch::default() || self.decision.open().next().is_some()
    }

    /// How often sizes of queues are needed, where they are.
    pub fn sizes(&self) -> Option<Duration> {
        let shortest = self.watch.waits.values().copied().chain(self.watch.wait).min();
        self.watch.queues().then(|| shortest.map_or(LOOKS.0, |ms| Duration::from_millis(ms / 2)).max(LOOKS.1))
    }

    /// When to look again.
    pub fn wake(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to look now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Looks at how things stand, and tells what has begun and what is over.
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
                tracing::warn!("{error}; after a restart what has begun is told again");
            }
        });
    }
}

/// What the settings have watched.
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

/// Notes that a start has failed; told as down where that has gone on for as long as the settings say. For a runtime that
/// is about to end, which `systemd` starts again.
pub async fn start_failed(settings: &Settings, why: &str) {
    let Some(most) = settings.tables.alerts().down else { return };
    let epoch = super::observer::epoch();
    alert::down(settings, epoch, why, |since| epoch.saturating_sub(since) >= most.as_secs(), PATIENCE).await;
}

/// What telling may take before a runtime that cannot start ends.
const PATIENCE: Duration = Duration::from_secs(20);
