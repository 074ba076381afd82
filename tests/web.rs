//! The real `kqueue-web`, on a Unix socket and on TCP, with something that listens where a runtime would.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HOSTILE: &str = "<script>alert(1)</script>";

/// A session with apps in it, and what was started.
struct World {
    dir: tempfile::TempDir,
    started: Vec<Child>,
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("kqw").tempdir().unwrap(), started: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Something that answers on the control socket of an app by what is asked; never, where it is told to be silent.
    fn app(&self, name: &str, silent: Arc<AtomicBool>) {
        let directory = self.path("kqueue").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let listener = UnixListener::bind(directory.join("control.sock")).unwrap();
        let name = name.to_owned();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if silent.load(Ordering::SeqCst) {
                    held.push(stream);
                    continue;
                }
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
                let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
                let answer = match asked["ask"].as_str().unwrap() {
                    "snapshot" => format!(r#"{{"version":1,"app":"another","state":"running","launcher":"process","waiting":3,"queues":[{{"name":"{HOSTILE}"}}]}}"#),
                    "job" => {
                        assert_eq!(asked["payload"], false, "what jobs carry is not asked for");
                        format!(r#"{{"version":1,"attempts":[{{"uuid":"u1","class":"{HOSTILE}","state":"failed","cause":"boom"}}],"payload":"secret"}}"#)
                    }
                    "jobs" => format!(r#"{{"version":1,"jobs":[{{"uuid":"u1","class":"App\\Jobs\\{name}","state":"failed","cause":"{HOSTILE}"}}],"next":"p2"}}"#),
                    "metrics" => r#"{"version":1,"rows":[{"class":"App\\Jobs\\A","queue":"default","tier":"inline","outcomes":{"done":5},"duration":{"buckets":{"17":5},"sum":20,"max":4}}]}"#.to_owned(),
                    _ => r#"{"version":1,"step":60,"points":[{"at":1700000000,"outcomes":{"done":5},"backlog":3}]}"#.to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue-web"));
        command.args(args).env("XDG_RUNTIME_DIR", self.dir.path()).env_remove("CREDENTIALS_DIRECTORY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it, and waits until it says that it is ready.
    fn start(&mut self, args: &[&str]) {
        let mut child = self.command(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("ready"), "{first}");
        std::thread::spawn(move || lines.for_each(drop));
        self.started.push(child);
    }

    /// What it says when it does not start.
    fn refuses(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.command(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn over_unix(&self, request: &str) -> Answer {
        exchange(UnixStream::connect(self.path("web.sock")).unwrap(), request)
    }

    fn get(&self, path: &str) -> Answer {
        self.over_unix(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_route_of_a_host() {
    let mut world = World::new();
    for app in ["shop", "blog"] {
        world.app(app, Arc::default());
    }
    world.start(&["--socket", world.path("web.sock").to_str().unwrap()]);
    assert_eq!(std::fs::metadata(world.path("web.sock")).unwrap().permissions().mode() & 0o777, 0o660);

    let root = world.get("/");
    assert_eq!(root.status, 200, "{}", root.body);
    assert!(root.body.contains("href=\"./app/shop/\"") && root.body.contains("blog"), "{}", root.body);
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(root.header(name), Some(value));
    }
    let policy = root.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    for path in [
        "/app/shop/",
        "/app/shop/jobs?state=failed",
        "/app/shop/job?id=u1",
        "/app/shop/classes",
        "/app/shop/class?name=A",
        "/app/shop/queue?name=q",
        "/app/shop/events",
    ] {
        let page = world.get(path);
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        assert!(page.body.contains("href=\"../../app/shop/jobs\""), "{path}: its links are relative");
        assert!(!page.body.contains(HOSTILE) && !page.body.contains("secret"), "{path}");
        // Whose page it is, is not for the app to say.
        assert!(page.body.contains("shop · kqueue</title>"), "{path}");
        let file = page.body.split("href=\"../../static/").nth(1).unwrap().split('"').next().unwrap();
        let style = world.get(&format!("/static/{file}"));
        assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
        assert!(style.header("cache-control").unwrap().contains("immutable"));
    }
    let short = world.get("/app/shop");
    assert_eq!((short.status, short.header("location")), (308, Some("shop/")));
    for (path, status) in [
        ("/app/nobody_here/", 404),
        ("/app/No%20Name/", 404),
        ("/app/shop/moon", 404),
        ("/static/x.css", 404),
        ("/moon", 404),
        ("/app/shop/jobs/1", 404),
    ] {
        let page = world.get(path);
        assert_eq!(page.status, status, "{path}");
        assert!(page.header("content-security-policy").is_some(), "{path}");
    }

    let metrics = world.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(
        metrics.body.contains(
            r#"kqueue_jobs_total{app="shop",class="App\\Jobs\\A",queue="default",tier="inline",outcome="done"} 5"#
        ),
        "{}",
        metrics.body
    );
    let open = world.over_unix(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n",
    );
    assert!(
        open.header("content-type").unwrap().starts_with("application/openmetrics-text") && open.body.contains("# EOF")
    );

    for path in ["/healthz", "/readyz", "/healthz/shop", "/readyz/shop"] {
        let told = world.get(path);
        assert_eq!(
            (told.status, told.header("content-type")),
            (200, Some("application/json")),
            "{path}: {}",
            told.body
        );
    }
    assert_eq!(world.get("/healthz/nobody_here").status, 404);
}

#[test]
fn nothing_but_looking_and_nobody_by_a_strangers_name() {
    let mut world = World::new();
    world.app("shop", Arc::default());
    world.start(&["--socket", world.path("web.sock").to_str().unwrap(), "--host", "queues.example"]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let answer = world.over_unix(&format!("{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let head = world.over_unix("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for (fields, status) in [
        ("Host: queues.example", 200),
        ("Host: evil.example", 421),
        ("Host: evil.example:80", 421),
        ("X: y", 421),
        ("Host: localhost\r\nHost: evil.example", 421),
        ("Host: localhost\r\nOrigin: https://evil.example", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
    ] {
        let answer = world.over_unix(&format!("GET / HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.status, status, "{fields}");
        assert_eq!(answer.body.contains("shop"), status == 200, "{fields}");
    }
}

#[test]
fn over_the_network_with_a_key_alone() {
    let mut world = World::new();
    world.app("shop", Arc::default());
    let (port, other) = (free_port(), free_port());
    let (listen, token) = (format!("127.0.0.1:{port}"), world.path("token"));
    std::fs::write(&token, TOKEN).unwrap();
    let (code, said) = world.refuses(&["--listen", &listen]);
    assert_eq!(code, Some(78));
    assert!(said.contains("--loopback-without-password") && said.contains("kqueue-web.token"), "{said}");
    let (code, said) = world.refuses(&["--listen", &format!("0.0.0.0:{port}"), "--loopback-without-password"]);
    assert_eq!(code, Some(78));
    assert!(said.contains("open to the network"), "{said}");
    assert_eq!(world.refuses(&[]).0, Some(78));

    world.start(&["--listen", &listen, "--token", token.to_str().unwrap()]);
    let get = |port: u16, fields: &str| {
        let request = format!("GET /app/shop/ HTTP/1.1\r\nHost: localhost:{port}\r\n{fields}Connection: close\r\n\r\n");
        exchange(TcpStream::connect(("127.0.0.1", port)).unwrap(), &request)
    };
    for fields in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic Zm9vOmJhcg==\r\n"] {
        let answer = get(port, fields);
        assert_eq!(answer.status, 401, "{fields}");
        assert!(
            answer.header("www-authenticate").unwrap().starts_with("Basic") && !answer.body.contains("shop"),
            "{fields}"
        );
    }
    assert_eq!(get(port, &format!("Authorization: Bearer {TOKEN}\r\n")).status, 200);

    world.start(&["--listen", &format!("127.0.0.1:{other}"), "--loopback-without-password"]);
    assert_eq!(get(other, "").status, 200);
}

#[test]
fn an_app_that_is_silent_holds_up_no_other() {
    let mut world = World::new();
    let silent = Arc::new(AtomicBool::new(true));
    world.app("slow", silent.clone());
    world.app("shop", Arc::default());
    world.start(&["--socket", world.path("web.sock").to_str().unwrap()]);
    let begun = std::time::Instant::now();
    let page = world.get("/");
    // It may take as long as a slow app is waited for, and not as long as it is silent.
    assert!(begun.elapsed().as_millis() < 2_500, "{:?}", begun.elapsed());
    assert!(
        page.body.contains("app/shop/") && page.body.contains("app/slow/") && page.body.contains("1 in trouble"),
        "{}",
        page.body
    );
    assert_eq!(world.get("/healthz").status, 503);
    assert_eq!(world.get("/healthz/shop").status, 200);
    let metrics = world.get("/metrics").body;
    assert!(
        metrics.contains(r#"kqueue_up{app="shop"} 1"#) && metrics.contains(r#"kqueue_up{app="slow"} 0"#),
        "{metrics}"
    );
    silent.store(false, Ordering::SeqCst);
    assert_eq!(world.get("/app/slow/").status, 200);
}

#[test]
fn pages_are_sent_again_when_they_change() {
    let mut world = World::new();
    world.app("shop", Arc::default());
    world.start(&["--socket", world.path("web.sock").to_str().unwrap()]);
    for path in ["/live", "/app/shop/live?view=jobs&state=failed"] {
        let mut stream = UnixStream::connect(world.path("web.sock")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        let told: Vec<String> = lines.take_while(|line| !line.contains("</html>")).collect();
        assert!(told.iter().any(|line| line == "event: page"), "{told:?}");
        assert!(told.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")), "{told:?}");
    }
    assert_eq!(world.get("/app/shop/live?view=moon").status, 404);
}

#[test]
fn it_ends_when_nobody_comes() {
    let world = World::new();
    let socket = world.path("web.sock");
    let mut child = world.command(&["--socket", socket.to_str().unwrap(), "--idle-exit", "1"]).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(Path::new(&socket).exists());
}
