//! The process launcher: plain children, for machines without systemd and for development.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::guard::{Guard, MARK};
use super::output::Outputs;
use super::{Exit, LaunchError, LaunchEvent, Launcher, Order};
use kqueue_core::wire::Mode;
use kqueue_system::proc::cgroup;
use kqueue_system::processes::{Family, kill_tree};

/// What PHP may take to say what it can.
const PROBE: Duration = Duration::from_secs(5);

/// Has opcache keep compiled code in memory that forks share, instead of in each one's own; it is there for that alone. Nothing is
/// optimised or made machine code, every file is looked at whenever it is included, and nothing is left on the disk.
const SHARE_CODE: [&str; 11] = [
    "opcache.enable_cli=1",
    "opcache.optimization_level=0",
    "opcache.jit=disable",
    "opcache.jit_buffer_size=0",
    "opcache.validate_timestamps=1",
    "opcache.revalidate_freq=0",
    "opcache.revalidate_path=1",
    "opcache.use_cwd=1",
    "opcache.save_comments=1",
    "opcache.preload=",
    "opcache.file_cache=",
];

/// What PHP can do, as its `probe` says.
#[derive(Clone, Copy, Debug, Default)]
struct Abilities {
    /// Forks can take an output of their own; see `Output.php`.
    redirects: bool,
    /// Forks can share code in a way in which it is not shared by itself: see [`SHARE_CODE`].
    shares: bool,
}

/// See the module.
#[derive(Debug)]
pub struct ProcessLauncher {
    guard: RefCell<Option<Guard>>,
    mark: Option<String>,
    /// The processes started here that run.
    running: Rc<RefCell<BTreeSet<i32>>>,
    events: mpsc::Sender<LaunchEvent>,
    outputs: Rc<Outputs>,
    /// What PHP could when the last template was started.
    abilities: Cell<Option<Abilities>>,
}

impl ProcessLauncher {
    /// A launcher that reports to `events`, and whose processes print into streams of `outputs`.
    ///
    /// # Errors
    /// When its guard cannot be started.
    pub fn new(events: mpsc::Sender<LaunchEvent>, outputs: Rc<Outputs>) -> io::Result<Self> {
        let guard = Guard::start()?;
        let mark = Some(guard.mark().to_owned());
        Ok(Self {
            mark,
            guard: RefCell::new(Some(guard)),
            running: Rc::default(),
            events,
            outputs,
            abilities: Cell::new(None),
        })
    }

    /// The same inside a unit, whose service manager ends all that is left in it; what has moved to units of
    /// its own stays.
    pub fn in_unit(events: mpsc::Sender<LaunchEvent>, outputs: Rc<Outputs>) -> Self {
        Self {
            mark: None,
            guard: RefCell::new(None),
            running: Rc::default(),
            events,
            outputs,
            abilities: Cell::new(None),
        }
    }

    /// What a template can do. PHP must be told beforehand what kind of output it has, for its STDOUT and STDERR are made
    /// for that kind once and for all.
    async fn abilities(&self, order: &Order) -> Abilities {
        // To ask takes processes of PHP.
        if let Some(known) = self.abilities.get().filter(|_| order.hurry) {
            return known;
        }
        // Where there is no memory to share, PHP would end at once.
        let (alone, sharing) = tokio::join!(self.probe(order, &[]), self.probe(order, &SHARE_CODE));
        let shares = alone.is_some_and(|code| code & 2 != 0) && sharing.is_some();
        let abilities = Abilities { redirects: alone.is_some_and(|code| code & 1 == 0), shares };
        self.abilities.set(Some(abilities));
        abilities
    }

    /// The exit code of `probe`, unless PHP cannot be run like this.
    async fn probe(&self, order: &Order, settings: &[&str]) -> Option<i32> {
        let mut probe = Command::new(&order.php);
        probe
            .args(defines(settings))
            .args(&order.php_args)
            .arg(&order.script)
            .arg("probe")
            .current_dir(&order.directory);
        probe.envs(self.mark.iter().map(|mark| (MARK, mark)));
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        let status = tokio::time::timeout(PROBE, probe.status()).await.ok()?;
        status.ok()?.code().filter(|code| (0..4).contains(code))
    }
}

/// Settings of PHP as arguments.
fn defines<'a>(settings: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    settings.iter().flat_map(|setting| ["-d", *setting])
}

/// Where memory runs out, the kernel is to end a job and not the runtime, from which a child inherits its advantage.
fn leave_memory_last(pid: i32) {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if own.trim().parse::<i32>().is_ok_and(|own| own < 0) {
        // One that has ended already has nothing to give back.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
    }
}

#[async_trait(?Send)]
impl Launcher for ProcessLauncher {
    async fn start(&self, order: &Order) -> Result<i32, LaunchError> {
        let start = |source| LaunchError::Start { program: order.php.clone(), source };
        // One stream for both, so that what is written to the one does not overtake the other.
        let template = order.mode == Mode::Template;
        let abilities = if template { self.abilities(order).await } else { Abilities::default() };
        let shared = template && !abilities.redirects;
        let outputs = &self.outputs;
        let stderr = if shared { outputs.socket(order.worker) } else { outputs.pipe(order.worker) }.map_err(start)?;
        let mut command = Command::new(&order.php);
        command
            .args(defines(if abilities.shares { &SHARE_CODE } else { &[] }))
            .args(&order.php_args)
            .arg(&order.script)
            .arg(order.mode.to_string())
            .current_dir(&order.directory)
            .envs(&order.environment)
            .envs(self.mark.iter().map(|mark| (MARK, mark)))
            .stdin(Stdio::null())
            .stdout(stderr.try_clone().map_err(start)?)
            .stderr(stderr)
            .process_group(0);
        // The first are between us and the service manager; the last are for our own allocations, not for PHP's.
        for variable in [
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "MALLOC_ARENA_MAX",
            "MALLOC_MMAP_THRESHOLD_",
            "MALLOC_TRIM_THRESHOLD_",
        ] {
            command.env_remove(variable);
        }
        let mut child = command.spawn().map_err(start)?;
        let pid = child.id().map_or(0, |pid| pid as i32);
        leave_memory_last(pid);
        let worker = order.worker;
        // It holds the other end of the stream, which is to end with those who print into it.
        drop(command);
        let (events, running) = (self.events.clone(), self.running.clone());
        running.borrow_mut().insert(pid);
        tokio::task::spawn_local(async move {
            let exit = match child.wait().await {
                Ok(status) => status.signal().map_or_else(|| Exit::Code(status.code().unwrap_or(-1)), Exit::Signal),
                Err(_) => Exit::Code(-1),
            };
            running.borrow_mut().remove(&pid);
            let _ = events.send(LaunchEvent::Ended { worker, pid, exit }).await;
        });
        Ok(pid)
    }

    fn kill(&self, pid: i32) {
        if pid > 1 {
            kill_tree(pid);
        }
    }

    async fn sweep(&self) {
        let guard = self.guard.borrow_mut().take();
        if let Some(guard) = guard {
            guard.sweep().await;
        } else {
            let own: Vec<i32> = self.running.borrow().iter().copied().collect();
            own.into_iter().for_each(kill_own);
        }
    }
}

/// Kills a process and what it has started in our own unit.
fn kill_own(root: i32) {
    let own = cgroup(std::process::id() as i32);
    for pid in Family::now().tree(root).into_iter().rev().filter(|pid| cgroup(*pid) == own) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
