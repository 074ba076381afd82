//! Tests of connections over a socket pair, with a fake systemd.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::app::{self, IN_FLIGHT};
use super::connection;
use super::host::Host;
use super::policy::Caps;
use super::server::Caller;
use super::state::Coordinator;
use kqueue_core::wire::coordinator::*;
use kqueue_system::systemd::{NewScope, SystemdError, process};

const OWN: &str = "kqueue@shop.service";

/// A fake systemd, whose units run until the test ends them.
#[derive(Default)]
struct Fake {
    ends: RefCell<BTreeMap<String, UnitEnd>>,
    ended: Notify,
    made: RefCell<Vec<String>>,
    is_stuck: Cell<bool>,
    /// Existing units, as listed.
    there: RefCell<BTreeSet<String>>,
    /// Number of `list` calls in all; `lists` is those under way, `most_lists` their maximum.
    calls: Cell<usize>,
    lists: Cell<usize>,
    most_lists: Cell<usize>,
    /// The unit of the test's process, if not the runtime's.
    place: RefCell<Option<String>>,
    /// The runtime is stopped.
    is_stopped: Cell<bool>,
    stopped: Notify,
}

impl Fake {
    fn end(&self, unit: &str, result: &str) {
        let end = UnitEnd { result: result.to_owned(), ..UnitEnd::default() };
        self.there.borrow_mut().remove(unit);
        self.ends.borrow_mut().insert(unit.to_owned(), end);
        self.ended.notify_waiters();
    }
}

#[async_trait(?Send)]
impl Host for Fake {
    async fn unit_of(&self, pid: i32, _: Option<&OwnedFd>) -> Result<String, SystemdError> {
        let is_own = pid == std::process::id() as i32;
        let own = self.place.borrow();
        Ok(if is_own { own.as_deref().unwrap_or(OWN) } else { "ssh.service" }.to_owned())
    }
    async fn start(&self, unit: &str) -> Result<i32, SystemdError> {
        self.made.borrow_mut().push(unit.to_owned());
        Ok(7)
    }
    async fn main_pid(&self, _: &str) -> Result<i32, SystemdError> {
        Ok(std::process::id() as i32)
    }
    /// Units with `deaf` in their name have to be killed.
    async fn stop(&self, unit: &str) -> Result<(), SystemdError> {
        if !unit.contains("deaf") {
            self.end(unit, "success");
        }
        Ok(())
    }
    async fn kill(&self, unit: &str) -> Result<(), SystemdError> {
        self.end(unit, "signal");
        Ok(())
    }
    async fn reset(&self, _: &str) -> Result<(), SystemdError> {
        Ok(())
    }
    async fn scope(&self, new: &NewScope, _: &OwnedFd) -> Result<(), SystemdError> {
        self.made.borrow_mut().push(format!("{} {:?}", new.unit, new.limits.memory_max));
        Ok(())
    }
    async fn list(&self, _: &[&str]) -> Result<Vec<(String, String)>, SystemdError> {
        self.calls.set(self.calls.get() + 1);
        self.lists.set(self.lists.get() + 1);
        self.most_lists.set(self.most_lists.get().max(self.lists.get()));
        if self.is_stuck.get() {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        self.lists.set(self.lists.get() - 1);
        Ok(self.there.borrow().iter().map(|unit| (unit.clone(), "active".to_owned())).collect())
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
    async fn stopped(&self, _: &str) {
        while !self.is_stopped.get() {
            self.stopped.notified().await;
        }
    }
    async fn rest(&self, _: &str) -> Result<Option<String>, SystemdError> {
        Ok(self.is_stopped.get().then(|| "inactive".to_owned()))
    }
}

/// Root's settings; those of `broken` cannot be read.
fn caps(app: &str) -> Result<Caps, String> {
    match app {
        "broken" => Err("broken.toml: line 3".to_owned()),
        _ => Ok(Caps { memory_max: Some(512 << 20), workers: 3, scopes: 2, ..Caps::default() }),
    }
}

/// A runtime's end of a connection.
struct Peer {
    stream: UnixStream,
    frames: Frames,
    next: u64,
}

impl Peer {
    /// Connects as the runtime of `app`, with a pidfd of the test's process.
    fn of(coordinator: &Rc<Coordinator>, app: &str) -> Self {
        let own = process::hold(std::process::id() as i32).unwrap();
        Self::with(coordinator, app, own)
    }

    /// Likewise, with this pidfd of the process that has connected.
    fn with(coordinator: &Rc<Coordinator>, app: &str, pidfd: OwnedFd) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let caller = Caller {
            app: coordinator.app(app),
            unit: OWN.to_owned(),
            pid: 2,
            pidfd: Rc::new(pidfd),
            user: nix::unistd::geteuid().as_raw(),
        };
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

    /// The next message; `None` when the connection has ended.
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
            flood.send(Verb::Kill { unit: Unit::Worker(1) }).await;
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
        // The answer quotes the long name.
        let long = Verb::Scope { scope: "x".repeat(15_000), pid: 2, limits: UnitLimits::default() };
        let request = frame(&Request { id: 1, verb: long });
        while timeout(Duration::from_secs(30), peer.stream.write_all(&request)).await.expect("an end").is_ok() {
            sent += 1;
            assert!(sent < 200, "{} bytes are held", coordinator.app("shop").unread.get());
        }
        assert_eq!(coordinator.connections(), 0);
        assert_eq!(coordinator.app("shop").unread.get(), 0);
    });
}

