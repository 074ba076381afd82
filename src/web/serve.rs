//! The listening sockets and their connections, which are bounded in number and lifetime.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kqueue_config::Surroundings;
use kqueue_system::sockets;
use kqueue_system::systemd::activation::{self, Listening};
use kqueue_system::systemd::health::{self, Watchdog};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

use crate::apps::Apps;
use crate::auth::Keys;
use crate::guard::Guard;
use crate::options::Options;
use crate::routes::router;

/// Maximum number of concurrent connections; others wait in the kernel's backlog, which is bounded too.
const CONNECTIONS: usize = 96;
/// Timeout of the head of a request, the idle time before it included.
const HEADERS: Duration = Duration::from_secs(15);
/// Maximum lifetime of a connection.
const LONGEST: Duration = Duration::from_secs(20 * 60);
/// Maximum size of the head of a request in bytes.
const HEAD: usize = 16 << 10;
/// Maximum number of its header fields.
const FIELDS: usize = 64;
/// Delay before the next attempt after `accept` has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// The name of our sockets in their unit.
const NAME: &str = "web";

/// Why the server ended.
#[derive(Debug)]
pub enum Ended {
    /// Invalid settings, in one line.
    Settings(String),
    /// An error of the operating system, in one line.
    Io(String),
}

/// A connection, of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Listener::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
            Listener::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Unix(_) => None,
            Listener::Tcp(listener) => listener.local_addr().ok(),
        }
    }
}

/// Serves until SIGTERM, SIGINT or the idle exit.
///
/// # Errors
/// When it cannot start.
pub fn run(options: Options) -> Result<(), Ended> {
    let failed = |what: &str, error: io::Error| Ended::Io(format!("{what}: {error}"));
    let keys = Keys::read(&options).map_err(Ended::Settings)?;
    let here = Surroundings::read().map_err(|error| failed("cannot read the working directory", error))?;
    // One thread: the work is nearly all I/O.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| failed("cannot create the event loop", error))?;
    runtime.block_on(async {
        let listeners = listen(&options)?;
        check(&listeners, &keys, &options)?;
        let guard = Arc::new(Guard { keys, names: options.host.clone() });
        let router = router(Apps::new(here), guard);
        serve(listeners, router, options.idle_exit.map(Duration::from_secs))
            .await
            .map_err(|error| failed("cannot handle signals", error))
    })
}

/// The sockets passed by systemd, and those named on the command line.
fn listen(options: &Options) -> Result<Vec<Listener>, Ended> {
    let handed =
        activation::any_listeners(NAME).map_err(|error| Ended::Io(format!("sockets from systemd: {error}")))?;
    let mut all = Vec::new();
    for socket in handed {
        let adopted = match socket {
            Listening::Unix(socket) => sockets::adopt(socket).map(Listener::Unix),
            Listening::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
        };
        all.push(adopted.map_err(|error| Ended::Io(format!("sockets from systemd: {error}")))?);
    }
    if let Some(path) = &options.socket {
        let bound = sockets::bind(path, 0o660).map_err(|error| Ended::Io(format!("{}: {error}", path.display())))?;
        all.push(Listener::Unix(bound));
    }
    for address in &options.listen {
        let bound = std::net::TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        all.push(Listener::Tcp(bound.map_err(|error| Ended::Io(format!("{address}: {error}")))?));
    }
    if all.is_empty() {
        let words =
            "nothing to listen on: systemctl start kqueue-web.socket, or give --socket PATH or --listen ADDRESS:PORT";
        return Err(Ended::Settings(words.to_owned()));
    }
    Ok(all)
}

/// Refuses TCP sockets without authentication, except on loopback with `--loopback-without-password`.
fn check(listeners: &[Listener], keys: &Keys, options: &Options) -> Result<(), Ended> {
    for address in listeners.iter().filter_map(Listener::address).filter(|_| !keys.is_asked()) {
        let fix = "give a token (credential kqueue-web.token, or --token FILE) or passwords (credential kqueue-web.htpasswd, or --htpasswd FILE)";
        if !address.ip().is_loopback() {
            return Err(Ended::Settings(format!("{address} is open to the network without authentication: {fix}")));
        }
        if !options.loopback_without_password {
            let words = format!(
                "{address} is open to every user of this machine without authentication: {fix}, or --loopback-without-password"
            );
            return Err(Ended::Settings(words));
        }
    }
    Ok(())
}

/// Connections in progress, for the idle exit.
#[derive(Debug, Default)]
struct Traffic {
    open: AtomicUsize,
}

async fn serve(listeners: Vec<Listener>, router: Router, idle: Option<Duration>) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (places, traffic) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Traffic::default()));
    let (came, mut comes) = mpsc::channel::<()>(1);
    let count = listeners.len();
    for listener in listeners {
        tokio::spawn(accept(listener, router.clone(), places.clone(), traffic.clone(), came.clone()));
    }
    health::ready();
    health::status(&format!("serving on {count} socket{}", if count == 1 { "" } else { "s" }));
    tracing::info!("ready: {count} sockets");
    let mut watchdog = Watchdog::new();
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        if watchdog.is_due(now) {
            watchdog.feed(now);
        }
        if traffic.open.load(Ordering::Relaxed) > 0 {
            last = now;
        }
        let ends = idle.map(|idle| last + idle);
        if ends.is_some_and(|ends| ends <= now) {
            tracing::info!("idle: exiting; the socket unit starts it again on the next request");
            break;
        }
        let wake = [watchdog.wake(), ends].into_iter().flatten().min().unwrap_or(now + Duration::from_secs(3_600));
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = comes.recv() => last = Instant::now(),
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
    health::stopping();
    Ok(())
}

async fn accept(
    listener: Listener,
    router: Router,
    places: Arc<Semaphore>,
    traffic: Arc<Traffic>,
    came: mpsc::Sender<()>,
) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let _ = came.try_send(());
        let (router, traffic) = (router.clone(), traffic.clone());
        tokio::spawn(async move {
            traffic.open.fetch_add(1, Ordering::Relaxed);
            // A client that disconnects early is no event.
            let _ = tokio::time::timeout(LONGEST, answer(stream, router)).await;
            traffic.open.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

async fn answer(stream: Box<dyn Stream>, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(FIELDS).max_buf_size(HEAD);
    let service = TowerToHyperService::new(router);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("connection failed: {error}");
    }
}
