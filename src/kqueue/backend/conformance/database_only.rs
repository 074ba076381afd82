//! Behaviour of databases over the network: locks, failing and changing servers, settings.

use std::time::{Duration, Instant};

use super::database::{DatabaseFixture, MySqlFixture, PostgresFixture, server};
use super::{Fixture, job, jobs, payloads, queues, take};
use crate::backend::database::settings::{Address, DatabaseSettings, Engine};
use crate::backend::{BackendError, DatabaseBackend, QueueBackend, Reservation, Wait, epoch_seconds};

/// Runs a case on both engines.
macro_rules! both {
    ($($case:ident),*) => {
        mod mysql {
            $(#[tokio::test]
            async fn $case() {
                super::$case::<false>().await
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case::<true>().await
            })*
        }
    };
}

both!(
    passes_over_what_is_locked,
    a_deadlock_is_no_job_now,
    a_killed_session_is_an_outage_of_one_call,
    a_lost_reply_loses_nothing,
    credentials_name_their_keys,
    a_missing_table_says_how_to_make_it,
    a_missing_privilege_is_named,
    queues_may_be_called_anything,
    tries_one_address_after_the_other,
    attempts_stay_in_their_column,
    says_who_it_is,
    a_long_table_is_looked_through_once
);

async fn error(backend: &DatabaseBackend) -> BackendError {
    backend.next_batch(&queues(&["default"]), 1, &Wait::none()).await.unwrap_err()
}

fn assert_unavailable(error: &BackendError, part: &str) {
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(part) && !error.to_string().contains('\n'), "{error}");
}

fn begin<const POSTGRES: bool>() -> &'static str {
    if POSTGRES { "BEGIN" } else { "START TRANSACTION" }
}

async fn passes_over_what_is_locked<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    for name in ["a", "b", "c"] {
        f.push("default", &job(name)).await;
    }
    let mine = take(&b, &["default"], 1).await;
    let mut app = f.session().await;
    let lock = |id: i64| format!("{}; SELECT id FROM jobs WHERE id = {id} FOR UPDATE", begin::<POSTGRES>());
    app.run(lock(2)).await.unwrap();
    let start = Instant::now();
    assert_eq!(payloads(&take(&b, &["default"], 5).await), jobs(&["c"]));
    assert!(start.elapsed() < Duration::from_secs(4));
    app.run("ROLLBACK".to_owned()).await.unwrap();
    assert_eq!(payloads(&take(&b, &["default"], 5).await), jobs(&["b"]));

    // A lock on a reserved row delays its deletion, but not for ever.
    app.run(lock(1)).await.unwrap();
    let error = b.delete(&mine).await.unwrap_err();
    assert_unavailable(&error, "");
    assert!(start.elapsed() < Duration::from_secs(15), "{error}");
    app.run("ROLLBACK".to_owned()).await.unwrap();
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
}

/// Two transactions that update the same rows in opposite order.
async fn a_deadlock_is_no_job_now<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    for name in ["a", "b"] {
        f.push("default", &job(name)).await;
    }
    let mut mine = take(&b, &["default"], 2).await;
    let mut app = f.session().await;
    let touch = |id: i64| format!("UPDATE jobs SET created_at = created_at + 1 WHERE id = {id}");
    app.run(format!("{}; {}", begin::<POSTGRES>(), touch(2))).await.unwrap();
    // The renewal has locked the first row and waits for the second.
    let renewing = b.renew(&mut mine);
    let (renewed, theirs) = futures_util::future::join(renewing, async {
        let waiting = if POSTGRES {
            format!("SELECT pid FROM pg_stat_activity WHERE usename = '{}' AND wait_event_type = 'Lock'", f.name)
        } else {
            format!(
                "SELECT trx_id FROM information_schema.innodb_trx JOIN information_schema.processlist AS p \
                 ON p.id = trx_mysql_thread_id WHERE p.user = '{}' AND trx_state = 'LOCK WAIT'",
                f.name
            )
        };
        let start = Instant::now();
        while f.column(&waiting).await.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(30), "nobody waits for a lock");
            // InnoDB caches this table: it is refreshed only after 100 ms without a query.
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        app.run(touch(1)).await
    })
    .await;
    // One of them was chosen as the deadlock's victim.
    match renewed {
        Ok(ours) => assert!(theirs.is_err() && ours == [true, true]),
        Err(error) => assert_unavailable(&error, "eadlock"),
    }
    let _ = app.run("ROLLBACK".to_owned()).await;
    assert_eq!(b.renew(&mut mine).await.unwrap(), [true, true]);
}

