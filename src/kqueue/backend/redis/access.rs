//! Access to servers: TLS, credentials and the number of the database.

use std::io;
use std::time::Duration;

use redis::RedisResult;

use super::address::{Address, Scheme};
use super::connection::Connection;
use super::settings::{NodeSettings, TlsSettings};
use super::tls::Tls;
use crate::backend::BackendError;

/// Timeout of connecting, and then of logging in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Access to all servers of one kind.
pub(super) struct Access {
    tls: Option<Tls>,
    username: Option<String>,
    password: Option<String>,
    database: i64,
}

impl Access {
    /// Access to the servers at these nodes, and their addresses.
    pub(super) fn new(
        nodes: &[NodeSettings],
        tls: &Option<TlsSettings>,
        username: &Option<String>,
        password: &Option<String>,
        database: i64,
    ) -> Result<(Self, Vec<Address>), BackendError> {
        let parsed: Vec<_> =
            nodes.iter().map(|node| Address::parse(&node.host, node.port)).collect::<Result<_, _>>()?;
        let scheme = parsed.iter().map(|(_, scheme)| *scheme).find(|scheme| *scheme != Scheme::Plain);
        let tls = match (tls, scheme) {
            (None, None) => None,
            (settings, scheme) => Some(Tls::new(settings.clone().unwrap_or_default(), scheme.unwrap_or(Scheme::Tls))?),
        };
        // Laravel does not send an empty credential either.
        let given = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        let access = Self { tls, username: given(username), password: given(password), database };
        Ok((access, parsed.into_iter().map(|(address, _)| address).collect()))
    }

    /// Connects and logs in. `response` is the response timeout of a command, if any.
    pub(super) async fn open(&self, address: &Address, response: Option<Duration>) -> RedisResult<Connection> {
        let opened = self.try_open(address, response).await;
        if let (Err(_), Some(tls)) = (&opened, &self.tls) {
            tls.forget();
        }
        opened
    }

    async fn try_open(&self, address: &Address, response: Option<Duration>) -> RedisResult<Connection> {
        let dialled = Connection::dial(address, self.tls.as_ref(), response);
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, dialled).await.map_err(|_| timed_out())??;

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
            let greeted = tokio::time::timeout(CONNECT_TIMEOUT, greeting).await.map_err(|_| timed_out())?;
            greeted.map_err(|e| connection.fault().map_or(e, Into::into))?;
        }
        Ok(connection)
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
