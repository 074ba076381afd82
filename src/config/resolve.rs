//! Turns merged values into settings: computes dependent defaults, and checks across keys.
//!
//! A default yields to a written value of a related key; two written values that contradict each other are an error.
//! Reads the disk through `paths` and `dirs`.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use super::error::{At, Error, flag};
use super::keys::{Merged, Settings};
use super::raw::{Given, Origin};
use super::root::accounts;
use super::settings::Limits;
use super::surroundings::Surroundings;
use super::{dirs, paths, weights};

/// Makes settings of the app called `app`; `file` is the one that was read, for errors.
///
/// # Errors
/// Unusable paths, and values that contradict each other.
pub fn resolve(
    app: String,
    mut merged: Merged,
    file: Option<&Path>,
    limits: Limits,
    here: &Surroundings,
) -> Result<Settings, Error> {
    work_out(&mut merged, here)?;
    accounts(&merged)?;
    let path = merged.path.as_mut().ok_or_else(|| no_path(file))?;
    path.value = paths::check_app(path.clone(), here)?;
    merged.php.value = paths::find_php(merged.php.clone(), here)?;
    let placed =
        |Given { value, origin }: Given<PathBuf>| Given { value: paths::absolute(&value, &origin, here), origin };
    merged.state_dir = Some(match merged.state_dir {
        Some(given) => placed(given),
        None => by_default(dirs::state(&app, here)?),
    });
    let runtime_dir = merged.runtime_dir.map_or_else(|| by_default(dirs::runtime(&app, here)), placed);
    dirs::check_socket(&runtime_dir.value, At { key: "runtime_dir", origin: runtime_dir.origin.clone() })?;
    merged.runtime_dir = Some(runtime_dir);
    merged.settle(app, limits)
}

/// The error for an app without `path`.
pub fn no_path(file: Option<&Path>) -> Error {
    let fix = match file {
        Some(file) => format!("add path = \"/srv/shop\" to {}, the directory that holds artisan", file.display()),
        None => "give --path DIR, the directory that holds artisan, or APP, the name of a file in /etc/kqueue".into(),
    };
    Error::NoValue { key: "path", fix }
}

/// Fills in what depends on other keys or on the machine's memory, and checks that no two keys contradict each other.
///
/// # Errors
/// [`Error::Conflict`] where they do.
pub(super) fn work_out(merged: &mut Merged, here: &Surroundings) -> Result<(), Error> {
    weights::check(merged)?;
    durations(merged)?;
    pool(merged, here)?;
    memory(merged)
}

fn durations(merged: &mut Merged) -> Result<(), Error> {
    let Merged { inline_max_duration: inline, pooled_max_duration: pooled, .. } = merged;
    if inline.is_default() {
        inline.value = inline.value.min(pooled.value);
    } else if pooled.is_default() {
        pooled.value = pooled.value.max(inline.value);
    }
    ordered(side("inline_max_duration", inline), side("pooled_max_duration", pooled))
}

fn pool(merged: &mut Merged, here: &Surroundings) -> Result<(), Error> {
    let Merged { pool_min_idle: min, pool_size: size, pool_max_size: max, .. } = merged;
    let written_min = if min.is_default() { 0 } else { min.value };
    let written_max = max.as_ref().map_or(usize::MAX, |given| given.value);
    let size = size.get_or_insert_with(|| {
        let by_memory = here.memory_mb.map_or(10, |mb| usize::try_from(mb / 128).unwrap_or(10).clamp(2, 10));
        by_default(by_memory.max(written_min).min(written_max))
    });
    let max = max.get_or_insert_with(|| by_default((2 * size.value).min(20).max(size.value)));
    if min.is_default() {
        min.value = min.value.min(size.value);
    }
    ordered(side("pool_min_idle", min), side("pool_size", size))?;
    ordered(side("pool_size", size), side("pool_max_size", max))
}

fn memory(merged: &mut Merged) -> Result<(), Error> {
    let Merged { worker_memory: memory, worker_memory_max: max, isolated_memory_max: isolated, .. } = merged;
    let max = max.get_or_insert_with(|| by_default(memory.value.saturating_mul(2).max(512)));
    if memory.is_default() {
        memory.value = memory.value.min(max.value);
    }
    ordered(side("worker_memory", memory), side("worker_memory_max", max))?;
    let Some(cap) = &merged.isolated_memory_cap else { return Ok(()) };
    if isolated.is_default() {
        isolated.value = isolated.value.min(cap.value);
    }
    ordered(side("isolated_memory_max", isolated), side("isolated_memory_cap", cap))
}

fn by_default<T>(value: T) -> Given<T> {
    Given { value, origin: Origin::Default }
}

/// One of two values that are compared.
struct Side<'a, V> {
    key: &'static str,
    value: V,
    origin: &'a Origin,
}

/// Checks that `low` is not above `high`. The error is reported at a written value, and at the command line rather than
/// the file.
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
