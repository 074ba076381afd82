//! Comparison with the real Laravel: what we store is what it stores, byte for byte.
//!
//! Needs `php` with phpredis and the Illuminate packages in its include path. Without them these tests fail and are not
//! skipped: nothing else verifies this.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::Commands;

use super::database::{DatabaseFixture, server};
use super::redis::{PREFIX, RedisFixture, attempts, member};
use super::sqlite::SqliteFixture;
use super::{Fixture, job, take};
use crate::backend::row::Row;
use crate::backend::{
    ConnectionSettings, NodeSettings, QueueBackend, RedisSettings, Reservation, SentinelSettings, TlsSettings,
    epoch_seconds,
};

/// Payloads that careless re-encoding would change.
fn samples() -> Vec<Vec<u8>> {
    let odd = [
        r#"{"job":"A@b","attempts":0}"#,
        r#"{"uuid":"1","displayName":"grüße 日本 🎉","job":"A\/b@c","maxTries":null,"timeout":null,"data":{"list":[],"map":{},"list2":[1,2,[]],"t":true},"attempts":2,"id":"x"}"#,
        r#"{"job":"A@b","data":{"big":12345678901234567,"at":1790000000,"ms":1790000000123,"f":1.10,"g":0.1234567890123456789,"e":1e3,"neg":-0.0},"attempts":0}"#,
        r#"{"job":"A@b","data":"\u00e9\u20ac\ud83c\udf89 \/ \\ \" \n \u0000 \u001f \u007f","attempts":"4"}"#,
        "  {\n \"job\" : \"A@b\" , \"attempts\" : 9 }  ",
    ];
    let mut all: Vec<_> = odd.iter().map(|s| s.as_bytes().to_vec()).collect();
    all.push(job("plain"));
    all
}

fn php(script: &str, args: &[&str]) -> String {
    output(start_php(script, args))
}

