//! Behaviour of Redis: notify tokens, migration, strict pop, scripts, credentials.

use std::pin::pin;
use std::time::{Duration, Instant};

use redis::{Commands, ConnectionLike};

use super::redis::{RedisFixture, attempts, take};
use super::{Fixture, job, jobs, payloads, queues};
use crate::backend::{BackendError, QueueBackend, RedisBackend, RedisSettings, Reserved, epoch_seconds};
use kqueue_config::Pop;

/// Lengths of the list, the delayed and reserved sets and the notify tokens of `default`.
fn lengths(f: &RedisFixture) -> [u64; 4] {
    let key = f.key("default");
    redis::pipe()
        .llen(&key)
        .zcard(format!("{key}:delayed"))
        .zcard(format!("{key}:reserved"))
        .llen(format!("{key}:notify"))
        .query(&mut f.redis())
        .unwrap()
}

fn run(f: &RedisFixture, command: &str) {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        cmd.arg(word);
    });
    f.redis().req_command(&cmd).unwrap();
}

fn backend(f: &RedisFixture, change: impl FnOnce(&mut RedisSettings), pop: Pop) -> RedisBackend {
    let mut settings = f.settings();
    change(&mut settings);
    RedisBackend::connect(settings, pop).unwrap()
}

fn blocked(f: &RedisFixture) -> bool {
    let info: String = redis::cmd("INFO").arg("clients").query(&mut f.redis()).unwrap();
    !info.contains("blocked_clients:0")
}

/// Drives `wait` until the server reports a blocked client.
async fn until_blocked(f: &RedisFixture, mut wait: impl Future + Unpin) {
    let start = Instant::now();
    while !blocked(f) {
        assert!(start.elapsed() < Duration::from_secs(10), "never blocked");
        let step = tokio::time::timeout(Duration::from_millis(5), &mut wait).await;
        assert!(step.is_err(), "there was nothing to wake for");
    }
}

#[tokio::test]
async fn a_token_taken_by_waiting_is_not_taken_twice() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let names = queues(&["other", "default"]);
    let mut wait = pin!(b.wait(&names, Duration::from_secs(30)));
    until_blocked(&f, wait.as_mut()).await;
    f.push("default", &job("a")).await;
    wait.await.unwrap();
    assert_eq!(lengths(&f), [1, 0, 0, 0]);

    for name in ["b", "c", "d"] {
        f.push("default", &job(name)).await;
    }
    assert_eq!(take(&b, 2).await.jobs.len(), 2);
    assert_eq!(lengths(&f), [2, 0, 2, 2]);
    let rest = take(&b, 2).await.jobs;
    assert_eq!(lengths(&f), [0, 0, 4, 0]);
    b.unreserve(&rest).await.unwrap();
    assert_eq!(lengths(&f), [2, 0, 2, 2]);
}

#[tokio::test]
async fn jobs_without_tokens_are_seen_and_spare_tokens_do_no_harm() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let key = f.key("default");
    let () = f.redis().rpush(&key, job("a")).unwrap();
    let start = Instant::now();
    b.wait(&queues(&["default"]), Duration::from_secs(30)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(take(&b, 1).await.jobs.len(), 1);

    // A producer that pushes without notify tokens while we block.
    let names = queues(&["default"]);
    let mut wait = pin!(b.wait(&names, Duration::from_secs(30)));
    until_blocked(&f, wait.as_mut()).await;
    let () = f.redis().rpush(&key, job("b")).unwrap();
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap().unwrap();
    assert_eq!(take(&b, 1).await.jobs.len(), 1);

    let () = f.redis().rpush(format!("{key}:notify"), 1).unwrap();
    b.wait(&queues(&["default"]), Duration::from_secs(30)).await.unwrap();
    assert!(take(&b, 1).await.jobs.is_empty());
    f.push("default", &job("c")).await;
    assert_eq!(take(&b, 1).await.jobs.len(), 1);
    assert_eq!(lengths(&f), [0, 0, 3, 0]);
}

