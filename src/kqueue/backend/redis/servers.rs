//! Routing of calls: to the single server, or to the cluster node that owns the key.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, from_redis_value};

use super::access::Access;
use super::cluster::{Cluster, Node, Redirect};
use super::link::{Link, Lua, Way};
use super::sentinel::Sentinels;
use super::settings::{NodeSettings, RedisSettings};
use super::slot::slot;
use crate::backend::BackendError;

/// Redirections after which a call fails: the nodes do not agree.
const HOPS: u32 = 8;
/// Delay before the first retry while keys are being moved between nodes; grows with each retry.
const MOVING: Duration = Duration::from_millis(25);

/// A single server or a cluster.
pub(super) enum Servers {
    One(Rc<Node>),
    Cluster(Cluster),
}

/// A node, and whether it is still importing the key's slot.
#[derive(Clone)]
struct Route {
    node: Rc<Node>,
    asking: bool,
}

impl Route {
    fn is_with(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.node, &other.node) && self.asking == other.asking
    }
}

impl Servers {
    /// Checks the settings; does not connect yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BackendError> {
        let RedisSettings { tls, username, password, .. } = settings;
        if !settings.cluster.is_empty() {
            // A cluster has only database 0.
            let (access, seeds) = Access::new(&settings.cluster, tls, username, password, 0)?;
            return Ok(Self::Cluster(Cluster::new(access, seeds)));
        }
        let one = |way, address, access| Self::One(Rc::new(Node { link: Link::new(way, Rc::new(access)), address }));
        if let Some(sentinel) = &settings.sentinel {
            let (asked, all) = Access::new(&sentinel.nodes, &sentinel.tls, &sentinel.username, &sentinel.password, 0)?;
            let Some(first) = all.first().cloned() else {
                return Err(BackendError::Settings("the redis connection names no sentinel".to_owned()));
            };
            let sentinels = Box::new(Sentinels::new(sentinel.service.clone(), asked, all));
            let (access, _) = Access::new(&[], tls, username, password, settings.database)?;
            return Ok(one(Way::Master(sentinels), first, access));
        }
        let node = NodeSettings { host: settings.host.clone(), port: settings.port };
        let (access, addresses) = Access::new(&[node], tls, username, password, settings.database)?;
        match addresses.into_iter().next() {
            Some(address) => Ok(one(Way::Address(address.clone()), address, access)),
            None => Err(BackendError::Settings("the redis connection names no server".to_owned())),
        }
    }

    /// Groups of the indexes of keys that one call may name together.
    pub(super) fn groups<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Vec<Vec<usize>> {
        let mut groups: Vec<(u16, Vec<usize>)> = Vec::new();
        for (index, key) in keys.enumerate() {
            let slot = self.slot(key);
            match groups.iter_mut().find(|(of, _)| *of == slot) {
                Some((_, group)) => group.push(index),
                None => groups.push((slot, vec![index])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Runs a script on the node of its keys, which must all be in one slot.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        lua: &Lua,
        keys: &[String],
        args: impl Fn(&mut Cmd),
    ) -> Result<T, BackendError> {
        let slot = keys.first().map_or(0, |key| self.slot(key));
        let mut route = self.route(slot).await?;
        for hop in 0..HOPS {
            match route.node.link.script(lua, keys, &args, route.asking).await {
                Ok(answer) => return Ok(answer),
                Err(e) => route = self.again(&route, &e, hop).await?,
            }
        }
        Err(astray(&route))
    }

    /// Runs commands with integer replies, each on the node of its key; those for one node in one round trip. `None`
    /// where the key has the wrong type.
    pub(super) async fn counts(&self, mut calls: Vec<(String, Cmd)>) -> Result<Vec<Option<i64>>, BackendError> {
        let mut counts = vec![None; calls.len()];
        let mut open: Vec<(Route, Vec<usize>)> = Vec::new();
        for (index, (key, _)) in calls.iter().enumerate() {
            file(&mut open, self.route(self.slot(key)).await?, index);
        }
        for hop in 0..HOPS {
            let mut pipes = Vec::with_capacity(open.len());
            for (route, indexes) in &open {
                let mut pipe = Pipeline::new();
                for index in indexes {
                    let Some((_, cmd)) = calls.get_mut(*index) else { continue };
                    if route.asking {
                        pipe.cmd("ASKING").ignore();
                    }
                    // Only a cluster redirects. For a single server, commands are not cloned: they may be large.
                    pipe.add_command(if self.is_cluster() { cmd.clone() } else { std::mem::take(cmd) });
                }
                pipes.push((route.node.clone(), pipe));
            }
            let answers = pipes.iter_mut().map(|(node, pipe)| node.link.pipeline(pipe));
            let answers = join_all(answers).await;
            for ((route, indexes), answers) in std::mem::take(&mut open).into_iter().zip(answers) {
                let answers = match answers {
                    Ok(answers) => answers,
                    Err(e) => return Err(self.failed(&route, &e).await),
                };
                for (index, answer) in indexes.into_iter().zip(answers) {
                    match answer.and_then(|value| Ok(from_redis_value::<i64>(value)?)) {
                        Ok(count) => counts.get_mut(index).into_iter().for_each(|slot| *slot = Some(count)),
                        Err(e) if e.code() == Some("WRONGTYPE") => {}
                        Err(e) => file(&mut open, self.again(&route, &e, hop).await?, index),
                    }
                }
            }
            match open.first() {
                None => return Ok(counts),
                Some((route, _)) if hop + 1 == HOPS => return Err(astray(route)),
                Some(_) => {}
            }
        }
        Ok(counts)
    }

    /// The node for a call that blocks on this key.
    pub(super) async fn node(&self, key: &str) -> Result<Rc<Node>, BackendError> {
        Ok(self.route(self.slot(key)).await?.node)
    }

    /// Handles the error of a blocking call: `Ok` if it was only a redirection.
    pub(super) async fn refused(&self, node: &Rc<Node>, e: &RedisError) -> Result<(), BackendError> {
        let route = Route { node: node.clone(), asking: false };
        self.again(&route, e, 0).await.map(|_| ())
    }

    /// Closes the shared connections.
    pub(super) async fn forget(&self) {
        match self {
            Self::One(node) => node.link.forget().await,
            Self::Cluster(cluster) => {
                for node in cluster.nodes() {
                    node.link.forget().await;
                }
            }
        }
    }

    /// Whether one script can access both keys.
    pub(super) fn are_together(&self, one: &str, other: &str) -> bool {
        self.slot(one) == self.slot(other)
    }

    fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Outside a cluster all keys count as being in one slot.
    fn slot(&self, key: &str) -> u16 {
        match self {
            Self::One(_) => 0,
            Self::Cluster(_) => slot(key),
        }
    }

    async fn route(&self, slot: u16) -> Result<Route, BackendError> {
        let node = match self {
            Self::One(node) => node.clone(),
            Self::Cluster(cluster) => cluster.owner(slot).await?,
        };
        Ok(Route { node, asking: false })
    }

    /// The route of a retry after this error, or the final error.
    async fn again(&self, route: &Route, e: &RedisError, hop: u32) -> Result<Route, BackendError> {
        let redirect = match self {
            Self::One(_) => None,
            Self::Cluster(cluster) => cluster.redirect(&route.node, e),
        };
        match redirect {
            None => Err(self.failed(route, e).await),
            Some(Redirect::Moved(node)) => Ok(Route { node, asking: false }),
            Some(Redirect::Ask(node)) => Ok(Route { node, asking: true }),
            Some(Redirect::TryAgain) => {
                tokio::time::sleep(MOVING * (hop + 1)).await;
                Ok(Route { asking: false, ..route.clone() })
            }
        }
    }

    async fn failed(&self, route: &Route, e: &RedisError) -> BackendError {
        // If only one command of a pipeline has failed, the connection is still open.
        route.node.link.forget().await;
        if let Self::Cluster(cluster) = self {
            cluster.redirect(&route.node, e);
        }
        route.node.link.error(e)
    }
}

/// Adds the index of a call to those of the same route.
fn file(open: &mut Vec<(Route, Vec<usize>)>, route: Route, index: usize) {
    match open.iter_mut().find(|(other, _)| other.is_with(&route)) {
        Some((_, indexes)) => indexes.push(index),
        None => open.push((route, vec![index])),
    }
}

fn astray(route: &Route) -> BackendError {
    route.node.link.unavailable("the cluster nodes do not agree on which of them owns the queue's slot")
}