async fn a_killed_session_is_an_outage_of_one_call<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let mine = take(&b, &["default"], 1).await;
    if POSTGRES {
        let name = &f.name;
        f.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")).await;
    } else {
        let sql = format!("SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE user = '{}'", f.name);
        for kill in f.column(&sql).await {
            f.run(str::from_utf8(&kill).unwrap()).await;
        }
    }
    assert_unavailable(&error(&b).await, "");
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
}

/// Jobs reserved by a call whose reply was lost come back when their leases end, as those of any lost worker.
async fn a_lost_reply_loses_nothing<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    for round in 0..10 {
        f.push("default", &job(&round.to_string())).await;
        take(&b, &["none"], 1).await;
        let (all, default) = (queues(&["default"]), Wait::none());
        let call = b.next_batch(&all, 1, &default);
        let (_, ()) = futures_util::future::join(call, async {
            tokio::time::sleep(Duration::from_micros(300 * round)).await;
            f.relay.reset();
        })
        .await;
        // The session is reopened at once.
        let _ = b.sizes(&queues(&["default"])).await;
        assert!(b.sizes(&queues(&["default"])).await.is_ok());
    }
    f.run("UPDATE jobs SET reserved_at = 1 WHERE reserved_at IS NOT NULL").await;
    assert_eq!(take(&b, &["default"], 20).await.len(), 10);
}

async fn credentials_name_their_keys<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    if POSTGRES {
        f.run(&format!("GRANT asked TO {}", f.name)).await;
        assert!(f.backend().sizes(&queues(&["default"])).await.is_ok());
    }
    type Change = fn(&mut DatabaseSettings);
    let cases: [(&str, Change); 3] = [
        ("DB_PASSWORD", |s| s.password = Some("falsch".into())),
        ("DB_USERNAME", |s| s.username = Some("nobody".into())),
        ("DB_DATABASE", |s| s.database = "nowhere".into()),
    ];
    for (key, change) in cases {
        let error = error(&f.changed(change)).await;
        assert!(matches!(&error, BackendError::Refused { fix, .. } if fix.contains(key)), "{error}");
        assert!(!error.to_string().contains("falsch"), "{error}");
    }
    assert!(!format!("{:?}", f.backend()).contains(server::PASSWORD));
}

async fn a_missing_table_says_how_to_make_it<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    let mine = take(&b, &["default"], 1).await;
    f.run("ALTER TABLE jobs RENAME TO former").await;
    for backend in [&b, &f.backend()] {
        let error = error(backend).await;
        assert!(matches!(&error, BackendError::NoTable { fix, .. } if fix.contains("make:queue-table")), "{error}");
    }
    f.run("ALTER TABLE former RENAME TO jobs").await;
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
}

async fn a_missing_privilege_is_named<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    f.push("default", &job("a")).await;
    let name = &f.name;
    let b = if POSTGRES {
        f.run(&format!("ALTER TABLE jobs OWNER TO root; GRANT SELECT ON jobs TO {name}")).await;
        f.backend()
    } else {
        f.run(&format!(
            "REVOKE ALL ON {name}.* FROM {name}@localhost; GRANT SELECT ON {name}.jobs TO {name}@localhost"
        ))
        .await;
        f.backend()
    };
    assert_unavailable(&error(&b).await, "SELECT, INSERT, UPDATE and DELETE on");
}

async fn queues_may_be_called_anything<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    for name in ["it's", r"back\slash", "\"q\"", "`b`", "grüße 🎉", "a;b--", "$1", "?"] {
        f.push(name, &job("a")).await;
        let mine = take(&b, &[name], 5).await;
        assert_eq!((payloads(&mine), mine[0].queue.as_str()), (jobs(&["a"]), name));
        assert_eq!(b.unreserve(&mine).await.unwrap(), [true]);
        f.push(name, b"7").await;
        let found = b.next_batch(&queues(&[name]), 5, &Wait::none()).await.unwrap();
        assert_eq!((found.jobs.len(), found.set_aside.len()), (1, 1));
        assert_eq!(f.peek(&format!("{name}:broken")).await, [b"7"]);
    }
}