#[tokio::test]
async fn a_dropped_wait_takes_no_token() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let names = queues(&["default"]);
    {
        let mut wait = Box::pin(b.wait(&names, Duration::from_secs(30)));
        until_blocked(&f, wait.as_mut()).await;
    }
    while blocked(&f) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    f.push("default", &job("a")).await;
    assert_eq!(lengths(&f), [1, 0, 0, 1]);
    b.wait(&names, Duration::from_secs(30)).await.unwrap();
    assert_eq!(take(&b, 1).await.jobs.len(), 1);
}

#[tokio::test]
async fn moves_any_number_of_due_jobs_in_order() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let past = epoch_seconds() - 5000;
    let key = f.key("default");
    let mut pipe = redis::pipe();
    for n in 0..2500_i64 {
        pipe.zadd(format!("{key}:delayed"), job(&format!("d{n}")), past + n);
    }
    // An expired job comes after all delayed ones.
    pipe.zadd(format!("{key}:reserved"), job("expired"), past);
    pipe.exec(&mut f.redis()).unwrap();

    let mut expected: Vec<_> = (0..2500).map(|n| job(&format!("d{n}"))).collect();
    expected.push(job("expired"));
    let first = take(&b, 10).await.jobs;
    assert_eq!(lengths(&f), [990, 1500, 11, 990]);
    let mut got = payloads(&first);
    got.extend(payloads(&take(&b, 5000).await.jobs));
    assert!(got == expected);
    assert_eq!(lengths(&f), [0, 0, 2501, 0]);
}

#[tokio::test]
async fn keeps_to_the_batch_size_of_the_app() {
    let f = RedisFixture::start().await;
    let b = backend(&f, |s| s.migration_batch_size = 3, Pop::Safe);
    let now = epoch_seconds();
    for n in 0..5 {
        f.push_delayed("default", &job(&n.to_string()), now - 10 + n).await;
    }
    assert_eq!(payloads(&take(&b, 9).await.jobs), jobs(&["0", "1", "2"]));
    assert_eq!(payloads(&take(&b, 9).await.jobs), jobs(&["3", "4"]));
}

#[tokio::test]
async fn one_answer_is_bounded_in_bytes() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let large = format!(r#"{{"job":"A@b","data":"{}"}}"#, "x".repeat(6 << 20));
    for _ in 0..4 {
        let () = f.redis().rpush(f.key("default"), &large).unwrap();
    }
    f.push("low", &job("low")).await;
    let names = queues(&["default", "low"]);
    let first = b.reserve(&names, 10).await.unwrap().jobs;
    assert_eq!(first.len(), 3);
    // The byte limit must not let a lower queue overtake.
    let rest = b.reserve(&names, 10).await.unwrap().jobs;
    assert_eq!(rest.iter().map(|j| j.queue.as_str()).collect::<Vec<_>>(), ["default", "low"]);
}

