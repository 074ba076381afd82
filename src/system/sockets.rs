//! Unix sockets: binding, and a bounded number of connections.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::UCred;
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Delay before the next attempt after `accept` has failed, probably for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds a stream socket, in place of one left by an earlier process. `mode` decides who may connect.
///
/// # Errors
/// When the file cannot be created.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    make_room(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}

/// As [`bind`], for datagrams.
///
/// # Errors
/// When the file cannot be created.
pub fn bind_datagram(path: &Path, mode: u32) -> io::Result<UnixDatagram> {
    make_room(path)?;
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(socket)
}

fn make_room(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path of a socket bound by the service manager; `name` if it has none.
pub fn path_of(socket: &std::os::unix::net::UnixListener, name: &str) -> PathBuf {
    let address = socket.local_addr().ok();
    address.as_ref().and_then(|address| address.as_pathname()).unwrap_or(Path::new(name)).to_owned()
}

/// Takes over a socket bound by the service manager.
///
/// # Errors
/// When it is not a listening socket.
pub fn adopt(socket: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// A listening socket with a maximum number of connections.
#[derive(Debug)]
pub struct Bounded {
    listener: UnixListener,
    places: Arc<Semaphore>,
    /// For the log: `the worker socket`.
    name: &'static str,
}

/// A connection, and the credentials of its peer. It occupies a place until `place` is dropped.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub stream: UnixStream,
    /// The peer at the time it connected.
    pub peer: UCred,
    /// Its place.
    pub place: OwnedSemaphorePermit,
}

impl Bounded {
    /// Allows `connections` at a time.
    pub fn new(listener: UnixListener, connections: usize, name: &'static str) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections)), name }
    }

    /// Accepts the next connection, once there is a place for it.
    pub async fn next(&self) -> Connection {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                // The semaphore is never closed.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Ok(peer) = stream.peer_cred() {
                        return Connection { stream, peer, place };
                    }
                }
                Err(error) => {
                    tracing::warn!("{} cannot accept a connection: {error}", self.name);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_connections_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // A socket that was left behind is replaced.
            drop(bind(&path, 0o600).unwrap());
            let bounded = Bounded::new(bind(&path, 0o640).unwrap(), 1, "the socket");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            let _clients = [UnixStream::connect(&path).await.unwrap(), UnixStream::connect(&path).await.unwrap()];
            let first = bounded.next().await;
            assert_eq!(first.peer.pid(), Some(std::process::id() as i32));
            let soon = Duration::from_millis(20);
            assert!(tokio::time::timeout(soon, bounded.next()).await.is_err(), "there is no room");
            drop(first);
            assert!(tokio::time::timeout(Duration::from_secs(10), bounded.next()).await.is_ok());
        });
    }
}
