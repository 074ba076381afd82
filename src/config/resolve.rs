//! From merged values to settings: defaults that depend on something, and checks across keys.
//!
//! A default yields to what was written for a related key; two written values that contradict each other
//! are an error. Looks at the disk through `paths` and `dirs`.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use super::error::{At, Error, flag};
use super::keys::Merged;
use super::raw::{Given, Origin};
use super::root::accounts;
use super::settings::{IsolatedCaps, Recycle, Settings, Tiers, Work};
use super::surroundings::Surroundings;
use super::{dirs, paths};

/// Limits of one run, which only the command line has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// `--stop-when-empty`.
    pub stop_when_empty: bool,
    /// `--max-jobs`.
    pub max_jobs: u64,
    /// `--max-time`.
    pub max_time: Duration,
}

/// Makes settings of the app called `app`; `file` is the one that was read, for errors.
///
/// # Errors
/// Paths that are no good, and values that contradict each other.
pub fn resolve(
    app: String,
    merged: Merged,
    file: Option<&Path>,
    limits: Limits,
    here: &Surroundings,
) -> Result<Settings, Error> {
    let tiers = tiers(&merged, here)?;
    let recycle = recycle(&merged)?;
    let isolated = isolated(&merged)?;
    accounts(&merged)?;
    let path = paths::check_app(merged.path.ok_or_else(|| no_path(file))?, here)?;
    let php = paths::find_php(need(merged.php, "php")?, here)?;
    let state_dir = match merged.state_dir {
        Some(given) => paths::absolute(&given.value, &given.origin, here),
        None => dirs::state(&app, here)?,
    };
    let (runtime_dir, origin) = match merged.runtime_dir {
        Some(given) => (paths::absolute(&given.value, &given.origin, here), given.origin),
        None => (dirs::runtime(&app, here), Origin::Default),
    };
    dirs::check_socket(&runtime_dir, At { key: "runtime_dir", origin })?;
    Ok(Settings {
        app,
        path,
        php,
        php_args: need(merged.php_args, "php_args")?.value.0,
        connection: merged.connection.map(|given| given.value.0),
        queues: merged.queues.map(|given| given.value.0).unwrap_or_default(),
        launcher: need(merged.launcher, "launcher")?.value,
        start: need(merged.start, "start")?.value,
        fork_safe_peers: merged.fork_safe_peers.map(|given| given.value.0).unwrap_or_default(),
        umask: merged.umask.map(|given| given.value.0),
        tiers,
        work: Work {
            tries: need(merged.tries, "tries")?.value.0,
            timeout: need(merged.timeout, "timeout")?.value.0,
            backoff: need(merged.backoff, "backoff")?.value.0,
            force: need(merged.force, "force")?.value,
        },
        recycle,
        isolated,
        crash: need(merged.crash, "crash")?.value,
        pop: need(merged.pop, "pop")?.value,
        ack: need(merged.ack, "ack")?.value,
        renew: need(merged.renew, "renew")?.value,
        horizon: need(merged.horizon, "horizon")?.value,
        property_hints: need(merged.property_hints, "property_hints")?.value,
        timeout_grace: need(merged.timeout_grace, "timeout_grace")?.value.0,
        boot_timeout: need(merged.boot_timeout, "boot_timeout")?.value.0,
        stop_timeout: need(merged.stop_timeout, "stop_timeout")?.value.0,
        state_dir,
        runtime_dir,
        stop_when_empty: limits.stop_when_empty,
        max_jobs: limits.max_jobs,
        max_time: limits.max_time,
    })
}

/// The error where nothing says where the app is.
pub fn no_path(file: Option<&Path>) -> Error {
    let fix = match file {
        Some(file) => format!("add path = \"/srv/shop\" to {}, the directory that holds artisan", file.display()),
        None => "give --path DIR, the directory that holds artisan, or APP, the name of a file in /etc/kqueue".into(),
    };
    Error::NoValue { key: "path", fix }
}

pub(super) fn tiers(merged: &Merged, here: &Surroundings) -> Result<Tiers, Error> {
    let mut inline = map(need(merged.inline_max_duration.clone(), "inline_max_duration")?, |t| t.0);
    let mut pooled = map(need(merged.pooled_max_duration.clone(), "pooled_max_duration")?, |t| t.0);
    if inline.is_default() {
        inline.value = inline.value.min(pooled.value);
    } else if pooled.is_default() {
        pooled.value = pooled.value.max(inline.value);
    }
    ordered(side("inline_max_duration", &inline), side("pooled_max_duration", &pooled))?;

    let written_min = merged.pool_min_idle.as_ref().filter(|given| !given.is_default()).map(|given| given.value.0);
    let written_max = merged.pool_max_size.as_ref().map(|given| given.value.0);
    let size = merged.pool_size.clone().map(|given| map(given, |n| n.0)).unwrap_or_else(|| {
        let by_memory = here.memory_mb.map_or(10, |mb| u32::try_from(mb / 128).unwrap_or(10).clamp(2, 10));
        let least = by_memory.max(written_min.unwrap_or(0));
        Given { value: least.min(written_max.unwrap_or(u32::MAX)), origin: Origin::Default }
    });
    let max = merged
        .pool_max_size
        .clone()
        .map(|given| map(given, |n| n.0))
        .unwrap_or(Given { value: (2 * size.value).min(20).max(size.value), origin: Origin::Default });
    let mut min = map(need(merged.pool_min_idle.clone(), "pool_min_idle")?, |n| n.0);
    if min.is_default() {
        min.value = min.value.min(size.value);
    }
    ordered(side("pool_min_idle", &min), side("pool_size", &size))?;
    ordered(side("pool_size", &size), side("pool_max_size", &max))?;
    Ok(Tiers {
        default_tier: need(merged.default_tier.clone(), "default_tier")?.value,
        inline_max_duration: inline.value,
        pooled_max_duration: pooled.value,
        pool_min_idle: min.value as usize,
        pool_size: size.value as usize,
        pool_max_size: max.value as usize,
        max_concurrent_inline: need(merged.max_concurrent_inline.clone(), "max_concurrent_inline")?.value.0 as usize,
        max_concurrent_pooled: need(merged.max_concurrent_pooled.clone(), "max_concurrent_pooled")?.value.0 as usize,
        max_concurrent_isolated: need(merged.max_concurrent_isolated.clone(), "max_concurrent_isolated")?.value.0
            as usize,
        max_waiting: need(merged.max_waiting.clone(), "max_waiting")?.value.0 as usize,
        max_waiting_bytes: need(merged.max_waiting_bytes.clone(), "max_waiting_bytes")?.value.0,
    })
}

