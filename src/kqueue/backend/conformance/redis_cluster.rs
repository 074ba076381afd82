//! Behaviour of a cluster: slots on several nodes, slots that move, masters that fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use redis::{Commands, RedisResult};

use super::redis::RedisOn;
use super::redis_nodes::{Cluster, Nodes};
use super::redis_servers::Server;
use super::{Fixture, job, jobs, payloads, queues, reserve, take, until};
use crate::backend::redis::slot;
use crate::backend::{BackendError, QueueBackend, RedisBackend, Wait, epoch_seconds};

super::suite!(RedisOn<Cluster>);

type ClusterFixture = RedisOn<Cluster>;

/// Queues that are on different masters.
const APART: [&str; 3] = ["mail", "default", "low"];

impl ClusterFixture {
    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.served.0.lock().unwrap()
    }

    /// Pushes with retries until the job is known to be stored, on this many replicas too.
    fn insist(&self, queue: &str, payload: &[u8], replicas: u8) {
        let list = self.key(queue);
        until("the push succeeds", || {
            let Some(mut redis) = self.writable(&list) else {
                return false;
            };
            let pushed: RedisResult<(i64, i64, u8)> = redis::pipe()
                .rpush(&list, payload)
                .rpush(format!("{list}:notify"), 1)
                .cmd("WAIT")
                .arg(replicas)
                .arg(1000)
                .query(&mut redis);
            pushed.is_ok_and(|(.., copies)| copies >= replicas)
        });
    }

    /// A connection to the node that has this key now, if any does.
    fn writable(&self, key: &str) -> Option<redis::Connection> {
        let nodes = self.nodes();
        let up = nodes.servers.iter().filter(|server| server.is_up());
        up.map(|server| server.connection(0)).find_map(|mut redis| {
            let found: RedisResult<String> = redis::cmd("TYPE").arg(key).query(&mut redis);
            found.ok().map(|_| redis)
        })
    }

    /// Works `count` jobs despite failures, and returns how many came more than once.
    async fn work(&self, b: &RedisBackend, count: usize, mut middle: impl FnMut(&Self)) -> usize {
        let start = Instant::now();
        let (mut seen, mut came) = (BTreeSet::new(), 0);
        let mut unsettled: Vec<crate::backend::Reservation> = Vec::new();
        let mut done = false;
        while seen.len() < count || !unsettled.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "{} of {count} jobs came", seen.len());
            if seen.len() > count / 3 && !done {
                middle(self);
                done = true;
            }
            match b.next_batch(&queues(&APART), 5, &Wait::up_to(Duration::from_millis(200))).await {
                Ok(found) => {
                    came += found.jobs.len();
                    seen.extend(payloads(&found.jobs));
                    unsettled.extend(found.jobs);
                }
                Err(e) => {
                    assert!(matches!(e, BackendError::Unavailable { .. }), "{e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            if !unsettled.is_empty() && b.delete(&unsettled).await.is_ok() {
                unsettled.clear();
            }
        }
        came - seen.len()
    }
}

