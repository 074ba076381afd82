//! Calls that block until there is a notify token: one for each group of keys that a call may name together, each on
//! its own connection. Outside a cluster that is one call.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, select_all};
use redis::RedisResult;

use super::cluster::Node;
use super::connection::Connection;
use super::servers::Servers;
use crate::backend::BackendError;

/// Time after BLPOP's own timeout until the server counts as gone.
const GRACE: Duration = Duration::from_secs(5);

/// Blocking connections: idle ones, and those with a pending call.
#[derive(Default)]
pub(super) struct Blocking {
    resting: RefCell<Vec<Blocker>>,
    calls: RefCell<Vec<Call>>,
}

/// A connection that waits for tokens in these lists.
struct Blocker {
    node: Rc<Node>,
    keys: Vec<String>,
    connection: Option<Connection>,
}

/// A pending call.
struct Call {
    node: Rc<Node>,
    keys: Vec<String>,
    answer: LocalBoxFuture<'static, (Blocker, RedisResult<Option<Vec<u8>>>)>,
}

impl Blocking {
    /// Blocks until there is a token for one of `keys`, for `limit` at most; takes the token, and returns its key.
    ///
    /// Dropping the future closes its connections, so that the server takes no token for them. A token that is lost in
    /// transit does no harm, since each wait looks at the lists first. If there are several calls, the others stay
    /// pending when one returns.
    pub(super) async fn first(
        &self,
        servers: &Servers,
        keys: &[String],
        limit: Duration,
    ) -> Result<Option<Vec<u8>>, BackendError> {
        let mut wanted = Vec::new();
        for group in servers.groups(keys.iter().map(String::as_str)) {
            let keys: Vec<String> = group.into_iter().filter_map(|index| keys.get(index).cloned()).collect();
            if let Some(key) = keys.first() {
                wanted.push((servers.node(key).await?, keys));
            }
        }
        let mut calls = self.calls.take();
        let mut resting = self.resting.take();
        calls.retain(|call| wanted.iter().any(|(node, keys)| Rc::ptr_eq(node, &call.node) && *keys == call.keys));
        for (node, keys) in wanted {
            if calls.iter().any(|call| call.keys == keys) {
                continue;
            }
            let same = |rested: &Blocker| Rc::ptr_eq(&node, &rested.node) && keys == rested.keys;
            let blocker = match resting.iter().position(same) {
                Some(at) => resting.swap_remove(at),
                None => Blocker { node: node.clone(), keys: keys.clone(), connection: None },
            };
            calls.push(Call { node, keys, answer: Box::pin(blocker.block(limit)) });
        }
        drop(resting);
        if calls.is_empty() {
            tokio::time::sleep(limit).await;
            return Ok(None);
        }

        let ((blocker, answer), at, _) = select_all(calls.iter_mut().map(|call| call.answer.as_mut())).await;
        calls.swap_remove(at);
        self.calls.replace(calls);
        match answer {
            Ok(token) => {
                self.resting.borrow_mut().push(blocker);
                Ok(token)
            }
            Err(e) => servers.refused(&blocker.node, &e).await.map(|()| None),
        }
    }
}

impl Blocker {
    async fn block(mut self, limit: Duration) -> (Self, RedisResult<Option<Vec<u8>>>) {
        let answer = self.blpop(limit).await;
        (self, answer)
    }

    async fn blpop(&mut self, limit: Duration) -> RedisResult<Option<Vec<u8>>> {
        let mut blpop = redis::cmd("BLPOP");
        // A timeout of 0 would block forever.
        blpop.arg(&self.keys).arg(format!("{:.3}", limit.as_secs_f64().max(0.001)));
        loop {
            let fresh = self.connection.is_none();
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.node.link.connect_blocking().await?,
            };
            let answer = blpop.query_async::<Option<(Vec<u8>, Vec<u8>)>>(connection.inner());
            match tokio::time::timeout(limit + GRACE, answer).await {
                Ok(Ok(token)) => {
                    self.connection = Some(connection);
                    return Ok(token.map(|(key, _)| key));
                }
                // An idle connection may have been lost in an earlier restart of the server: tries a new one.
                Ok(Err(e)) if !fresh && e.is_io_error() => {}
                Ok(Err(e)) => return Err(e),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to BLPOP").into()),
            }
        }
    }
}
