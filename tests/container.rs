//! `kqueue run` as process 1 of a PID namespace, as in a container without an init. Needs user namespaces, or root.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod app;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use app::{NOBODY, World, said};

/// Waits for something to be so.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As the app's user.
fn php(world: &World, code: &str) {
    let mut command = Command::new("php");
    command.args(["-r", code]).current_dir(world.app());
    if world.is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn container(world: &World) -> Child {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    if world.is_root() {
        let id = NOBODY.to_string();
        command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
    } else {
        command.args(["--user", "--map-current-user"]);
    }
    command.arg(env!("CARGO_BIN_EXE_kqueue")).args([
        "run",
        "--path",
        "shop",
        "--state-dir",
        "shop/state",
        "--runtime-dir",
        "shop/run",
    ]);
    command.current_dir(world.dir.path()).env("KQUEUE_PHP_DIR", world.dir.path().join("php"));
    command
        .stdin(Stdio::null())
        .stdout(fs::File::create(world.dir.path().join("out")).unwrap())
        .stderr(fs::File::create(world.dir.path().join("log")).unwrap());
    command.spawn().unwrap()
}

/// Children of a process, and which of them have ended and were not waited for.
fn children(pid: u32) -> (Vec<u32>, Vec<u32>) {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all: Vec<u32> = list.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let is_zombie = |pid: &&u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    };
    (all.clone(), all.iter().filter(is_zombie).copied().collect())
}

#[test]
fn as_process_1_it_reaps_drains_and_returns_an_exit_code() {
    let world = World::new();
    let app = world.app();
    let job = "<?php\nnamespace App\\Jobs;\nclass LeavesBehind implements \\Illuminate\\Contracts\\Queue\\ShouldQueue {\n    \
               use \\Illuminate\\Bus\\Queueable, \\Illuminate\\Foundation\\Bus\\Dispatchable;\n    public function handle(): void {\n        \
               exec('(sleep 0.1; touch left) > /dev/null 2>&1 &');\n        touch('started');\n        \
               while (! file_exists('stop')) { usleep(10000); }\n        touch('done');\n    }\n}\n";
    fs::write(app.join("app/Jobs/LeavesBehind.php"), job).unwrap();
    php(
        &world,
        "require 'bootstrap/autoload.php'; $app = require 'bootstrap/app.php'; \
         $app->make(Illuminate\\Contracts\\Console\\Kernel::class)->bootstrap(); App\\Jobs\\LeavesBehind::dispatch();",
    );
    let mut unshare = container(&world);
    let log = || {
        let read = |name| fs::read_to_string(world.dir.path().join(name)).unwrap_or_default();
        read("out") + &read("log")
    };
    let there = |name: &str| Path::new(&app).join(name).exists();
    until("the job", || there("started") || panic_if_ended(&mut unshare, &log()));
    until("what it left behind", || there("left"));
    let first = children(unshare.id()).0[0];
    until("nobody's zombies", || children(first).1.is_empty());
    let running = children(first).0.len();
    assert!(running >= 1, "the runtime is a child of process 1: {}", log());

    // A stop waits for the job, and no job is begun after.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
    until("the drain", || log().contains("SIGTERM: waiting for the running jobs (1)"));
    assert!(unshare.try_wait().unwrap().is_none(), "it waits for its job: {}", log());
    fs::write(app.join("stop"), "").unwrap();
    let status = unshare.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", log());
    assert!(there("done"), "{}", log());
}

fn panic_if_ended(child: &mut Child, log: &str) -> bool {
    assert!(child.try_wait().unwrap().is_none(), "it has ended: {log}");
    false
}

/// What cannot work ends the container with the code that says so.
#[test]
fn its_exit_code_is_the_runtimes() {
    let world = World::new();
    fs::remove_file(world.app().join("artisan")).unwrap();
    assert_eq!(container(&world).wait().unwrap().code(), Some(78));
}
