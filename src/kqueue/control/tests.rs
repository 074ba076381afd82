use tokio::task::LocalSet;

use super::*;
use kqueue_control::{AskError, JobsFilter, State, ask, request};

fn shop(status: &str) -> Snapshot {
    Snapshot { version: 1, app: "shop".to_owned(), status: status.to_owned(), ..Snapshot::default() }
}

fn on_a_loop(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

fn own_gid() -> Gid {
    nix::unistd::getegid()
}

/// Answers every request with a snapshot that holds the number of requests so far.
fn runtime(socket: ControlSocket) {
    let (asks, mut asked) = mpsc::channel::<Ask>(1);
    tokio::task::spawn_local(socket.serve(asks, shop("starting")));
    tokio::task::spawn_local(async move {
        let mut count = 0;
        while let Some(ask) = asked.recv().await {
            count += 1;
            let told = match &ask.request {
                Request::Snapshot => {
                    serde_json::to_vec(&Snapshot { state: State::Running, ..shop(&count.to_string()) })
                }
                request => serde_json::to_vec(&json!({ "version": 1, "asked": request, "owner": ask.owner })),
            };
            let _ = ask.answer.send(told.unwrap());
        }
    });
}

#[test]
fn one_snapshot_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        runtime(ControlSocket::bind_for(dir.path(), None).unwrap());
        let path = dir.path().join(CONTROL_SOCKET);
        let first = ask(&path).await.unwrap();
        assert_eq!((first["app"].as_str(), first["state"].as_str()), (Some("shop"), Some("running")));
        assert_eq!(first["status"], "1");
        // Many concurrent requests cost one snapshot.
        let all = (0..100).map(|_| {
            tokio::task::spawn_local({
                let path = path.clone();
                async move { ask(&path).await.unwrap()["status"].as_str().unwrap().to_owned() }
            })
        });
        let mut counts: Vec<u32> = Vec::new();
        for one in all.collect::<Vec<_>>() {
            counts.push(one.await.unwrap().parse().unwrap());
        }
        assert!(counts.iter().all(|count| *count < 50), "{counts:?}");
    });
}

#[test]
fn modes_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let path = dir.path().join(CONTROL_SOCKET);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let alone = ControlSocket::bind_for(dir.path(), None).unwrap();
        assert_eq!((mode(&path), alone.rule.gid, mode(dir.path())), (0o600, None, 0o700));
        let shared = ControlSocket::bind_for(dir.path(), Some(own_gid())).unwrap();
        assert_eq!((mode(&path), shared.rule.gid), (0o660, Some(own_gid().as_raw())));
        assert_eq!(mode(dir.path()), 0o710);
        let other = dir.path().join("given.sock");
        let given = StdListener::bind(&other).unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o660)).unwrap();
        assert_eq!(ControlSocket::given(given.try_clone().unwrap()).unwrap().rule, shared.rule);
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(ControlSocket::given(given).unwrap().rule, alone.rule);
    });
}

#[test]
fn a_stranger_is_told_that_it_may_not() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let mut socket = ControlSocket::bind_for(dir.path(), None).unwrap();
        // This rule allows root alone, which cannot be refused.
        socket.rule = Rule { uid: u32::MAX, gid: None };
        if geteuid().is_root() {
            return;
        }
        runtime(socket);
        assert!(matches!(ask(&dir.path().join(CONTROL_SOCKET)).await, Err(AskError::Denied)));
    });
}

#[test]
fn while_nobody_makes_one_it_is_told_that_the_runtime_starts_or_stops() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let mut socket = ControlSocket::bind_for(dir.path(), None).unwrap();
        (socket.read, socket.make) = (Duration::from_millis(20), Duration::from_millis(50));
        let (asks, mut asked) = mpsc::channel(1);
        tokio::task::spawn_local(socket.serve(asks, shop("starting")));
        let path = dir.path().join(CONTROL_SOCKET);
        assert_eq!(ask(&path).await.unwrap()["status"], "starting");
        asked.close();
        let told = ask(&path).await.unwrap();
        assert_eq!((&told["status"], &told["state"]), (&"shop: stopping".into(), &"stopping".into()));
    });
}

#[test]
fn who_does_not_read_costs_a_moment_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        let mut socket = ControlSocket::bind_for(dir.path(), None).unwrap();
        socket.read = Duration::from_millis(50);
        let (asks, mut asked) = mpsc::channel::<Ask>(1);
        let large = Snapshot { connection: "x".repeat(4 << 20), ..shop("large") };
        tokio::task::spawn_local(socket.serve(asks, shop("starting")));
        tokio::task::spawn_local(async move {
            while let Some(ask) = asked.recv().await {
                let _ = ask.answer.send(serde_json::to_vec(&large).unwrap());
            }
        });
        let path = dir.path().join(CONTROL_SOCKET);
        let mut deaf = Vec::new();
        for _ in 0..3 * CONNECTIONS {
            deaf.push(UnixStream::connect(&path).await.unwrap());
        }
        let told = ask(&path).await.unwrap();
        assert_eq!(told["status"], "large");
        drop(deaf);
    });
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        assert!(matches!(ask(&dir.path().join(CONTROL_SOCKET)).await, Err(AskError::NotRunning)));
        drop(StdListener::bind(dir.path().join(CONTROL_SOCKET)).unwrap());
        assert!(matches!(ask(&dir.path().join(CONTROL_SOCKET)).await, Err(AskError::NotRunning)));
    });
}

#[test]
fn a_request_is_one_short_line() {
    let dir = tempfile::tempdir().unwrap();
    on_a_loop(async {
        runtime(ControlSocket::bind_for(dir.path(), None).unwrap());
        let path = dir.path().join(CONTROL_SOCKET);
        let jobs = Request::Jobs(JobsFilter { limit: 3, ..JobsFilter::default() });
        let answer: serde_json::Value = request(&path, &jobs).await.unwrap();
        assert_eq!((&answer["asked"]["limit"], &answer["owner"]), (&json!(3), &json!(true)));
        let told = |sent: Vec<u8>| {
            let path = path.clone();
            async move {
                let mut stream = UnixStream::connect(&path).await.unwrap();
                let _ = stream.write_all(&sent).await;
                let _ = AsyncWriteExt::shutdown(&mut stream).await;
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer).await;
                answer
            }
        };
        // Clients of old versions send no request.
        assert!(told(Vec::new()).await.contains(r#""app":"shop""#));
        for nonsense in [&b"{\"ask\":\"moon\"}\n"[..], b"{\"ask\":\"metrics\"}", b"\n", b"\xff\n"] {
            let answer = told(nonsense.to_vec()).await;
            assert!(answer.contains(r#""unable":"#), "{answer}");
        }
        let endless = told(vec![b' '; 1 << 20]).await;
        assert!(endless.is_empty() || endless.contains(r#""unable":"#), "{endless}");
        // A client that only connects gets the snapshot too.
        let mut mute = UnixStream::connect(&path).await.unwrap();
        let mut answer = String::new();
        mute.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(r#""state":"running""#), "{answer}");
    });
}
