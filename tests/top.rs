//! `kqueue top` on a pseudo terminal, with a real runtime behind it: it draws, and leaves the terminal as it was.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod app;
#[path = "app/runtime.rs"]
mod runtime;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use app::said;
use runtime::{Runtime, until};

/// A terminal that somebody looks at.
struct Terminal {
    master: File,
    slave: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Self {
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let (master, shown) = (File::from(pty.master), Arc::new(Mutex::new(Vec::new())));
        let (mut reader, seen) = (master.try_clone().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end is an error, once nobody has the other side open.
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        let before = tcgetattr(&pty.slave).unwrap();
        Self { master, slave: pty.slave, before, shown }
    }

    fn run(&self, mut command: Command) -> Child {
        let end = || Stdio::from(self.slave.try_clone().unwrap());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, part: &str) {
        until(&format!("{part:?} on the terminal"), || self.text().contains(part).then_some(()));
    }

    /// Whether it is as it was: no raw mode, the first screen, the cursor.
    fn is_restored(&self) {
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_flags, self.before.local_flags);
        assert_eq!(after.input_flags, self.before.input_flags);
        assert_eq!(after.output_flags, self.before.output_flags);
        self.wait_for("\x1b[?1049l");
        self.wait_for("\x1b[?25h");
    }
}

#[test]
fn it_draws_and_leaves_the_terminal_as_it_was() {
    let runtime = Runtime::start(&["--timeout", "1200"]);
    runtime.php("dispatch(new App\\Jobs\\Sleeps(900000));");
    type End = fn(&mut Terminal, &Child);
    let ends: [(&str, End); 4] = [
        ("q", |terminal, _| terminal.press("q")),
        ("Ctrl-C", |terminal, _| terminal.press("\x03")),
        ("SIGTERM", |_, child| kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap()),
        ("SIGHUP", |_, child| kill(Pid::from_raw(child.id() as i32), Signal::SIGHUP).unwrap()),
    ];
    for (name, end) in ends {
        let mut terminal = Terminal::open();
        let mut child = terminal.run(runtime.command(&["top", "shop"]));
        for part in ["\x1b[?1049h", "shop:", "queues", "default", "tiers", "isolated", "processes", "Sleeps", "q quit"]
        {
            terminal.wait_for(part);
        }
        let raw = tcgetattr(&terminal.slave).unwrap();
        assert_ne!(raw.local_flags, terminal.before.local_flags);
        // Keys arrive: sorted by another column, and the other way round.
        terminal.press("sr");
        terminal.wait_for("▲");
        end(&mut terminal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}: {}", terminal.text());
        terminal.is_restored();
    }
}

#[test]
fn what_is_wrong_is_told_on_the_terminal_as_it_was() {
    let output = kqueue(&["top", "shop"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).starts_with("kqueue: top needs a terminal"), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1);
    let terminal = Terminal::open();
    let mut child = terminal.run(kqueue(&["top", "no_such_app_here"]));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    terminal.wait_for("no_such_app_here: no such app");
    assert!(!terminal.text().contains("\x1b[?1049h"), "{}", terminal.text());
}

fn kqueue(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
    command.args(args);
    command
}