async fn tries_one_address_after_the_other<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    f.push("default", &job("a")).await;
    let nobody = Address { host: "127.0.0.1".to_owned(), port: Some(1), socket: None };
    let b = f.changed(|s| s.addresses.insert(0, nobody.clone()));
    assert_eq!(take(&b, &["default"], 1).await.len(), 1);
    assert_unavailable(&error(&f.changed(|s| s.addresses = vec![nobody])).await, "127.0.0.1:1");
    assert_unavailable(&error(&f.changed(|s| s.addresses = Vec::new())).await, "no address");
}

async fn attempts_stay_in_their_column<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    f.push("default", &job("b")).await;
    let most = if POSTGRES { 32767 } else { 255 };
    f.run(&format!("UPDATE jobs SET attempts = {most} WHERE id = 1")).await;
    // It does not block the jobs behind it.
    let mine = take(&b, &["default"], 5).await;
    assert_eq!(mine.iter().map(MySqlFixture::attempts).collect::<Vec<_>>(), [most, 1]);
    assert_eq!(b.delete(&mine).await.unwrap(), [true, true]);
}

async fn says_who_it_is<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let b = f.backend();
    take(&b, &["default"], 1).await;
    b.next_batch(&queues(&["default"]), 1, &Wait::up_to(Duration::from_millis(20))).await.unwrap();
    let sessions = if POSTGRES {
        f.column(&format!("SELECT application_name FROM pg_stat_activity WHERE usename = '{}'", f.name)).await
    } else {
        f.column(&format!("SELECT user FROM information_schema.processlist WHERE user = '{}'", f.name)).await
    };
    assert_eq!(sessions, [if POSTGRES { b"kqueue test".to_vec() } else { f.name.clone().into_bytes() }]);
}

/// Thousands of delayed jobs before all others: due jobs are taken on time and in order, from before and behind the
/// horizon.
async fn a_long_table_is_looked_through_once<const POSTGRES: bool>() {
    let f = DatabaseFixture::<POSTGRES>::start().await;
    let later = epoch_seconds() + 1000;
    f.push_delayed("default", &job("later"), later).await;
    for _ in 0..12 {
        f.run(
            "INSERT INTO jobs (queue, payload, attempts, available_at, created_at) \
             SELECT queue, payload, 0, available_at, 1 FROM jobs ORDER BY id",
        )
        .await;
    }
    let b = f.backend().with_long_table();
    assert!(take(&b, &["default"], 5).await.is_empty());
    let soon = epoch_seconds() + 3;
    f.run(&format!(
        "UPDATE jobs SET available_at = {soon}, payload = {} WHERE id = 9",
        DatabaseFixture::<POSTGRES>::text(&job("9"))
    ))
    .await;
    f.run(&format!(
        "UPDATE jobs SET available_at = {soon}, payload = {} WHERE id = 8",
        DatabaseFixture::<POSTGRES>::text(&job("8"))
    ))
    .await;
    // This look remembers them as due soon.
    assert!(take(&b, &["default"], 5).await.is_empty());
    f.push("default", &job("new")).await;
    let new = take(&b, &["default"], 5).await;
    assert_eq!(payloads(&new), jobs(&["new"]));
    assert_eq!(b.unreserve(&new).await.unwrap(), [true]);

    let wait = Wait::up_to(Duration::from_secs(30));
    let again = b.next_batch(&queues(&["default"]), 5, &Wait::none()).await.unwrap().jobs;
    assert_eq!(payloads(&again), jobs(&["new"]));
    let came = b.next_batch(&queues(&["default"]), 5, &wait).await.unwrap().jobs;
    assert_eq!(payloads(&came), jobs(&["8", "9"]));
    assert!((soon..soon + 2).contains(&epoch_seconds()));

    // Unreserved jobs are taken again, although other rows there would not be looked at.
    assert_eq!(b.unreserve(&came).await.unwrap(), [true, true]);
    let again = b.next_batch(&queues(&["default"]), 5, &wait).await.unwrap().jobs;
    assert_eq!(payloads(&again), jobs(&["8", "9"]));
    assert_eq!(b.delete(&again).await.unwrap(), [true, true]);
}

