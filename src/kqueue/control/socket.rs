//! The listening control socket: reads requests, passes them to the runtime, writes answers.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid, User, chown, geteuid};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::page;
use super::peer::{Peer, Rule};
use kqueue_config::CONTROL_SOCKET;
use kqueue_control::{GROUP, LARGEST_REQUEST, Request, Snapshot, VERSION};
use kqueue_system::harmless;
use kqueue_system::sockets::{self, Bounded, Connection};

/// Connections served at once; others wait in the kernel's backlog, which is bounded too.
const CONNECTIONS: usize = 16;
/// Timeout for a peer to send its request, and again to read the answer.
const READ: Duration = Duration::from_secs(2);
/// Timeout for the runtime to make a snapshot; then the peer gets the `meanwhile` one.
const MAKE: Duration = Duration::from_secs(3);
/// Timeout for the runtime to answer any other request.
const ANSWER: Duration = Duration::from_secs(6);
/// A peer that has sent nothing for this long is of an old version that sends no request, and gets the snapshot.
const MUTE: Duration = Duration::from_millis(50);
/// Maximum bytes of a user's name.
const NAME: usize = 64;
/// How long a snapshot is reused for other peers, which makes polling cheap.
const FRESH: Duration = Duration::from_millis(100);

/// A request, and where to send its answer: one JSON object.
#[derive(Debug)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// The peer is the app's own user or root, and may see the contents of jobs.
    pub owner: bool,
    /// Who acts, for the log: the user's name, or `user UID` if it has none. Empty for requests that change nothing.
    pub who: String,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct ControlError {
    path: PathBuf,
    source: io::Error,
}

/// The listening socket.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    rule: Rule,
    /// [`READ`] and [`MAKE`].
    read: Duration,
    make: Duration,
}

impl ControlSocket {
    /// Binds `control.sock` in a directory that only we can write to; the caller has ensured that, and that no other
    /// runtime uses it. If there is a group `kqueue` to which we may give files, its members are allowed; otherwise
    /// only our own user and root.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn bind(directory: &Path) -> Result<Self, ControlError> {
        let group = Group::from_name(GROUP).ok().flatten().map(|group| group.gid);
        Self::bind_for(directory, group)
    }

    fn bind_for(directory: &Path, group: Option<Gid>) -> Result<Self, ControlError> {
        let path = directory.join(CONTROL_SOCKET);
        let listener = sockets::bind(&path, 0o600).map_err(|source| ControlError { path: path.clone(), source })?;
        let given = group.filter(|group| chown(&path, None, Some(*group)).is_ok());
        if let Some(group) = given {
            open_to(directory, group);
            let members = Permissions::from_mode(0o660);
            fs::set_permissions(&path, members).map_err(|source| ControlError { path, source })?;
        }
        Ok(Self::new(listener, given.map(Gid::as_raw)))
    }

    /// Takes over a listening socket made by systemd: members of its file's group are allowed, if the group may write
    /// it.
    ///
    /// # Errors
    /// When it cannot be adopted as a listening socket.
    pub fn given(listener: StdListener) -> Result<Self, ControlError> {
        let path = sockets::path_of(&listener, CONTROL_SOCKET);
        let group = fs::metadata(&path).ok().filter(|file| file.mode() & 0o020 != 0).map(|file| file.gid());
        Ok(Self::new(sockets::adopt(listener).map_err(|source| ControlError { path, source })?, group))
    }

    fn new(listener: UnixListener, gid: Option<u32>) -> Self {
        Self { listener, rule: Rule { uid: geteuid().as_raw(), gid }, read: READ, make: MAKE }
    }

    /// Serves connections forever, making one snapshot at a time for all of them. While the runtime does not take
    /// requests yet, `meanwhile` is the answer; once it no longer does, the same marked as stopping.
    pub async fn serve(self, asks: mpsc::Sender<Ask>, meanwhile: Snapshot) {
        let desk = Rc::new(Mutex::new(Desk { asks, make: self.make, last: None, meanwhile }));
        let listener = Bounded::new(self.listener, CONNECTIONS, "the control socket");
        loop {
            let Connection { stream, peer, place } = listener.next().await;
            let peer = peer.pid().map(|pid| Peer { pid, uid: peer.uid(), gid: peer.gid() });
            let Some(peer) = peer.filter(|peer| self.rule.allows(*peer)) else {
                tracing::debug!("refused a process on the control socket: not a member of the group {GROUP}");
                refuse(&stream);
                continue;
            };
            tracing::trace!("request of process {} of user {}", peer.pid, peer.uid);
            let asker = Asker { owner: peer.uid == 0 || peer.uid == self.rule.uid, uid: peer.uid };
            let desk = desk.clone();
            tokio::task::spawn_local(async move {
                serve_peer(stream, &desk, asker, self.read).await;
                drop(place);
            });
        }
    }
}

