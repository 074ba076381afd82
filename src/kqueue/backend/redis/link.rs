//! Connections to one Redis server: made when needed, dropped on any failure, never retried here.
//!
//! The caller backs off. A failed call leaves no state behind, so the next one opens a new connection.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::access::Access;
use super::address::Address;
use super::connection::Connection;
use super::sentinel::Sentinels;
use crate::backend::BackendError;

/// Timeout of a command that does not block. Long, since a reply may carry many megabytes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a script that reserves jobs. Longer, since a hanging server runs it once it resumes: if the reply is
/// lost, its jobs stay reserved until their leases end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Remaining time for the reply to such a script once the server answers other connections.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A script and its hash, for `EVALSHA`.
pub(super) struct Lua {
    code: &'static str,
    hash: String,
    /// It reserves jobs, so its reply is waited for longer.
    reserves: bool,
}

impl Lua {
    pub(super) fn new(code: &'static str) -> Self {
        let hash = redis::Script::new(code).get_hash().to_owned();
        Self { code, hash, reserves: false }
    }

    /// A script that reserves jobs.
    pub(super) fn reserving(code: &'static str) -> Self {
        Self { reserves: true, ..Self::new(code) }
    }
}

/// How the server is found.
pub(super) enum Way {
    /// At the address in the app's settings.
    Address(Address),
    /// At the address that the sentinels report.
    Master(Box<Sentinels>),
}

/// Connections to one server.
pub(super) struct Link {
    way: Way,
    access: Rc<Access>,
    target: String,
    /// Connection of all commands that do not block, and its sequence number.
    shared: Mutex<(u64, Option<Connection>)>,
    /// The server's ACL permits EVAL, which is all that Laravel needs, but not EVALSHA.
    eval_only: Cell<bool>,
}

impl Link {
    /// Does not connect yet.
    pub(super) fn new(way: Way, access: Rc<Access>) -> Self {
        let target = match &way {
            Way::Address(address) => format!("redis at {address}"),
            Way::Master(sentinels) => format!("redis master `{}`", sentinels.service()),
        };
        Self { way, access, target, shared: Mutex::new((0, None)), eval_only: Cell::new(false) }
    }

    /// Opens a separate connection for commands that block: it has no response timeout.
    pub(super) async fn connect_blocking(&self) -> RedisResult<Connection> {
        self.connect(None).await
    }

    /// Runs one command on the shared connection.
    pub(super) async fn command<T: FromRedisValue>(&self, cmd: &Cmd) -> RedisResult<T> {
        self.run(async |connection| cmd.query_async(connection).await).await
    }

    /// Runs a pipeline on the shared connection: one round trip, with one result for each command.
    pub(super) async fn pipeline(&self, pipe: &mut Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let pipe = &*pipe.ignore_errors();
        self.run(async |connection| pipe.query_async(connection).await).await
    }

    /// Closes the shared connection, once its pending commands are done.
    pub(super) async fn forget(&self) {
        self.shared.lock().await.1 = None;
    }

