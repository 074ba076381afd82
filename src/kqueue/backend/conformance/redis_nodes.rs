//! A Redis Cluster of six nodes: three masters, and a replica of each.

use std::sync::{Arc, Mutex, OnceLock};

use redis::{Connection, RedisResult};

use super::ports::free_port;
use super::redis::Served;
use super::redis_servers::{PLAIN, Server, local};
use super::until;
use crate::backend::RedisSettings;

const MASTERS: usize = 3;
const NODES: usize = 2 * MASTERS;
/// Slots of each master.
const SLOTS: [&str; MASTERS] = ["0-5460", "5461-10922", "10923-16383"];

/// The nodes, masters first.
pub(super) struct Nodes {
    pub(super) servers: Vec<Server>,
    pub(super) ports: [u16; NODES],
}

/// Id of a node in the cluster.
fn id(node: usize) -> String {
    format!("{node:040}")
}

impl Nodes {
    /// Starts nodes that know each other from the beginning, as after a restart. `timeout` is how long a master may be
    /// silent, in milliseconds, before it counts as down.
    fn start(timeout: &str) -> Self {
        let ports = [(); NODES].map(|()| free_port());
        let start = |myself: usize| {
            let line = |node: usize| {
                let (port, me) = (ports[node], if node == myself { "myself," } else { "" });
                let rest = match node < MASTERS {
                    true => format!("{me}master - 0 0 {node} connected {}", SLOTS[node]),
                    false => format!("{me}slave {} 0 0 {} connected", id(node - MASTERS), node - MASTERS),
                };
                format!("{} 127.0.0.1:{port}@{} {rest}\n", id(node), port + 10_000)
            };
            let known: String = (0..NODES).map(line).collect();
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(
                dir.path().join("nodes.conf"),
                format!("{known}vars currentEpoch {NODES} lastVoteEpoch 0\n"),
            )
            .unwrap();
            let port = ports[myself].to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", timeout, "--bind", "127.0.0.1"];
            let args = ["--port", &port, "--repl-diskless-sync-delay", "0", "--cluster-config-file", "nodes.conf"];
            Server::start(dir, &[&PLAIN[..], &cluster, &args].concat())
        };
        let nodes = Self { servers: (0..NODES).map(start).collect(), ports };
        nodes.settle();
        nodes
    }

    /// Waits until all running nodes agree, and every replica is up to date.
    pub(super) fn settle(&self) {
        until("the cluster is up", || {
            self.servers.iter().filter(|server| server.is_up()).all(|server| {
                let replica = server.run::<String>("INFO replication");
                server.run::<String>("CLUSTER INFO").contains("cluster_state:ok")
                    && (replica.contains("role:master") || replica.contains("master_link_status:up"))
            })
        });
    }

    /// Index of the node that takes writes of this key.
    pub(super) fn owner(&self, key: &str) -> usize {
        let mut owner = None;
        until("some node has the key", || {
            owner = self.servers.iter().position(|server| server.is_up() && server.has(key));
            owner.is_some()
        });
        owner.unwrap()
    }
}

impl Server {
    fn has(&self, key: &str) -> bool {
        let kind: RedisResult<String> = redis::cmd("TYPE").arg(key).query(&mut self.connection(0));
        kind.is_ok()
    }
}

/// The cluster that all tests share, or a private one.
#[derive(Clone)]
pub(super) struct Cluster(pub(super) Arc<Mutex<Nodes>>);

impl Served for Cluster {
    const BRACES: bool = true;

    fn start(private: bool) -> Self {
        static SHARED: OnceLock<Arc<Mutex<Nodes>>> = OnceLock::new();
        if private {
            return Self(Arc::new(Mutex::new(Nodes::start("1000"))));
        }
        let start = || {
            let (send, made) = std::sync::mpsc::channel();
            // Servers are killed when the thread that started them ends: this one lasts as long as the process.
            std::thread::spawn(move || {
                send.send(Arc::new(Mutex::new(Nodes::start("30000")))).unwrap();
                loop {
                    std::thread::park();
                }
            });
            made.recv().unwrap()
        };
        Self(SHARED.get_or_init(start).clone())
    }

    fn settings(&self) -> RedisSettings {
        // One seed node suffices to find all.
        RedisSettings { cluster: vec![local(self.0.lock().unwrap().ports[0])], ..RedisSettings::default() }
    }

    fn master(&self, key: &str) -> Connection {
        let nodes = self.0.lock().unwrap();
        nodes.servers[nodes.owner(key)].connection(0)
    }

    fn go_away(&mut self) {
        self.0.lock().unwrap().servers.iter_mut().for_each(Server::kill);
    }

    fn come_back(&mut self) {
        let mut nodes = self.0.lock().unwrap();
        nodes.servers.iter_mut().for_each(Server::restart);
        nodes.settle();
    }
}
