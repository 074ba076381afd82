//! An app that is worked by a real runtime.
#![allow(dead_code)] // each program of tests uses its part

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{NOBODY, World, run, said};

/// Waits for something to be so, at most as long as a busy machine takes.
pub fn until<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[derive(Debug)]
pub struct Runtime {
    pub world: World,
    child: Child,
}

impl Runtime {
    /// Starts it, and waits until it answers.
    pub fn start(options: &[&str]) -> Self {
        Self::of(World::new(), options)
    }

    pub fn of(world: World, options: &[&str]) -> Self {
        let top = world.dir.path();
        let program = top.join("kqueue");
        fs::copy(env!("CARGO_BIN_EXE_kqueue"), &program).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--path", "shop", "--state-dir", "state", "--runtime-dir", "run"]).args(options);
        command.current_dir(top).env("KQUEUE_PHP_DIR", top.join("php")).env("HOME", top).env_remove("XDG_RUNTIME_DIR");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(top.join("log")).unwrap());
        if world.is_root() {
            run(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(top));
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap();
        let mut runtime = Self { world, child };
        until("the runtime", || {
            let ended = runtime.child.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {}", runtime.log());
            let told = runtime.ask(&["status", "shop", "--json"]);
            let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
            (told["state"] == "running").then_some(())
        });
        runtime
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.world.dir.path().join("log")).unwrap_or_default()
    }

    /// Where its sockets are.
    pub fn sockets(&self) -> PathBuf {
        self.world.dir.path().join("run")
    }

    /// `kqueue`, told where the sockets are.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kqueue"));
        command.args(args).arg("--runtime-dir").arg(self.sockets());
        command.current_dir(self.world.dir.path()).env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        command
    }

    pub fn ask(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What it prints as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.ask(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {}{}", said(&output), self.log()))
    }

    /// Runs code in the booted app, as its user.
    pub fn php(&self, code: &str) {
        let boot = "require 'vendor/autoload.php'; $app = require 'bootstrap/app.php'; \
                    $app->make(Illuminate\\Contracts\\Console\\Kernel::class)->bootstrap();";
        let mut command = Command::new("php");
        command.args(["-r", &format!("{boot} {code}")]).current_dir(self.world.app());
        if self.world.is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // Twice at least: what runs is not waited for.
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