/// Pushes jobs from a separate thread, to each queue in turn; the first `copied` of them to a replica too.
struct Pusher {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Pusher {
    fn start(f: &ClusterFixture, count: usize, copied: usize) -> Self {
        let (f, stop) = (f.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let push = move |n: usize| f.insist(APART[n % 3], &job(&n.to_string()), u8::from(n < copied));
        let all = move || (0..count).take_while(|_| !stopped.load(Relaxed)).for_each(push);
        Self { stop, thread: Some(std::thread::spawn(all)) }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

#[tokio::test]
async fn queues_of_several_slots_are_waited_for_at_once() {
    let f = ClusterFixture::start_private().await;
    let slots: BTreeSet<u16> = APART.iter().map(|queue| slot::slot(&f.key(queue)) / 5461).collect();
    assert_eq!(slots.len(), 3, "the queues are meant to be apart: {slots:?}");
    let b = f.backend();
    let names = queues(&APART);
    let blocked = |f: &ClusterFixture| -> BTreeSet<String> {
        let of = |server: &Server| -> Vec<String> {
            let clients = server.run::<String>("CLIENT LIST");
            let blocked = clients.lines().filter(|line| line.contains("cmd=blpop"));
            blocked.map(|line| line.split(' ').take(2).collect()).collect()
        };
        f.nodes().servers.iter().flat_map(of).collect()
    };
    let (mut delays, mut at_first) = (Vec::new(), BTreeSet::new());
    for n in 0..30 {
        let wait = Wait::up_to(Duration::from_secs(20));
        let mut call = std::pin::pin!(b.next_batch(&names, 5, &wait));
        let early = tokio::time::timeout(Duration::from_millis(20), call.as_mut()).await;
        assert!(early.is_err(), "there was nothing to wake for");
        while n == 0 && at_first.len() < 3 {
            let _ = tokio::time::timeout(Duration::from_millis(20), call.as_mut()).await;
            at_first = blocked(&f);
        }
        f.push(APART[n % 3], &job(&n.to_string())).await;
        let pushed = Instant::now();
        assert_eq!(payloads(&call.await.unwrap().jobs), jobs(&[&n.to_string()]));
        delays.push(pushed.elapsed());
    }
    // Waiting connections are kept, whichever queue the job came from.
    let at_last = blocked(&f);
    assert_eq!(at_last, at_first);
    delays.sort();
    assert!(delays[15] < Duration::from_millis(50), "{delays:?}");
}

#[tokio::test]
async fn a_failover_that_is_asked_for_loses_and_repeats_nothing() {
    let f = ClusterFixture::start_private().await;
    let b = f.backend();
    let failover = |f: &ClusterFixture| {
        let nodes = f.nodes();
        let master = nodes.owner(&f.key("default"));
        let () = nodes.servers[master + 3].run("CLUSTER FAILOVER");
    };
    let _pusher = Pusher::start(&f, 600, 0);
    let repeated = f.work(&b, 600, failover).await;
    assert_eq!(repeated, 0);
    let nodes = f.nodes();
    assert!(nodes.owner(&f.key("default")) >= 3);
}

/// Jobs that were on a replica when its master died are not lost. Changes still being replicated may make jobs come
/// twice.
#[tokio::test]
async fn a_master_that_is_killed_loses_nothing_that_its_replica_had() {
    let f = ClusterFixture::start_private().await;
    let b = f.backend();
    let kill = |f: &ClusterFixture| {
        let mut nodes = f.nodes();
        let master = nodes.owner(&f.key("default"));
        nodes.servers[master].kill();
    };
    // The dead master's queue has no replica left, so pushes to it succeed without one.
    let start = Instant::now();
    let _pusher = Pusher::start(&f, 300, 100);
    let repeated = f.work(&b, 300, kill).await;
    eprintln!("{repeated} of 300 came twice, {:?} in all", start.elapsed());
    assert!(repeated <= 5, "{repeated}");
}

#[tokio::test]
async fn a_slot_that_moves_loses_and_repeats_nothing() {
    let f = ClusterFixture::start_private().await;
    let b = f.backend();
    let list = f.key("default");
    let slot = slot::slot(&list);
    let moves = |f: &ClusterFixture| {
        let nodes = f.nodes();
        let from = nodes.owner(&list);
        let to = (from + 1) % 3;
        let id = |node: usize| nodes.servers[node].run::<String>("CLUSTER MYID");
        let run = |node: usize, command: String| nodes.servers[node].run::<()>(&command);
        run(to, format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
        run(from, format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
        loop {
            let keys: Vec<String> = nodes.servers[from].run(&format!("CLUSTER GETKEYSINSLOT {slot} 10"));
            if keys.is_empty() {
                break;
            }
            for key in keys {
                run(from, format!("MIGRATE 127.0.0.1 {} {key} 0 1000", nodes.ports[to]));
            }
        }
        for node in [to, from] {
            run(node, format!("CLUSTER SETSLOT {slot} NODE {}", id(to)));
        }
    };
    let _pusher = Pusher::start(&f, 600, 0);
    let repeated = f.work(&b, 600, moves).await;
    assert_eq!(repeated, 0);
}

/// While a slot moves, each key is on one of two nodes, and a queue with keys on both waits until the move is complete.
#[tokio::test]
async fn a_key_on_the_way_is_asked_for() {
    let f = ClusterFixture::start_private().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let mut mine = take(&b, &["default"], 1).await;
    let list: String = f.key("default");
    let slot = slot::slot(&list);
    let (from, to, source, target) = {
        let nodes = f.nodes();
        let from = nodes.owner(&list);
        let to = (from + 1) % 3;
        let id = |node: usize| nodes.servers[node].run::<String>("CLUSTER MYID");
        (from, to, id(from), id(to))
    };
    let run = |node: usize, command: String| f.nodes().servers[node].run::<()>(&command);
    run(to, format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
    run(from, format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
    let port = f.nodes().ports[to];
    run(from, format!("MIGRATE 127.0.0.1 {port} {list}:reserved 0 1000"));
    // Calls on a single key go to its current node.
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true]);
    assert_eq!(b.sizes(&queues(&["default"])).await.unwrap()[0].reserved, 1);
    // Calls on several keys fail until all of them are on one node.
    let error = b.next_batch(&queues(&["default"]), 1, &Wait::none()).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
    for node in [to, from] {
        run(node, format!("CLUSTER SETSLOT {slot} NODE {target}"));
    }
    f.push("default", &job("b")).await;
    assert_eq!(take(&b, &["default"], 1).await.len(), 1);
}

#[tokio::test]
async fn slots_that_nobody_has_are_an_outage() {
    let f = ClusterFixture::start_private().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let owner = f.nodes().owner(&f.key("default"));
    for node in [owner + 3, owner] {
        f.nodes().servers[node].kill();
    }
    let mut said = String::new();
    until("the others notice", || {
        let rest = (owner + 1) % 3;
        f.nodes().servers[rest].run::<String>("CLUSTER INFO").contains("cluster_state:fail")
    });
    for _ in 0..3 {
        let error = b.next_batch(&queues(&["low", "mail", "default"]), 1, &Wait::none()).await.unwrap_err();
        assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
        said = error.to_string();
    }
    assert!(said.contains("CLUSTERDOWN") && !said.contains('\n'), "{said}");
    for node in [owner, owner + 3] {
        f.nodes().servers[node].restart();
    }
    f.nodes().settle();
    // Without persistence the job is lost, but the queue works again.
    f.push("default", &job("b")).await;
    assert_eq!(reserve(&b, &["default"], 5).await.jobs.last().map(|job| job.payload.to_vec()), Some(job("b")));
    f.push_delayed("default", &job("c"), epoch_seconds()).await;
    assert_eq!(take(&b, &["default"], 1).await.len(), 1);
}

/// A node of a cluster is not accepted as a single server.
#[tokio::test]
async fn one_node_is_no_server() {
    let f = ClusterFixture::start().await;
    let mut settings = f.settings();
    let seed = settings.cluster.remove(0);
    (settings.host, settings.port) = (seed.host, seed.port);
    let b = RedisBackend::connect(settings, kqueue_config::Pop::Safe).unwrap();
    let error = b.sizes(&queues(&APART)).await.unwrap_err();
    assert!(matches!(&error, BackendError::Refused { fix, .. } if fix.contains("`clusters`")), "{error}");
    let () = f.redis_of("default").del(f.key("default")).unwrap();
}
