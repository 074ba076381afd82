//! Startup: from the settings to a running runtime. Sockets, template, the app's description, queue.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;

use super::app::App;
use super::boot::Boot;
use super::chronicle::Chronicle;
use super::end::End;
use super::held::HeldJobs;
use super::held::ledger::Ledger;
use super::processes::Processes;
use super::processes::printed::Printing;
use super::processes::recipe::Recipe;
use super::processes::units::UnitSide;
use super::queue::doorbell::Doorbell;
use super::queue::{self, QueueSide};
use super::service::Service;
use super::service::alerts::Alerts;
use super::service::app_signals::AppSignals;
use super::service::cancels::Cancels;
use super::service::health::Health;
use super::service::history_file::{HistoryFile, load_history};
use super::service::horizon::Duties;
use super::service::observer::{self, Observer};
use super::service::overrides::Overrides;
use super::service::pauses::Pauses;
use super::service::release::Release;
use super::service::settings::{self, Reread, SettingsSource};
use super::service::signals;
use super::service::upgrade::Upgrade;
use super::sleep::Nap;
use super::usual::Habit;
use super::{INPUTS, Runtime};
use crate::backend::{self, BackendError, ConnectionSettings};
use crate::control::ControlSocket;
use crate::history::Recorder;
use crate::launch::output::Outputs;
use crate::launch::{Coordinator, LaunchEvent, Launcher, ProcessLauncher, Units, UserManager};
use crate::workers::Listener;
use kqueue_config::{Ack, Bounds, Crash, DefaultTier, LauncherKind, Loaded, Pop, Settings};
use kqueue_control::Snapshot;
use kqueue_core::routing::{Limits, PerTier, Tier};
use kqueue_core::schedule::{Config, Defaults, Limit, Rate, Schedule};
use kqueue_core::wire::coordinator::UnitLimits;
use kqueue_system::systemd::activation;

