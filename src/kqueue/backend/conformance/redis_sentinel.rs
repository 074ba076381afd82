//! A master, its replica, and three sentinels.

use std::time::{Duration, Instant};

use redis::Connection;

use super::ports::free_port;
use super::redis::{RedisOn, Served};
use super::redis_servers::{PLAIN, Server, local};
use super::{Fixture, job, jobs, payloads, queues, take, until};
use crate::backend::{BackendError, QueueBackend, RedisSettings, SentinelSettings, Wait};

super::suite!(RedisOn<Watched>);

const DATABASE: i64 = 2;
/// Password that only this fixture's servers accept.
const PASSWORD: &str = "geheim";

/// The servers, of which the first is the initial master, and the sentinels.
pub(super) struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    ports: Vec<u16>,
}

impl Watched {
    /// Index of the server that reports the role of master.
    fn master_index(&self) -> usize {
        let is_master = |server: &Server| {
            server.is_up()
                && server.try_run::<String>("INFO replication").is_ok_and(|told| told.contains("role:master"))
        };
        let mut master = None;
        until("there is a master", || {
            master = self.servers.iter().position(is_master);
            master.is_some()
        });
        master.unwrap()
    }

    /// Waits until every sentinel knows the others and the replica, so that a failover can begin.
    fn ready(&self) {
        let ready = |sentinel: &Server| {
            let known: String = sentinel.run("INFO sentinel");
            known.contains("slaves=1,sentinels=3") && known.contains("status=ok")
        };
        until("the sentinels know each other", || self.sentinels.iter().all(ready));
        let up_to_date = |server: &Server| server.run::<String>("INFO replication").contains("master_link_status:up");
        until("the replica is up to date", || self.servers.iter().any(up_to_date));
    }
}

impl Served for Watched {
    fn start(private: bool) -> Self {
        // A server that transfers megabytes does not reply for a while.
        let silence = if private { 500 } else { 30_000 };
        let (master, replica) = (free_port(), free_port());
        let start = |port: u16, args: &[&str]| {
            let port = port.to_string();
            let at_once = ["--repl-diskless-sync-delay", "0"];
            let server = Server::start(
                tempfile::tempdir().unwrap(),
                &[&PLAIN[..], &["--port", &port, "--bind", "127.0.0.1"], &at_once, args].concat(),
            );
            // Clients of the socket need no password.
            let () = server.run(&format!("ACL SETUSER shop on >{PASSWORD} ~* &* +@all"));
            server
        };
        let servers = vec![start(master, &[]), start(replica, &["--replicaof", "127.0.0.1", &master.to_string()])];
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let watch = |port: &u16| {
            let dir = tempfile::tempdir().unwrap();
            let conf = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds shop {silence}\nsentinel failover-timeout shop 3000\n"
            );
            std::fs::write(dir.path().join("sentinel.conf"), conf).unwrap();
            Server::start(dir, &["sentinel.conf", "--sentinel"])
        };
        let sentinels = ports.iter().map(watch).collect();
        Self { servers, sentinels, ports }
    }

    fn settings(&self) -> RedisSettings {
        RedisSettings {
            sentinel: Some(SentinelSettings {
                service: "shop".to_owned(),
                nodes: self.ports.iter().map(|port| local(*port)).collect(),
                ..SentinelSettings::default()
            }),
            username: Some("shop".to_owned()),
            password: Some(PASSWORD.to_owned()),
            database: DATABASE,
            ..RedisSettings::default()
        }
    }

    fn master(&self, _key: &str) -> Connection {
        self.servers[self.master_index()].connection(DATABASE)
    }

    fn go_away(&mut self) {
        self.servers.iter_mut().chain(&mut self.sentinels).for_each(Server::kill);
    }

    fn come_back(&mut self) {
        self.servers.iter_mut().chain(&mut self.sentinels).for_each(Server::restart);
        for server in &self.servers {
            let () = server.run(&format!("ACL SETUSER shop on >{PASSWORD} ~* &* +@all"));
        }
    }
}

type Fixed = RedisOn<Watched>;

/// Takes one job, with retries after an outage, as the runtime does.
async fn insist(b: &impl QueueBackend) -> Vec<Vec<u8>> {
    let start = Instant::now();
    loop {
        match b.next_batch(&queues(&["default"]), 1, &Wait::up_to(Duration::from_millis(500))).await {
            Ok(found) if !found.is_empty() => {
                assert!(b.delete(&found.jobs).await.is_ok());
                return payloads(&found.jobs);
            }
            Ok(_) => {}
            Err(e) => {
                assert!(matches!(e, BackendError::Unavailable { .. }) && !e.to_string().contains('\n'), "{e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no job");
    }
}

#[tokio::test]
async fn the_new_master_is_found_when_the_old_one_is_killed() {
    let mut f = Fixed::start_private().await;
    f.served.ready();
    let b = f.backend();
    f.push("default", &job("a")).await;
    assert_eq!(insist(&b).await, jobs(&["a"]));
    f.push("default", &job("b")).await;
    let () = f.served.servers[0].run("WAIT 1 1000");
    f.served.servers[0].kill();
    assert_eq!(insist(&b).await, jobs(&["b"]));
    assert_eq!(f.served.master_index(), 1);
}

/// Connections to the old master stay open here, and it serves reads: only the first write fails.
#[tokio::test]
async fn a_master_that_became_a_replica_is_left() {
    let f = Fixed::start_private().await;
    f.served.ready();
    let b = f.backend();
    f.push("default", &job("a")).await;
    assert_eq!(insist(&b).await, jobs(&["a"]));
    let () = f.served.sentinels[0].run("SENTINEL FAILOVER shop");
    until("the replica is the master", || {
        // A failover closes client connections.
        let told = f.served.servers[1].try_run::<String>("INFO replication");
        told.is_ok_and(|told| told.contains("role:master"))
    });
    f.push("default", &job("b")).await;
    assert_eq!(insist(&b).await, jobs(&["b"]));
}

#[tokio::test]
async fn a_sentinel_that_is_gone_or_knows_nothing_is_passed_over() {
    let mut f = Fixed::start_private().await;
    f.push("default", &job("a")).await;
    f.served.sentinels[0].kill();
    let () = f.served.sentinels[1].run("SENTINEL REMOVE shop");
    let b = f.backend();
    assert_eq!(take(&b, &["default"], 1).await.len(), 1);
    f.served.sentinels[2].kill();
    // Existing connections stay usable.
    f.push("default", &job("b")).await;
    assert_eq!(take(&b, &["default"], 1).await.len(), 1);
    let error = f.backend().sizes(&queues(&["default"])).await.unwrap_err().to_string();
    assert!(error.contains("sentinel at 127.0.0.1") && error.contains("`shop`") && !error.contains('\n'), "{error}");
}

/// A replica that sentinels still report as the master is not accepted as one.
#[tokio::test]
async fn who_is_called_master_must_be_one() {
    let f = Fixed::start_private().await;
    for sentinel in &f.served.sentinels[1..] {
        let () = sentinel.run("SENTINEL REMOVE shop");
    }
    let b = f.backend();
    let () = f.served.servers[0].run(&format!("REPLICAOF 127.0.0.1 {}", free_port()));
    let error = b.sizes(&queues(&["default"])).await.unwrap_err().to_string();
    assert!(error.contains("replica") || error.contains("no master"), "{error}");
}
