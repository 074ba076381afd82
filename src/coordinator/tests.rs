//! Connections on a socket pair, with a systemd that does what the test says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::connection::{self, IN_FLIGHT};
use super::host::Host;
use super::policy::Caps;
use super::server::Caller;
use super::state::Coordinator;
use crate::systemd::{NewScope, SystemdError};
use crate::wire::coordinator::*;

const OWN: &str = "kqueue@shop.service";

/// Units run until the test ends them.
#[derive(Default)]
struct Fake {
    ends: RefCell<BTreeMap<String, UnitEnd>>,
    ended: Notify,
    made: RefCell<Vec<String>>,
    is_stuck: Cell<bool>,
}

impl Fake {
    fn end(&self, unit: &str, result: &str) {
        let end = UnitEnd { result: result.to_owned(), ..UnitEnd::default() };
        self.ends.borrow_mut().insert(unit.to_owned(), end);
        self.ended.notify_waiters();
    }
}

#[async_trait(?Send)]
impl Host for Fake {
    async fn unit_of(&self, pid: i32, _: Option<&OwnedFd>) -> Result<String, SystemdError> {
        let is_own = pid == std::process::id() as i32;
        Ok(if is_own { OWN } else { "ssh.service" }.to_owned())
    }
    async fn start(&self, unit: &str) -> Result<i32, SystemdError> {
        self.made.borrow_mut().push(unit.to_owned());
        Ok(7)
    }
    async fn stop(&self, _: &str) -> Result<(), SystemdError> {
        Ok(())
    }
    async fn kill(&self, unit: &str) -> Result<(), SystemdError> {
        self.end(unit, "signal");
        Ok(())
    }
    async fn scope(&self, new: &NewScope, _: &OwnedFd) -> Result<(), SystemdError> {
        self.made.borrow_mut().push(format!("{} {:?}", new.unit, new.limits.memory_max));
        Ok(())
    }
    async fn limit(&self, _: &str, _: &UnitLimits) -> Result<(), SystemdError> {
        Ok(())
    }
    async fn list(&self, _: &[&str]) -> Result<Vec<(String, String)>, SystemdError> {
        if self.is_stuck.get() {
            std::future::pending::<()>().await;
        }
        Ok(Vec::new())
    }
    async fn inside(&self, _: &str) -> (i32, Option<u64>) {
        (7, None)
    }
    async fn purpose(&self, _: &str) -> Result<Purpose, SystemdError> {
        Ok(Purpose::None)
    }
    async fn ended(&self, unit: &str) -> UnitEnd {
        loop {
            let ended = self.ended.notified();
            if let Some(end) = self.ends.borrow_mut().remove(unit) {
                return end;
            }
            ended.await;
        }
    }
}

/// Root's settings: `broken` cannot be read.
fn caps(app: &str) -> Result<Caps, String> {
    match app {
        "broken" => Err("broken.toml: line 3".to_owned()),
        _ => Ok(Caps { memory_max: Some(512 << 20), workers: 3, ..Caps::default() }),
    }
}

/// A runtime's end of a connection.
struct Peer {
    stream: UnixStream,
    frames: Frames,
    next: u64,
}

