//! Accepts and identifies connections: the kernel names the process, systemd its unit. Only the runtime of an app,
//! which
//! is the main process of its unit, is served, and only as that app.
//!
//! The checks are in order of cost: the user by peer credentials, with a rate limit; the process's control group, by
//! the
//! kernel (unknown processes are rejected here, without a call to systemd); the quotas of the app and the user; then
//! the unit, by systemd.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream as TokioStream;
use tokio::time::timeout;

use super::app::App;
use super::connection;
use super::state::Coordinator;
use kqueue_system::proc;
use kqueue_system::systemd::{names, process};

/// Maximum number of connections.
const CONNECTIONS: usize = 1024;
/// Maximum number of connections that wait for systemd's identification, and of those, of one user: several apps may
/// run as one user, and all reconnect at once after a restart of the coordinator.
const UNIDENTIFIED: usize = 32;
const OF_ONE_USER: usize = 16;
/// Timeout of an identification.
const IDENTIFICATION: Duration = Duration::from_secs(15);
/// Interval of the loop without connections, which proves to the watchdog that it is alive.
const ROUND: Duration = Duration::from_secs(1);
/// Path of the coordinator's unit below the root of the service manager's control groups.
const OWN: &str = "/kqueue.slice/kqueue.service";

/// The identified peer of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The app, by the name of its unit.
    pub(super) app: Rc<App>,
    /// Its unit.
    pub(super) unit: String,
    /// Its process.
    pub(super) pid: i32,
    /// A pidfd of that process.
    pub(super) pidfd: Rc<OwnedFd>,
    /// Its user.
    pub(super) user: u32,
}

/// A peer as identified by the kernel, before systemd.
#[derive(Debug)]
struct Peer {
    stream: UnixStream,
    pid: i32,
    user: u32,
    pidfd: OwnedFd,
    app: Rc<App>,
}

/// Number of connections that wait for systemd, by user.
#[derive(Clone, Debug, Default)]
struct Unidentified(Rc<RefCell<BTreeMap<u32, usize>>>);

/// A counted connection of a user; uncounted when dropped.
#[derive(Debug)]
struct Turn(Unidentified, u32);

impl Unidentified {
    fn turn(&self, user: u32) -> Option<Turn> {
        let mut users = self.0.borrow_mut();
        let all: usize = users.values().sum();
        let own = users.get(&user).copied().unwrap_or(0);
        if all >= UNIDENTIFIED || own >= OF_ONE_USER {
            return None;
        }
        users.insert(user, own + 1);
        Some(Turn(self.clone(), user))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut users = self.0.0.borrow_mut();
        match users.get_mut(&self.1) {
            Some(own @ 2..) => *own -= 1,
            _ => drop(users.remove(&self.1)),
        }
    }
}

/// Accepts connections forever.
pub(super) async fn accept(coordinator: &Rc<Coordinator>, listener: UnixListener) -> io::Result<()> {
    let listener = registered(listener)?;
    let unidentified = Unidentified::default();
    let own = proc::cgroup(std::process::id() as i32).unwrap_or_default();
    // Empty on a host; in a container that shares the host's control groups, the container's own path.
    let root = own
        .strip_suffix(OWN)
        .ok_or_else(|| io::Error::other(format!("running in control group {own:?}, not in kqueue.service")))?;
    let mut round = tokio::time::interval(ROUND);
    loop {
        let accepted = tokio::select! {
            accepted = listener.async_io(Interest::READABLE, UnixListener::accept) => accepted,
            _ = round.tick() => {
                coordinator.round();
                continue;
            }
        };
        coordinator.round();
        match accepted {
            Ok((stream, _)) => admit(coordinator, stream, root, &unidentified),
            // Out of descriptors or memory: pause instead of spinning.
            Err(error) => {
                coordinator.strangers.turned_away(None, "a connection", &error.to_string());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // A flood of connections must not starve the connections that are served.
        tokio::task::yield_now().await;
    }
}

/// Registers the listener with the event loop. Not tokio's own listener, which also registers every accepted
/// connection:
/// rejected connections would cost as much as served ones.
#[expect(deprecated, reason = "its successor is unsafe for the sake of types that lend a descriptor they may close")]
fn registered(listener: UnixListener) -> io::Result<AsyncFd<UnixListener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// Starts a task that identifies and serves a connection, or rejects it.
fn admit(coordinator: &Rc<Coordinator>, stream: UnixStream, root: &str, unidentified: &Unidentified) {
    let Some(peer) = tell_apart(coordinator, stream, root) else { return };
    let who = format!("process {} of user {}", peer.pid, peer.user);
    let turn = match () {
        () if coordinator.connections() >= CONNECTIONS => Err("too many connections"),
        () if !peer.app.may_arrive() => Err("too many new connections from this app"),
        () => unidentified.turn(peer.user).ok_or("too many connections being identified"),
    };
    let turn = match turn {
        Ok(turn) => turn,
        Err(why) => return coordinator.turned_away(&peer.app, &who, why),
    };
    let (coordinator, app) = (Rc::clone(coordinator), Rc::clone(&peer.app));
    tokio::task::spawn_local(async move {
        let caller = timeout(IDENTIFICATION, app.share.of(identify(&coordinator, peer))).await;
        drop(turn);
        match caller.unwrap_or_else(|_| Err("systemd did not reply in time".to_owned())) {
            Ok((stream, caller)) => connection::serve(&coordinator, stream, caller).await,
            Err(why) => coordinator.turned_away(&app, &who, &why),
        }
    });
}

/// Checks by the kernel alone that the peer is in the unit of a runtime. Compares the whole path of the control group:
/// a
/// user's own service manager can give parts of a path any name.
fn tell_apart(coordinator: &Coordinator, stream: UnixStream, root: &str) -> Option<Peer> {
    let peer = match getsockopt(&stream, sockopt::PeerCredentials) {
        Ok(peer) => peer,
        Err(error) => {
            coordinator.strangers.turned_away(None, "a connection", &error.to_string());
            return None;
        }
    };
    let (pid, user) = (peer.pid(), peer.uid());
    if !coordinator.strangers.may_look(user) {
        return None;
    }
    let why = match hold_peer(&stream, pid).zip(proc::cgroup(pid)) {
        Some((pidfd, cgroup)) => match app_in(root, &cgroup) {
            Some(app) => return Some(Peer { stream, pid, user, pidfd, app: coordinator.app(app) }),
            None => "not the runtime of an app",
        },
        None => "the process has ended",
    };
    coordinator.strangers.turned_away(Some(user), &format!("process {pid} of user {user}"), why);
    None
}

/// The app of the runtime with this control group, if it is one.
fn app_in<'a>(root: &str, cgroup: &'a str) -> Option<&'a str> {
    let app = names::runtime_of(cgroup.rsplit('/').next()?)?;
    (cgroup == format!("{root}/kqueue.slice/{}/{}", names::slice(app), names::runtime(app))).then_some(app)
}