fn start_php(script: &str, args: &[&str]) -> Child {
    let mut php = Command::new("php")
        .args(["-d", "display_errors=stderr", "--"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("php is needed for this test");
    php.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    php
}

fn output(php: Child) -> String {
    let output = php.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "php with phpredis, pdo_sqlite and Illuminate in its include path is needed: {}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The settings that PHP prints are those that Laravel's connectors and predis connect with.
#[test]
fn redis_connections_are_those_of_laravel() {
    let worker = concat!(env!("CARGO_MANIFEST_DIR"), "/../php/worker");
    let told = php(include_str!("laravel_servers.php"), &[worker]);
    let mut told = told.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut next = |of: &str| {
        let line = told.next().unwrap();
        match serde_json::from_value(line.clone()).unwrap() {
            ConnectionSettings::Redis(redis) if line["name"] == "queues:mail" => *redis,
            other => panic!("{of}: {line} {other:?}"),
        }
    };
    let text = |value: &str| Some(value.to_owned());
    let tls = TlsSettings { cafile: Some("/ca.pem".into()), verify_peer: false, ..TlsSettings::default() };
    let none =
        RedisSettings { port: 6379, retry_after: Some(90), migration_batch_size: -1, ..RedisSettings::default() };
    let at = |host: &str, port: u16| NodeSettings { host: host.to_owned(), port };
    let host = |host: &str, port: u16| RedisSettings { host: host.to_owned(), port, ..none.clone() };
    let login = |username: Option<&str>, database: i64, settings: RedisSettings| RedisSettings {
        username: username.map(str::to_owned),
        password: text("geheim"),
        database,
        ..settings
    };
    let prefixed = |prefix: &str, settings: RedisSettings| RedisSettings { prefix: prefix.to_owned(), ..settings };
    let secure = |tls: &TlsSettings, settings: RedisSettings| RedisSettings { tls: Some(tls.clone()), ..settings };
    let cluster = RedisSettings { cluster: vec![at("a", 7000), at("b", 7001)], ..login(None, 0, none.clone()) };

    assert_eq!(next("phpredis"), prefixed("x_", login(None, 2, host("a", 6380))));
    assert_eq!(next("TLS"), secure(&tls, login(Some("shop"), 0, host("tls://cache.example", 6379))));
    let url = RedisSettings { password: text("ge@heim"), ..login(Some("shop"), 4, host("tls://cache.example", 6380)) };
    assert_eq!(next("a URL"), secure(&TlsSettings::default(), url));
    assert_eq!(next("no TLS"), host("a", 6379));
    assert_eq!(next("a cluster"), prefixed("c_", secure(&tls, cluster.clone())));
    let package = next("a package for sentinel");
    let sentinel = SentinelSettings { service: "shop".to_owned(), password: text("wach"), ..Default::default() };
    assert_eq!(package.sentinel, Some(SentinelSettings { nodes: vec![at("s", 26379)], ..sentinel }));
    assert_eq!((package.password, package.database), (text("geheim"), 1));

    assert_eq!(next("predis"), prefixed("p_", login(Some("shop"), 2, host("a", 6380))));
    assert_eq!(next("TLS"), secure(&tls, host("cache.example", 6380)));
    assert_eq!(next("a socket"), host("/run/redis.sock", 6379));
    assert_eq!(next("a cluster"), prefixed("c_", cluster));
    let sentinel = SentinelSettings {
        service: "shop".to_owned(),
        nodes: vec![at("s1", 26379), at("s2", 26380)],
        ..SentinelSettings::default()
    };
    let master = RedisSettings { sentinel: Some(sentinel), ..login(Some("shop"), 3, none.clone()) };
    assert_eq!(next("sentinel"), prefixed("s_", master));
    assert_eq!(next("a master and its replicas"), host("b", 2));
    // What we could not reproduce exactly is left to workers that pop jobs themselves.
    for of in ["keys shared out by predis", "an encrypted key"] {
        let native = serde_json::from_value(told.next().unwrap()).unwrap();
        assert!(matches!(native, ConnectionSettings::Native), "{of}");
    }
    assert!(told.next().is_none());
}

#[tokio::test]
async fn redis_holds_the_bytes_that_laravel_would_hold() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let now = epoch_seconds();
    let delayed = job("delayed");
    let samples = samples();
    for queue in ["ours", "laravels"] {
        for payload in &samples {
            f.push(queue, payload).await;
        }
        f.push_delayed(queue, &delayed, now - 1).await;
        f.push(queue, &job("rest")).await;
    }
    // The delayed job is moved behind the rest.
    let count = samples.len() + 2;
    let socket = f.socket();
    let answer = php(
        include_str!("laravel_redis.php"),
        &[socket.to_str().unwrap(), PREFIX, "laravels", &count.to_string(), "pushed"],
    );
    let mine = take(&b, &["ours"], count).await;

    let ours: Vec<String> =
        mine.iter().map(|j| format!("{} {} {}", hex(&j.payload), hex(member(j)), attempts(j))).collect();
    assert_eq!(ours, answer.lines().collect::<Vec<_>>());

    let mut redis = f.redis();
    let mut state = |queue: &str| -> (Vec<Vec<u8>>, Vec<i64>, u64, u64, u64) {
        let key = f.key(queue);
        let held: Vec<(Vec<u8>, i64)> = redis.zrange_withscores(format!("{key}:reserved"), 0, -1).unwrap();
        let mut held: Vec<_> = held;
        held.sort();
        let (members, scores) = held.into_iter().unzip();
        let list = redis.llen(&key).unwrap();
        let notify = redis.llen(format!("{key}:notify")).unwrap();
        let delayed = redis.zcard(format!("{key}:delayed")).unwrap();
        (members, scores, list, notify, delayed)
    };
    let (ours, laravels) = (state("ours"), state("laravels"));
    assert_eq!(ours.0, laravels.0);
    assert_eq!((ours.2, ours.3, ours.4), (laravels.2, laravels.3, laravels.4));
    for (a, b) in ours.1.iter().zip(&laravels.1) {
        assert!((a - b).abs() < 30, "{a} {b}");
    }

    // In the other direction: Laravel runs what we put back, we run what it pushes.
    assert_eq!(b.unreserve(&mine).await.unwrap(), vec![true; count]);
    let again = php(
        include_str!("laravel_redis.php"),
        &[socket.to_str().unwrap(), PREFIX, "ours", &count.to_string(), "pushed"],
    );
    assert_eq!(again, answer);
    let pushed = take(&b, &["pushed"], 5).await;
    assert_eq!(pushed.len(), 2);
    assert!(pushed.iter().all(|j| attempts(j) == 1));
}

#[tokio::test]
async fn sqlite_holds_the_row_that_laravel_would_hold() {
    let f = SqliteFixture::start().await;
    let samples = samples();
    for payload in &samples {
        f.push("default", payload).await;
    }
    f.push_delayed("default", &job("later"), epoch_seconds() + 1000).await;
    let mut expired = take(&f.backend(), &["default"], 1).await;
    f.expire(&mut expired[0]).await;
    let copy = f.dir.path().join("copy.sqlite");
    f.run(&format!("VACUUM INTO '{}'", copy.display())).await;

    let count = samples.len();
    let copy = copy.to_str().unwrap().to_owned();
    let script = include_str!("laravel_database.php");
    let answer = php(script, &[&copy, "default", &count.to_string(), "pushed"]);
    let mine = take(&f.backend(), &["default"], count + 5).await;
    let ours: Vec<String> = mine
        .iter()
        .map(|j| (Row::of(&j.receipt).unwrap(), j))
        .map(|(row, j)| format!("{} {} {}", row.id, hex(&j.payload), row.attempts))
        .collect();
    assert_eq!(ours, answer.lines().collect::<Vec<_>>());

    // All columns of all rows, but for the second in which each was reserved.
    let path = f.path().to_str().unwrap().to_owned();
    let differ = format!(
        "ATTACH '{copy}' AS theirs; \
         SELECT COUNT(*) FROM main.jobs a LEFT JOIN theirs.jobs b ON a.id = b.id \
         AND a.queue = b.queue AND typeof(a.payload) = typeof(b.payload) AND a.payload = b.payload \
         AND a.attempts = b.attempts AND a.available_at = b.available_at AND a.created_at = b.created_at \
         AND (a.reserved_at IS NULL) = (b.reserved_at IS NULL) \
         AND ABS(IFNULL(a.reserved_at - b.reserved_at, 0)) < 30 WHERE b.id IS NULL"
    );
    let mut connection = f.connect().await;
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(differ)).fetch_one(&mut connection).await.unwrap();
    assert_eq!(sqlx::Row::get::<i64, _>(&rows, 0), 0);

    assert!(f.backend().unreserve(&mine).await.unwrap().iter().all(|&ours| ours));
    let again = php(script, &[&path, "default", &count.to_string(), "pushed"]);
    assert_eq!(again, answer);
    assert_eq!(take(&f.backend(), &["pushed"], 5).await.len(), 1);
}

/// Laravel's configuration of a connection to the fixture's database.
fn connection<const POSTGRES: bool>(f: &DatabaseFixture<POSTGRES>) -> String {
    let mut config = serde_json::json!({
        "driver": if POSTGRES { "pgsql" } else { "mysql" },
        "database": f.name,
        "username": f.name,
        "password": server::PASSWORD,
        "charset": if POSTGRES { "utf8" } else { "utf8mb4" },
        "strict": true,
    });
    if POSTGRES {
        config["host"] = f.server.dir.to_str().into();
    } else {
        config["unix_socket"] = f.server.socket.to_str().into();
        config["collation"] = "utf8mb4_unicode_ci".into();
    }
    config.to_string()
}

async fn a_server_holds_the_row_that_laravel_would_hold<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let (samples, config) = (samples(), connection(&f));
    let script = include_str!("laravel_database.php");
    for payload in &samples {
        f.push("default", payload).await;
    }
    f.push_delayed("default", &job("later"), epoch_seconds() + 1000).await;
    let mut expired = take(&f.backend(), &["default"], 1).await;
    f.expire(&mut expired[0]).await;
    // Copies the rows to another queue.
    f.run(
        "INSERT INTO jobs (queue, payload, attempts, reserved_at, available_at, created_at) \
         SELECT 'theirs', payload, attempts, reserved_at, available_at, created_at FROM jobs ORDER BY id",
    )
    .await;
    let count = samples.len();
    let answer = php(script, &[&config, "theirs", &count.to_string(), "pushed"]);
    let mine = take(&f.backend(), &["default"], count + 5).await;
    let line = |j: &Reservation| format!("{} {}", hex(&j.payload), Row::of(&j.receipt).unwrap().attempts);
    let theirs: Vec<_> = answer.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(mine.iter().map(line).collect::<Vec<_>>(), theirs);

    // All columns of all rows, but for the second in which each was reserved.
    let state = async |queue: &str| {
        let shown = "reserved_at IS NULL, payload, attempts, available_at, created_at";
        let answers = f.run(&format!("SELECT {shown} FROM jobs WHERE queue = '{queue}' ORDER BY id")).await;
        answers.into_iter().flat_map(|answer| answer.rows).collect::<Vec<_>>()
    };
    assert_eq!(state("default").await, state("theirs").await);
    let spread = "SELECT MAX(reserved_at) - MIN(reserved_at) < 30 FROM jobs";
    assert!(["1", "t"].map(|yes| yes.as_bytes().to_vec()).contains(&f.column(spread).await[0]));

    assert!(f.backend().unreserve(&mine).await.unwrap().iter().all(|&ours| ours));
    let again = php(script, &[&config, "default", &count.to_string(), "pushed"]);
    let again: Vec<_> = again.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(again, theirs);
    assert_eq!(take(&f.backend(), &["pushed"], 5).await.len(), 2);
}

