//! Policy: what an app may request. Pure, so that every case can be tested.

use kqueue_core::wire::coordinator::{Unit, UnitLimits, is_scope_name};

/// Minimum memory limit, bytes: no process can run with less.
const LEAST_MEMORY: u64 = 1 << 20;
/// systemd's default CPU and IO weight of a unit.
const USUAL_WEIGHT: u64 = 100;

/// The upper bounds for an app by root's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caps {
    /// Memory of one scope, bytes; `None` for no limit.
    pub(super) memory_max: Option<u64>,
    /// Run time of one scope, microseconds; `None` for no limit.
    pub(super) runtime_max_usec: Option<u64>,
    /// Number of processes and threads of one scope.
    pub(super) tasks_max: u64,
    /// Maximum CPU weight, 1 to 10000.
    pub(super) cpu_weight: u64,
    /// Maximum IO weight, 1 to 10000.
    pub(super) io_weight: u64,
    /// Highest number of a pooled worker; the lowest is 1.
    pub(super) workers: u32,
    /// Maximum number of concurrent scopes.
    pub(super) scopes: usize,
}

#[cfg(test)]
impl Default for Caps {
    fn default() -> Self {
        Self {
            memory_max: None,
            runtime_max_usec: None,
            tasks_max: 4096,
            cpu_weight: 10_000,
            io_weight: 10_000,
            workers: 1000,
            scopes: 1000,
        }
    }
}

/// Checks the number of a pooled worker.
pub(super) fn worker(caps: &Caps, number: u32) -> Result<(), String> {
    match (1..=caps.workers).contains(&number) {
        true => Ok(()),
        false => Err(format!("worker {number}: root's settings allow 1 to {} (pool_max_size)", caps.workers)),
    }
}

/// Checks whether an app that has `there` scopes may have another.
pub(super) fn another_scope(caps: &Caps, there: usize) -> Result<(), String> {
    match there < caps.scopes {
        true => Ok(()),
        false => Err(format!("{there} scopes exist: the maximum is {}, from max_concurrent_isolated", caps.scopes)),
    }
}

/// Checks the name of a scope; a worker is always valid here.
pub(super) fn unit(unit: &Unit) -> Result<(), String> {
    match unit {
        Unit::Scope(name) if !is_scope_name(name) => Err(format!("{name:?}: not a valid scope name")),
        _ => Ok(()),
    }
}

/// The limits of a new scope: those requested, with root's settings for absent ones. An error if one exceeds its
/// bounds.
pub(super) fn scope(caps: &Caps, asked: &UnitLimits) -> Result<UnitLimits, String> {
    within(caps, asked)?;
    // A weight is a share, not a bound: one that was not requested stays at systemd's default, unless the cap is lower.
    let weight = |asked: Option<u64>, cap: u64| asked.or((cap < USUAL_WEIGHT).then_some(cap));
    Ok(UnitLimits {
        memory_max: asked.memory_max.or(caps.memory_max),
        runtime_max_usec: asked.runtime_max_usec.or(caps.runtime_max_usec),
        tasks_max: asked.tasks_max.or(Some(caps.tasks_max)),
        cpu_weight: weight(asked.cpu_weight, caps.cpu_weight),
        io_weight: weight(asked.io_weight, caps.io_weight),
    })
}

fn within(caps: &Caps, asked: &UnitLimits) -> Result<(), String> {
    bound("memory_max", asked.memory_max, LEAST_MEMORY, caps.memory_max)?;
    bound("runtime_max_usec", asked.runtime_max_usec, 1, caps.runtime_max_usec)?;
    bound("tasks_max", asked.tasks_max, 1, Some(caps.tasks_max))?;
    bound("cpu_weight", asked.cpu_weight, 1, Some(caps.cpu_weight.min(10_000)))?;
    bound("io_weight", asked.io_weight, 1, Some(caps.io_weight.min(10_000)))
}

fn bound(name: &str, asked: Option<u64>, least: u64, most: Option<u64>) -> Result<(), String> {
    // To systemd, `u64::MAX` means no limit.
    let most = most.unwrap_or(u64::MAX - 1);
    match asked {
        Some(asked) if asked < least => Err(format!("{name} of {asked}: must be at least {least}")),
        Some(asked) if asked > most => Err(format!("{name} of {asked}: root's settings allow at most {most}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps {
        memory_max: Some(512 << 20),
        runtime_max_usec: Some(60_000_000),
        tasks_max: 64,
        cpu_weight: 200,
        io_weight: 50,
        workers: 20,
        scopes: 30,
    };

    fn refused(caps: &Caps, limits: UnitLimits) -> String {
        scope(caps, &limits).unwrap_err()
    }

    #[test]
    fn workers_have_roots_numbers() {
        assert!([1, 20].iter().all(|number| worker(&CAPS, *number).is_ok()));
        assert!([0, 21, u32::MAX].iter().all(|number| worker(&CAPS, *number).is_err()));
    }

    #[test]
    fn what_is_absent_is_as_root_has_it() {
        let given = scope(&CAPS, &UnitLimits::default()).unwrap();
        assert_eq!(given.memory_max, CAPS.memory_max);
        assert_eq!(given.runtime_max_usec, CAPS.runtime_max_usec);
        assert_eq!(given.tasks_max, Some(64));
        assert_eq!((given.cpu_weight, given.io_weight), (None, Some(50)));
    }

    #[test]
    fn up_to_the_cap_and_no_further() {
        let at = |n: u64| UnitLimits { memory_max: Some(n), ..UnitLimits::default() };
        assert_eq!(scope(&CAPS, &at(512 << 20)).unwrap().memory_max, Some(512 << 20));
        assert!(refused(&CAPS, at((512 << 20) + 1)).starts_with("memory_max of 536870913: root's settings allow"));
        // systemd's value for no limit.
        assert!(scope(&CAPS, &at(u64::MAX)).is_err());
        assert!(scope(&Caps::default(), &at(u64::MAX)).is_err());
        assert!(refused(&CAPS, at(0)).contains("at least"));
        for limits in [
            UnitLimits { runtime_max_usec: Some(60_000_001), ..UnitLimits::default() },
            UnitLimits { runtime_max_usec: Some(0), ..UnitLimits::default() },
            UnitLimits { tasks_max: Some(65), ..UnitLimits::default() },
            UnitLimits { tasks_max: Some(0), ..UnitLimits::default() },
            UnitLimits { cpu_weight: Some(201), ..UnitLimits::default() },
            UnitLimits { io_weight: Some(51), ..UnitLimits::default() },
            UnitLimits { io_weight: Some(0), ..UnitLimits::default() },
        ] {
            assert!(scope(&CAPS, &limits).is_err(), "{limits:?}");
        }
    }

    #[test]
    fn scopes_are_counted() {
        assert!(another_scope(&CAPS, 29).is_ok());
        assert!([30, 31, usize::MAX].iter().all(|there| another_scope(&CAPS, *there).is_err()));
    }

    #[test]
    fn names_are_names() {
        assert!(unit(&Unit::Scope("0f8f-1".to_owned())).is_ok());
        for name in ["", "..", "a b", "a/b", "A", "a.service", "x\n"] {
            assert!(unit(&Unit::Scope(name.to_owned())).is_err(), "{name:?}");
        }
    }
}