/// Waits for a condition, at most five seconds.
async fn until(is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
}

#[test]
fn an_app_has_so_many_connections() {
    run(async |_, coordinator| {
        let mut peers: Vec<Peer> = (0..20).map(|_| Peer::of(&coordinator, "shop")).collect();
        assert!(peers[0].ask(Verb::List).await.is_ok());
        assert_eq!(coordinator.connections(), app::CONNECTIONS);
        assert_eq!(peers[19].hear().await, None);
        assert!(Peer::of(&coordinator, "blog").ask(Verb::List).await.is_ok());
        drop(peers);
        until(|| coordinator.connections() == 0).await;
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
fn a_process_comes_into_a_scope_out_of_the_apps_own_services() {
    run(async |fake, coordinator| {
        let mut peer = Peer::of(&coordinator, "shop");
        let own = std::process::id() as i32;
        for place in
            ["kqueue-worker@blog:1.service", "kqueue-worker@shop:01.service", "kqueue-shop-b-1.scope", "x.service"]
        {
            *fake.place.borrow_mut() = Some(place.to_owned());
            let refused = peer.ask(scope_of(own, None)).await;
            assert!(matches!(refused, Err((Refusal::Refused, _))), "{place}: {refused:?}");
        }
        assert!(fake.made.borrow().is_empty());
        *fake.place.borrow_mut() = Some("kqueue-worker@shop:1.service".to_owned());
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
        // A runtime that connects after the end.
        drop((first, second));
        let mut later = Peer::of(&coordinator, "shop");
        later.send(watch()).await;
        assert_eq!(later.end().await, (unit.clone(), "watchdog".to_owned()));
        assert!(matches!(later.hear().await, Some(FromCoordinator::Answer(_))));
        // Another app's worker with that number is a different unit.
        let mut blog = Peer::of(&coordinator, "blog");
        blog.ask(watch()).await.unwrap();
        // The next worker with that number starts without a stored end.
        later.ask(Verb::Start { worker: 1 }).await.unwrap();
        assert!(coordinator.is_watched("kqueue-worker@shop:1.service"));
        assert!(coordinator.app("shop").end_of("kqueue-worker@shop:1.service").is_none());
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

#[test]
fn one_list_at_a_time() {
    run(async |fake, coordinator| {
        let mut peers = [(); 3].map(|()| Peer::of(&coordinator, "shop"));
        for peer in &mut peers {
            for _ in 0..5 {
                peer.send(Verb::List).await;
            }
        }
        for peer in &mut peers {
            for _ in 0..5 {
                assert!(matches!(peer.hear().await, Some(FromCoordinator::Answer(Answer { units: Some(_), .. }))));
            }
        }
        assert_eq!(fake.most_lists.get(), 1);
        // Several lists of one connection are still served one at a time.
        fake.calls.set(0);
        fake.is_stuck.set(true);
        for _ in 0..5 {
            peers[0].send(Verb::List).await;
        }
        while fake.calls.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(fake.calls.get(), 1);
        // Another app can list meanwhile.
        fake.is_stuck.set(false);
        assert!(Peer::of(&coordinator, "blog").ask(Verb::List).await.is_ok());
    });
}

#[test]
fn who_asks_too_much_is_served_more_slowly() {
    run(async |_, coordinator| {
        let (mut flood, mut other) = (Peer::of(&coordinator, "flood"), Peer::of(&coordinator, "shop"));
        let asked = std::time::Instant::now();
        let mut answers = 0;
        for _ in 0..35 {
            flood.send(Verb::List).await;
            other.ask(Verb::Purpose).await.unwrap();
        }
        while answers < 35 {
            answers += usize::from(matches!(flood.hear().await, Some(FromCoordinator::Answer(_))));
        }
        // The first thirty are not delayed, and no answer is lost.
        assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    });
}

#[test]
fn scopes_and_watches_have_a_bound() {
    run(async |fake, coordinator| {
        let mut peer = Peer::of(&coordinator, "shop");
        let scope = |name: &str| Verb::Scope {
            scope: name.to_owned(),
            pid: std::process::id() as i32,
            limits: UnitLimits::default(),
        };
        peer.ask(scope("a")).await.unwrap();
        peer.ask(scope("b")).await.unwrap();
        assert!(matches!(peer.ask(scope("c")).await, Err((Refusal::Refused, _))));
        assert!(Peer::of(&coordinator, "blog").ask(scope("c")).await.is_ok(), "another app has its own");
        fake.end("kqueue-shop-a.scope", "success");
        assert_eq!(peer.end().await.0, Unit::Scope("a".to_owned()));
        peer.ask(scope("c")).await.unwrap();
        let many = |count: usize, of: &str| Verb::Watch {
            units: (0..count).map(|n| Unit::Scope(format!("{of}-{n}"))).collect(),
        };
        assert!(matches!(peer.ask(many(MAX_WATCH + 1, "w")).await, Err((Refusal::Refused, _))));
        let mut answer = Ok(Answer::default());
        for round in 0..20 {
            answer = peer.ask(many(MAX_WATCH, &format!("w{round}"))).await;
            if answer.is_err() {
                break;
            }
        }
        assert!(matches!(answer, Err((Refusal::Busy, _))), "{answer:?}");
    });
}

#[test]
fn a_connection_ends_with_the_process_that_made_it() {
    run(async |fake, coordinator| {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let held = process::hold(child.id() as i32).unwrap();
        let mut peer = Peer::with(&coordinator, "shop", held);
        assert!(peer.ask(Verb::List).await.is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        peer.send(scope_of(std::process::id() as i32, None)).await;
        assert_eq!(peer.hear().await, None);
        assert!(fake.made.borrow().is_empty());
    });
}

#[test]
fn a_stop_leaves_nothing_and_a_restart_everything() {
    run(async |fake, coordinator| {
        let left = ["kqueue-shop-deaf.scope", "kqueue-shop-a.scope", "kqueue-worker@shop:1.service"];
        *fake.there.borrow_mut() = left.map(str::to_owned).into();
        let peer = Peer::of(&coordinator, "shop");
        let gone = || until(|| fake.there.borrow().is_empty());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(fake.there.borrow().len(), 3);
        fake.is_stopped.set(true);
        fake.stopped.notify_one();
        gone().await;
        // Remaining connections have been closed.
        assert_eq!(coordinator.connections(), 0);
        drop(peer);
        // A coordinator that starts after the stop does the same.
        *fake.there.borrow_mut() = ["kqueue-shop-b.scope".to_owned()].into();
        let next = Coordinator::new(Rc::clone(&fake) as Rc<dyn Host>, caps);
        assert_eq!(next.adopt().await, Ok(1));
        gone().await;
    });
}
