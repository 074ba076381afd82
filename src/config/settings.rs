//! What the runtime uses: every value present, checked, with its unit in its type.

use std::path::PathBuf;
use std::time::Duration;

/// Who starts PHP processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LauncherKind {
    /// Picked by what is there.
    #[default]
    Auto,
    /// The coordinator, which asks systemd.
    Coordinator,
    /// The user's own service manager.
    User,
    /// Nobody: plain child processes.
    Process,
}

/// How lanes and isolated jobs get their PHP process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Forked from a template process in which the app is already booted.
    #[default]
    Fork,
    /// A new PHP process each, for apps that cannot fork.
    Spawn,
}

/// Where jobs go that declare nothing for kqueue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultTier {
    /// Where kqueue finds that they belong.
    #[default]
    Auto,
    /// All inline.
    Inline,
    /// All pooled.
    Pooled,
    /// All isolated.
    Isolated,
}

/// What happens to a job whose PHP process died under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crash {
    /// The true cause is thrown inside Laravel at once: the job is retried or failed by its own rules.
    #[default]
    Replay,
    /// As stock Laravel: the job stays reserved until `retry_after`.
    Laravel,
}

/// How jobs are taken off Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pop {
    /// A payload that is no job is set aside on the queue `NAME:broken`.
    #[default]
    Safe,
    /// Laravel's own script, which loses such a payload.
    Strict,
}

/// Who removes a finished job from the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// The runtime, in batches, where that is the same as Laravel's own ack; Laravel elsewhere.
    #[default]
    Auto,
    /// Always Laravel, on the app's own connection.
    Laravel,
}

/// Limits of the tiers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiers {
    /// `default_tier`: where jobs go that declare nothing.
    pub default_tier: DefaultTier,
    /// `inline_max_duration`: jobs expected to take at most this run inline.
    pub inline_max_duration: Duration,
    /// `pooled_max_duration`: jobs expected to take at most this run pooled; longer ones isolated.
    pub pooled_max_duration: Duration,
    /// `pool_min_idle`: idle pooled workers kept warm.
    pub pool_min_idle: usize,
    /// `pool_size`: pooled workers grown to with demand.
    pub pool_size: usize,
    /// `pool_max_size`: pooled workers grown to under pressure.
    pub pool_max_size: usize,
    /// `max_concurrent_inline`: lanes at the most.
    pub max_concurrent_inline: usize,
    /// `max_concurrent_pooled`: pooled jobs at once.
    pub max_concurrent_pooled: usize,
    /// `max_concurrent_isolated`: isolated jobs at once.
    pub max_concurrent_isolated: usize,
    /// `max_waiting`: reserved jobs that may wait for their tier.
    pub max_waiting: usize,
    /// `max_waiting_bytes`: bytes of their payloads.
    pub max_waiting_bytes: usize,
}

/// Defaults that Laravel's worker takes where a payload says nothing; the options of `queue:work`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// `tries`: attempts before a job fails; 0 is without limit.
    pub tries: u32,
    /// `timeout`: seconds that a job may run; `None` is without limit.
    pub timeout: Option<Duration>,
    /// `backoff`: seconds before a retry, as Laravel's `--backoff` takes them (`"1,5,10"`).
    pub backoff: String,
    /// `force`: run in maintenance mode too.
    pub force: bool,
}

/// When a PHP process is replaced, and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recycle {
    /// `worker_max_jobs`: jobs before a lane or pooled worker is replaced; 0 is without limit.
    pub max_jobs: u32,
    /// `worker_max_time`: age at which it is replaced; zero is without limit.
    pub max_time: Duration,
    /// `worker_memory`: MB of PHP's heap above which it is replaced after a job.
    pub memory_mb: u32,
    /// `worker_memory_max`: MB of resident memory above which a lane or pooled worker is killed.
    pub memory_max_mb: u32,
    /// `isolated_memory_max`: MB for an isolated job that declares no `maxMemory`.
    pub isolated_memory_max_mb: u32,
}

/// What no isolated job gets more of, whatever it asks for. Under systemd, root's file is the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedCaps {
    /// `isolated_memory_cap`, in MB; `None` is the machine's memory.
    pub memory_mb: Option<u32>,
    /// `isolated_time_cap`; `None` is without limit.
    pub time: Option<Duration>,
    /// `isolated_tasks_max`: processes and threads. Also what a job gets that asks for nothing, as the
    /// next two are.
    pub tasks_max: u32,
    /// `isolated_cpu_weight`: share of the processors, 1 to 10000.
    pub cpu_weight: u32,
    /// `isolated_io_weight`: share of the disks, 1 to 10000.
    pub io_weight: u32,
}

/// Everything `kqueue run` needs to know of one app.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The app's name: the instance name of its units.
    pub app: String,
    /// `path`: the app's directory, the one that holds `artisan`.
    pub path: PathBuf,
    /// `php`: the interpreter, a path or a name looked up in `PATH`.
    pub php: PathBuf,
    /// `php_args`: arguments for the interpreter, before the script.
    pub php_args: Vec<String>,
    /// `connection`: name of the queue connection; `None` is the app's default.
    pub connection: Option<String>,
    /// `queues`: queues in strict order; empty is the connection's own.
    pub queues: Vec<String>,
    /// `launcher`.
    pub launcher: LauncherKind,
    /// `start`.
    pub start: Start,
    /// `fork_safe_peers`: what forked processes may share.
    pub fork_safe_peers: Vec<String>,
    /// `umask` of the app's processes; `None` leaves it to the app.
    pub umask: Option<u32>,
    /// Tier limits.
    pub tiers: Tiers,
    /// Worker defaults.
    pub work: Work,
    /// Recycling.
    pub recycle: Recycle,
    /// Bounds of isolated jobs.
    pub isolated: IsolatedCaps,
    /// `crash`.
    pub crash: Crash,
    /// `pop`.
    pub pop: Pop,
    /// `ack`.
    pub ack: Ack,
    /// `renew`: renew leases while a job's process lives.
    pub renew: bool,
    /// `horizon`: do what Horizon's master would.
    pub horizon: bool,
    /// `property_hints`: whether properties and methods of jobs are hints, and not attributes alone.
    pub property_hints: bool,
    /// `timeout_grace`: what a job may run past its timeout before its process is killed from outside.
    pub timeout_grace: Duration,
    /// `boot_timeout`: what a PHP process may take to be ready.
    pub boot_timeout: Duration,
    /// `stop_timeout`: what running jobs may take on SIGTERM before they are killed.
    pub stop_timeout: Duration,
    /// `state_dir`: where history is kept.
    pub state_dir: PathBuf,
    /// `runtime_dir`: where the sockets are.
    pub runtime_dir: PathBuf,
    /// `--stop-when-empty`.
    pub stop_when_empty: bool,
    /// `--max-jobs`: jobs after which the runtime ends; 0 is without limit.
    pub max_jobs: u64,
    /// `--max-time`: time after which the runtime ends; zero is without limit.
    pub max_time: Duration,
}
