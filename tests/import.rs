//! `kqueue import`: what each kind of file comes to, to the letter. A case is a file in tests/fixtures/import/KIND and
//! FILE.out beside it: what is printed, what is noted, and the exit code. `KQUEUE_ACCEPT=1` writes what is there now.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is set where import runs; nothing else is.
const ENVIRONMENT: &[(&str, &str)] = &[("APP_PATH", "/srv/env"), ("PHP_PATH", "/usr/bin/php8.4")];

fn fixtures() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/import")).canonicalize().unwrap()
}

fn import(args: &[&str], directory: &Path, input: Stdio) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
    command.arg("import").args(args).current_dir(directory).stdin(input);
    command.env_clear().envs(ENVIRONMENT.iter().copied()).env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = format!("{stdout}---\n{stderr}--- exit code {}\n", output.status.code().unwrap_or(-1));
    said.replace(&fixtures().display().to_string(), "FIXTURES")
}

#[test]
fn each_file_comes_to_what_is_written_beside_it() {
    let mut failed = Vec::new();
    for (kind, names) in [
        (
            "supervisor",
            &[
                "wrappers.conf",
                "variables.conf",
                "orders.conf",
                "include.conf",
                "mark.conf",
                "latin.conf",
                "processes.conf",
            ][..],
        ),
        ("pm2", &["ecosystem.config.js", "pm2.json", "process.yml"]),
        ("compose", &["compose.yaml"]),
        ("cron", &["forge.cron", "system.cron"]),
        ("systemd", &["laravel.service", "app@.service", "docker.service"]),
    ] {
        let directory = fixtures().join(kind);
        for name in names {
            let said = import(&[kind, &format!("./{name}")], &directory, Stdio::null());
            let file = directory.join(format!("{name}.out"));
            if std::env::var_os("KQUEUE_ACCEPT").is_some() {
                fs::write(&file, &said).unwrap();
            } else if fs::read_to_string(&file).unwrap_or_default() != said {
                failed.push(format!("{kind}/{name}:\n{said}"));
            }
        }
    }
    assert!(failed.is_empty(), "not what is in their .out files: {}", failed.join("\n"));
}

#[test]
fn several_files_directories_and_standard_input() {
    let directory = fixtures().join("supervisor");
    let several = import(&["supervisor", "mark.conf", "orders.conf"], &directory, Stdio::null());
    assert!(several.contains("/etc/kqueue/mark.toml") && several.contains("/etc/kqueue/shop.toml"), "{several}");
    let all = import(&["supervisor", "../supervisor"], &directory, Stdio::null());
    for app in ["mark", "shop", "blog", "inner", "deep"] {
        assert!(all.contains(&format!("/etc/kqueue/{app}.toml")), "{app}: {all}");
    }
    let input = fs::File::open(directory.join("mark.conf")).unwrap();
    let piped = import(&["supervisor", "-"], &directory, input.into());
    assert!(piped.contains("[program:mark] (stdin:2)") && piped.contains("path = \"/srv/mark\""), "{piped}");
}

/// One line that names the file and the fix, and the exit code.
#[test]
fn what_cannot_be_read() {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    put("utf16.conf", b"\xff\xfea\0");
    put("large.conf", &vec![b'a'; (1 << 20) + 1]);
    put("open.js", b"module.exports = { apps: [ { name: 'x' }");
    put("run.js", b"module.exports = require('./other')");
    put("none.yaml", b"a: 1\n");
    put("bad.yaml", b"services: [\n");
    put("node.conf", b"[program:node]\ncommand=node x.js\n");
    fs::create_dir(dir.path().join("empty")).unwrap();
    for (args, says, code) in [
        (&["supervisor", "no.conf"][..], "no.conf: No such file", 1),
        (&["supervisor", "empty"], "empty: has no *.conf, *.ini in it; give a file", 78),
        (&["supervisor", "utf16.conf"], "utf16.conf: is UTF-16; convert it", 78),
        (&["supervisor", "large.conf"], "large.conf: is larger than 1024 KB", 78),
        (&["supervisor", "node.conf"], "node.conf: nothing in it works a Laravel queue", 1),
        (&["supervisor"], "required arguments were not provided", 2),
        (&["pm2", "open.js"], "open.js: line 1: [ is not closed", 78),
        (&["pm2", "run.js"], "run.js: line 1: require('./other') is not known without running it", 78),
        (&["compose", "none.yaml"], "none.yaml: has no services:; not a Compose file", 78),
        (&["compose", "bad.yaml"], "bad.yaml: line ", 78),
        (&["systemd", "no-such-unit-here"], "no-such-unit-here.service: no such unit", 78),
        (&["cron", "no"], "no: No such file", 1),
    ] {
        let said = import(args, dir.path(), Stdio::null());
        assert!(said.contains(says) && said.ends_with(&format!("--- exit code {code}\n")), "{args:?}: {said}");
    }
}

/// Whatever is in a file, import ends in an orderly way, and nothing in it reaches the terminal as it is.
#[test]
fn arbitrary_bytes() {
    let dir = tempfile::Builder::new().prefix("kq").tempdir().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let nasty = "[program:a\u{1b}[31m]\ncommand=php /srv/x\u{1b}]0;t\u{7}/artisan queue:work\n* * * * * php /a\u{1b}[2J/artisan queue:work\n";
    for kind in ["supervisor", "pm2", "compose", "cron", "systemd"] {
        for content in [&bytes[..], nasty.as_bytes(), b"", b"\0", b"\n[", b"{"] {
            fs::write(dir.path().join("file"), content).unwrap();
            let said = import(&[kind, "./file"], dir.path(), Stdio::null());
            let code: i32 = said.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
            assert!([0, 1, 78].contains(&code), "{kind}: {said}");
            assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{kind}: {said:?}");
        }
    }
}
