//! Real servers, each started once for all tests of this process, on a socket in its own directory. They end with the
//! process, however it ends.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::backend::database::session::Session;
use crate::backend::database::settings::{Address, DatabaseSettings, Engine, Tls, TlsMode};

/// Password of the app's user, with characters that need quoting somewhere.
pub(in crate::backend::conformance) const PASSWORD: &str = r#"p'w"\ %@:/?#[]$`{ü}"#;
/// User of a server that refuses to run as root.
const NOBODY: u32 = 65534;

/// A running server.
pub(in crate::backend::conformance) struct Server {
    pub engine: Engine,
    pub socket: PathBuf,
    pub dir: PathBuf,
    port: u16,
    /// Its parent process: ends the server and removes the directory when our end of its standard input is closed.
    keeper: Child,
}

/// Starts a server with additional options.
pub(in crate::backend::conformance) fn start(engine: Engine, options: &[&str]) -> Server {
    start_at(engine, options, engine.port())
}

/// Starts a server on a port, which is also part of the name of PostgreSQL's socket.
pub(in crate::backend::conformance) fn start_at(engine: Engine, options: &[&str], port: u16) -> Server {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap().keep();
    let is_root = nix::unistd::geteuid().is_root();
    if engine == Engine::Postgres && is_root {
        std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let data = dir.join("data").to_str().unwrap().to_owned();
    let (make, mut serve, socket) = match engine {
        Engine::MySql => mysql(&dir, &data, is_root),
        Engine::Postgres => postgres(&dir, &data, is_root, port),
    };
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let (program, args) = make.split_first().unwrap();
    assert!(run(program, args, &log), "{make:?}: {}", std::fs::read_to_string(dir.join("log")).unwrap());
    if engine == Engine::Postgres {
        // Hashing a password takes a second in unoptimised builds, so only few users are asked for one.
        let rules = "local all +asked scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(dir.join("data/pg_hba.conf"), rules).unwrap();
    }
    serve.extend(options.iter().map(|&option| option.to_owned()));
    let keeper = Command::new("sh")
        .args(["-c", r#""$@" & read -r _; kill -KILL $!; wait; rm -rf "$0""#])
        .arg(&dir)
        .args(&serve)
        .current_dir(&dir)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{serve:?}: {}",
            std::fs::read_to_string(dir.join("log")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Server { engine, socket, dir, port, keeper }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn run(program: &str, args: &[String], log: &std::fs::File) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    command.status().unwrap_or_else(|error| panic!("{program}: {error}")).success()
}

type Started = (Vec<String>, Vec<String>, PathBuf);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// MariaDB, or the server that `KQUEUE_TEST_MYSQLD` names.
fn mysql(dir: &Path, data: &str, is_root: bool) -> Started {
    let own = std::env::var("KQUEUE_TEST_MYSQLD").ok();
    let datadir = format!("--datadir={data}");
    // A starting server removes all temporary tables in this directory, even those of other servers.
    let tmpdir = format!("--tmpdir={}", dir.display());
    let socket = dir.join("s");
    let mut make = match &own {
        Some(mysqld) => words(&[mysqld, "--no-defaults", &datadir, &tmpdir, "--initialize-insecure"]),
        None => words(&[
            "mariadb-install-db",
            "--no-defaults",
            &datadir,
            &tmpdir,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]),
    };
    let mut serve = words(&[
        own.as_deref().unwrap_or("mariadbd"),
        "--no-defaults",
        &datadir,
        &tmpdir,
        &format!("--socket={}", socket.display()),
        &format!("--pid-file={}/pid", dir.display()),
        &format!("--secure-file-priv={}", dir.display()),
        "--skip-networking",
        "--innodb-flush-log-at-trx-commit=0",
        "--max-allowed-packet=64M",
        "--max-connections=300",
    ]);
    if own.is_some() {
        serve.extend(words(&["--mysqlx=OFF", "--skip-log-bin"]));
    }
    if is_root {
        make.push("--user=root".to_owned());
        serve.push("--user=root".to_owned());
    }
    (make, serve, socket)
}

fn postgres(dir: &Path, data: &str, is_root: bool, port: u16) -> Started {
    let program = |name: &str| {
        let all = glob::glob(&format!("/usr/lib/postgresql/*/bin/{name}")).unwrap();
        let program = all.filter_map(Result::ok).last().map_or(name.to_owned(), |path| path.display().to_string());
        let user = NOBODY.to_string();
        let drop = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
        let mut command = if is_root { words(&drop) } else { Vec::new() };
        command.push(program);
        command
    };
    let mut make = program("initdb");
    make.extend(words(&["-D", data, "-A", "trust", "-U", "root", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]));
    let dir = dir.to_str().unwrap();
    let mut serve = program("postgres");
    serve.extend(words(&["-D", data, "-k", dir, "-h", "", "-p", &port.to_string()]));
    for option in ["fsync=off", "max_connections=300", "full_page_writes=off"] {
        serve.extend(words(&["-c", option]));
    }
    (make, serve, PathBuf::from(format!("{dir}/.s.PGSQL.{port}")))
}

impl Server {
    /// The server of this engine that all tests share.
    pub(in crate::backend::conformance) fn shared(engine: Engine) -> &'static Self {
        static MYSQL: OnceLock<Server> = OnceLock::new();
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        let slot = match engine {
            Engine::MySql => &MYSQL,
            Engine::Postgres => &POSTGRES,
        };
        slot.get_or_init(|| start(engine, &[]))
    }

    /// A session of the administrator, in a database.
    pub(in crate::backend::conformance) async fn session(&self, database: &str) -> Session {
        let settings = DatabaseSettings {
            username: Some("root".to_owned()),
            password: None,
            database: database.to_owned(),
            tls: Tls { mode: TlsMode::Disable, ..Tls::default() },
            ..settings(self.engine)
        };
        let start = Instant::now();
        loop {
            match Session::open(&settings, &self.address()).await {
                Ok(session) => return session,
                // It listens before it accepts sessions.
                Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its socket.
    pub(in crate::backend::conformance) fn address(&self) -> Address {
        let socket = match self.engine {
            Engine::MySql => self.socket.clone(),
            Engine::Postgres => self.dir.clone(),
        };
        Address { socket: Some(socket.to_str().unwrap().to_owned()), port: Some(self.port), ..Address::default() }
    }

    /// Creates a database and a user for it, and returns the name of both.
    pub(in crate::backend::conformance) async fn database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("shop{}", COUNT.fetch_add(1, Relaxed));
        let mut session = self.session(if self.engine == Engine::Postgres { "postgres" } else { "" }).await;
        let password = PASSWORD.replace('\'', "''");
        let all = match self.engine {
            Engine::MySql => vec![format!(
                "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'; SET NAMES utf8mb4; CREATE DATABASE {name} CHARACTER SET utf8mb4; \
                 CREATE USER {name}@localhost IDENTIFIED BY '{password}'; GRANT ALL ON {name}.* TO {name}@localhost"
            )],
            Engine::Postgres => vec![
                "DO $$ BEGIN CREATE ROLE asked; EXCEPTION WHEN OTHERS THEN END $$".to_owned(),
                format!("CREATE USER {name} PASSWORD '{password}'"),
                format!("CREATE DATABASE {name} OWNER {name}"),
            ],
        };
        for sql in all {
            session.run(sql).await.unwrap();
        }
        name
    }
}

/// Settings without addresses, user and database.
pub(in crate::backend::conformance) fn settings(engine: Engine) -> DatabaseSettings {
    let table = match engine {
        Engine::MySql => "`jobs`",
        Engine::Postgres => "\"jobs\"",
    };
    DatabaseSettings {
        engine,
        addresses: Vec::new(),
        direct: Vec::new(),
        database: String::new(),
        username: None,
        password: Some(PASSWORD.to_owned()),
        tls: Tls::default(),
        table: table.to_owned(),
        retry_after: Some(crate::backend::conformance::LEASE),
        charset: Some("utf8mb4".to_owned()),
        collation: None,
        search_path: Vec::new(),
        notified: false,
        app: "test".to_owned(),
        names: Default::default(),
    }
}
