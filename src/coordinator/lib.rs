//! The coordinator: the only process that makes requests to systemd, on behalf of the runtimes of a host's apps.
//!
//! It identifies the caller by the kernel and by systemd, checks the request against root's settings, has systemd carry
//! it out, watches the units and reports their ends. It sees no payload, opens no network connection and runs no PHP,
//! and imports no code of the parts that do. Its state can be read back from systemd: it may be killed at any time, and
//! adopts the running units when it is restarted.
//!
#![doc = include_str!("threat-model.md")]

mod app;
mod bucket;
mod connection;
pub mod generator;
mod host;
mod keep;
mod outbox;
mod policy;
mod server;
mod state;
mod story;
mod strangers;
mod verbs;

#[cfg(test)]
mod tests;

use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use kqueue_config::{self as config, IsolatedCaps, Surroundings};
use kqueue_system::systemd::health::{self, Loops, Watchdog};
use kqueue_system::systemd::{Bus, Manager, activation};
use policy::Caps;
use state::Coordinator;

/// Usage message.
const USAGE: &str = "usage: kqueue-coordinator [--version]";
/// Minimum number of scopes that every app may have, whatever its settings.
const SCOPES: usize = 128;

/// Entry point of the `kqueue-coordinator` command.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.iter().map(|argument| argument.to_str()).collect::<Vec<_>>()[..] {
        [] => {}
        [Some("--version")] => return say(concat!("kqueue-coordinator ", env!("CARGO_PKG_VERSION"))),
        [Some("--help")] => return say(USAGE),
        _ => return complain(USAGE, 2),
    }
    let log = kqueue_system::log::init_host("kqueue-coordinator");
    let ended = run();
    drop(log);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("kqueue-coordinator: {error:#}"), 1),
    }
}

fn say(line: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
    ExitCode::SUCCESS
}

fn complain(line: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}

/// The caps of an app by root's settings, which are read only here, and anew for each call since they may have changed.
fn caps(app: &str) -> Result<Caps, String> {
    let here = Surroundings::read().map_err(|error| error.to_string())?;
    let settings = config::root(app, &here).map_err(|error| error.to_string())?;
    let IsolatedCaps { memory_mb, time, tasks_max, cpu_weight, io_weight } = settings.caps;
    Ok(Caps {
        memory_max: memory_mb.map(|mb| u64::from(mb) << 20),
        runtime_max_usec: time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        tasks_max: tasks_max.into(),
        cpu_weight: cpu_weight.into(),
        io_weight: io_weight.into(),
        workers: u32::try_from(settings.pool_max_size).unwrap_or(u32::MAX),
        // Scopes of the previous runtime may still run beside those of the present one.
        scopes: SCOPES.max(2 * settings.max_concurrent_isolated),
    })
}

fn run() -> anyhow::Result<()> {
    let listener = listen()?;
    // One thread: the work is I/O only.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("event loop")?;
    // zbus needs a runtime context when its streams are dropped, which happens when the tasks are dropped.
    let _entered = runtime.enter();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(listener))
}

/// The listening socket passed by systemd.
fn listen() -> anyhow::Result<UnixListener> {
    let mut handed = activation::listeners("coordinator").context("sockets from systemd")?;
    match (handed.pop(), handed.is_empty()) {
        (Some(listener), true) => Ok(listener),
        (Some(_), false) => bail!("systemd passed more than one socket named \"coordinator\""),
        (None, _) => bail!("systemd passed no socket named \"coordinator\"; start it: systemctl start kqueue.socket"),
    }
}

async fn serve(listener: UnixListener) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let manager = Manager::connect(Bus::System).await.context("systemd")?;
    let coordinator = Coordinator::new(Rc::clone(&manager) as Rc<dyn host::Host>, caps);
    let adopted = coordinator.adopt().await.context("running units")?;
    tracing::info!("ready: systemd {}, {adopted} units adopted", manager.version());
    health::status(&coordinator.status());
    health::ready();
    tokio::select! {
        result = server::accept(&coordinator, listener) => result.context("accept")?,
        () = keep_watch(&manager, &coordinator) => {}
        // The next process reads all state back from systemd.
        () = manager.lost() => bail!("lost the connection to the system bus"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    health::status("stopping; running units continue");
    health::stopping();
    tracing::info!("stopping; running units continue");
    Ok(())
}

/// Feeds the watchdog while the loops make progress, and updates the status line.
async fn keep_watch(manager: &Manager, coordinator: &Coordinator) {
    let mut watchdog = Watchdog::new();
    let mut loops = Loops::new(&["accepting connections", "receiving signals from systemd"], &watchdog);
    let mut period = tokio::time::interval(watchdog.period());
    loop {
        period.tick().await;
        let now = Instant::now();
        match loops.stuck(&[coordinator.rounds(), manager.rounds()], now) {
            Some(stuck) => tracing::error!("{stuck}: no progress, not notifying the watchdog"),
            None => watchdog.feed(now),
        }
        health::status(&coordinator.status());
    }
}
