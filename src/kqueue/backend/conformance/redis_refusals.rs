//! Errors of a server that cannot or will not serve us: each in one line, and nothing is lost meanwhile.

use redis::Commands;

use super::redis::{RedisFixture, take};
use super::{Fixture, job, jobs, payloads, queues, reserve, until};
use crate::backend::{BackendError, QueueBackend, RedisBackend, RedisSettings, Wait};
use kqueue_config::Pop;

async fn refusal(b: &RedisBackend) -> BackendError {
    let error = b.next_batch(&queues(&["default"]), 1, &Wait::none()).await.unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

async fn assert_outage(b: &RedisBackend, code: &str) {
    let error = refusal(b).await;
    assert!(matches!(&error, BackendError::Unavailable { reason, .. } if reason.starts_with(code)), "{error}");
}

#[tokio::test]
async fn a_replica_is_an_outage_until_it_is_a_master_again() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let run = |command: &str| f.served.0.run::<()>(command);
    run("REPLICAOF 127.0.0.1 1");
    assert_outage(&b, "READONLY").await;
    run("CONFIG SET replica-serve-stale-data no");
    assert_outage(&b, "MASTERDOWN").await;
    run("REPLICAOF NO ONE");
    assert_eq!(payloads(&take(&b, 1).await.jobs), jobs(&["a"]));
}

#[tokio::test]
async fn a_server_that_loads_is_an_outage() {
    let mut f = RedisFixture::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    // A loading server replies to others only every few kilobytes.
    let mut pipe = redis::pipe();
    pipe.cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no").ignore();
    for n in 0..300 {
        pipe.set(n, "x".repeat(1000)).ignore();
    }
    let () = pipe.cmd("SAVE").ignore().query(&mut f.redis()).unwrap();
    f.served.0.kill();
    f.served.0.restart_with(&["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]);
    assert_outage(&b, "LOADING").await;
    until("the server has loaded", || f.served.0.run::<String>("INFO persistence").contains("\nloading:0"));
    assert_eq!(payloads(&take(&b, 1).await.jobs), jobs(&["a"]));
}

#[tokio::test]
async fn a_full_server_says_so() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let () = f.served.0.run("CONFIG SET maxmemory 1");
    assert_outage(&b, "OOM").await;
    let () = f.served.0.run("CONFIG SET maxmemory 0");
    assert_eq!(reserve(&b, &["default"], 1).await.jobs.len(), 1);
}

#[tokio::test]
async fn what_an_acl_forbids_is_named() {
    let f = RedisFixture::start().await;
    f.push("default", &job("a")).await;
    let run = |command: &str| f.served.0.run::<()>(command);
    run("ACL SETUSER shop on >geheim ~* +@list +@sortedset +select");
    let user = RedisSettings { username: Some("shop".into()), password: Some("geheim".into()), ..f.settings() };
    let b = RedisBackend::connect(user.clone(), Pop::Safe).unwrap();
    let assert_refused = |error: BackendError, part: &str| match &error {
        BackendError::Refused { what, fix } if what.contains(part) && fix.contains("+eval") => {}
        _ => panic!("{part}: {error}"),
    };
    assert_refused(refusal(&b).await, "'eval'");
    run("ACL SETUSER shop +eval resetkeys ~other*");
    assert_refused(refusal(&b).await, "key");
    // Once permitted, calls succeed over the existing connection.
    run("ACL SETUSER shop resetkeys ~shop_database_*");
    assert_eq!(take(&b, 1).await.jobs.len(), 1);

    let nobody = RedisSettings { username: Some("nobody".into()), ..user };
    let error = refusal(&RedisBackend::connect(nobody, Pop::Safe).unwrap()).await;
    assert!(matches!(&error, BackendError::Refused { fix, .. } if fix.contains("REDIS_USERNAME")), "{error}");
    assert_eq!(f.redis().llen::<_, u64>(f.key("default")).unwrap(), 0);
}