impl Peer {
    /// Dials in as the runtime of `app`, whose process has this number.
    fn of(coordinator: &Rc<Coordinator>, app: &str) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let caller =
            Caller { app: app.to_owned(), unit: OWN.to_owned(), pid: 2, user: nix::unistd::geteuid().as_raw() };
        let coordinator = Rc::clone(coordinator);
        tokio::task::spawn_local(async move { connection::serve(&coordinator, theirs, caller).await });
        Self { stream, frames: Frames::new(MAX_ANSWER), next: 1 }
    }

    async fn send(&mut self, verb: Verb) -> u64 {
        let id = self.next;
        self.next += 1;
        self.stream.write_all(&frame(&Request { id, verb })).await.unwrap();
        id
    }

    /// The next message; none when the connection has ended.
    async fn hear(&mut self) -> Option<FromCoordinator> {
        loop {
            if let Some(message) = self.frames.message().unwrap() {
                return Some(message);
            }
            let mut chunk = [0u8; 4096];
            let read = timeout(Duration::from_secs(5), self.stream.read(&mut chunk)).await.expect("something");
            match read {
                Ok(1..) => self.frames.feed(&chunk[..read.unwrap()]),
                _ => return None,
            }
        }
    }

    async fn ask(&mut self, verb: Verb) -> Result<Answer, (Refusal, String)> {
        let id = self.send(verb).await;
        match self.hear().await {
            Some(FromCoordinator::Answer(answer)) if answer.id == id => match answer.error {
                Some(error) => Err(error),
                None => Ok(answer),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn end(&mut self) -> (Unit, String) {
        match self.hear().await {
            Some(FromCoordinator::Notice(Notice::Ended { unit, end })) => (unit, end.result),
            other => panic!("{other:?}"),
        }
    }
}

fn run<T>(test: impl AsyncFnOnce(Rc<Fake>, Rc<Coordinator>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fake = Rc::new(Fake::default());
    let coordinator = Coordinator::new(Rc::clone(&fake) as Rc<dyn Host>, caps);
    tokio::task::LocalSet::new().block_on(&runtime, test(fake, coordinator))
}

fn scope_of(pid: i32, memory_max: Option<u64>) -> Verb {
    Verb::Scope { scope: "a-1".to_owned(), pid, limits: UnitLimits { memory_max, ..UnitLimits::default() } }
}

#[test]
fn what_is_no_request_ends_the_connection() {
    run(async |_, coordinator| {
        let no_verb = [&8u32.to_be_bytes()[..], br#"{"id":1}"#].concat();
        let too_long = (MAX_REQUEST as u32 + 1).to_be_bytes().to_vec();
        for bytes in [b"GET / HTTP/1.1\r\n".to_vec(), no_verb, too_long] {
            let mut peer = Peer::of(&coordinator, "shop");
            assert!(peer.ask(Verb::List).await.is_ok());
            peer.stream.write_all(&bytes).await.unwrap();
            assert_eq!(peer.hear().await, None);
        }
        assert_eq!(coordinator.connections(), 0);
    });
}

#[test]
fn a_flood_is_busy_and_nothing_more() {
    run(async |fake, coordinator| {
        let (mut flood, mut other) = (Peer::of(&coordinator, "flood"), Peer::of(&coordinator, "shop"));
        fake.is_stuck.set(true);
        for _ in 0..IN_FLIGHT + 10 {
            flood.send(Verb::List).await;
        }
        for _ in 0..10 {
            let Some(FromCoordinator::Answer(answer)) = flood.hear().await else { panic!("no answer") };
            assert!(matches!(answer.error, Some((Refusal::Busy, _))), "{answer:?}");
        }
        assert_eq!(other.ask(Verb::Purpose).await.unwrap().purpose, Some(Purpose::None));
    });
}

#[test]
fn who_reads_nothing_is_cut_off() {
    run(async |_, coordinator| {
        let mut peer = Peer::of(&coordinator, "shop");
        let mut sent = 0;
        let request = frame(&Request { id: 1, verb: Verb::Purpose });
        while timeout(Duration::from_secs(30), peer.stream.write_all(&request)).await.expect("an end").is_ok() {
            sent += 1;
            assert!(sent < 1_000_000);
        }
        assert_eq!(coordinator.connections(), 0);
    });
}

#[test]
fn an_app_has_so_many_connections() {
    run(async |_, coordinator| {
        let mut peers: Vec<Peer> = (0..20).map(|_| Peer::of(&coordinator, "shop")).collect();
        assert!(peers[0].ask(Verb::List).await.is_ok());
        assert_eq!(coordinator.connections(), 16);
        assert_eq!(peers[19].hear().await, None);
        assert!(Peer::of(&coordinator, "blog").ask(Verb::List).await.is_ok());
        drop(peers);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(Peer::of(&coordinator, "shop").ask(Verb::List).await.is_ok());
    });
}

#[test]
fn above_roots_caps_nothing_is_changed() {
    run(async |fake, coordinator| {
        let mut peer = Peer::of(&coordinator, "shop");
        let own = std::process::id() as i32;
        for verb in [
            scope_of(own, Some(1 << 30)),
            Verb::Start { worker: 4 },
            Verb::Start { worker: 0 },
            scope_of(1, None),
            scope_of(2, None),
            scope_of(std::os::unix::process::parent_id() as i32, None),
        ] {
            let refused = peer.ask(verb.clone()).await;
            assert!(matches!(refused, Err((Refusal::Refused, _))), "{verb:?}: {refused:?}");
        }
        let mut broken = Peer::of(&coordinator, "broken");
        let refused = broken.ask(scope_of(own, None)).await;
        assert_eq!(refused, Err((Refusal::Refused, "broken.toml: line 3".to_owned())));
        assert!(fake.made.borrow().is_empty());
        peer.ask(scope_of(own, None)).await.unwrap();
        assert_eq!(*fake.made.borrow(), ["kqueue-shop-a-1.scope Some(536870912)"]);
    });
}

#[test]
fn an_end_is_told_to_all_who_wait_and_to_those_who_ask_later() {
    run(async |fake, coordinator| {
        let (mut first, mut second) = (Peer::of(&coordinator, "shop"), Peer::of(&coordinator, "shop"));
        let unit = Unit::Worker(1);
        let watch = || Verb::Watch { units: vec![Unit::Worker(1)] };
        assert_eq!(first.ask(Verb::Start { worker: 1 }).await.unwrap().pid, Some(7));
        second.ask(watch()).await.unwrap();
        fake.end(&unit.name("shop"), "watchdog");
        assert_eq!(first.end().await, (unit.clone(), "watchdog".to_owned()));
        assert_eq!(second.end().await, (unit.clone(), "watchdog".to_owned()));
        // A runtime that was not there when it happened.
        drop((first, second));
        let mut later = Peer::of(&coordinator, "shop");
        later.send(watch()).await;
        assert_eq!(later.end().await, (unit.clone(), "watchdog".to_owned()));
        assert!(matches!(later.hear().await, Some(FromCoordinator::Answer(_))));
        // Another app's worker of that number is another one.
        let mut blog = Peer::of(&coordinator, "blog");
        blog.ask(watch()).await.unwrap();
        // The next worker of that number has its own end.
        later.ask(Verb::Start { worker: 1 }).await.unwrap();
        assert!(coordinator.is_watched("kqueue-worker@shop:1.service"));
        assert!(!coordinator.has_ended("kqueue-worker@shop:1.service"));
    });
}

#[test]
fn a_name_is_used_once() {
    run(async |_, coordinator| {
        let mut peer = Peer::of(&coordinator, "shop");
        let own = std::process::id() as i32;
        peer.ask(scope_of(own, None)).await.unwrap();
        assert!(matches!(peer.ask(scope_of(own, None)).await, Err((Refusal::Refused, _))));
        peer.send(Verb::Kill { unit: Unit::Scope("a-1".to_owned()) }).await;
        // The answer and the notice, in either order.
        assert!(peer.hear().await.is_some() && peer.hear().await.is_some());
        assert!(matches!(peer.ask(scope_of(own, None)).await, Err((Refusal::Refused, _))));
    });
}
