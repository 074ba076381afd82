//! The session with the server: opened on demand, with bounded response times, reopened after a failure.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::dialect::{self, Dialect};
use super::session::Session;
use super::settings::{Address, DatabaseSettings, Engine};
use super::trouble::Place;
use crate::backend::BackendError;
use crate::backend::trouble::Trouble;

/// Timeout of opening a session, and of a ping.
const CONNECT: Duration = Duration::from_secs(5);
/// Timeout of a call, including the wait for previous calls. Long, since scanning a large table takes long.
const PATIENCE: Duration = Duration::from_secs(30);
/// A session that was idle for longer is pinged before it is used: servers close idle sessions.
const RESTED: Duration = Duration::from_secs(5);
/// Timeout of closing a session properly.
const GOODBYE: Duration = Duration::from_millis(100);
/// Storage engines of MySQL without transactions, in which a reservation is not exclusive.
const NO_TRANSACTIONS: [&str; 6] = ["MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE", "MRG_MYISAM"];

/// A session that is ready for use.
pub(super) struct Ready {
    pub session: Session,
    pub dialect: Dialect,
    /// Address of its server.
    at: String,
    used: Instant,
    /// Its buffers have become so large that it is to be closed.
    pub heavy: bool,
}

/// Access to one database through one session.
pub(super) struct Link {
    settings: DatabaseSettings,
    slot: Mutex<Option<Ready>>,
    /// Index of the address that is tried first.
    first: Cell<usize>,
}

impl Link {
    /// Does not connect yet.
    pub(super) fn new(settings: DatabaseSettings) -> Self {
        Self { settings, slot: Mutex::new(None), first: Cell::new(0) }
    }

    pub(super) fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    /// Runs `work` on the session, one call at a time.
    pub(super) async fn with<T>(&self, work: impl AsyncFnOnce(&mut Ready) -> sqlx::Result<T>) -> Result<T, Trouble> {
        let at = Cell::new(None);
        let all = async {
            let mut slot = self.slot.lock().await;
            let mut ready = match rested(slot.take()).await {
                Some(ready) => ready,
                None => self.open().await?,
            };
            at.set(Some(ready.at.clone()));
            // A failure from here on, or dropping the future, closes the session and so ends its transaction, unless
            // the session is put back.
            match work(&mut ready).await {
                Ok(value) => {
                    ready.used = Instant::now();
                    *slot = Some(ready).filter(|ready| !ready.heavy);
                    Ok(value)
                }
                Err(error) => {
                    let trouble = self.place(&ready.at).trouble(&error);
                    match trouble {
                        Trouble::Busy(_) if self.settings.engine == Engine::Postgres => *slot = Some(ready),
                        Trouble::Busy(_) => {
                            // The server may have rolled back only one of several statements.
                            if ready.session.run("ROLLBACK".to_owned()).await.is_ok() {
                                *slot = Some(ready);
                            }
                        }
                        // If there are several addresses, another one may work.
                        Trouble::Other(_) => self.first.set(self.first.get().wrapping_add(1)),
                    }
                    Err(trouble)
                }
            }
        };
        timeout(PATIENCE, all).await.unwrap_or_else(|_| {
            let at = at.take().unwrap_or_else(|| self.addresses());
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            Err(Trouble::Other(self.place(&at).unavailable(&reason)))
        })
    }

    /// Closes the session properly, if one is open.
    pub(super) async fn close(&self) {
        if let Some(ready) = self.slot.lock().await.take() {
            let _ = timeout(GOODBYE, ready.session.close()).await;
        }
    }

    /// Tries each address once, as Laravel does.
    async fn open(&self) -> Result<Ready, Trouble> {
        let addresses = &self.settings.addresses;
        let mut last = None;
        for (n, _) in addresses.iter().enumerate() {
            let which = self.first.get().wrapping_add(n) % addresses.len();
            let Some(address) = addresses.get(which) else { continue };
            match self.open_at(address).await {
                Ok(ready) => {
                    self.first.set(which);
                    return Ok(ready);
                }
                Err(trouble) => last = Some(trouble),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::Other(self.place("").unavailable("no address is configured"))))
    }

    async fn open_at(&self, address: &Address) -> Result<Ready, Trouble> {
        let at = self.name(address);
        let place = self.place(&at);
        let tls = &self.settings.tls;
        for file in [&tls.ca, &tls.cert, &tls.key].into_iter().flatten() {
            // The library's error does not name the file.
            std::fs::File::open(file)
                .map_err(|error| Trouble::Other(place.unavailable(&format!("{file}: {error}"))))?;
        }
        let opened = timeout(CONNECT, async {
            let mut session = Session::open(&self.settings, address).await.map_err(|error| place.trouble(&error))?;
            let dialect = match self.settings.engine {
                Engine::MySql => self.greet_mysql(&mut session, place).await?,
                Engine::Postgres => self.greet_postgres(&mut session, place).await?,
            };
            Ok((session, dialect))
        });
        let (session, dialect) = opened.await.unwrap_or_else(|_| {
            let reason = format!("cannot connect within {} s", CONNECT.as_secs());
            Err(Trouble::Other(place.unavailable(&reason)))
        })?;
        Ok(Ready { session, dialect, at, used: Instant::now(), heavy: false })
    }

