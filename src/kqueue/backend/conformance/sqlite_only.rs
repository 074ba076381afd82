//! Behaviour of SQLite: locks, files and identifiers.

use std::time::{Duration, Instant};

use super::sqlite::{SqliteFixture, TABLE};
use super::{Fixture, job, jobs, payloads, queues, take};
use crate::backend::row::Row;
use crate::backend::{BackendError, QueueBackend, SqliteBackend, Wait, epoch_seconds};

#[tokio::test]
async fn a_lock_means_no_job_now() {
    let f = SqliteFixture::start().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    f.push("default", &job("b")).await;
    let mine = take(&b, &["default"], 1).await;

    let mut app = f.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut app).await.unwrap();
    assert!(take(&b, &["default"], 1).await.is_empty());
    let error = b.delete(&mine).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
    // Reads do not wait for a writer, and an empty queue is found empty without the lock.
    let start = Instant::now();
    assert!(take(&b, &["other"], 1).await.is_empty());
    b.wait(&queues(&["other"]), Duration::ZERO).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4));

    sqlx::raw_sql("ROLLBACK").execute(&mut app).await.unwrap();
    assert_eq!(payloads(&take(&b, &["default"], 1).await), jobs(&["b"]));
    assert_eq!(b.delete(&mine).await.unwrap(), [true]);
}

#[tokio::test]
async fn a_row_reserved_again_within_the_second_is_another_reservation() {
    let f = SqliteFixture::start().await;
    let (b, thief) = (f.backend(), f.backend());
    f.push("default", &job("a")).await;
    let mut mine = take(&b, &["default"], 1).await;
    f.expire(&mut mine[0]).await;
    let stolen = take(&thief, &["default"], 1).await;
    let reserved_at = Row::of(&stolen[0].receipt).unwrap().reserved_at;
    mine[0].receipt = Row { reserved_at, ..Row::of(&mine[0].receipt).unwrap() }.receipt();
    assert_eq!(b.renew(&mut mine).await.unwrap(), [false]);
    assert_eq!(b.unreserve(&mine).await.unwrap(), [false]);
    assert_eq!(b.delete(&mine).await.unwrap(), [false]);
    assert_eq!(thief.delete(&stolen).await.unwrap(), [true]);
}

#[tokio::test]
async fn makes_no_file_and_names_the_one_it_misses() {
    let f = SqliteFixture::start().await;
    let mut settings = f.settings();
    settings.path = f.dir.path().join("none.sqlite").to_str().unwrap().to_owned();
    let path = settings.path.clone();
    let b = SqliteBackend::connect(settings).unwrap();
    let error = b.reserve(&queues(&["default"]), 1).await.unwrap_err();
    assert!(matches!(&error, BackendError::Unavailable { target, .. } if *target == path));
    assert!(!std::fs::exists(&path).unwrap());

    // The file may exist before its tables.
    std::fs::write(&path, "").unwrap();
    let error = b.reserve(&queues(&["default"]), 1).await.unwrap_err();
    assert!(error.to_string().contains("no such table: jobs"), "{error}");
    let error = b.kept("class:A").await.unwrap_err().to_string();
    assert!(error.contains("CREATE TABLE \"jobs_limits\" (name") && !error.contains("artisan"), "{error}");
    std::fs::write(
        &path,
        "this is no database, but long enough to be read as the header of one, \
        which must begin with words of its own and is a hundred bytes long",
    )
    .unwrap();
    let error = b.reserve(&queues(&["default"]), 1).await.unwrap_err();
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[tokio::test]
async fn quotes_names_and_keeps_the_journal_mode() {
    let f = SqliteFixture::start().await;
    f.run("PRAGMA journal_mode = DELETE").await;
    let table = TABLE.replace("\"jobs\"", "\"my \"\"odd\"\" jobs\"");
    f.run(&table.replace("jobs_queue_index", "other_index")).await;
    let mut settings = f.settings();
    settings.prefix = "my ".to_owned();
    settings.table = "\"odd\" jobs".to_owned();
    let b = SqliteBackend::connect(settings).unwrap();
    f.run(
        "INSERT INTO \"my \"\"odd\"\" jobs\" (queue, payload, attempts, available_at, created_at) \
         VALUES ('default', '{\"job\":\"x\"}', 255, 1, 1)",
    )
    .await;
    let got = take(&b, &["default"], 1).await;
    // Laravel's column has one byte in other databases; here it just counts on.
    assert_eq!(SqliteFixture::attempts(&got[0]), 256);
    assert_eq!(b.unreserve(&got).await.unwrap(), [true]);
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut f.connect().await).await.unwrap();
    assert_eq!(mode, "delete");
}

