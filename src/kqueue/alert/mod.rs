//! Tells people: an alert to the journal, and to the targets that the app's file names.
//!
//! May start the command and sendmail, and speak HTTP to the webhook, each for a bounded time and one message after the
//! other for each target; knows neither jobs, workers nor the queue. What cannot be told is a line in the log.

mod child;
mod file;
mod mail;
mod teller;
#[cfg(test)]
mod tests;
mod webhook;

use std::time::Duration;

use kqueue_config::{Alerts as Targets, Settings};
use kqueue_core::alerts::{Change, Episode, Kind};
use kqueue_system::harmless;
use kqueue_system::log::message_id;
use serde::Serialize;

pub use file::Kept;
pub use teller::{Teller, tell_all};

/// Bytes of what is said.
const TEXT: usize = 1000;
/// Bytes of a name.
const NAME: usize = 200;
/// What the command and sendmail may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What targets are told, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The version of this form.
    pub version: u32,
    /// The app's name.
    pub app: String,
    /// The machine's name.
    pub host: String,
    /// What it is about, by the key in `[alerts]`; `test` for a try.
    pub alert: &'static str,
    /// `began`, `over` or `test`.
    pub state: &'static str,
    /// The queue, where it is about one.
    pub queue: Option<String>,
    /// When the episode began, in seconds since 1970: with app, host, alert and queue it names the episode.
    pub since: u64,
    /// When this was written.
    pub at: u64,
    /// What there is to say, in one line.
    pub text: String,
}

impl Message {
    /// Of an episode of this app that has begun or is over at this time.
    pub fn new(app: &str, change: &Change, at: u64) -> Self {
        let Change { begun, episode, text } = change;
        let state = match (episode.kind, begun) {
            (Kind::Test, _) => "test",
            (_, true) => "began",
            (_, false) => "over",
        };
        Self {
            version: 1,
            app: app.to_owned(),
            host: host(),
            alert: episode.kind.as_str(),
            state,
            queue: (!episode.queue.is_empty()).then(|| harmless::line(&episode.queue, NAME)),
            since: episode.since,
            at,
            text: harmless::line(text, TEXT),
        }
    }

    /// Notes it in the journal.
    pub fn log(&self) {
        let Self { alert, text, queue, .. } = self;
        let queue = queue.as_deref();
        match self.state {
            "over" => tracing::info!(
                kqueue_alert = alert,
                kqueue_queue = queue,
                message_id = message_id::ALERT_OVER,
                "alert {alert}: {text}"
            ),
            _ => tracing::warn!(
                kqueue_alert = alert,
                kqueue_queue = queue,
                message_id = message_id::ALERT,
                "alert {alert}: {text}"
            ),
        }
    }

    /// In one line, with everything that a subject has.
    fn line(&self) -> String {
        let Self { app, host, alert, state, .. } = self;
        format!("[kqueue] {app} on {host}: {alert} {state}")
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    harmless::line(name.trim(), NAME)
}

/// Who is told beside the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A program.
    Command,
    /// A URL.
    Webhook,
    /// Addresses.
    Mail,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 3] = [Target::Command, Target::Webhook, Target::Mail];

    /// The key that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Command => "command",
            Target::Webhook => "webhook",
            Target::Mail => "mail",
        }
    }

    /// Whether the settings name one.
    pub fn is_in(self, targets: &Targets) -> bool {
        match self {
            Target::Command => targets.command.is_some(),
            Target::Webhook => targets.webhook.is_some(),
            Target::Mail => targets.mail.is_some(),
        }
    }
}

/// Why a target was not told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// It might go well another time.
    #[error("{0}")]
    Later(String),
    /// It will not.
    #[error("{0}")]
    Never(String),
}

/// Tells one target once; `Ok` where the settings name none.
///
/// # Errors
/// See [`Untold`].
pub async fn tell(target: Target, targets: &Targets, message: &Message) -> Result<(), Untold> {
    let body = serde_json::to_vec(message).map_err(|error| Untold::Never(error.to_string()))?;
    let told = match target {
        Target::Command => {
            let Some((program, arguments)) = targets.command.as_deref().and_then(<[String]>::split_first) else {
                return Ok(());
            };
            child::run(program.as_ref(), arguments, &body, PATIENCE).await
        }
        Target::Webhook => return webhook::post(targets, &body).await,
        Target::Mail => {
            let Some(addresses) = &targets.mail else { return Ok(()) };
            let sendmail = targets.sendmail.as_deref().unwrap_or("/usr/sbin/sendmail".as_ref());
            let arguments = ["-i", "-t"].map(str::to_owned);
            child::run(sendmail, &arguments, mail::letter(addresses, message).as_bytes(), PATIENCE).await
        }
    };
    told.map_err(Untold::Never)
}

/// Notes that the runtime does not run, and tells it once `is_long` says so of the time since when it does not. Whether it
/// is told.
pub async fn down(
    settings: &Settings,
    epoch: u64,
    why: &str,
    is_long: impl Fn(u64) -> bool,
    patience: Duration,
) -> bool {
    let (mut file, mut kept) = Kept::load(&settings.state_dir);
    if kept.open.iter().any(|episode| episode.kind == Kind::Down) {
        return false;
    }
    let since = *kept.failing.get_or_insert(epoch);
    let told = is_long(since).then(|| {
        let said = harmless::line(&format!("kqueue@{} is not running: {why}", settings.app), TEXT);
        let queue = String::new();
        Episode { kind: Kind::Down, queue, since, seen: epoch, said, base: 0 }
    });
    kept.open.extend(told.clone());
    if let Err(error) = kept.save(&mut file)() {
        tracing::warn!("{error}; this alert may be sent again");
    }
    let Some(episode) = told else { return false };
    let text = episode.said.clone();
    let message = Message::new(&settings.app, &Change { begun: true, episode, text }, epoch);
    message.log();
    for (target, why) in tell_all(&settings.tables.alerts(), &message, patience).await {
        tracing::warn!("alert down: {} notification failed: {why}", target.as_str());
    }
    true
}
