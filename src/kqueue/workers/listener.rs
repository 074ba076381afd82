//! The worker socket.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use kqueue_config::WORKER_SOCKET;

use super::connection::{Peer, Said, refuse, serve};
use kqueue_system::identity::{NotPrivate, make_private};
use kqueue_system::sockets::{self, Bounded, Connection};

/// Maximum open connections, including those without a hello yet.
const CONNECTIONS: usize = 512;

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A file cannot be made or opened.
    #[error("{path}: {source}")]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another runtime works from that directory.
    #[error("{0}: another kqueue uses this directory; stop it, or set another runtime_dir")]
    Taken(PathBuf),
    /// Other users could write to the directory.
    #[error("{0}; set another runtime_dir")]
    NotPrivate(#[from] NotPrivate),
}

/// The bound socket. The lock file beside it is held as long as this lives.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    _lock: Option<Flock<fs::File>>,
}

impl Listener {
    /// Creates the directory, accessible to us alone, and binds `worker.sock` in it.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(directory: &Path) -> Result<Self, ListenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| ListenError::Io { path, source }
        };
        let directory = &make_private(directory)?;
        let lock = directory.join("lock");
        let file = fs::File::create(&lock).map_err(io(&lock))?;
        let held =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| ListenError::Taken(directory.to_owned()))?;
        let path = directory.join(WORKER_SOCKET);
        let listener = sockets::bind(&path, 0o600).map_err(io(&path))?;
        Ok(Self { listener, path, _lock: Some(held) })
    }

    /// Adopts the socket that the service manager has bound and keeps. The manager ensures that only one runtime uses
    /// it.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn adopt(socket: std::os::unix::net::UnixListener) -> Result<Self, ListenError> {
        let path = sockets::path_of(&socket, WORKER_SOCKET);
        let listener = sockets::adopt(socket).map_err(|source| ListenError::Io { path: path.clone(), source })?;
        Ok(Self { listener, path, _lock: None })
    }

    /// Binds the socket in our own directory, where older versions had it and where their surviving processes connect.
    /// `None` if no such version has run here.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn left(directory: &Path) -> Result<Option<Self>, ListenError> {
        match fs::symlink_metadata(directory.join(WORKER_SOCKET)) {
            Ok(_) => Self::bind(directory).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves connections forever, passing on their messages. Accepts our own user's processes only.
    pub async fn serve(self, said: mpsc::Sender<Said>) {
        let own = nix::unistd::geteuid().as_raw();
        let listener = Bounded::new(self.listener, CONNECTIONS, "the worker socket");
        loop {
            let Connection { stream, peer, place } = listener.next().await;
            let peer = Peer { pid: peer.pid().unwrap_or(0), uid: peer.uid() };
            if peer.uid != own || peer.pid == 0 {
                refuse(peer, "does not run as the app's user");
                continue;
            }
            let said = said.clone();
            tokio::task::spawn_local(async move {
                serve(stream, peer, said).await;
                drop(place);
            });
        }
    }
}
