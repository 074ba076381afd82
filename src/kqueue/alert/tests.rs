use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn message(queue: &str, text: &str) -> Message {
    let episode =
        Episode { kind: Kind::Wait, queue: queue.to_owned(), since: 5, seen: 5, said: String::new(), base: 0 };
    Message::new("shop", &Change { begun: true, episode, text: text.to_owned() }, 9)
}

fn script(directory: &Path, text: &str) -> PathBuf {
    let file = directory.join("script");
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[tokio::test]
async fn a_command_gets_json_and_says_why_it_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (out, dir) = (directory.path().join("out"), directory.path());
    let text = format!("cat > {}; [ \"$1\" = ok ] || {{ echo no pager >&2; exit 3; }}", out.display());
    let file = script(dir, &text).to_string_lossy().into_owned();
    let targets = |word: &str| Targets { command: Some(vec![file.clone(), word.to_owned()]), ..Targets::default() };
    let said = message("mail", "it waits\x1b[2J");
    tell(Target::Command, &targets("ok"), &said).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!((&told["app"], &told["alert"], &told["state"]), (&"shop".into(), &"wait".into(), &"began".into()));
    assert_eq!((&told["queue"], &told["text"]), (&"mail".into(), &"it waits [2J".into()));
    let error = tell(Target::Command, &targets("bad"), &said).await.unwrap_err();
    assert!(matches!(&error, Untold::Never(why) if why.ends_with("exit status: 3: no pager")), "{error}");
    let absent = Targets { command: Some(vec!["/no/such/program".to_owned()]), ..Targets::default() };
    assert!(tell(Target::Command, &absent, &said).await.is_err());
}

#[tokio::test]
async fn a_command_that_does_not_end_is_killed_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let file = script(directory.path(), &format!("sleep 600 & echo $! > {}; wait", pid.display()));
    let error = child::run(&file, &[], b"x", Duration::from_millis(700)).await.unwrap_err();
    assert!(error.contains("was killed"), "{error}");
    let sleeper: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let gone = || {
        let stat = fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !gone() {
        tokio::task::yield_now().await;
    }
    // What is left behind by one that has ended holds up nobody.
    let file = script(directory.path(), &format!("sleep 600 & echo $! > {}; exit 0", pid.display()));
    child::run(&file, &[], b"x", Duration::from_secs(20)).await.unwrap();
    let sleeper: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleeper), nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn no_name_makes_a_header() {
    let mut said = message("mail\r\nBcc: x@evil.example", "waits\nBcc: y@evil.example");
    said.app = "shop".to_owned();
    let letter = mail::letter(&["ops@shop.example".to_owned(), "root".to_owned()], &said);
    let (head, body) = letter.split_once("\n\n").unwrap();
    assert!(head.starts_with("To: ops@shop.example, root\nSubject: [kqueue] shop on "), "{head}");
    assert_eq!(head.lines().count(), 6, "{head}");
    assert!(!head.contains("evil") && body.contains("queue: mail  Bcc: x@evil.example\n"), "{letter}");
}

/// Answers each connection with the next status, and returns what was asked.
async fn server(statuses: &'static [&'static str]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?team=a", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !String::from_utf8_lossy(&text).ends_with('}') {
                assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked.push(String::from_utf8(text).unwrap());
        }
        asked
    });
    (url, served)
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again_where_that_may_help() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    let (url, served) = server(&["200 OK", "503 Away", "410 Gone"]).await;
    let targets = Targets { webhook: Some(url), webhook_secret: Some(secret.clone()), ..Targets::default() };
    let said = message("", "it waits");
    tell(Target::Webhook, &targets, &said).await.unwrap();
    let later = tell(Target::Webhook, &targets, &said).await.unwrap_err();
    assert!(matches!(&later, Untold::Later(why) if why == "http://127.0.0.1: HTTP 503"), "{later}");
    assert!(matches!(tell(Target::Webhook, &targets, &said).await, Err(Untold::Never(_))));
    let asked = served.await.unwrap();
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?team=a HTTP/1.1\r\n"), "{head}");
    let signature = webhook::sign(b"s3cret", body.as_bytes());
    assert!(head.to_lowercase().contains(&format!("x-kqueue-signature: {signature}")), "{head}");
    assert!(!asked[0].contains("s3cret"));
    fs::write(&secret, "\n").unwrap();
    let empty = tell(Target::Webhook, &targets, &said).await.unwrap_err();
    assert!(empty.to_string().ends_with("is empty"), "{empty}");
}

#[test]
fn a_signature_is_that_of_everybody() {
    // RFC 4231, case 2.
    let signed = webhook::sign(b"Jefe", b"what do ya want for nothing?");
    assert_eq!(signed, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

#[test]
fn episodes_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let (mut file, kept) = Kept::load(&state);
    assert_eq!(kept, Kept::default());
    let queue = "mail".to_owned();
    let open = vec![Episode { kind: Kind::BacklogGrowth, queue, since: 5, seen: 7, said: "x".to_owned(), base: 3 }];
    let kept = Kept { open, failing: Some(4) };
    kept.clone().save(&mut file)().unwrap();
    assert_eq!(Kept::load(&state).1, kept);
    Kept::default().save(&mut file)().unwrap();
    assert!(!state.join("alerts.json").exists());
}