#[tokio::test]
async fn attempts_count_from_what_php_takes_for_a_number() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    let cases = [
        (r#"{"job":"a"}"#, 1),
        (r#"{"job":"b","attempts":null}"#, 1),
        (r#"{"job":"c","attempts":true}"#, 1),
        (r#"{"job":"e","attempts":"3"}"#, 4),
        (r#"{"job":"f","attempts":7}"#, 8),
    ];
    for (payload, _) in cases {
        f.push("default", payload.as_bytes()).await;
    }
    let found = take(&b, 10).await;
    let got: Vec<_> = found.jobs.iter().map(attempts).collect();
    assert_eq!(got, cases.map(|(_, attempts)| attempts));
    let unchanged: Vec<_> = cases.iter().map(|(payload, _)| payload.as_bytes().to_vec()).collect();
    assert_eq!(payloads(&found.jobs), unchanged);
}

#[tokio::test]
async fn strict_pop_loses_what_laravel_loses() {
    let f = RedisFixture::start().await;
    let b = backend(&f, |_| (), Pop::Strict);
    for payload in ["no JSON", r#"{"job":"x"}"#, "[1]", "7", r#"{"attempts":0}"#] {
        f.push("default", payload.as_bytes()).await;
    }
    f.push("default", &job("a")).await;
    let found = take(&b, 10).await;
    assert_eq!(payloads(&found.jobs), [br#"{"attempts":0}"#.to_vec(), job("a")]);
    assert_eq!(found.set_aside, []);
    // Laravel's script fails before it takes the token.
    assert_eq!(lengths(&f), [0, 0, 2, 4]);
    assert!(f.peek("default:broken").await.is_empty());
}

#[tokio::test]
async fn without_retry_after_nothing_expires() {
    let f = RedisFixture::start().await;
    let b = backend(&f, |s| s.retry_after = None, Pop::Safe);
    f.push("default", &job("a")).await;
    let mut mine = take(&b, 1).await.jobs;
    assert_eq!(b.lease(), None);
    b.wait(&queues(&["default"]), Duration::from_millis(20)).await.unwrap();
    assert!(take(&b, 1).await.jobs.is_empty());
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true]);
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
    assert_eq!(b.renew(&mut mine).await.unwrap(), [false]);
}

#[tokio::test]
async fn a_full_server_loses_nothing() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    run(&f, "CONFIG SET maxmemory 1");
    let error = b.reserve(&queues(&["default"]), 1).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
    run(&f, "CONFIG SET maxmemory 0");
    assert_eq!(payloads(&take(&b, 1).await.jobs), jobs(&["a"]));
    // Scripts that the server has lost are sent again.
    run(&f, "SCRIPT FLUSH");
    f.push("default", &job("b")).await;
    assert_eq!(payloads(&take(&b, 1).await.jobs), jobs(&["b"]));
}

#[tokio::test]
async fn needs_no_more_rights_than_laravel() {
    let f = RedisFixture::start().await;
    run(&f, "ACL SETUSER shop on >geheim ~shop_database_* +@list +@sortedset +eval +select");
    let b = backend(&f, |s| (s.username, s.password) = (Some("shop".into()), Some("geheim".into())), Pop::Safe);
    f.push("default", &job("a")).await;
    let mut mine = take(&b, 1).await.jobs;
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true]);
    assert_eq!(b.unreserve(&mine).await.unwrap(), [true]);
    let mine = take(&b, 1).await.jobs;
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
    b.wait(&queues(&["default"]), Duration::from_millis(20)).await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_are_a_matter_of_settings() {
    let f = RedisFixture::start().await;
    let needless = backend(&f, |s| s.password = Some("geheim".into()), Pop::Safe);
    let database = backend(&f, |s| s.database = 99, Pop::Safe);
    assert_refused(needless.reserve(&queues(&["a"]), 1).await);
    let error = database.reserve(&queues(&["a"]), 1).await.unwrap_err();
    assert!(matches!(&error, BackendError::Refused { fix, .. } if fix.contains("REDIS_DB")), "{error}");
    assert!(error.to_string().contains("out of range"), "{error}");

    run(&f, "CONFIG SET requirepass geheim");
    assert_refused(f.backend().reserve(&queues(&["a"]), 1).await);
    let wrong = backend(&f, |s| s.password = Some("falsch".into()), Pop::Safe);
    assert_refused(wrong.reserve(&queues(&["a"]), 1).await);
    let right = backend(&f, |s| s.password = Some("geheim".into()), Pop::Safe);
    assert!(right.reserve(&queues(&["a"]), 1).await.is_ok());
}

fn assert_refused(answer: Result<Reserved, BackendError>) {
    let error = answer.unwrap_err();
    assert!(matches!(&error, BackendError::Refused { fix, .. } if fix.contains("REDIS_PASSWORD")), "{error}");
    assert!(!error.to_string().contains("falsch"), "{error}");
}

#[tokio::test]
async fn attempts_that_are_no_number_are_set_aside() {
    let f = RedisFixture::start().await;
    for attempts in ["\"x\"", "[]", "{}", "\"1x\""] {
        f.push("a", format!(r#"{{"job":"x","attempts":{attempts}}}"#).as_bytes()).await;
    }
    for attempts in ["null", "1", "-1", "\"2\"", "true"] {
        f.push("a", format!(r#"{{"job":"x","attempts":{attempts}}}"#).as_bytes()).await;
    }
    let found = f.backend().reserve(&queues(&["a"]), 64).await.unwrap();
    assert_eq!((found.jobs.len(), found.set_aside.len()), (5, 4));
}

/// Whichever key of a queue has the wrong type: the other queues are worked, and no job of this one is lost.
#[tokio::test]
async fn a_key_of_the_wrong_type_stops_its_own_queue_alone() {
    for part in ["", ":delayed", ":reserved", ":notify", ":broken"] {
        let f = RedisFixture::start().await;
        let b = f.backend();
        let key = format!("{}{part}", f.key("bad"));
        if part != ":delayed" {
            f.push_delayed("bad", &job("due"), 1).await;
        }
        let () = f.redis().del(&key).unwrap();
        let () = f.redis().set(&key, "a string").unwrap();
        f.push("good", &job("a")).await;
        let both = queues(&["bad", "good"]);
        let found = b.reserve(&both, 5).await.unwrap();
        assert_eq!(payloads(&found.jobs), jobs(&["a"]), "{part}");
        assert_eq!(b.delete(&found.jobs).await.unwrap(), [true]);
        let start = Instant::now();
        b.wait(&both, Duration::from_millis(20)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20), "{part}");
        // The keys of tokens and of set-aside messages do not count for its size.
        let sizes = b.sizes(&both).await;
        assert_eq!(
            sizes.is_err_and(|error| error.to_string().contains("queue bad")),
            ![":notify", ":broken"].contains(&part),
            "{part}"
        );
        assert_eq!(b.sizes(&queues(&["good"])).await.unwrap().len(), 1, "{part}");

        let () = f.redis().del(&key).unwrap();
        let found = payloads(&b.reserve(&both, 5).await.unwrap().jobs);
        assert_eq!(found, if part == ":delayed" { vec![] } else { jobs(&["due"]) }, "{part}");
    }
}

/// A job stays in the reserved set if its list has the wrong type, and jobs of another queue are settled in the same
/// call.
#[tokio::test]
async fn settling_past_a_key_of_the_wrong_type() {
    let f = RedisFixture::start().await;
    let b = f.backend();
    f.push("bad", &job("a")).await;
    f.push("good", &job("b")).await;
    let mut mine = b.reserve(&queues(&["bad", "good"]), 5).await.unwrap().jobs;
    let () = f.redis().set(f.key("bad"), "a string").unwrap();
    assert_eq!(b.unreserve(&mine).await.unwrap(), [false, true]);
    assert_eq!(b.renew(&mut mine[..1]).await.unwrap(), [true]);
    let () = f.redis().set(format!("{}:reserved", f.key("bad")), "a string").unwrap();
    let again = b.reserve(&queues(&["good"]), 1).await.unwrap().jobs;
    let mut both = vec![mine[0].clone(), again[0].clone()];
    assert_eq!(b.renew(&mut both).await.unwrap(), [false, true]);
    assert_eq!(b.delete(&both).await.unwrap(), [false, true]);
}

/// The connection to a server with an endless reply is closed, and little of the reply is buffered.
#[tokio::test]
async fn a_reply_without_an_end_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let server = tokio::net::UnixListener::bind(&socket).unwrap();
    let sending = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut asked = [0_u8; 1024];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut asked).await;
        let junk = vec![b'x'; 1 << 20];
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"$500000000\r\n").await;
        let mut sent = 0_usize;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &junk).await.is_ok() {
            sent += junk.len();
        }
        sent
    });
    let settings = RedisSettings { host: socket.to_str().unwrap().to_owned(), ..RedisSettings::default() };
    let error = RedisBackend::connect(settings, Pop::Safe).unwrap().sizes(&queues(&["a"])).await.unwrap_err();
    assert!(error.to_string().contains("a reply of more than"), "{error}");
    assert!(sending.await.unwrap() < 340 << 20);
}
