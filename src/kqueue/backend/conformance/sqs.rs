//! An SQS-compatible server for all tests of this process, with separate queues for each test.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::ports::free_port;
use super::{Fixture, LEASE};
use crate::backend::sqs::testing;
use crate::backend::{Reservation, SqsBackend, SqsSettings, epoch_seconds};
use kqueue_config::Pop;

// Without the cases that SQS does not support: large payloads, and a queue for set-aside messages.
super::suite!(SqsFixture:
    keeps_order_over_batches, drains_queues_in_order, makes_delayed_jobs_due, brings_expired_jobs_back, renewal_keeps_a_job,
    a_stolen_job_is_not_ours, unreserving_undoes_a_reservation, requeuing_puts_a_job_elsewhere, reserves_each_job_once, keeps_bytes, counts_sizes,
    wakes_on_push, wakes_when_a_job_is_due, waits_no_longer_than_told, an_ended_wait_loses_no_job,
    receipts_outlive_their_backend, survives_an_outage, refuses_names_of_parts, takes_nothing_for_nothing,
    lists_jobs_without_taking_any);

pub(super) const ACCOUNT: &str = "123456789012";

/// A relay to the server, which can be cut, and the suffix of the test's queues.
pub(super) struct SqsFixture {
    way: Relay,
    suffix: String,
    client: Client,
}

/// Port of the server of all tests. It ends with the process: a child is killed when the thread that started it ends.
fn shared() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let port = free_port();
        let (started, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let server = launch(port);
            started.send(()).unwrap();
            drop(server.wait_with_output());
        });
        wait.recv().unwrap();
        port
    })
}

/// Starts a server that creates queues on demand.
fn launch(port: u16) -> Child {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/moto");
    let mut server = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args([&port.to_string(), "--create", &LEASE.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("setpriv (util-linux) is needed for this test");
    // The first start downloads the server's dependencies.
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = server.try_wait().unwrap() {
            panic!("tests/servers/moto ended: {status}; it needs python3-venv");
        }
        assert!(start.elapsed() < Duration::from_secs(300), "no server");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

/// A client of the SDK, as another app would use it.
pub(super) fn client(port: u16) -> Client {
    let http = aws_smithy_http_client::Builder::new();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .region(Region::new("us-east-1"))
        .http_client(http.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https())
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .build();
    Client::from_conf(config)
}

pub(super) fn settings(port: u16, suffix: &str) -> SqsSettings {
    SqsSettings {
        region: "us-east-1".to_owned(),
        endpoint: format!("http://127.0.0.1:{port}"),
        key: Some("key".to_owned()),
        secret: Some("secret".to_owned()),
        prefix: format!("http://127.0.0.1:{port}/{ACCOUNT}"),
        suffix: suffix.to_owned(),
        ..SqsSettings::default()
    }
}

impl SqsFixture {
    pub(super) fn settings(&self) -> SqsSettings {
        settings(self.way.port, &self.suffix)
    }

    /// Name of a queue on the server.
    pub(super) fn name(&self, queue: &str) -> String {
        match queue.strip_suffix(".fifo") {
            Some(name) => format!("{name}{}.fifo", self.suffix),
            None => format!("{queue}{}", self.suffix),
        }
    }

    pub(super) fn url(&self, queue: &str) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}/{}", self.way.port, self.name(queue))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// All messages of a queue on the server, in order.
    pub(super) fn messages(&self, queue: &str) -> Vec<serde_json::Value> {
        self.ask("GET", queue, "")
    }

    /// Makes the server do what time would otherwise do; see tests/servers/sqs.py.
    pub(super) fn turn(&self, queue: &str, what: &str) {
        self.ask("POST", queue, what);
    }

    fn ask(&self, method: &str, queue: &str, body: &str) -> Vec<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.way.port)).unwrap();
        let (name, length) = (self.name(queue), body.len());
        write!(stream, "{method} /test/{name} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

/// A port that leads to the server.
struct Relay {
    port: u16,
    /// Both ends of every connection; `None` while the relay is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Relay {
    fn start(server: u16) -> Self {
        let relay = Self { port: free_port(), open: Arc::default() };
        relay.open(server);
        relay
    }

    fn open(&self, server: u16) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        *self.open.lock().unwrap() = Some(Vec::new());
        let open = self.open.clone();
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let mut open = open.lock().unwrap();
                let Some(open) = open.as_mut() else { return };
                let far = TcpStream::connect(("127.0.0.1", server)).unwrap();
                for stream in [&near, &far] {
                    stream.set_nodelay(true).unwrap();
                    open.push(stream.try_clone().unwrap());
                }
                let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut from, mut to) = (far, near);
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        });
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The next connection makes the listener close.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Fixture for SqsFixture {
    type Backend = SqsBackend;

    async fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let way = Relay::start(tokio::task::spawn_blocking(shared).await.unwrap());
        let client = client(way.port);
        Self { way, suffix: format!("-t{}", COUNT.fetch_add(1, Relaxed)), client }
    }

    fn maker(&self) -> impl Fn() -> SqsBackend + Send + Clone + 'static {
        let settings = self.settings();
        move || SqsBackend::connect(settings.clone(), Pop::Safe).unwrap()
    }

    async fn push(&self, queue: &str, payload: &[u8]) {
        let body = String::from_utf8(payload.to_vec()).unwrap();
        self.client.send_message().queue_url(self.url(queue)).message_body(body).send().await.unwrap();
    }

    async fn push_delayed(&self, queue: &str, payload: &[u8], due: i64) {
        let body = String::from_utf8(payload.to_vec()).unwrap();
        let delay = i32::try_from((due - epoch_seconds()).clamp(0, 900)).unwrap();
        let call = self.client.send_message().queue_url(self.url(queue)).message_body(body);
        call.delay_seconds(delay).send().await.unwrap();
    }

    async fn peek(&self, queue: &str) -> Vec<Vec<u8>> {
        let ready = self.messages(queue).into_iter().filter(|message| message["state"] == "ready");
        ready.map(|message| message["body"].as_str().unwrap().as_bytes().to_vec()).collect()
    }

    async fn expire(&self, job: &mut Reservation) {
        let hide = self.client.change_message_visibility().queue_url(self.url(&job.queue));
        hide.receipt_handle(testing::handle(job)).visibility_timeout(0).send().await.unwrap();
        job.receipt = testing::lapsed(job);
    }

    fn attempts(job: &Reservation) -> i64 {
        job.receipt.attempts().unwrap().into()
    }

    async fn go_away(&mut self) {
        self.way.cut();
    }

    async fn come_back(&mut self) {
        self.way.open(shared());
    }
}
