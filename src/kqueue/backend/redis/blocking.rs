//! Calls that block until a token comes: one for each group of keys that one call may name, each on a connection of
//! its own. Outside a cluster that is one call.

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

/// What BLPOP may take beyond its own timeout before the server counts as gone.
const GRACE: Duration = Duration::from_secs(5);

/// Connections that block, or rest until they do again.
#[derive(Default)]
pub(super) struct Blocking {
    resting: RefCell<Vec<Blocker>>,
    calls: RefCell<Vec<Call>>,
}

/// Waits for tokens of these lists.
struct Blocker {
    node: Rc<Node>,
    keys: Vec<String>,
    connection: Option<Connection>,
}

/// One that does so now.
struct Call {
    node: Rc<Node>,
    keys: Vec<String>,
    answer: LocalBoxFuture<'static, (Blocker, RedisResult<Option<Vec<u8>>>)>,
}

impl Blocking {
    /// Blocks until a token comes for one of `keys`, at most for `limit`; takes the token, and says whose it was.
    ///
    /// When the future is dropped, so are its connections: a server then gives its client no token. One
    /// that is lost on the way costs nothing, since whoever waits looks at the lists first.
    /// Where there are several calls, the others go on when one has its answer.
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
        // A timeout of 0 would be for ever.
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
                // One that rested may have died of a restart that is long over.
                Ok(Err(e)) if !fresh && e.is_io_error() => {}
                Ok(Err(e)) => return Err(e),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to BLPOP").into()),
            }
        }
    }
}
