//! Connections to a database: poolers, encryption, and notifications by the app's package.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::database::{DatabaseFixture, PostgresFixture, server};
use super::ports::free_port;
use super::{Fixture, job, jobs, payloads, queues, take};
use crate::backend::database::settings::{Address, Tls, TlsMode};
use crate::backend::{BackendError, DatabaseBackend, QueueBackend, Wait};

/// A process that is ended on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reached(port: u16) {
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody at {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// pgbouncer in front of the shared server, in transaction mode with two connections.
fn pgbouncer(dir: &Path, f: &PostgresFixture) -> (Process, Address) {
    let (port, name) = (free_port(), &f.name);
    let password = server::PASSWORD.replace('"', "\"\"");
    std::fs::write(dir.join("users"), format!("\"{name}\" \"{password}\"\n")).unwrap();
    let config = format!(
        "[databases]\n{name} = host={} dbname={name}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}/users\npool_mode = transaction\n\
         default_pool_size = 2\nserver_round_robin = 1\n",
        f.server.dir.display(),
        dir.display()
    );
    std::fs::write(dir.join("config"), config).unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "pgbouncer", "-q"]).arg(dir.join("config"));
    let process = Process(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    reached(port);
    (process, Address { host: "127.0.0.1".to_owned(), port: Some(port), socket: None })
}

#[tokio::test]
async fn a_pooler_that_keeps_no_session_will_do() {
    let f = PostgresFixture::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (_pgbouncer, address) = pgbouncer(dir.path(), &f);
    f.run(&format!("CREATE SCHEMA other AUTHORIZATION {}; ALTER TABLE jobs SET SCHEMA other", f.name)).await;
    // The app's package notifies, but nothing arrives through the pooler.
    let make = || {
        f.changed(|s| {
            s.addresses = vec![address.clone()];
            s.search_path = vec!["other".to_owned()];
            s.notified = true;
        })
    };
    let (b, other) = (make(), make());
    for round in 0..20 {
        for name in ["a", "b", "c"] {
            f.run(&format!(
                "INSERT INTO other.jobs (queue, payload, attempts, available_at, created_at) VALUES ('default', {}, 0, 1, 1)",
                PostgresFixture::text(&job(name))
            ))
            .await;
        }
        let mut mine = take(&b, &["default"], 2).await;
        assert_eq!(payloads(&mine), jobs(&["a", "b"]), "{round}");
        let theirs = take(&other, &["default"], 2).await;
        assert_eq!(b.renew(&mut mine).await.unwrap(), [true, true]);
        assert_eq!(b.delete(&mine).await.unwrap(), [true, true]);
        assert_eq!(other.delete(&theirs).await.unwrap(), [true]);
        b.next_batch(&queues(&["default"]), 1, &Wait::up_to(Duration::from_millis(20))).await.unwrap();
    }
}

async fn notify(f: &PostgresFixture, payload: &[u8]) {
    f.push("default", payload).await;
    f.run("NOTIFY kqueue").await;
}

/// Waits until notifications arrive at the backend, and for a while longer.
async fn hearing(b: &DatabaseBackend) {
    let start = Instant::now();
    while !b.hears() || start.elapsed() < Duration::from_secs(3) {
        assert!(start.elapsed() < Duration::from_secs(20), "it never heard");
        b.next_batch(&queues(&["default"]), 1, &Wait::up_to(Duration::from_millis(300))).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_announced_is_heard_at_once() {
    let f = PostgresFixture::start().await;
    let b = f.changed(|s| s.notified = true);
    hearing(&b).await;
    let mut delays = Vec::new();
    for n in 0..9 {
        let names = queues(&["default"]);
        let wait = Wait::up_to(Duration::from_secs(30));
        let mut call = std::pin::pin!(b.next_batch(&names, 1, &wait));
        // By now it pauses for a second between looks.
        assert!(
            tokio::time::timeout(Duration::from_millis(if n < 1 { 0 } else { 1500 }), call.as_mut()).await.is_err()
        );
        notify(&f, &job(&n.to_string())).await;
        let pushed = Instant::now();
        assert_eq!(call.await.unwrap().jobs.len(), 1);
        delays.push(pushed.elapsed());
    }
    delays.sort();
    assert!(delays[4] < Duration::from_millis(100), "{delays:?}");
    let sessions = f.column(&format!("SELECT pid FROM pg_stat_activity WHERE usename = '{}'", f.name)).await;
    assert_eq!(sessions.len(), 2);

    // Jobs are found without notifications, too.
    let wait = Wait::up_to(Duration::from_secs(30));
    f.push("default", &job("quiet")).await;
    assert_eq!(b.next_batch(&queues(&["default"]), 1, &wait).await.unwrap().jobs.len(), 1);

    // A lost listener is reopened.
    f.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'", f.name)).await;
    let _ = b.next_batch(&queues(&["default"]), 1, &wait).await;
    hearing(&b).await;
}

/// Makes a certificate authority, and a certificate for `localhost` signed by it.
fn certificates(dir: &Path) {
    let openssl = |args: &str| {
        let mut words: Vec<&str> = args.split(' ').collect();
        words.retain(|word| !word.is_empty());
        let status = Command::new("openssl").args(&words).current_dir(dir).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "openssl {args}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650";
    for ca in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -subj /CN={ca}"));
    }
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    for (name, subject) in [("server", "localhost"), ("client", "client")] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile names -out {name}.pem"
        ));
    }
}

