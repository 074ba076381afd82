//! PostgreSQL tells who listens: the app's package says `NOTIFY` after a dispatch.
//!
//! On a session of its own. A pooler that gives each transaction another connection would take `LISTEN`, keep quiet, and
//! tell somebody else what was meant for us. So what a pooler drops is asked for first, and then it is tried.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::session;
use super::settings::DatabaseSettings;

/// What the package notifies.
pub(super) const CHANNEL: &str = "kqueue";
/// What we notify, to hear whether we hear.
const PROBE: &str = "probe";
/// A parameter of our own, which the server keeps for the session that brings it. A pooler refuses it, or drops it.
const MARK: &str = "kqueue.session";
/// What it may take to connect, and a probe to be heard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until it is tried again, once that has failed.
const RETRY: Duration = Duration::from_secs(300);

/// How far it is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Not tried, or not again before then.
    Shut(Option<Instant>),
    /// Whether it hears is not known. Until then it may take.
    Open(Instant),
    /// It hears.
    Hears,
}

/// One that listens.
pub(super) struct Ear {
    listener: Mutex<Option<PgListener>>,
    state: Cell<State>,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self { listener: Mutex::new(None), state: Cell::new(State::Shut(None)) }
    }

    /// Whether what is dispatched is heard.
    pub(super) fn hears(&self) -> bool {
        matches!(self.state.get(), State::Hears)
    }

    /// Opens it if that is due. Answers with what another session is to say then.
    pub(super) async fn open(&self, settings: &DatabaseSettings) -> Option<String> {
        match self.state.get() {
            State::Shut(until) if until.is_none_or(|until| Instant::now() >= until) => {}
            State::Open(until) if Instant::now() >= until => {
                tracing::debug!("what is notified is not heard: there is a pooler between");
                self.shut().await;
                return None;
            }
            _ => return None,
        }
        self.state.set(State::Shut(Some(Instant::now() + RETRY)));
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
                Ok(Ok(None)) => tracing::debug!("nothing is heard of what is dispatched: there is a pooler between"),
                Ok(Ok(Some(listener))) => {
                    *self.listener.lock().await = Some(listener);
                    self.state.set(State::Open(Instant::now() + PATIENCE));
                    return Some(format!("NOTIFY {CHANNEL}, '{PROBE}'"));
                }
                Ok(Err(error)) => tracing::debug!("nothing is heard of what is dispatched: {error}"),
                Err(_) => tracing::debug!("nothing is heard of what is dispatched: no answer"),
            }
        }
        None
    }

    /// Returns when something was said. Cancel-safe.
    pub(super) async fn hear(&self) {
        let mut listener = self.listener.lock().await;
        let Some(open) = listener.as_mut() else {
            return std::future::pending().await;
        };
        loop {
            match open.try_recv().await {
                Ok(Some(said)) if said.payload() == PROBE => self.state.set(State::Hears),
                Ok(Some(_)) => return,
                Ok(None) | Err(_) => break,
            }
        }
        // The server has gone, or this session alone: looked at once more, and opened anew at the next look.
        *listener = None;
        self.state.set(State::Shut(None));
    }

    /// Takes what was said and means no more: nobody waits for it.
    pub(super) fn drain(&self) {
        while self.hears() && self.hear().now_or_never().is_some() {}
    }

    async fn shut(&self) {
        *self.listener.lock().await = None;
        self.state.set(State::Shut(Some(Instant::now() + RETRY)));
    }
}
