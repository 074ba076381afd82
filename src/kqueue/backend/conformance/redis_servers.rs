//! Redis servers for each test, on private sockets and ports, which end with the test.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Connection;
use tempfile::TempDir;

use super::ports::free_port;
use super::redis::Served;
use super::until;
use crate::backend::{NodeSettings, RedisSettings, TlsSettings};

/// Number of the database that the tests use, where there is more than one.
const DATABASE: i64 = 2;

/// The server's program: `KQUEUE_TEST_REDIS_SERVER` may name another version, or Valkey.
fn program() -> String {
    std::env::var("KQUEUE_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// One server process, in its own directory.
pub(super) struct Server {
    pub(super) dir: TempDir,
    args: Vec<String>,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts a server with its files in `dir`, its working directory.
    pub(super) fn start(dir: TempDir, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { dir, args, process: None };
        server.restart();
        server
    }

    /// Starts the process again. It is killed when the thread that started it ends, however the test ends.
    pub(super) fn restart(&mut self) {
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &program()])
            .args(&self.args)
            .args(["--unixsocket", "redis.sock"])
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("setpriv (util-linux) and redis-server are needed for this test");
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("redis-server ended: {status}");
            }
            assert!(start.elapsed() < Duration::from_secs(10), "no redis-server");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
    }

    /// Starts the process again, with further arguments from now on.
    pub(super) fn restart_with(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self.restart();
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// A connection that does not depend on the code under test.
    pub(super) fn connection(&self, database: i64) -> Connection {
        self.try_connection(database).unwrap()
    }

    fn try_connection(&self, database: i64) -> redis::RedisResult<Connection> {
        let url = format!("unix://{}?db={database}", self.socket().display());
        redis::Client::open(url)?.get_connection()
    }

    /// Runs a command, given as words separated by spaces.
    pub(super) fn run<T: redis::FromRedisValue>(&self, command: &str) -> T {
        self.try_run(command).unwrap()
    }

    /// As [`Self::run`], for a server that may close connections meanwhile.
    pub(super) fn try_run<T: redis::FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.try_connection(0)?)
    }
}

/// No persistence, no daemon.
pub(super) const PLAIN: [&str; 6] = ["--save", "", "--appendonly", "no", "--daemonize", "no"];

/// A server on a Unix socket.
pub(super) struct Alone(pub(super) Server);

impl Served for Alone {
    fn start(_private: bool) -> Self {
        let args = [&PLAIN[..], &["--port", "0"]].concat();
        Self(Server::start(tempfile::tempdir().unwrap(), &args))
    }

    fn settings(&self) -> RedisSettings {
        RedisSettings {
            host: self.0.socket().to_str().unwrap().to_owned(),
            database: DATABASE,
            ..RedisSettings::default()
        }
    }

    fn master(&self, _key: &str) -> Connection {
        self.0.connection(DATABASE)
    }

    fn go_away(&mut self) {
        self.0.kill();
    }

    fn come_back(&mut self) {
        self.0.restart();
    }
}

/// Configuration that openssl only takes from a file: none of the machine's own extensions, and a CA that can set any
/// dates.
const OPENSSL: &str = "[req]\ndistinguished_name = req\n[ca]\ndefault_ca = ca\ndatabase = index.txt\nnew_certs_dir = .\n\
    rand_serial = yes\ndefault_md = sha256\nunique_subject = no\ncopy_extensions = copy\npolicy = any\nx509_extensions = leaf\n\
    [leaf]\nbasicConstraints = CA:FALSE\n[any]\norganizationName = optional\ncommonName = supplied\n";

fn openssl(dir: &Path, command: &str) {
    std::fs::write(dir.join("openssl.conf"), OPENSSL).unwrap();
    std::fs::write(dir.join("index.txt"), "").unwrap();
    let openssl = Command::new("openssl").args(command.split_whitespace()).current_dir(dir).output();
    let output = openssl.expect("openssl is needed for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const NEW_KEY: &str = "req -config openssl.conf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// Makes a self-signed certificate.
pub(super) fn sign_itself(dir: &Path, name: &str, common_name: &str, extensions: &str) {
    openssl(
        dir,
        &format!("{NEW_KEY} -x509 -days 2 -subj /CN={common_name} -keyout {name}.key -out {name}.crt {extensions}"),
    );
}

/// Makes a certificate signed by the CA in `dir`, with dates such as `-enddate 20200101000000Z`.
pub(super) fn sign(dir: &Path, name: &str, subject: &str, extensions: &str, dates: &str) {
    openssl(dir, &format!("{NEW_KEY} -subj {subject} -keyout {name}.key -out {name}.csr {extensions}"));
    let dates = if dates.is_empty() { "-days 2" } else { dates };
    let ca = "-config openssl.conf -batch -notext -cert ca.crt -keyfile ca.key";
    openssl(dir, &format!("ca {ca} -in {name}.csr -out {name}.crt {dates}"));
}

/// Makes a CA certificate: openssl's default for self-signed ones.
pub(super) fn authority(dir: &Path, name: &str) {
    sign_itself(dir, name, name, "-addext basicConstraints=critical,CA:TRUE -addext subjectAltName=DNS:localhost");
}

/// Extension of a certificate for `localhost`.
pub(super) const LOCALHOST: &str = "-addext subjectAltName=DNS:localhost";

/// A server with TLS on its port and a password.
pub(super) struct Tls {
    pub(super) server: Server,
    pub(super) port: u16,
}

impl Tls {
    /// Starts a server with this certificate in `dir`, and further arguments.
    pub(super) fn with(dir: TempDir, certificate: &str, args: &[&str]) -> Self {
        let port = free_port();
        let (crt, key) = (format!("{certificate}.crt"), format!("{certificate}.key"));
        let port_arg = port.to_string();
        let tls = ["--port", "0", "--tls-port", &port_arg, "--tls-cert-file", &crt, "--tls-key-file", &key];
        let rest = ["--tls-ca-cert-file", "ca.crt", "--tls-auth-clients", "no"];
        let server = Server::start(dir, &[&PLAIN[..], &tls, &rest, args].concat());
        until("the port answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { server, port }
    }

    /// A directory with a CA, and a certificate that it has signed for `localhost`.
    pub(super) fn certificates() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        authority(dir.path(), "ca");
        sign(dir.path(), "server", "/CN=server", LOCALHOST, "");
        dir
    }

    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.server.dir.path().join(name))
    }
}

impl Served for Tls {
    fn start(_private: bool) -> Self {
        let tls = Self::with(Self::certificates(), "server", &[]);
        let () = tls.server.run("ACL SETUSER shop on >geheim ~* +@all");
        tls
    }

    fn settings(&self) -> RedisSettings {
        RedisSettings {
            host: "tls://localhost".to_owned(),
            port: self.port,
            tls: Some(TlsSettings { cafile: self.file("ca.crt"), ..TlsSettings::default() }),
            username: Some("shop".to_owned()),
            password: Some("geheim".to_owned()),
            database: DATABASE,
            ..RedisSettings::default()
        }
    }

    fn master(&self, _key: &str) -> Connection {
        self.server.connection(DATABASE)
    }

    fn go_away(&mut self) {
        self.server.kill();
    }

    fn come_back(&mut self) {
        self.server.restart();
        let () = self.server.run("ACL SETUSER shop on >geheim ~* +@all");
    }
}

/// The node at this port of `127.0.0.1`.
pub(super) fn local(port: u16) -> NodeSettings {
    NodeSettings { host: "127.0.0.1".to_owned(), port }
}