#[tokio::test]
async fn eight_workers_and_a_writing_app_never_meet_an_error() {
    crowd("WAL").await;
}

#[tokio::test]
async fn nor_do_they_with_a_rollback_journal() {
    crowd("DELETE").await;
}

async fn crowd(journal_mode: &str) {
    const JOBS: usize = 300;
    let f = SqliteFixture::start().await;
    f.run(&format!("PRAGMA journal_mode = {journal_mode}")).await;
    f.run("CREATE TABLE done (uuid text)").await;
    for n in 0..JOBS {
        f.push("default", &job(&n.to_string())).await;
    }
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let make = f.maker();
            let settings = f.settings();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work(make(), &settings.path))
            })
        })
        .collect();
    let done: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();
    assert_eq!(done, JOBS);
}

/// Runs jobs that also write to the app's database, until none is left. Returns their number.
async fn work(b: SqliteBackend, path: &str) -> usize {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut app = options.busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
    let mut done = 0;
    loop {
        let got = take(&b, &["default"], 3).await;
        if got.is_empty() && super::left(&b).await == 0 {
            return done;
        }
        for job in &got {
            sqlx::query("INSERT INTO done VALUES (?)").bind(job.payload.to_vec()).execute(&mut app).await.unwrap();
        }
        assert!(b.delete(&got).await.unwrap().into_iter().all(|ours| ours));
        done += got.len();
    }
}

/// Delayed jobs before all others: due jobs are taken on time and in order, from before and behind the horizon.
#[tokio::test]
async fn a_long_table_is_scanned_once() {
    let f = SqliteFixture::start().await;
    f.push_delayed("default", &job("later"), epoch_seconds() + 1000).await;
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
    for (id, name) in [(9, "9"), (8, "8")] {
        let payload = String::from_utf8(job(name)).unwrap();
        f.run(&format!("UPDATE jobs SET available_at = {soon}, payload = '{payload}' WHERE id = {id}")).await;
    }
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
    assert_eq!(b.unreserve(&came).await.unwrap(), [true, true]);
    let again = b.next_batch(&queues(&["default"]), 5, &wait).await.unwrap().jobs;
    assert_eq!(payloads(&again), jobs(&["8", "9"]));

    // Another worker gives one back, before the horizon and after the scan: a new version of the file asks for a scan.
    f.run("UPDATE jobs SET available_at = 1 WHERE id = 7").await;
    let freed = b.next_batch(&queues(&["default"]), 5, &wait).await.unwrap().jobs;
    assert_eq!(b.delete(&freed).await.unwrap(), [true]);
    assert!(epoch_seconds() < soon + 20);

    // One that was moved to the front is seen at once, also before the first row of all.
    f.run("INSERT INTO jobs SELECT -1, queue, '{\"job\":\"front\"}', 0, NULL, 1, 1 FROM jobs WHERE id = 100").await;
    b.forget();
    let front = take(&b, &["default"], 5).await;
    assert_eq!(front.len(), 1);
    assert_eq!(b.delete(&front).await.unwrap(), [true]);
    assert!(take(&b, &["default"], 5).await.is_empty());

    // So are those of a table that was emptied and counts from 1 again.
    f.run("DELETE FROM jobs; DELETE FROM sqlite_sequence").await;
    f.push("default", &job("first")).await;
    assert_eq!(payloads(&take(&b, &["default"], 5).await), jobs(&["first"]));
}