/// The peer of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Asker {
    owner: bool,
    uid: u32,
}

impl Asker {
    fn name(self) -> String {
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        user.map_or_else(|| format!("user {}", self.uid), |user| harmless::line(&user.name, NAME))
    }
}

/// Gives a group search permission (`x`, not `r`) on a directory closed to it.
fn open_to(directory: &Path, group: Gid) {
    let Ok(metadata) = fs::metadata(directory) else { return };
    if metadata.mode() & 0o001 == 0 && chown(directory, None, Some(group)).is_ok() {
        let _ = fs::set_permissions(directory, Permissions::from_mode(metadata.mode() & 0o700 | 0o010));
    }
}

/// Tells the peer that it is refused, without waiting.
fn refuse(stream: &UnixStream) {
    let _ = stream.try_write(br#"{"version":1,"refused":true}"#);
}

/// Makes the answers, and caches the last snapshot.
#[derive(Debug)]
struct Desk {
    asks: mpsc::Sender<Ask>,
    make: Duration,
    last: Option<(Instant, Rc<[u8]>)>,
    meanwhile: Snapshot,
}

impl Desk {
    async fn snapshot(&mut self) -> Rc<[u8]> {
        if let Some((_, bytes)) = self.last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return bytes.clone();
        }
        if let Some(bytes) = ask(&self.asks, Request::Snapshot, Asker::default(), self.make).await {
            let bytes: Rc<[u8]> = bytes.into();
            self.last = Some((Instant::now(), bytes.clone()));
            return bytes;
        }
        let meanwhile = self.meanwhile.clone();
        let told = if self.asks.is_closed() { meanwhile.stopping() } else { meanwhile };
        serde_json::to_vec(&told).unwrap_or_default().into()
    }
}

/// Asks the runtime; `None` if it does not answer in time or is about to end.
async fn ask(asks: &mpsc::Sender<Ask>, request: Request, asker: Asker, limit: Duration) -> Option<Vec<u8>> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        // A directory service may be slow.
        let name = || tokio::task::spawn_blocking(move || asker.name());
        let (request, who) = match request {
            Request::OnBehalf { by, act } => {
                let by = harmless::line(&by, NAME);
                let by = if by.is_empty() { "an unknown user" } else { &by };
                (Request::Act(act), format!("{by} via {}", name().await.ok()?))
            }
            Request::Act(act) => (Request::Act(act), name().await.ok()?),
            request => (request, String::new()),
        };
        asks.send(Ask { request, owner: asker.owner, who, answer }).await.ok()?;
        answered.await.ok()
    };
    tokio::time::timeout(limit, asked).await.ok().flatten()
}

async fn serve_peer(mut stream: UnixStream, desk: &Mutex<Desk>, asker: Asker, read: Duration) {
    let request = tokio::time::timeout(read, read_request(&mut stream)).await;
    let bytes = match request.unwrap_or_else(|_| Err("the request was not complete in time".to_owned())) {
        Ok(Request::Snapshot) => desk.lock().await.snapshot().await,
        Ok(Request::Form { deed, fields, base, by }) => {
            let asks = desk.lock().await.asks.clone();
            let told = |request| {
                let asks = asks.clone();
                async move { ask(&asks, request, asker, ANSWER).await }
            };
            page::form(&deed, &fields, &base, by, told).await.into()
        }
        Ok(Request::Page { path, query, base, token }) => {
            let asks = desk.lock().await.asks.clone();
            let told = |request| {
                let asks = asks.clone();
                async move { ask(&asks, request, asker, ANSWER).await }
            };
            page::answer(&path, &query, &base, token, asker.owner, told).await.into()
        }
        Ok(request) => {
            let asks = desk.lock().await.asks.clone();
            let answered = ask(&asks, request, asker, ANSWER).await;
            answered.unwrap_or_else(|| unable("it is starting, stopping, or too busy to answer")).into()
        }
        Err(why) => unable(&why).into(),
    };
    // A peer that does not read in time is disconnected.
    let _ = tokio::time::timeout(read, async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    })
    .await;
}

/// Reads the only request of a connection.
async fn read_request(stream: &mut UnixStream) -> Result<Request, String> {
    let mut bounded = BufReader::new(stream.take(LARGEST_REQUEST));
    if tokio::time::timeout(MUTE, bounded.fill_buf()).await.is_err() {
        return Ok(Request::Snapshot);
    }
    let mut line = Vec::new();
    bounded.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
    match line.last() {
        None => Ok(Request::Snapshot),
        Some(b'\n') => serde_json::from_slice(&line).map_err(|error| format!("unknown or invalid request: {error}")),
        Some(_) => Err(format!("a request is one line of at most {LARGEST_REQUEST} bytes")),
    }
}

/// A reply with the reason why there is no answer.
pub fn unable(why: &str) -> Vec<u8> {
    json!({ "version": VERSION, "unable": why }).to_string().into_bytes()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
