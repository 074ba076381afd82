//! The doorbell: a database does not announce jobs, so an app that has queued one may notify us here, and the queue is
//! polled now instead of a moment later.
//!
//! Any local user may ring, as the web server seldom runs as the app's user: the datagram's content is ignored, and all
//! it can do is to make us poll.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use crate::backend::{Capabilities, DOORBELL};
use kqueue_system::sockets::bind_datagram;

/// Mode of the socket: writable for everybody.
const EVERYBODY: u32 = 0o666;
/// Minimum time between two rings passed on.
const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug)]
pub struct Doorbell {
    /// One message for all rings meanwhile. Closed if there is no doorbell.
    pub rings: mpsc::Receiver<()>,
}

impl Doorbell {
    /// Binds the doorbell in a directory that is ours alone, if the backend needs one. A failure is not fatal: it costs
    /// milliseconds, and no job.
    pub fn bind(directory: &Path, backend: Capabilities) -> Self {
        let (ring, rings) = mpsc::channel(1);
        let path = directory.join(DOORBELL);
        if !backend.doorbell {
            // An earlier runtime may have left its socket.
            let _ = fs::remove_file(&path);
            return Self { rings };
        }
        match bind_datagram(&path, EVERYBODY) {
            Ok(socket) => drop(tokio::task::spawn_local(hear(socket, ring))),
            Err(error) => tracing::warn!("{}: cannot bind the doorbell: {error}", path.display()),
        }
        Self { rings }
    }
}

async fn hear(socket: UnixDatagram, ring: mpsc::Sender<()>) {
    let mut nothing = [0; 1];
    while socket.recv(&mut nothing).await.is_ok() {
        // One poll serves all rings before it. Bounded, so that a flood cannot block this loop.
        for _ in 0..1024 {
            if socket.try_recv(&mut nothing).is_err() {
                break;
            }
        }
        if ring.send(()).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn backend(doorbell: bool) -> Capabilities {
        Capabilities { doorbell, ..Capabilities::ALL }
    }

    #[test]
    fn a_storm_is_a_few_rings() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut bell = Doorbell::bind(dir.path(), backend(true));
            let path = dir.path().join(DOORBELL);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
            let visitor = std::os::unix::net::UnixDatagram::unbound().unwrap();
            visitor.set_nonblocking(true).unwrap();
            // Datagrams beyond the kernel's buffer are dropped, and block no sender.
            (0..5_000).for_each(|_| drop(visitor.send_to(b"anything at all", &path)));
            assert_eq!(bell.rings.recv().await, Some(()));
            let mut more = 0;
            while tokio::time::timeout(PAUSE * 20, bell.rings.recv()).await.is_ok() {
                more += 1;
            }
            assert!(more < 3, "{more}");
            visitor.send_to(b"", &path).unwrap();
            assert_eq!(bell.rings.recv().await, Some(()));
        });
    }

    #[test]
    fn a_queue_that_announces_its_jobs_needs_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DOORBELL), "").unwrap();
        let mut bell = Doorbell::bind(dir.path(), backend(false));
        assert!(!dir.path().join(DOORBELL).exists());
        assert!(bell.rings.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Disconnected));
    }
}