    async fn greet_mysql(&self, session: &mut Session, place: Place<'_>) -> Result<Dialect, Trouble> {
        let DatabaseSettings { engine, table, charset, collation, .. } = &self.settings;
        let greeting = Dialect::greeting(charset.as_deref(), collation.as_deref());
        let (schema, bare) = parts(table);
        let schema = schema.map_or("DATABASE()".to_owned(), |schema| hex(&schema));
        let ask = format!(
            "{greeting}; SELECT VERSION(); SHOW VARIABLES LIKE 'binlog_format'; SHOW VARIABLES LIKE 'log_bin'; \
             SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {}",
            hex(&bare)
        );
        let answers = session.run(ask).await.map_err(|error| place.trouble(&error))?;
        let mut rows = answers.into_iter().rev().map(|answer| {
            let last = answer.rows.into_iter().next().and_then(|row| row.into_iter().next_back().flatten());
            last.map(|cell| String::from_utf8_lossy(&cell).into_owned())
        });
        let mut next = || rows.next().flatten().unwrap_or_default();
        let (kind, is_logged, format, version) = (next(), next(), next(), next());
        if let Some(kind) = NO_TRANSACTIONS.iter().find(|known| known.eq_ignore_ascii_case(&kind)) {
            return Err(Trouble::Other(BackendError::Settings(format!(
                "table {table} uses the storage engine {kind}, which has no transactions, so two workers can reserve \
                 the same job: convert it to InnoDB (ALTER TABLE … ENGINE = InnoDB)"
            ))));
        }
        // Avoids gap locks. A server with a statement-based binary log refuses writes at this level.
        if !(is_logged == "ON" && format == "STATEMENT") {
            let sql = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned();
            session.run(sql).await.map_err(|error| place.trouble(&error))?;
        }
        Ok(Dialect::new(*engine, table.clone(), skips_locked(&version)))
    }

    /// Resolves the table by the app's search path, once: a pooler does not keep a session's search path.
    async fn greet_postgres(&self, session: &mut Session, place: Place<'_>) -> Result<Dialect, Trouble> {
        let DatabaseSettings { engine, table, search_path, .. } = &self.settings;
        let path: Vec<_> = search_path.iter().map(|schema| dialect::name(schema)).collect();
        let path =
            if path.is_empty() { String::new() } else { format!("SET LOCAL search_path TO {}; ", path.join(", ")) };
        let ask = format!(
            "{path}SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass({})",
            dialect::literal(table)
        );
        let answers = session.run(ask).await.map_err(|error| place.trouble(&error))?;
        let found = answers.into_iter().next_back().and_then(|answer| answer.rows.into_iter().next());
        match found.and_then(|row| row.into_iter().next().flatten()) {
            Some(found) => Ok(Dialect::new(*engine, String::from_utf8_lossy(&found).into_owned(), true)),
            None => Err(Trouble::Other(place.no_table(&format!("table {table} does not exist")))),
        }
    }

    fn place<'a>(&'a self, at: &'a str) -> Place<'a> {
        Place { engine: self.settings.engine, at, table: &self.settings.table }
    }

    fn addresses(&self) -> String {
        self.settings.addresses.iter().map(|address| self.name(address)).collect::<Vec<_>>().join(", ")
    }

    /// The address for messages.
    fn name(&self, Address { host, port, socket }: &Address) -> String {
        match socket {
            Some(socket) => socket.clone(),
            None if host.starts_with('/') => host.clone(),
            None => {
                let host = if host.is_empty() { "localhost" } else { host };
                format!("{host}:{}", port.unwrap_or(self.settings.engine.port()))
            }
        }
    }
}

/// The session, unless it was lost while idle.
async fn rested(ready: Option<Ready>) -> Option<Ready> {
    let mut ready = ready?;
    if ready.used.elapsed() < RESTED {
        return Some(ready);
    }
    let pinged = timeout(CONNECT, ready.session.ping()).await;
    matches!(pinged, Ok(Ok(()))).then_some(ready)
}

/// Whether the server supports `SKIP LOCKED`, by Laravel's rule.
fn skips_locked(version: &str) -> bool {
    let number = |text: &str| -> (u32, u32, u32) {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next())
    };
    let lower = version.to_ascii_lowercase();
    if lower.contains("mariadb") {
        number(version.strip_prefix("5.5.5-").unwrap_or(version)) >= (10, 6, 0)
    } else if let Some((_, vitess)) = lower.split_once("vitess") {
        number(vitess.trim_start_matches(|c: char| !c.is_ascii_digit())) >= (19, 0, 0)
    } else {
        number(version) >= (8, 0, 1)
    }
}

/// Schema and name of a table that is quoted as Laravel quotes it for MySQL.
fn parts(table: &str) -> (Option<String>, String) {
    let plain = |part: &str| part.trim_matches('`').replace("``", "`");
    match table.split_once("`.`") {
        Some((schema, name)) => (Some(plain(schema)), plain(name)),
        None => (None, plain(table)),
    }
}

fn hex(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 X'{hex}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_skips_what_is_locked() {
        for version in [
            "8.0.36",
            "8.0.1-log",
            "9.5.0",
            "10.6.0-MariaDB",
            "5.5.5-10.11.6-MariaDB-0+deb12u1",
            "8.0.30-Vitess-19.0.1",
        ] {
            assert!(skips_locked(version), "{version}");
        }
        for version in ["5.7.44", "8.0.0", "10.5.23-MariaDB", "5.5.5-10.3.39-MariaDB", "8.0.30-Vitess", ""] {
            assert!(!skips_locked(version), "{version}");
        }
    }

    #[test]
    fn takes_a_table_of_another_database_apart() {
        assert_eq!(parts("`jobs`"), (None, "jobs".to_owned()));
        assert_eq!(parts("`other`.`pre_jo``bs`"), (Some("other".to_owned()), "pre_jo`bs".to_owned()));
    }
}