/// Starts all components and runs until the end.
pub(super) async fn run(loaded: Loaded, reread: Reread) -> anyhow::Result<ExitCode> {
    let settings = Rc::new(loaded.settings.clone());
    // Read before any code or configuration of the app is used.
    let release = Release::read(&settings.path);
    let mut health = Health::new();
    let upgrade = Upgrade::new().context("cannot install signal handlers")?;
    let (said_in, said) = mpsc::channel(INPUTS);
    let (launched_in, launched) = mpsc::channel(INPUTS);
    let script = find_script()?;
    let listener = match activated("worker")? {
        Some(socket) => {
            match Listener::left(&settings.runtime_dir) {
                Ok(Some(left)) => drop(tokio::task::spawn_local(left.serve(said_in.clone()))),
                Ok(None) => {}
                // Only processes of an older version connect to it.
                Err(error) => tracing::warn!("cannot open the worker socket of older versions: {error}"),
            }
            Listener::adopt(socket)?
        }
        None => Listener::bind(&settings.runtime_dir)?,
    };
    let socket = listener.path().to_owned();
    health.needs("the worker socket", tokio::task::spawn_local(listener.serve(said_in)));
    let (asks_in, asks) = mpsc::channel(1);
    let control = match activated("control")? {
        Some(socket) => ControlSocket::given(socket)?,
        None => ControlSocket::bind(&settings.runtime_dir)?,
    };
    let about = observer::starting(&settings.app);
    health.needs("the control socket", tokio::task::spawn_local(control.serve(asks_in.clone(), about.clone())));
    let outputs = Outputs::new();
    // Distinguishes our job ids and scope names from those of earlier runtimes.
    let era = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Launchers { kind, launcher, units } = pick(&settings, era, launched_in, outputs.clone()).await?;

    let mut recipe = Recipe::new(settings.clone(), script, &socket, units.is_some());
    let mut boot =
        Boot { early: Vec::new(), settings: settings.clone(), said, launched, outputs, launcher: launcher.clone() };
    let (description, templates) = match boot.template(&mut recipe).await {
        Ok(booted) => booted,
        Err(error) => {
            launcher.sweep().await;
            return Err(error);
        }
    };
    let whole = settings::with_app(&loaded, &description.settings)?;
    let settings = Rc::new(whole.settings);
    recipe.configure(settings.clone());
    let connection = connection_settings(&description.backend, &settings.app)?;
    let (plain, may_ack) = (description.is_plain(), settings.ack == Ack::Auto);
    let about = Snapshot {
        launcher: kind.as_str().to_owned(),
        laravel: description.laravel.clone(),
        php: description.php.clone(),
        ..about
    };
    let app = App {
        connection: description.connection,
        queues: if settings.queues.is_empty() { vec![description.queue.clone()] } else { settings.queues.clone() },
        own_queue: description.queue,
        backend: description.backend,
        ack: may_ack && plain,
        may_ack,
        signals: description.signals,
    };
    let opened = match backend::open(connection, settings.pop) {
        Ok(backend) => open_queue(backend, &app.queues).await,
        Err(error) => Err(error),
    };
    let backend = match opened {
        Ok(backend) => backend,
        Err(error) => {
            launcher.sweep().await;
            return Err(anyhow::Error::new(error).context(format!("queue connection '{}'", app.connection)));
        }
    };
    tracing::info!(
        "{}: Laravel {} on PHP {}, connection {}, queue {}, {}{}",
        settings.app,
        description.laravel,
        description.php,
        app.connection,
        app.queues.join(","),
        recipe.forking.words(),
        if description.signals { "" } else { "; PHP has no pcntl, so only kqueue enforces timeouts" },
    );
    if let Some(why) = &description.artisan {
        tracing::warn!(
            "the setup in {}/artisan (umask, constants, ini settings) is not applied: {why}; \
             move it to bootstrap/app.php, or set umask here",
            settings.path.display()
        );
    }
    if settings.pop == Pop::Strict {
        tracing::info!("pop = strict: a payload that is not a job is lost, as under Laravel");
    }

    let history = load_history(&settings.state_dir);
    let history_file = HistoryFile::new(&settings.state_dir, &history);
    let started = Instant::now();
    let (ledger, left) = match units.is_some().then(|| Ledger::open(&settings.state_dir, &*backend)).transpose() {
        Ok(Some((ledger, left))) => (Some(ledger), left),
        Ok(None) => Default::default(),
        Err(error) => {
            launcher.sweep().await;
            return Err(anyhow::Error::new(error).context("cannot open the ledger"));
        }
    };
    let native = backend.is_native();
    if native {
        tracing::info!("connection {}: pooled workers take jobs off the queue by themselves", app.connection);
        if !settings.tables.is_empty() || !settings.weights.is_empty() || settings.fair_by.is_some() {
            tracing::warn!(
                "connection {}: limits of classes, `shared`, weights and fair_by have no effect",
                app.connection
            );
        }
    }
    let capabilities = backend.capabilities();
    if let Some(longest) = capabilities.max_lease
        && settings.tables.longest(settings.timeout).is_none_or(|timeout| timeout > longest)
    {
        tracing::warn!(
            "connection {}: the queue holds no reservation for longer than {} s, so a job that runs longer is run twice; \
             set `timeout` below that",
            app.connection,
            longest.as_secs()
        );
    }
    let pauses = Pauses::load(&settings.state_dir);
    let mut runtime = Runtime {
        schedule: Schedule::new(
            schedule_config(&settings, &app.queues, app.signals, native, capabilities.unreserve),
            history,
        ),
        events: VecDeque::new(),
        app,
        // Job ids are never reused, even if the ledger of an earlier runtime was lost.
        held: HeldJobs::new(ledger, era << 20),
        queue: QueueSide::new(backend, Doorbell::bind(&settings.runtime_dir, capabilities), &settings),
        processes: Processes::new(templates, launcher, boot.launched, units, Printing::new(boot.outputs), recipe),
        service: Service {
            health,
            upgrade,
            observer: Observer::new(asks, asks_in, about),
            duties: Duties::new(description.horizon),
            history: history_file,
            app: AppSignals::default(),
            pauses,
            overrides: Overrides::load(&settings.state_dir),
            cancels: Cancels::load(&settings.state_dir),
            fronts: Default::default(),
            pauses_end: None,
            alerts: Alerts::new(&settings),
            errand: Default::default(),
        },
        recorder: Recorder::new(&settings.state_dir, kept(&settings)),
        chronicle: Chronicle::default(),
        said: boot.said,
        started,
        max_time: (!settings.limits.max_time.is_zero()).then(|| started + settings.limits.max_time),
        end: End::new(),
        nap: Nap::new(release),
        habit: Habit::new(era),
        slack: Default::default(),
        source: SettingsSource::new(reread, loaded, description.settings),
        settings,
    };
    runtime.queue.is_host(queue::host(&runtime.settings.state_dir));
    runtime.hold_paused();
    if !runtime.processes.recipe.forking.is_on() {
        runtime.processes.templates.dismiss();
    }
    if runtime.processes.outlive() {
        let there = runtime.processes.list_units().await.context("cannot list the units")?;
        runtime.take_over(left, &there);
        // Messages of workers that connected before the takeover could identify them.
        for said in boot.early {
            runtime.hear(said);
            runtime.settle();
        }
    }
    runtime.work(signals::listen().context("cannot install signal handlers")?).await
}

/// The selected launcher, and what it consists of.
struct Launchers {
    kind: LauncherKind,
    /// Starts the template and every other process that is not a unit.
    launcher: Rc<dyn Launcher>,
    /// Pooled workers and scopes, if there is a unit manager.
    units: Option<UnitSide>,
}

