//! The `kqueue` command as a user meets it: exit codes, and what is on stdout and stderr.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn kqueue(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kqueue")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn app() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    std::fs::write(dir.path().join("artisan"), "").unwrap();
    dir
}

#[test]
fn exit_codes() {
    let app = app();
    let path = app.path().to_str().unwrap();
    let bad = app.path().join("bad.toml");
    std::fs::write(&bad, "\npool_sise = 3\n").unwrap();
    let bad = bad.to_str().unwrap();
    let cases: &[(&[&str], i32)] = &[
        (&["--version"], 0),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["config", "example"], 0),
        (&[], 2),
        (&["runn"], 2),
        (&["run", "--no-such"], 2),
        (&["run", "--path", path, "--sleep=3"], 2),
        (&["run", "--path", path, "--pool-size", "many"], 2),
        (&["run", "Not A Name"], 2),
        (&["worker", "shop"], 2),
        (&["worker", "no_such_app_here:1"], 78),
        (&["run"], 78),
        (&["run", "no_such_app_here"], 78),
        (&["run", "--path", "/no/such/directory"], 78),
        (&["config", "check", "--config", bad], 78),
    ];
    for (args, code) in cases {
        let output = kqueue(args);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {}", text(&output.stderr));
    }
    let output = kqueue(&["config", "check", "--config", bad]);
    let expected = format!("kqueue: {bad}:2: unknown key \"pool_sise\"; did you mean \"pool_size\"?\n");
    assert_eq!(text(&output.stderr), expected);
    assert!(output.stdout.is_empty());
}

#[test]
fn examples_are_right() {
    let app = app();
    let examples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/examples")).unwrap();
    let files = examples.map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(!files.is_empty());
    for file in &files {
        let file = file.to_str().unwrap();
        // Their apps and their PHP are not on this machine.
        let path = app.path().to_str().unwrap();
        let output = kqueue(&["config", "check", "--config", file, "--path", path, "--php", "/bin/sh"]);
        assert!(output.status.success(), "{file}: {}", text(&output.stderr));
    }
}

#[test]
fn check_prints_what_is_in_effect() {
    let app = app();
    let file = app.path().join("shop.toml");
    // Any program does for PHP: nothing is run.
    std::fs::write(&file, "path = \".\"\nphp = \"/bin/sh\"\ntries = 4\ninline_max_duration = \"500ms\"\n").unwrap();
    let args = ["config", "check", "--config", file.to_str().unwrap(), "--timeout", "5min"];
    let output = kqueue(&args);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let has = |value: &str, place: &str| {
        shown.lines().any(|line| line.starts_with(value) && line.ends_with(&format!("# {place}")))
    };
    assert!(has("tries = 4 ", "line 3"), "{shown}");
    assert!(has("timeout = 300 ", "command line"), "{shown}");
    assert!(has("crash = \"replay\" ", "default"), "{shown}");
    let output = kqueue(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["app"], "shop");
    assert_eq!(json["settings"]["tries"], 4);
    assert_eq!(json["settings"]["inline_max_duration"], 0.5);
    assert_eq!(Path::new(json["settings"]["path"].as_str().unwrap()), app.path());
}

#[test]
fn a_closed_stdout_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for args in [&["config", "example"][..], &["--help"], &["--version"]] {
        let command = Command::new(env!("CARGO_BIN_EXE_kqueue"))
            .args(args)
            .stdout(writer.try_clone().unwrap())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(command.status.code(), Some(0), "{args:?}: {}", text(&command.stderr));
        assert_eq!(text(&command.stderr), "");
    }
}