pub(super) fn recycle(merged: &Merged) -> Result<Recycle, Error> {
    let mut memory = map(need(merged.worker_memory.clone(), "worker_memory")?, |mb| mb.0);
    let max = merged
        .worker_memory_max
        .clone()
        .map(|given| map(given, |mb| mb.0))
        .unwrap_or(Given { value: memory.value.saturating_mul(2).max(512), origin: Origin::Default });
    if memory.is_default() {
        memory.value = memory.value.min(max.value);
    }
    ordered(side("worker_memory", &memory), side("worker_memory_max", &max))?;
    let mut isolated = map(need(merged.isolated_memory_max.clone(), "isolated_memory_max")?, |mb| mb.0);
    if let Some(cap) = merged.isolated_memory_cap.clone().map(|given| map(given, |mb| mb.0)) {
        if isolated.is_default() {
            isolated.value = isolated.value.min(cap.value);
        }
        ordered(side("isolated_memory_max", &isolated), side("isolated_memory_cap", &cap))?;
    }
    Ok(Recycle {
        max_jobs: need(merged.worker_max_jobs.clone(), "worker_max_jobs")?.value.0,
        max_time: need(merged.worker_max_time.clone(), "worker_max_time")?.value.0,
        memory_mb: memory.value,
        memory_max_mb: max.value,
        isolated_memory_max_mb: isolated.value,
    })
}

pub(super) fn isolated(merged: &Merged) -> Result<IsolatedCaps, Error> {
    let time = need(merged.isolated_time_cap.clone(), "isolated_time_cap")?.value.0;
    Ok(IsolatedCaps {
        memory_mb: merged.isolated_memory_cap.as_ref().map(|given| given.value.0),
        time: (!time.is_zero()).then_some(time),
        tasks_max: need(merged.isolated_tasks_max.clone(), "isolated_tasks_max")?.value.0,
        cpu_weight: need(merged.isolated_cpu_weight.clone(), "isolated_cpu_weight")?.value.0,
        io_weight: need(merged.isolated_io_weight.clone(), "isolated_io_weight")?.value.0,
    })
}

fn map<T, U>(given: Given<T>, f: impl FnOnce(T) -> U) -> Given<U> {
    Given { value: f(given.value), origin: given.origin }
}

/// One of two values that are compared.
struct Side<'a, V> {
    key: &'static str,
    value: V,
    origin: &'a Origin,
}

/// Checks that `low` is not above `high`. The error stands at what the operator wrote, and at the command
/// line rather than the file.
fn ordered<V: PartialOrd + Debug>(low: Side<'_, V>, high: Side<'_, V>) -> Result<(), Error> {
    if low.value <= high.value {
        return Ok(());
    }
    let only_high_is_flag = *high.origin == Origin::Flag && *low.origin != Origin::Flag;
    let (this, relation, other, verb, opposite) = if only_high_is_flag || *low.origin == Origin::Default {
        (high, "below", low, "raise", "lower")
    } else {
        (low, "above", high, "lower", "raise")
    };
    let name = |key: &str| match this.origin {
        Origin::Flag => flag(key),
        _ => key.to_owned(),
    };
    Err(Error::Conflict {
        at: At { key: this.key, origin: this.origin.clone() },
        // Debug, because Duration has no Display: `30s`, and numbers look the same.
        what: format!("{:?} is {relation} {} ({:?})", this.value, name(other.key), other.value),
        fix: format!("{verb} {} or {opposite} {}", name(this.key), name(other.key)),
    })
}

fn side<'a, V: Copy>(key: &'static str, given: &'a Given<V>) -> Side<'a, V> {
    Side { key, value: given.value, origin: &given.origin }
}

/// The value of a key that has a default, so that its absence is a fault of the table, not of the operator.
pub(super) fn need<T>(slot: Option<Given<T>>, key: &'static str) -> Result<Given<T>, Error> {
    slot.ok_or_else(|| Error::NoValue { key, fix: "add it to the config file".into() })
}