/// Socket of the coordinator.
const COORDINATOR: &str = "/run/kqueue/coordinator.sock";

/// Selects the launcher by the settings, or by what is available.
async fn pick(
    settings: &Settings,
    era: u64,
    launched: mpsc::Sender<LaunchEvent>,
    outputs: Rc<Outputs>,
) -> anyhow::Result<Launchers> {
    let (notices_in, notices) = mpsc::channel(INPUTS);
    let kind = match settings.launcher {
        LauncherKind::Auto => what_is_there(&settings.app).await,
        kind => kind,
    };
    let manager: Option<Rc<dyn Units>> = match kind {
        LauncherKind::Coordinator => Some(Rc::new(Coordinator::new(COORDINATOR.into(), notices_in))),
        LauncherKind::User => {
            let memory_max = Some(u64::from(settings.worker_memory_max) << 20);
            let limits = UnitLimits { memory_max, ..UnitLimits::default() };
            let manager = UserManager::connect(&settings.app, limits, notices_in).await;
            Some(Rc::new(manager.context("launcher user: cannot connect to this user's service manager")?))
        }
        LauncherKind::Auto | LauncherKind::Process => None,
    };
    let picked = if settings.launcher == LauncherKind::Auto { "detected" } else { "as configured" };
    tracing::info!("launcher {}, {picked}", kind.as_str());
    // Inside a unit no guard is needed: the service manager ends leftover processes, and those in units of their own
    // are to stay.
    let in_unit = std::env::var_os("INVOCATION_ID").is_some();
    let launcher: Rc<dyn Launcher> = if manager.is_some() && in_unit {
        Rc::new(ProcessLauncher::in_unit(launched, outputs))
    } else {
        Rc::new(ProcessLauncher::new(launched, outputs).context("cannot start the guard")?)
    };
    Ok(Launchers { kind, launcher, units: manager.map(|manager| UnitSide::new(manager, notices, era)) })
}

/// Detects the launcher for `auto`. The coordinator serves only the units that it is meant for.
async fn what_is_there(app: &str) -> LauncherKind {
    let own = std::process::id() as i32;
    if kqueue_system::systemd::process::is_in(own, &format!("kqueue@{app}.service")) && Path::new(COORDINATOR).exists()
    {
        LauncherKind::Coordinator
    } else if std::env::var_os("XDG_RUNTIME_DIR").is_some() && UserManager::available().await {
        LauncherKind::User
    } else {
        LauncherKind::Process
    }
}

/// The socket of this name passed by the service manager, if any.
fn activated(name: &str) -> anyhow::Result<Option<std::os::unix::net::UnixListener>> {
    Ok(activation::listeners(name).with_context(|| format!("cannot use socket {name} from the service manager"))?.pop())
}

/// Calls the queue once. One that cannot be reached yet is no error, it is retried later; settings that cannot work are
/// one.
async fn open_queue(
    backend: Box<dyn backend::QueueBackend>,
    queues: &[String],
) -> Result<Rc<dyn backend::QueueBackend>, BackendError> {
    match backend.sizes(queues).await {
        Err(error) if queue::is_final(&error) => Err(error),
        _ => Ok(Rc::from(backend)),
    }
}

/// Connection settings of the backend, from the app's description of its connection.
///
/// # Errors
/// When the description cannot be parsed.
pub(super) fn connection_settings(said: &serde_json::Value, app: &str) -> anyhow::Result<ConnectionSettings> {
    let mut said = said.clone();
    if let Some(said) = said.as_object_mut() {
        // Shown to operators in the server's list of clients.
        said.insert("app".to_owned(), app.into());
    }
    serde_json::from_value(said).map_err(|error| anyhow!("{error}"))
}

/// Path of `worker.php`: in `KQUEUE_PHP_DIR` if set, else where a package installs it, or in the source tree of our
/// build.
///
/// # Errors
/// When it is in none of these places.
pub(crate) fn find_script() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("KQUEUE_PHP_DIR").map(PathBuf::from);
    let program = std::env::current_exe().context("cannot find the path of the kqueue executable")?;
    let beside = program.parent().unwrap_or(Path::new("/"));
    let places = match named {
        Some(named) => vec![named],
        None => vec![beside.join("../share/kqueue/php"), beside.join("../../src/php")],
    };
    let found = places.iter().map(|place| place.join("worker.php")).find(|script| script.is_file());
    let found = found.ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        anyhow!("worker.php is not in {}; reinstall kqueue, or set KQUEUE_PHP_DIR", looked.join(" nor in "))
    })?;
    found.canonicalize().with_context(|| found.display().to_string())
}

