//! Redis Sentinel: looks up the master before each connection.

use std::cell::RefCell;
use std::time::Duration;

use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

use super::access::Access;
use super::address::Address;
use super::connection::Connection;

/// Timeout of one sentinel's reply. Short, since others can be asked.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The sentinels of one master.
pub(super) struct Sentinels {
    service: String,
    access: Access,
    /// The one whose answer was used last comes first.
    all: RefCell<Vec<Address>>,
}

impl Sentinels {
    pub(super) fn new(service: String, access: Access, all: Vec<Address>) -> Self {
        Self { service, access, all: RefCell::new(all) }
    }

    /// The sentinels' name of the master.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// Connects to the master reported by the first sentinel whose report that server's `ROLE` confirms.
    pub(super) async fn connect(&self, servers: &Access, response: Option<Duration>) -> RedisResult<Connection> {
        let mut failure = None;
        let all = self.all.borrow().clone();
        for sentinel in all {
            match self.master(&sentinel, servers, response).await {
                Ok(connection) => {
                    let mut all = self.all.borrow_mut();
                    all.retain(|other| *other != sentinel);
                    all.insert(0, sentinel);
                    return Ok(connection);
                }
                Err(e) => failure = Some(e),
            }
        }
        Err(failure.unwrap_or_else(|| said("there is no sentinel")))
    }

    async fn master(
        &self,
        sentinel: &Address,
        servers: &Access,
        response: Option<Duration>,
    ) -> RedisResult<Connection> {
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.ask(sentinel)).await;
        let of_sentinel = |e: &dyn std::fmt::Display| said(&format!("sentinel at {sentinel}: {e}"));
        let master = match asked {
            Ok(Ok(Some((host, port)))) => Address::at(&host, port, sentinel),
            Ok(Ok(None)) => return Err(of_sentinel(&"it knows no master with this name")),
            Ok(Err(e)) => return Err(of_sentinel(&e)),
            Err(_) => return Err(of_sentinel(&"no answer")),
        };
        let of_master = |e: &dyn std::fmt::Display| said(&format!("master at {master}: {e}"));
        let mut connection = servers.open(&master, response).await.map_err(|e| match e.is_io_error() {
            true => of_master(&e),
            false => e,
        })?;
        let role: RedisResult<Vec<Value>> = redis::cmd("ROLE").query_async(connection.inner()).await;
        match role {
            Ok(role) if role.first() == Some(&Value::BulkString(b"master".to_vec())) => Ok(connection),
            // We may not ask for its role. If it is a replica, it will refuse the first write.
            Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(connection),
            Ok(_) => Err(of_master(&"it is a replica; the sentinels have not agreed on a new master yet")),
            Err(e) => Err(e),
        }
    }

    async fn ask(&self, sentinel: &Address) -> RedisResult<Option<(String, u16)>> {
        let mut connection = self.access.open(sentinel, Some(ASK_TIMEOUT)).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(&self.service).query_async(connection.inner()).await
    }
}

fn said(what: &str) -> redis::RedisError {
    std::io::Error::other(what.to_owned()).into()
}
