//! Sockets passed by systemd, by their names (`FileDescriptorName=`).

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libsystemd::activation::{IsType as _, receive_descriptors_with_names};

use crate::unchecked;

/// A listening socket.
#[derive(Debug)]
pub enum Listening {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// Interval in which [`refuse`] looks for connections.
const LOOK: Duration = Duration::from_millis(20);

/// Passed sockets that have not been taken yet. Descriptors belong to the whole process, so this is global.
static RECEIVED: OnceLock<Mutex<BTreeMap<String, Vec<Listening>>>> = OnceLock::new();

/// The listening Unix sockets of this name. Each is returned only once. Empty when systemd did not start us.
///
/// # Errors
/// When a descriptor is not what systemd says it is, or not a Unix socket.
pub fn listeners(name: &str) -> io::Result<Vec<UnixListener>> {
    let unix = |socket| match socket {
        Listening::Unix(socket) => Ok(socket),
        Listening::Tcp(_) => Err(io::Error::other(format!("{name}: not a Unix socket"))),
    };
    any_listeners(name)?.into_iter().map(unix).collect()
}

/// As [`listeners`], TCP sockets included.
///
/// The environment variables of the passed sockets stay set: they must not be changed once there are threads, and they
/// contain our process id, so that no child takes the sockets for its own.
///
/// # Errors
/// When a descriptor is not what systemd says it is.
pub fn any_listeners(name: &str) -> io::Result<Vec<Listening>> {
    if RECEIVED.get().is_none() {
        let received = receive()?;
        let _ = RECEIVED.set(Mutex::new(received));
    }
    let Some(received) = RECEIVED.get() else { return Ok(Vec::new()) };
    Ok(received.lock().unwrap_or_else(PoisonError::into_inner).remove(name).unwrap_or_default())
}

/// Accepts and closes connections on all passed Unix sockets that have not been taken, for this long. Left in their
/// backlogs, they would start the service again as soon as it ends.
pub fn refuse(time: Duration) {
    // Received, if nothing has asked before.
    let _ = any_listeners("");
    let left =
        RECEIVED.get().map(|received| std::mem::take(&mut *received.lock().unwrap_or_else(PoisonError::into_inner)));
    let sockets: Vec<Listening> = left.unwrap_or_default().into_values().flatten().collect();
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::sleep(LOOK);
        for socket in &sockets {
            if let Listening::Unix(socket) = socket {
                while socket.accept().is_ok() {}
            }
        }
    }
}

fn receive() -> io::Result<BTreeMap<String, Vec<Listening>>> {
    let descriptors = receive_descriptors_with_names(false).map_err(io::Error::other)?;
    let mut listeners: BTreeMap<String, Vec<Listening>> = BTreeMap::new();
    for (descriptor, name) in descriptors {
        let (is_unix, is_inet) = (descriptor.is_unix(), descriptor.is_inet());
        if !is_unix && !is_inet {
            return Err(io::Error::other(format!("{name}: neither a Unix nor an internet socket")));
        }
        let socket = unchecked::owned(descriptor);
        let listening = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::AcceptConn)?;
        let kind = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::SockType)?;
        if !listening || kind != nix::sys::socket::SockType::Stream {
            return Err(io::Error::other(format!("{name}: not a listening stream socket")));
        }
        let listener = if is_unix {
            let listener = UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            Listening::Unix(listener)
        } else {
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            Listening::Tcp(listener)
        };
        listeners.entry(name).or_default().push(listener);
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_without_systemd() {
        assert!(listeners("coordinator").unwrap().is_empty());
        assert!(listeners("coordinator").unwrap().is_empty());
    }
}