/// Attempts of each kind kept in the history; `None` where the history is off.
pub(super) fn kept(settings: &Settings) -> Option<usize> {
    settings.history.then(|| usize::try_from(settings.history_jobs).unwrap_or(usize::MAX))
}

/// `queues`: the queues to work; `signals`: whether PHP has pcntl; `native`: whether workers pop by themselves;
/// `ahead`: whether a job can be given back unchanged.
pub(super) fn schedule_config(
    settings: &Settings,
    queues: &[String],
    signals: bool,
    native: bool,
    ahead: bool,
) -> Config {
    let millis = |duration: Duration| duration.as_millis() as u64;
    Config {
        queues: queues.to_vec(),
        limits: Limits {
            inline_max: settings.inline_max_duration,
            pooled_max: settings.pooled_max_duration,
            pooled_memory_mb: settings.worker_memory_max,
            default_tier: tier_of(settings.default_tier),
        },
        idle_ms: settings.idle_after.map(millis),
        pool_min_idle: settings.pool_min_idle,
        pool_size: settings.pool_size,
        pool_max_size: settings.pool_max_size,
        max_concurrent: PerTier::new(
            settings.max_concurrent_inline,
            settings.max_concurrent_pooled,
            settings.max_concurrent_isolated,
        ),
        class_limits: limits_of(&settings.tables.class),
        class_defaults: each(&settings.tables.class, defaults_of),
        queue_defaults: each(&settings.tables.queue, defaults_of),
        class_shared: each(&settings.tables.class, |of| of.shared.filter(|shared| *shared)).into_keys().collect(),
        queue_shared: each(&settings.tables.queue, |of| of.shared.filter(|shared| *shared)).into_keys().collect(),
        class_by: each(&settings.tables.class, |of| of.by.clone()),
        queue_limits: limits_of(&settings.tables.queue),
        queue_weights: settings.queue_weights(),
        queue_waiting: each(&settings.tables.queue, |of| of.max_waiting),
        ahead,
        max_waiting: settings.max_waiting,
        max_waiting_bytes: settings.max_waiting_bytes,
        timeout_ms: settings.timeout.map_or(0, millis),
        // Without pcntl Laravel's own timeout cannot fire, so no grace period is needed.
        grace_ms: if signals { millis(settings.timeout_grace) } else { 0 },
        boot_ms: millis(settings.boot_timeout),
        worker_max_jobs: settings.worker_max_jobs,
        worker_max_ms: millis(settings.worker_max_time),
        stop_ms: millis(settings.stop_timeout),
        replay: settings.crash == Crash::Replay,
        native,
        stop_when_empty: settings.limits.stop_when_empty,
        max_jobs: settings.limits.max_jobs,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The defaults that a table sets, if any.
fn defaults_of(bounds: &Bounds) -> Option<Defaults> {
    let defaults = Defaults {
        tier: bounds.tier.and_then(tier_of),
        memory_mb: bounds.memory_max,
        priority: bounds.priority,
        timeout: bounds.timeout.map(whole_seconds),
    };
    (defaults != Defaults::default()).then_some(defaults)
}

/// Whole seconds as in a payload; 0 is without limit.
fn whole_seconds(timeout: Option<Duration>) -> u32 {
    timeout.map_or(0, |timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX))
}

fn tier_of(tier: DefaultTier) -> Option<Tier> {
    match tier {
        DefaultTier::Auto => None,
        DefaultTier::Inline => Some(Tier::Inline),
        DefaultTier::Pooled => Some(Tier::Pooled),
        DefaultTier::Isolated => Some(Tier::Isolated),
    }
}

/// Selects one setting of each table, leaving out tables that do not set it.
fn each<T>(said: &BTreeMap<String, Bounds>, what: impl Fn(&Bounds) -> Option<T>) -> BTreeMap<String, T> {
    said.iter().filter_map(|(name, bounds)| Some((name.clone(), what(bounds)?))).collect()
}

/// Limits by class or by queue; unlimited ones are left out.
fn limits_of(said: &BTreeMap<String, Bounds>) -> BTreeMap<String, Limit> {
    let limit = |bounds: &Bounds| Limit {
        max_concurrent: bounds.max_concurrent,
        rate: bounds.rate.map(|rate| {
            let in_a_second = u64::from(rate.jobs) / rate.per.as_secs().max(1);
            let burst = bounds.burst.unwrap_or_else(|| u32::try_from(in_a_second.max(1)).unwrap_or(u32::MAX));
            Rate { jobs: rate.jobs, per_ms: rate.per.as_millis() as u64, burst }
        }),
    };
    let limits = said.iter().map(|(name, bounds)| (name.clone(), limit(bounds)));
    limits.filter(|(_, limit)| *limit != Limit::default()).collect()
}
