//! `kqueue status` as an operator meets it, with something that listens where a runtime would.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn status(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
    command.arg("status").args(args).stdin(Stdio::null()).env_remove("XDG_RUNTIME_DIR").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says this to the next who connects, and what they said.
fn listen(directory: &Path, answer: &'static str) -> std::thread::JoinHandle<usize> {
    let path = directory.join("control.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap()
    })
}

const SHOP: &str = r#"{"version":1,"app":"shop","state":"running","status":"shop: 1 running, 0 waiting, 3/s, redis ok",
  "pid":12,"since":1000,"at":1060,"news":[1,2],"queues":[{"name":"default","paused":true,
  "paused_by":{"by":"operator","user":"al\u001bice","every":false},"sizes":{"pending":3,"delayed":0,"reserved":1}}],
  "connection":"redis","workers":[{"id":7,"tier":"pooled","state":"idle","pid":99,"unit":"kqueue-worker@shop:7.service"}]}"#;

#[test]
fn a_snapshot_is_shown_as_text_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["shop", "--runtime-dir", dir.path().to_str().unwrap()];
    let said = listen(dir.path(), SHOP);
    let output = status(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.starts_with("shop: 1 running, 0 waiting, 3/s, redis ok\n"), "{shown}");
    assert!(shown.contains("kqueue-worker@shop:7.service") && shown.contains("redis:default"), "{shown}");
    assert!(shown.contains("paused by al ice\n"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(said.join().unwrap(), r#"{"ask":"snapshot"}"#.len() + 1, "it asks for no more");

    let said = listen(dir.path(), SHOP);
    let output = status(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["app"], &json["news"][1]), (&"shop".into(), &2.into()));
    said.join().unwrap();
}

#[test]
fn each_state_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["shop", "--runtime-dir", dir.path().to_str().unwrap()];
    let cases = [
        (r#"{"version":1,"app":"shop","state":"running"}"#, 0),
        (r#"{"version":1,"app":"shop","state":"starting"}"#, 0),
        (r#"{"version":1,"app":"shop","state":"draining"}"#, 0),
        (r#"{"version":1,"app":"shop","state":"degraded","reason":"the app did not boot: x"}"#, 5),
        (r#"{"version":1,"app":"shop","state":"maintenance","remedy":"php artisan up"}"#, 6),
        (r#"{"version":1,"app":"shop","state":"paused"}"#, 6),
    ];
    for (answer, code) in cases {
        for more in [&[][..], &["--json"]] {
            let said = listen(dir.path(), answer);
            let output = status(&[&args[..], more].concat());
            assert_eq!(output.status.code(), Some(code), "{answer}: {}", text(&output.stderr));
            let shown = text(&output.stdout);
            for word in ["the app did not boot: x", "php artisan up"].iter().filter(|word| answer.contains(*word)) {
                assert!(shown.contains(word), "{shown}");
            }
            said.join().unwrap();
        }
    }
}

#[test]
fn all_apps_are_asked_at_once() {
    let session = tempfile::tempdir().unwrap();
    let apps = ["first", "second", "third"];
    let all_asked = std::sync::Arc::new(std::sync::Barrier::new(apps.len()));
    for app in apps {
        let dir = session.path().join("kqueue").join(app);
        std::fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("control.sock")).unwrap();
        let all_asked = all_asked.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // None answers before each has been asked.
            all_asked.wait();
            stream.write_all(format!(r#"{{"version":1,"app":"{app}","status":"{app}: fine"}}"#).as_bytes()).unwrap();
        });
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
    let output = command.arg("status").stdin(Stdio::null()).env("XDG_RUNTIME_DIR", session.path()).output().unwrap();
    let shown = text(&output.stdout);
    for app in apps {
        assert!(shown.lines().any(|line| line.starts_with(app) && line.ends_with("  fine")), "{shown}");
    }
}

#[test]
fn requests_without_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let args = ["shop", "--runtime-dir", at];
    let stopped = status(&args);
    assert_eq!((stopped.status.code(), text(&stopped.stdout)), (Some(3), "shop: stopped\n".to_owned()));
    let json: serde_json::Value = serde_json::from_slice(&status(&[&args[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!((&json["app"], &json["state"]), (&"shop".into(), &"stopped".into()));

    let cases = [
        (
            r#"{"version":1,"refused":true}"#,
            "permission denied; connect as root or as the app's user, or join the group kqueue",
        ),
        ("", "no reply"),
        ("{\"version\":1,", "invalid reply"),
        ("[]", "invalid reply"),
    ];
    for (answer, why) in cases {
        let said = listen(dir.path(), answer);
        let output = status(&args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.starts_with(&format!("kqueue: shop: {at}/control.sock: {why}")), "{error}");
        assert_eq!((error.lines().count(), output.stdout.len()), (1, 0));
        said.join().unwrap();
    }
}

#[test]
fn names_without_an_app() {
    let output = status(&["no_such_app_here"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("kqueue: no_such_app_here: no such app"));
    assert_eq!(status(&["No Name"]).status.code(), Some(2));
    assert_eq!(status(&["--config", "/no/such.toml"]).status.code(), Some(78));
    let all = status(&["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
    assert!(json.is_array());
}
