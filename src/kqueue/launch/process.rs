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
use tokio::sync::{Notify, mpsc};

use super::guard::{Guard, MARK};
use super::output::Outputs;
use super::{Exit, LaunchError, LaunchEvent, Launcher, Order};
use kqueue_core::wire::Mode;
use kqueue_system::proc::cgroup;
use kqueue_system::processes::{Family, kill_tree};

/// Timeout of one probe of PHP.
const PROBE: Duration = Duration::from_secs(5);

/// Timeout for killed processes to end.
const SWEEP: Duration = Duration::from_secs(1);

/// Makes opcache keep compiled code in memory that forks share, rather than in each one's own; nothing else is wanted
/// of it. It does not optimise or compile to machine code, checks each file's timestamp on every include, and writes
/// nothing to disk.
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

/// Abilities of PHP, as its `probe` reports them.
#[derive(Clone, Copy, Debug, Default)]
struct Abilities {
    /// Forks can redirect their output to a stream of their own; see `Output.php`.
    redirects: bool,
    /// Forks share compiled code with [`SHARE_CODE`], and would not without.
    shares: bool,
}

/// See the module.
#[derive(Debug)]
pub struct ProcessLauncher {
    guard: RefCell<Option<Guard>>,
    mark: Option<String>,
    /// Process ids of the children that run.
    running: Rc<RefCell<BTreeSet<i32>>>,
    /// Notified when one of them has ended.
    ended: Rc<Notify>,
    events: mpsc::Sender<LaunchEvent>,
    outputs: Rc<Outputs>,
    /// Result of the probe for the last template.
    abilities: Cell<Option<Abilities>>,
}

impl ProcessLauncher {
    /// A launcher that reports to `events`, and whose processes print to streams of `outputs`.
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
            ended: Rc::default(),
            events,
            outputs,
            abilities: Cell::new(None),
        })
    }

    /// The same inside a unit, without a guard: the service manager ends what is left in the unit. Processes that were
    /// moved to units of their own live on.
    pub fn in_unit(events: mpsc::Sender<LaunchEvent>, outputs: Rc<Outputs>) -> Self {
        Self {
            mark: None,
            guard: RefCell::new(None),
            running: Rc::default(),
            ended: Rc::default(),
            events,
            outputs,
            abilities: Cell::new(None),
        }
    }

    /// What a template can do. Must be known before it starts: PHP opens STDOUT and STDERR once, for the kind of
    /// descriptor found there.
    async fn abilities(&self, order: &Order) -> Abilities {
        // Probing starts PHP twice.
        if let Some(known) = self.abilities.get().filter(|_| order.hurry) {
            return known;
        }
        // Without shared memory, PHP with these settings exits at once.
        let (alone, sharing) = tokio::join!(self.probe(order, &[]), self.probe(order, &SHARE_CODE));
        let shares = alone.is_some_and(|code| code & 2 != 0) && sharing.is_some();
        let abilities = Abilities { redirects: alone.is_some_and(|code| code & 1 == 0), shares };
        self.abilities.set(Some(abilities));
        abilities
    }

    /// The exit code of `probe`, 0 to 3; `None` if PHP cannot be run with these settings.
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

/// PHP settings as `-d` arguments.
fn defines<'a>(settings: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    settings.iter().flat_map(|setting| ["-d", *setting])
}

/// Resets a negative `oom_score_adj`, which a child inherits from the runtime: out of memory, the kernel shall kill a
/// job and not the runtime.
fn leave_memory_last(pid: i32) {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if own.trim().parse::<i32>().is_ok_and(|own| own < 0) {
        // Fails harmlessly if the process has ended.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
    }
}

#[async_trait(?Send)]
impl Launcher for ProcessLauncher {
    async fn start(&self, order: &Order) -> Result<i32, LaunchError> {
        let start = |source| LaunchError::Start { program: order.php.clone(), source };
        // One stream for stdout and stderr keeps the order of writes.
        let template = order.mode == Mode::Template;
        let abilities = if template { self.abilities(order).await } else { Abilities::default() };
        let shared = template && !abilities.redirects;
        let outputs = &self.outputs;
        let stderr = if shared { outputs.socket(order.worker) } else { outputs.pipe(order.worker) }.map_err(start)?;
        let mut command = Command::new(&order.php);
        command
            .args(defines(if order.share && abilities.shares { &SHARE_CODE } else { &[] }))
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
        // The first six are between the runtime and its service manager; the last tune the runtime's allocator, not
        // PHP's.
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
        // It holds the write end of the stream, which must close with the processes that print to it.
        drop(command);
        let (events, running, ended) = (self.events.clone(), self.running.clone(), self.ended.clone());
        running.borrow_mut().insert(pid);
        tokio::task::spawn_local(async move {
            let exit = match child.wait().await {
                Ok(status) => status.signal().map_or_else(|| Exit::Code(status.code().unwrap_or(-1)), Exit::Signal),
                Err(_) => Exit::Code(-1),
            };
            running.borrow_mut().remove(&pid);
            ended.notify_one();
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
            // Otherwise the service manager reports that it kills what is about to end.
            let ended = async {
                while !self.running.borrow().is_empty() {
                    self.ended.notified().await;
                }
            };
            let _ = tokio::time::timeout(SWEEP, ended).await;
        }
    }
}

/// Kills a process and its descendants within our own unit.
fn kill_own(root: i32) {
    let own = cgroup(std::process::id() as i32);
    for pid in Family::now().tree(root).into_iter().rev().filter(|pid| cgroup(*pid) == own) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