/// A server that requires TLS and client certificates, on its own port.
async fn encrypted<const POSTGRES: bool>() -> (DatabaseFixture<POSTGRES>, tempfile::TempDir, u16) {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let (port, at) = (free_port(), dir.path().display().to_string());
    if POSTGRES && nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(dir.path().join("server.key"), Some(65534), Some(65534)).unwrap();
    }
    std::fs::set_permissions(dir.path().join("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let options: Vec<String> = if POSTGRES {
        let set = [
            "ssl=on".to_owned(),
            format!("ssl_ca_file={at}/ca.pem"),
            format!("ssl_cert_file={at}/server.pem"),
            format!("ssl_key_file={at}/server.key"),
        ];
        let set = set.into_iter().flat_map(|option| ["-c".to_owned(), option]);
        // Later options take precedence.
        ["-h".to_owned(), "127.0.0.1".to_owned()].into_iter().chain(set).collect()
    } else {
        vec![
            "--skip-networking=0".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--ssl-ca={at}/ca.pem"),
            format!("--ssl-cert={at}/server.pem"),
            format!("--ssl-key={at}/server.key"),
        ]
    };
    let engine = DatabaseFixture::<POSTGRES>::ENGINE;
    let server = server::start_at(engine, &options.iter().map(String::as_str).collect::<Vec<_>>(), port);
    let f = DatabaseFixture::<POSTGRES>::on(Box::leak(Box::new(server))).await;
    (f, dir, port)
}

async fn is_encrypted_as_it_is_told<const POSTGRES: bool>() {
    let (f, dir, port) = encrypted::<POSTGRES>().await;
    f.push("default", &job("a")).await;
    let file = |name: &str| Some(dir.path().join(name).display().to_string());
    let at = |host: &str, tls: Tls| {
        let address = Address { host: host.to_owned(), port: Some(port), socket: None };
        f.changed(|s| (s.addresses, s.tls) = (vec![address], tls))
    };
    let with = |mode, ca: &str| Tls { mode, ca: file(ca), ..Tls::default() };
    let ask = async |b: DatabaseBackend| b.sizes(&queues(&["default"])).await;
    let (full, authority) = (TlsMode::VerifyFull, TlsMode::VerifyCa);
    for (host, tls) in [
        ("localhost", with(full, "ca.pem")),
        ("127.0.0.1", with(authority, "ca.pem")),
        ("127.0.0.1", Tls { mode: TlsMode::Require, ..Tls::default() }),
        ("127.0.0.1", Tls { mode: TlsMode::Disable, ..Tls::default() }),
        ("127.0.0.1", Tls::default()),
        ("localhost", Tls { cert: file("client.pem"), key: file("client.key"), ..with(full, "ca.pem") }),
    ] {
        let mode = tls.mode;
        let b = at(host, tls);
        assert_eq!(b.sizes(&queues(&["default"])).await.unwrap()[0].pending, 1, "{mode:?} {host}");
    }
    for (host, tls, part) in [
        ("localhost", with(full, "other.pem"), "certificate"),
        ("127.0.0.1", with(full, "ca.pem"), "certificate"),
        ("127.0.0.1", with(authority, "other.pem"), "certificate"),
        ("localhost", with(full, "missing.pem"), "missing.pem"),
    ] {
        let error = ask(at(host, tls)).await.unwrap_err();
        assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn mysql_is_encrypted_as_it_is_told() {
    is_encrypted_as_it_is_told::<false>().await;
}

#[tokio::test]
async fn postgres_is_encrypted_as_it_is_told() {
    is_encrypted_as_it_is_told::<true>().await;
}

/// A server that cannot encrypt is refused if encryption is required.
#[tokio::test]
async fn nothing_is_told_to_a_server_that_cannot_encrypt() {
    let f = PostgresFixture::start().await;
    let b = f.changed(|s| s.tls.mode = TlsMode::Require);
    let error = b.sizes(&queues(&["default"])).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }) && error.to_string().contains("TLS"), "{error}");
}