#[tokio::test]
async fn mysql_holds_the_row_that_laravel_would_hold() {
    a_server_holds_the_row_that_laravel_would_hold::<false>().await;
}

#[tokio::test]
async fn postgres_holds_the_row_that_laravel_would_hold() {
    a_server_holds_the_row_that_laravel_would_hold::<true>().await;
}

/// Runs all jobs of `default` side by side with a stock worker, which starts first; each job once.
async fn share_with_laravel<F: Fixture>(f: &F, count: u64, script: &str, args: &[&str]) {
    for n in 0..count {
        f.push("default", &job(&n.to_string())).await;
    }
    let laravel = start_php(script, args);
    let b = f.backend();
    // Waits until the worker has begun: PHP takes long to boot.
    while super::left(&b).await == count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut mine = Vec::new();
    loop {
        let got = take(&b, &["default"], 3).await;
        if got.is_empty() && super::left(&b).await == 0 {
            break;
        }
        assert!(b.delete(&got).await.unwrap().into_iter().all(|ours| ours));
        mine.extend(got.iter().map(|j| hex(&j.payload)));
    }
    let theirs = output(laravel);
    let theirs: Vec<String> = theirs.lines().map(str::to_owned).collect();
    assert!(!mine.is_empty() && !theirs.is_empty());
    assert_eq!((mine.len() + theirs.len()) as u64, count);
    assert_eq!(mine.iter().chain(&theirs).collect::<HashSet<_>>().len() as u64, count);
}

#[tokio::test]
async fn shares_a_redis_queue_with_laravel() {
    let f = RedisFixture::start().await;
    let socket = f.socket();
    let args = [socket.to_str().unwrap(), PREFIX, "default", "all", "pushed"];
    share_with_laravel(&f, 2000, include_str!("laravel_redis.php"), &args).await;
}

#[tokio::test]
async fn shares_a_sqlite_table_with_laravel() {
    let f = SqliteFixture::start().await;
    let path = f.path();
    let args = [path.to_str().unwrap(), "default", "all", "pushed"];
    share_with_laravel(&f, 400, include_str!("laravel_database.php"), &args).await;
}

async fn shares_a_server_with_laravel<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let config = connection(&f);
    share_with_laravel(&f, 1000, include_str!("laravel_database.php"), &[&config, "default", "all", "pushed"]).await;
}

#[tokio::test]
async fn shares_a_mysql_table_with_laravel() {
    shares_a_server_with_laravel::<false>().await;
}

#[tokio::test]
async fn shares_a_postgres_table_with_laravel() {
    shares_a_server_with_laravel::<true>().await;
}