#[tokio::test]
async fn a_table_without_transactions_is_refused() {
    let f = MySqlFixture::start().await;
    f.run("ALTER TABLE jobs ENGINE = MyISAM").await;
    let error = error(&f.backend()).await;
    assert!(
        matches!(&error, BackendError::Settings(why) if why.contains("MyISAM") && why.contains("InnoDB")),
        "{error}"
    );
}

#[tokio::test]
async fn a_table_of_another_database() {
    let f = MySqlFixture::start().await;
    let (name, other) = (&f.name, f.server.database().await);
    f.run(&format!("RENAME TABLE {name}.jobs TO {other}.pre_jobs; GRANT ALL ON {other}.* TO {name}@localhost")).await;
    let b = f.changed(|s| s.table = format!("`{other}`.`pre_jobs`"));
    f.run(&format!("USE {other}; INSERT INTO pre_jobs VALUES (1, 'default', '{{\"job\":\"x\"}}', 0, NULL, 1, 1)"))
        .await;
    let mine = take(&b, &["default"], 5).await;
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
}

#[tokio::test]
async fn a_table_of_another_schema() {
    let f = PostgresFixture::start().await;
    f.run(&format!(
        "CREATE SCHEMA \"o\"\"dd\" AUTHORIZATION {}; ALTER TABLE jobs SET SCHEMA \"o\"\"dd\"; \
         ALTER TABLE \"o\"\"dd\".jobs RENAME TO \"pre jobs\"",
        f.name
    ))
    .await;
    f.run("INSERT INTO \"o\"\"dd\".\"pre jobs\" VALUES (1, 'default', '{\"job\":\"x\"}', 0, NULL, 1, 1)").await;
    let path = vec!["nowhere".to_owned(), "o\"dd".to_owned()];
    let b = f.changed(|s| (s.search_path, s.table) = (path, "\"pre jobs\"".to_owned()));
    let mine = take(&b, &["default"], 5).await;
    assert_eq!(b.unreserve(&mine).await.unwrap(), [true]);
    let b = f.changed(|s| s.table = "\"o\"\"dd\".\"pre jobs\"".to_owned());
    assert_eq!(take(&b, &["default"], 5).await.len(), 1);
}

/// Simulates a failover: the server is a replica now.
async fn read_only<const POSTGRES: bool>(f: &DatabaseFixture<POSTGRES>, on: bool) {
    if POSTGRES {
        let on = if on { "on" } else { "off" };
        f.run(&format!("ALTER USER {} SET default_transaction_read_only = {on}", f.name)).await;
        let name = &f.name;
        f.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")).await;
    } else {
        f.run(&format!("SET GLOBAL read_only = {}", u8::from(on))).await;
    }
}

async fn fails_over<const POSTGRES: bool>(f: DatabaseFixture<POSTGRES>) {
    let b = f.backend();
    f.push("default", &job("a")).await;
    f.push("default", &job("b")).await;
    let mine: Vec<Reservation> = take(&b, &["default"], 1).await;
    read_only(&f, true).await;
    let _ = b.sizes(&queues(&["default"])).await;
    for _ in 0..2 {
        assert_unavailable(&error(&b).await, "accepts no writes");
        assert_unavailable(&b.delete(&mine).await.unwrap_err(), "accepts no writes");
    }
    read_only(&f, false).await;
    let _ = b.sizes(&queues(&["default"])).await;
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
    assert_eq!(payloads(&take(&b, &["default"], 5).await), jobs(&["b"]));
}

#[tokio::test]
async fn a_mysql_that_has_failed_over_is_an_outage() {
    let server = Box::leak(Box::new(server::start(Engine::MySql, &[])));
    fails_over(MySqlFixture::on(server).await).await;
}

#[tokio::test]
async fn a_postgres_that_has_failed_over_is_an_outage() {
    fails_over(PostgresFixture::start().await).await;
}
