//! Connections to one Redis server: made when needed, dropped on any failure, never retried here.
//!
//! Whoever calls backs off; a failed call leaves nothing behind, so the next one connects anew.

use std::cell::Cell;
use std::time::Duration;

use redis::{Cmd, ConnectionAddr, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind};
use tokio::sync::Mutex;

pub(super) use super::connection::Connection;
use crate::backend::{BackendError, RedisSettings};

/// What a connection may take to be made and let in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a command that does not block may take. Long, since a reply may carry many megabytes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// A script and the hash by which the server knows it.
pub(super) struct Lua {
    code: &'static str,
    hash: String,
}

impl Lua {
    pub(super) fn new(code: &'static str) -> Self {
        let hash = redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }
}

/// The way to one server.
pub(super) struct Link {
    addr: ConnectionAddr,
    username: Option<String>,
    password: Option<String>,
    database: i64,
    target: String,
    /// Shared by all commands that do not block. The number tells one connection from the next.
    shared: Mutex<(u64, Option<Connection>)>,
    /// The server lets us run EVAL, all that Laravel needs, but not EVALSHA.
    eval_only: Cell<bool>,
}

impl Link {
    /// Checks the settings; connects to nothing yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BackendError> {
        let (addr, target) = address(settings)?;
        // What PHP calls empty is no credential to Laravel either.
        let given = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());

        Ok(Self {
            addr,
            username: given(&settings.username),
            password: given(&settings.password),
            database: settings.database,
            target,
            shared: Mutex::new((0, None)),
            eval_only: Cell::new(false),
        })
    }

    /// A connection of its own for commands that block: it has no response timeout.
    pub(super) async fn connect_blocking(&self) -> Result<Connection, BackendError> {
        self.connect(None).await.map_err(|e| self.error(&e))
    }

    /// Runs one command on the shared connection.
    pub(super) async fn command<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, BackendError> {
        let (number, mut connection) = self.connection().await?;
        match cmd.query_async(connection.inner()).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.failed(number, &e).await),
        }
    }

    /// Runs a pipeline on the shared connection: one round trip.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipe: &Pipeline) -> Result<T, BackendError> {
        let (number, mut connection) = self.connection().await?;
        match pipe.query_async(connection.inner()).await {
            Ok(value) => Ok(value),
            Err(e) => Err(self.failed(number, &e).await),
        }
    }

    /// Runs a pipeline of counts on the shared connection. `None` where the key is of another type.
    pub(super) async fn answers(&self, pipe: &Pipeline) -> Result<Vec<Option<i64>>, BackendError> {
        let answers: Vec<Result<i64, RedisError>> = self.pipeline(pipe).await?;
        let mut counts = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(count) => counts.push(Some(count)),
                Err(e) if e.code() == Some("WRONGTYPE") => counts.push(None),
                Err(e) => {
                    self.forget().await;
                    return Err(self.error(&e));
                }
            }
        }
        Ok(counts)
    }

    /// Closes the shared connection, once nothing is under way on it.
    pub(super) async fn forget(&self) {
        self.shared.lock().await.1 = None;
    }

    /// Runs a script on the shared connection: one round trip, but for the first time on a server.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        lua: &Lua,
        keys: &[String],
        args: impl Fn(&mut Cmd),
    ) -> Result<T, BackendError> {
        let build = |name: &str, script: &str| {
            let mut cmd = redis::cmd(name);
            cmd.arg(script).arg(keys.len()).arg(keys);
            args(&mut cmd);
            cmd
        };
        let mut denied = false;
        if !self.eval_only.get() {
            let (number, mut connection) = self.connection().await?;
            let evalsha = build("EVALSHA", &lua.hash);
            match evalsha.query_async(connection.inner()).await {
                Ok(value) => return Ok(value),
                Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {}
                Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => denied = true,
                Err(e) => return Err(self.failed(number, &e).await),
            }
        }
        let value = self.command(&build("EVAL", lua.code)).await?;
        if denied {
            self.eval_only.set(true);
        }
        Ok(value)
    }

    /// What to tell the caller of a failure on any connection to this server.
    pub(super) fn error(&self, e: &RedisError) -> BackendError {
        // Of a pipeline the first failure tells it all; what follows mostly follows from it.
        let errors = e.clone().into_server_errors();
        let Some((_, error)) = errors.as_deref().and_then(<[_]>::first) else {
            return self.unavailable(&e.to_string());
        };
        let (code, detail) = (error.code(), error.details().unwrap_or_default());
        let refused = matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM")
            || ["invalid password", "without any password", "no password is set"]
                .iter()
                .any(|part| detail.contains(part));
        let fix = match () {
            () if refused => "check REDIS_PASSWORD in .env",
            () if detail.contains("DB index") => "check REDIS_DB in .env",
            () => return self.unavailable(&format!("{code} {detail}")),
        };
        BackendError::Refused { what: format!("{} refuses us: {code} {detail}", self.target), fix }
    }

    /// The server does not answer as it should.
    pub(super) fn unavailable(&self, reason: &str) -> BackendError {
        BackendError::Unavailable { target: self.target.clone(), reason: reason.to_owned() }
    }

    async fn connection(&self) -> Result<(u64, Connection), BackendError> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = &shared.1 {
            return Ok((shared.0, connection.clone()));
        }
        let connection = self.connect(Some(RESPONSE_TIMEOUT)).await.map_err(|e| self.error(&e))?;
        *shared = (shared.0.wrapping_add(1), Some(connection.clone()));
        Ok((shared.0, connection))
    }

    async fn connect(&self, response: Option<Duration>) -> redis::RedisResult<Connection> {
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, Connection::dial(&self.addr, response));
        let mut connection = dialled.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;

        let mut pipe = redis::pipe();
        if let Some(password) = &self.password {
            let auth = pipe.cmd("AUTH");
            if let Some(username) = &self.username {
                auth.arg(username);
            }
            auth.arg(password).ignore();
        }
        if self.database != 0 {
            pipe.cmd("SELECT").arg(self.database).ignore();
        }
        if !pipe.is_empty() {
            let greeting = pipe.query_async::<()>(connection.inner());
            match tokio::time::timeout(CONNECT_TIMEOUT, greeting).await {
                Ok(done) => done?,
                Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        }
        Ok(connection)
    }

    /// Forgets the connection that failed, whatever the failure: after a failover the same address may
    /// lead to another server, and to connect is cheap.
    async fn failed(&self, number: u64, e: &RedisError) -> BackendError {
        let mut shared = self.shared.lock().await;
        if shared.0 == number
            && let Some(connection) = shared.1.take()
            && let Some(fault) = connection.fault()
        {
            return self.unavailable(&fault);
        }
        self.error(e)
    }
}

/// Where the server is, and how to name it in a message.
fn address(settings: &RedisSettings) -> Result<(ConnectionAddr, String), BackendError> {
    let host = settings.host.as_str();
    let target = |at: &str| format!("redis at {at}");
    let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
    match scheme {
        "" if rest.starts_with('/') => Ok((ConnectionAddr::Unix(rest.into()), target(rest))),
        "unix" => Ok((ConnectionAddr::Unix(rest.into()), target(rest))),
        "" | "tcp" | "redis" if !rest.is_empty() => {
            let name = rest.trim_start_matches('[').trim_end_matches(']').to_owned();
            let at = target(&format!("{rest}:{}", settings.port));
            Ok((ConnectionAddr::Tcp(name, settings.port), at))
        }
        "tls" | "ssl" | "rediss" | "tlsv1.2" | "tlsv1.3" => Err(BackendError::Settings(format!(
            "redis at {host}: TLS is not built in yet: use a plain or Unix socket connection, such as a local stunnel"
        ))),
        _ => Err(BackendError::Settings(format!("redis host `{host}`: neither a host name nor a socket"))),
    }
}