    /// Runs a script on the shared connection: one round trip, except for its first run on a server. `asking` is for a
    /// cluster node that is still importing the slot of the keys.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        lua: &Lua,
        keys: &[String],
        args: &impl Fn(&mut Cmd),
        asking: bool,
    ) -> RedisResult<T> {
        let build = |name: &str, script: &str| {
            let mut cmd = redis::cmd(name);
            cmd.arg(script).arg(keys.len()).arg(keys);
            args(&mut cmd);
            cmd
        };
        if asking {
            let mut pipe = redis::pipe();
            pipe.cmd("ASKING").ignore().add_command(build("EVAL", lua.code));
            let (value,) = self.run(async |connection| pipe.query_async(connection).await).await?;
            return Ok(value);
        }
        let run = async |cmd: &Cmd| if lua.reserves { self.patiently(cmd).await } else { self.command(cmd).await };
        let mut denied = false;
        if !self.eval_only.get() {
            match run(&build("EVALSHA", &lua.hash)).await {
                Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {}
                Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => denied = true,
                answer => return answer,
            }
        }
        let value = run(&build("EVAL", lua.code)).await?;
        if denied {
            self.eval_only.set(true);
        }
        Ok(value)
    }

    /// As [`Self::command`], with a longer timeout for as long as the server answers no other connection either.
    async fn patiently<T: FromRedisValue>(&self, cmd: &Cmd) -> RedisResult<T> {
        self.run(async |connection| {
            connection.set_response_timeout(PATIENCE);
            tokio::select! {
                answer = cmd.query_async(connection) => answer,
                () = self.answers_others() => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        })
        .await
    }

    /// Returns [`LAST_WAIT`] after the server has answered a new connection: ours is dead, or its address leads to
    /// another server by now. Tries every [`RESPONSE_TIMEOUT`].
    async fn answers_others(&self) {
        loop {
            tokio::time::sleep(RESPONSE_TIMEOUT).await;
            let Ok(mut other) = self.connect(Some(LAST_WAIT)).await else { continue };
            let answer: RedisResult<Value> = redis::cmd("PING").query_async(other.inner()).await;
            // An error reply is an answer, too.
            if !answer.is_err_and(|e| e.is_timeout() || e.is_io_error()) {
                return tokio::time::sleep(LAST_WAIT).await;
            }
        }
    }

    /// Converts a failure on any connection to this server.
    pub(super) fn error(&self, e: &RedisError) -> BackendError {
        // The first error of a pipeline is the cause; the others mostly follow from it.
        let errors = e.clone().into_server_errors();
        let Some((_, error)) = errors.as_deref().and_then(<[_]>::first) else {
            return self.unavailable(&e.to_string());
        };
        let (code, detail) = (error.code(), error.details().unwrap_or_default());
        let refused = matches!(code, "NOAUTH" | "WRONGPASS")
            || ["invalid password", "without any password", "no password is set"]
                .iter()
                .any(|part| detail.contains(part));
        let fix = match code {
            _ if refused => "check REDIS_USERNAME and REDIS_PASSWORD in .env",
            _ if detail.contains("DB index") => "check REDIS_DB in .env",
            "NOPERM" => "grant the ACL user what Laravel's queue needs: +@list +@sortedset +eval, on the app's keys",
            "MOVED" | "ASK" => "it is a node of a Redis Cluster: configure it under `clusters` in config/database.php",
            _ => return self.unavailable(&format!("{code} {detail}")),
        };
        BackendError::Refused { what: format!("{} refused the request: {code} {detail}", self.target), fix }
    }

    /// The server cannot be used now.
    pub(super) fn unavailable(&self, reason: &str) -> BackendError {
        BackendError::Unavailable { target: self.target.clone(), reason: reason.to_owned() }
    }

    /// Runs `call` on the shared connection, which any failure closes.
    async fn run<T>(&self, call: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>) -> RedisResult<T> {
        let (number, mut connection) = self.connection().await?;
        match call(connection.inner()).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.failed(number, first(e)).await),
        }
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = &shared.1 {
            return Ok((shared.0, connection.clone()));
        }
        let connection = self.connect(Some(RESPONSE_TIMEOUT)).await?;
        *shared = (shared.0.wrapping_add(1), Some(connection.clone()));
        Ok((shared.0, connection))
    }

    async fn connect(&self, response: Option<Duration>) -> RedisResult<Connection> {
        match &self.way {
            Way::Address(address) => self.access.open(address, response).await,
            Way::Master(sentinels) => sentinels.connect(&self.access, response).await,
        }
    }

    /// Drops the connection that failed, whatever the error: after a failover the same address may lead to another
    /// server, and connecting is cheap. Only errors about a script, a permission or a slot keep the connection. Returns
    /// the error of the stream itself, if it had one.
    async fn failed(&self, number: u64, e: RedisError) -> RedisError {
        use ServerErrorKind::{Ask, Moved, NoPerm, NoScript, TryAgain};
        if matches!(e.kind(), ErrorKind::Server(Ask | Moved | NoPerm | NoScript | TryAgain)) {
            return e;
        }
        let mut shared = self.shared.lock().await;
        if shared.0 == number
            && let Some(connection) = shared.1.take()
            && let Some(fault) = connection.fault()
        {
            return fault.into();
        }
        e
    }
}

/// The first error of a pipeline, from which the others follow.
fn first(e: RedisError) -> RedisError {
    let errors = e.clone().into_server_errors();
    errors.as_deref().and_then(<[_]>::first).map_or(e, |(_, error)| error.clone().into())
}
