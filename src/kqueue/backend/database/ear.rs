//! Listens for PostgreSQL notifications: the app's package sends `NOTIFY` after a dispatch.
//!
//! On a separate session. A pooler that gives each transaction another connection would accept `LISTEN` silently, and
//! deliver our notifications to another client. So a parameter that poolers drop is checked first, and then a probe is
//! sent.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::session;
use super::settings::DatabaseSettings;

/// Channel that the package notifies.
pub(super) const CHANNEL: &str = "kqueue";
/// Payload of our own notification, which tests whether notifications arrive.
const PROBE: &str = "probe";
/// A custom parameter, which the server keeps for the session that sets it. A pooler refuses or drops it.
const MARK: &str = "kqueue.session";
/// Timeout of connecting, and of receiving the probe.
const PATIENCE: Duration = Duration::from_secs(5);
/// Delay of the next attempt after a failed one.
const RETRY: Duration = Duration::from_secs(300);

/// State of the listener.
#[derive(Clone, Copy, Debug)]
enum EarState {
    /// Closed, until the next attempt at this time; `None` is at once.
    Shut(Option<Instant>),
    /// Open, but the probe has not been received. Fails at this time.
    Open(Instant),
    /// Notifications arrive.
    Hears,
}

/// A listener for notifications.
pub(super) struct Ear {
    listener: Mutex<Option<PgListener>>,
    state: Cell<EarState>,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self { listener: Mutex::new(None), state: Cell::new(EarState::Shut(None)) }
    }

    /// Whether notifications are known to arrive.
    pub(super) fn hears(&self) -> bool {
        matches!(self.state.get(), EarState::Hears)
    }

    /// Opens the listener if that is due. Returns the statement that sends the probe, to be run on another session.
    pub(super) async fn open(&self, settings: &DatabaseSettings) -> Option<String> {
        match self.state.get() {
            EarState::Shut(until) if until.is_none_or(|until| Instant::now() >= until) => {}
            EarState::Open(until) if Instant::now() >= until => {
                // The probe may have come while nobody waited for it.
                while !self.hears() && self.hear().now_or_never().is_some() {}
                if !matches!(self.state.get(), EarState::Open(_)) {
                    return None;
                }
                tracing::debug!("notifications do not arrive: a connection pooler is in between");
                self.shut().await;
                return None;
            }
            _ => return None,
        }
        // If this call is dropped, the next one is due soon.
        self.state.set(EarState::Shut(Some(Instant::now() + PATIENCE)));
        let addresses = if settings.direct.is_empty() { &settings.addresses } else { &settings.direct };
        for address in addresses {
            let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            let marked = session::postgres(settings, address).options([(MARK, "on")]);
            let pool = pool.connect_lazy_with(marked);
            let listening = async {
                let mut listener = PgListener::connect_with(&pool).await?;
                let asked = AssertSqlSafe(format!("SELECT current_setting('{MARK}', true)"));
                let mark: Option<String> = sqlx::raw_sql(asked).fetch_one(&mut listener).await?.try_get(0)?;
                if mark.is_none() {
                    return Ok(None);
                }
                listener.eager_reconnect(false);
                listener.listen(CHANNEL).await?;
                Ok::<_, sqlx::Error>(Some(listener))
            };
            match timeout(PATIENCE, listening).await {
                Ok(Ok(None)) => tracing::debug!("cannot receive notifications: a connection pooler is in between"),
                Ok(Ok(Some(listener))) => {
                    *self.listener.lock().await = Some(listener);
                    self.state.set(EarState::Open(Instant::now() + PATIENCE));
                    return Some(format!("NOTIFY {CHANNEL}, '{PROBE}'"));
                }
                Ok(Err(error)) => tracing::debug!("cannot receive notifications: {error}"),
                Err(_) => tracing::debug!("cannot receive notifications: no answer"),
            }
        }
        self.state.set(EarState::Shut(Some(Instant::now() + RETRY)));
        None
    }

    /// Returns after a notification, or when the session is lost; waits forever if it is closed. Cancel-safe.
    pub(super) async fn hear(&self) {
        let mut listener = self.listener.lock().await;
        let Some(open) = listener.as_mut() else {
            return std::future::pending().await;
        };
        loop {
            match open.try_recv().await {
                Ok(Some(said)) if said.payload() == PROBE => self.state.set(EarState::Hears),
                Ok(Some(_)) => return,
                Ok(None) | Err(_) => break,
            }
        }
        // The server or only this session is gone: the caller looks at once, and the next wait reopens the session.
        *listener = None;
        self.state.set(EarState::Shut(None));
    }

    /// Discards pending notifications: the look that follows makes them obsolete.
    pub(super) fn drain(&self) {
        while self.hears() && self.hear().now_or_never().is_some() {}
    }

    async fn shut(&self) {
        *self.listener.lock().await = None;
        self.state.set(EarState::Shut(Some(Instant::now() + RETRY)));
    }
}
