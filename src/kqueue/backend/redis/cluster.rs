//! A Redis Cluster: owners of slots, and redirections.
//!
//! Replicas are never used: they lag behind, and work on queues needs writes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::access::Access;
use super::address::Address;
use super::link::{Link, Way};
use crate::backend::BackendError;

/// Minimum interval between two requests for the slot map, whatever the nodes reply.
const REFRESH: Duration = Duration::from_secs(1);
/// Timeout of one node's reply with the slot map. Short, since others can be asked.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A master of the cluster.
pub(super) struct Node {
    pub(super) address: Address,
    pub(super) link: Link,
}

/// Where to retry a redirected call.
pub(super) enum Redirect {
    /// To the new owner of the slot.
    Moved(Rc<Node>),
    /// To the node that is importing the slot, for this call only.
    Ask(Rc<Node>),
    /// To the same node, after a delay.
    TryAgain,
}

/// First slot, last slot, and their owner.
type Range = (u16, u16, Address);

/// Known state of the cluster.
pub(super) struct Cluster {
    access: Rc<Access>,
    seeds: Vec<Address>,
    nodes: RefCell<BTreeMap<Address, Rc<Node>>>,
    ranges: RefCell<Vec<Range>>,
    /// Owners of slots by redirections since `ranges` was fetched.
    moved: RefCell<HashMap<u16, Address>>,
    stale: Cell<bool>,
    asked: Cell<Option<Instant>>,
}

impl Cluster {
    pub(super) fn new(access: Access, seeds: Vec<Address>) -> Self {
        Self {
            access: Rc::new(access),
            seeds,
            nodes: RefCell::default(),
            ranges: RefCell::default(),
            moved: RefCell::default(),
            stale: Cell::new(true),
            asked: Cell::new(None),
        }
    }

    /// The master that owns this slot, as far as is known.
    pub(super) async fn owner(&self, slot: u16) -> Result<Rc<Node>, BackendError> {
        if self.stale.get() && self.asked.get().is_none_or(|at| at.elapsed() >= REFRESH) {
            self.refresh().await?;
        }
        let owner = self.moved.borrow().get(&slot).cloned().or_else(|| {
            let ranges = self.ranges.borrow();
            ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., owner)| owner.clone())
        });
        match owner {
            Some(owner) => Ok(self.node(owner)),
            None => {
                self.stale.set(true);
                Err(self.unavailable(&format!("no node owns slot {slot}")))
            }
        }
    }

    /// The redirection in an error of `node`; `None` for any other error.
    pub(super) fn redirect(&self, node: &Node, e: &RedisError) -> Option<Redirect> {
        let target = || {
            let (told, slot) = e.redirect_node()?;
            Some((slot, Address::told(told, &node.address)?))
        };
        match e.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => {
                self.stale.set(true);
                let (slot, owner) = target()?;
                self.moved.borrow_mut().insert(slot, owner.clone());
                Some(Redirect::Moved(self.node(owner)))
            }
            ErrorKind::Server(ServerErrorKind::Ask) => Some(Redirect::Ask(self.node(target()?.1))),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Some(Redirect::TryAgain),
            // The node is down or no longer a master: another may own its slots by now.
            _ => {
                self.stale.set(true);
                None
            }
        }
    }

    /// Every node that we may have a connection to.
    pub(super) fn nodes(&self) -> Vec<Rc<Node>> {
        self.nodes.borrow().values().cloned().collect()
    }

    fn node(&self, address: Address) -> Rc<Node> {
        let make = || {
            let link = Link::new(Way::Address(address.clone()), self.access.clone());
            Rc::new(Node { address: address.clone(), link })
        };
        self.nodes.borrow_mut().entry(address.clone()).or_insert_with(make).clone()
    }

    /// Fetches the slot map from the first node that replies.
    async fn refresh(&self) -> Result<(), BackendError> {
        self.asked.set(Some(Instant::now()));
        let known: Vec<Address> = self.nodes.borrow().keys().cloned().collect();
        let seeds = self.seeds.iter().filter(|seed| !known.contains(seed));
        let mut failure = None;
        for address in known.iter().chain(seeds) {
            let node = self.node(address.clone());
            match self.ask(&node).await {
                Ok(ranges) => {
                    let still = |address: &Address| ranges.iter().any(|(.., owner)| owner == address);
                    self.nodes.borrow_mut().retain(|address, _| still(address));
                    self.ranges.replace(ranges);
                    self.moved.borrow_mut().clear();
                    self.stale.set(false);
                    return Ok(());
                }
                Err(e) => failure = Some(node.link.error(&e)),
            }
        }
        // With an older map the call is tried anyway, and reports the error itself.
        match failure {
            Some(failure) if self.ranges.borrow().is_empty() => Err(failure),
            _ => Ok(()),
        }
    }

    async fn ask(&self, node: &Node) -> RedisResult<Vec<Range>> {
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let answer = tokio::time::timeout(ASK_TIMEOUT, node.link.command::<Vec<Vec<Value>>>(&slots)).await;
        let Ok(answer) = answer else {
            node.link.forget().await;
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        };
        let ranges: Vec<Range> = answer?.iter().filter_map(|range| read(range, &node.address)).collect();
        match ranges.is_empty() {
            true => Err(std::io::Error::other("its reply to CLUSTER SLOTS contains no slot ranges").into()),
            false => Ok(ranges),
        }
    }

    fn unavailable(&self, reason: &str) -> BackendError {
        let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
        BackendError::Unavailable {
            target: format!("redis cluster at {}", seeds.join(", ")),
            reason: reason.to_owned(),
        }
    }
}

/// Parses a range in the reply to `CLUSTER SLOTS`: first, last, master, replicas; the master: host, port, and more.
fn read(range: &[Value], from: &Address) -> Option<Range> {
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
        Value::SimpleString(host) => host.clone(),
        // The node does not know its own host.
        _ => String::new(),
    };
    let [first, last, port] = [first, last, port].map(|&n| u16::try_from(n).ok());
    Some((first?, last?, Address::at(&host, port?, from)))
}
