//! Unix sockets: bound in one way, and served within bounds.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::UCred;
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Before another try where no connection can be taken: out of file descriptors, in all likelihood.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds a stream socket, in place of what an earlier process has left there. `mode`: who may connect.
///
/// # Errors
/// Where the file cannot be made.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    make_room(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}

/// The same for datagrams.
///
/// # Errors
/// Where the file cannot be made.
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

/// The path of a socket that the service manager has bound; its name alone where it has none.
pub fn path_of(socket: &std::os::unix::net::UnixListener, name: &str) -> PathBuf {
    let address = socket.local_addr().ok();
    address.as_ref().and_then(|address| address.as_pathname()).unwrap_or(Path::new(name)).to_owned()
}

/// Takes over a socket that the service manager has bound.
///
/// # Errors
/// Where it is no socket to listen on.
pub fn adopt(socket: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// A listening socket that has so many connections at the most.
#[derive(Debug)]
pub struct Bounded {
    listener: UnixListener,
    places: Arc<Semaphore>,
    /// For the log: `the worker socket`.
    name: &'static str,
}

/// A connection, and what the kernel says of the other end. It has its place until that is dropped.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub stream: UnixStream,
    /// Who connected, from that moment on.
    pub peer: UCred,
    /// Its place.
    pub place: OwnedSemaphorePermit,
}

impl Bounded {
    /// With room for so many.
    pub fn new(listener: UnixListener, connections: usize, name: &'static str) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections)), name }
    }

    /// The next connection, once there is room for it.
    pub async fn next(&self) -> Connection {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                // It is never closed.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Ok(peer) = stream.peer_cred() {
                        return Connection { stream, peer, place };
                    }
                }
                Err(error) => {
                    tracing::warn!("{} cannot take a connection: {error}", self.name);
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
            // One that was left is in nobody's way.
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