/// Identifies the caller by systemd; the error is the reason of the rejection.
async fn identify(coordinator: &Coordinator, peer: Peer) -> Result<(TokioStream, Caller), String> {
    let Peer { stream, pid, user, pidfd, app } = peer;
    let host = &coordinator.host;
    let unit = host.unit_of(pid, Some(&pidfd)).await.map_err(|error| error.to_string())?;
    if unit != names::runtime(&app.name) {
        return Err(format!("{unit}: not the runtime of an app"));
    }
    // Lanes and isolated jobs are in this unit too.
    if host.main_pid(&unit).await.map_err(|error| error.to_string())? != pid {
        return Err(format!("not the main process of {unit}"));
    }
    // Before Linux 6.5 the process is known by its number only, which another process may have taken over: the user
    // check
    // excludes one of another user. If the process is still alive here, the number was its own during all checks.
    if process::user(pid) != Some(user) || !process::is_alive(&pidfd) {
        return Err("not the process that connected".to_owned());
    }
    let stream = stream.set_nonblocking(true).and_then(|()| TokioStream::from_std(stream));
    let stream = stream.map_err(|error| error.to_string())?;
    Ok((stream, Caller { app, unit, pid, pidfd: Rc::new(pidfd), user }))
}

/// A pidfd of the peer, from the socket if the kernel supports it (Linux 6.5), else by its number.
fn hold_peer(stream: &UnixStream, pid: i32) -> Option<OwnedFd> {
    getsockopt(stream, sockopt::PeerPidfd).ok().or_else(|| process::hold(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_told_by_its_whole_path() {
        assert_eq!(app_in("", "/kqueue.slice/kqueue-shop.slice/kqueue@shop.service"), Some("shop"));
        assert_eq!(app_in("/c", "/c/kqueue.slice/kqueue-my_app.slice/kqueue@my_app.service"), Some("my_app"));
        for stranger in [
            "",
            "/",
            "/kqueue@shop.service",
            "/kqueue.slice/kqueue@shop.service",
            "/kqueue.slice/kqueue-blog.slice/kqueue@shop.service",
            "/kqueue.slice/kqueue-shop.slice/kqueue@shop.service/a",
            "/kqueue.slice/kqueue-shop.slice/kqueue-worker@shop:1.service",
            "/kqueue.slice/kqueue-shop.slice/kqueue-shop-a.scope",
            "/user.slice/user-1.slice/user@1.service/kqueue.slice/kqueue-shop.slice/kqueue@shop.service",
            "/user.slice/user-1.slice/user@1.service/kqueue@shop.service",
            "/c/kqueue.slice/kqueue-shop.slice/kqueue@shop.service",
        ] {
            assert_eq!(app_in("", stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_user_has_a_share_of_the_turns() {
        let unidentified = Unidentified::default();
        let mut turns: Vec<Turn> = (0..OF_ONE_USER).map(|_| unidentified.turn(1).unwrap()).collect();
        assert!(unidentified.turn(1).is_none());
        turns.extend((OF_ONE_USER..UNIDENTIFIED).filter_map(|n| unidentified.turn((n / OF_ONE_USER + 1) as u32)));
        assert_eq!(turns.len(), UNIDENTIFIED);
        assert!(unidentified.turn(9).is_none(), "all together have a bound, too");
        drop(turns);
        assert!(unidentified.turn(1).is_some());
        assert!(unidentified.0.borrow().is_empty(), "nothing is left of those who are gone");
    }
}
