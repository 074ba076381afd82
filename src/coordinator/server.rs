//! Who connects: the kernel says which process it is, systemd which unit that belongs to. Only the runtime of an app
//! is heard, and only as that app.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection;
use super::state::Coordinator;
use crate::systemd::{names, process};

/// Connections there may be.
const CONNECTIONS: usize = 256;
/// Connections that may wait for systemd to say whose they are.
const UNIDENTIFIED: usize = 32;
/// How long that may take.
const IDENTIFICATION: Duration = Duration::from_secs(15);
/// How often the loop comes round when nobody connects.
const ROUND: Duration = Duration::from_secs(1);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The app, as its unit names it.
    pub(super) app: String,
    /// Its unit.
    pub(super) unit: String,
    /// Its process.
    pub(super) pid: i32,
    /// Its user.
    pub(super) user: u32,
}

/// Accepts connections for ever.
pub(super) async fn accept(coordinator: &Rc<Coordinator>, listener: &UnixListener) -> io::Result<()> {
    let turns = Arc::new(Semaphore::new(UNIDENTIFIED));
    let mut round = tokio::time::interval(ROUND);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = round.tick() => {
                coordinator.round();
                continue;
            }
        };
        coordinator.round();
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // Out of descriptors or memory: a pause, so that this loop is not what eats the rest.
            Err(error) => {
                coordinator.turned_away("a connection", &error.to_string());
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            coordinator.turned_away("a connection", "too many at once");
            continue;
        };
        let coordinator = Rc::clone(coordinator);
        tokio::task::spawn_local(async move {
            let caller = timeout(IDENTIFICATION, identify(&coordinator, &stream)).await;
            drop(turn);
            match caller.unwrap_or_else(|_| Err(("a connection".to_owned(), "no answer from systemd".to_owned()))) {
                Ok(caller) => connection::serve(&coordinator, stream, caller).await,
                Err((who, why)) => coordinator.turned_away(&who, &why),
            }
        });
    }
}

/// The caller, or who it seems to be and why it is not heard.
async fn identify(coordinator: &Coordinator, stream: &UnixStream) -> Result<Caller, (String, String)> {
    let unknown = |error: nix::Error| ("a connection".to_owned(), error.to_string());
    let peer = getsockopt(stream, sockopt::PeerCredentials).map_err(unknown)?;
    let (pid, user) = (peer.pid(), peer.uid());
    let who = || format!("process {pid} of user {user}");
    let refuse = |why: &str| Err((who(), why.to_owned()));
    if coordinator.connections() >= CONNECTIONS {
        return refuse("too many connections");
    }
    // Cheap, and enough to keep strangers from making systemd work. What systemd says decides.
    if process::cgroup(pid).is_some_and(|path| !path.split('/').any(|part| names::runtime_of(part).is_some())) {
        return refuse("not the runtime of an app");
    }
    let Some(pidfd) = hold_peer(stream, pid) else { return refuse("gone") };
    let unit = match coordinator.host.unit_of(pid, Some(&pidfd)).await {
        Ok(unit) => unit,
        Err(error) => return refuse(&error.to_string()),
    };
    let Some(app) = names::runtime_of(&unit) else { return refuse(&format!("{unit}: not the runtime of an app")) };
    // Before Linux 6.5 the process is known by number alone, and the number may be another's by now: of another user,
    // unless it is the app's own.
    if process::user(pid) != Some(user) || !process::is_alive(&pidfd) {
        return refuse("not the process that connected");
    }
    Ok(Caller { app: app.to_owned(), unit: unit.clone(), pid, user })
}

/// A hold on the process that connected, by the socket where the kernel can (Linux 6.5), else by its number.
fn hold_peer(stream: &UnixStream, pid: i32) -> Option<OwnedFd> {
    getsockopt(stream, sockopt::PeerPidfd).ok().or_else(|| process::hold(pid))
}
