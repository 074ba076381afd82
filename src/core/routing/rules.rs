//! The routing rules, in their order.

use std::time::Duration;

use super::{ClassHistory, Hints, Limits, Tier, Why, name_hint};

/// The routing decision for a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// Its tier.
    pub tier: Tier,
    /// The reason.
    pub why: Why,
    /// False if only the class name or no rule decided: it is worth having PHP inspect the class.
    pub known: bool,
}

/// Routes a job of `class`. The first rule that applies decides:
///
/// 1. A quarantined class is isolated, whatever it declares: it has crashed twice.
/// 2. `isolated` declared: true is isolated, false is inline. The author's declaration also overrides memory; if it is
///    wrong, the memory limit of lanes and rule 1 apply.
/// 3. Memory: `maxMemory`, or the highest of the recent peaks, above the memory of a pooled worker is isolated. Before
///    all durations, because a short job that needs 1 GB harms its neighbours as much as a long one.
/// 4. `estimatedDuration` declared, by the bounds.
/// 5. The default tier, if the settings name one: the rules after it are kqueue's own estimate.
/// 6. Durations of earlier runs (see [`ClassHistory`]), by the bounds.
/// 7. `timeout` declared, in seconds: over `pooled_max` is isolated, up to `inline_max` is inline. Between them the
///    rule does not apply, nor for 0, which is no limit in Laravel.
/// 8. The class name: heavy is isolated, light is inline.
/// 9. Pooled.
///
/// A job that rules 4 to 8 would run inline is pooled instead if the recent memory peaks of its class differ by more
/// than half the memory of a pooled worker: lanes share the runtime's memory.
pub fn route(
    class: &str,
    hints: &Hints,
    timeout: Option<u32>,
    history: Option<&ClassHistory>,
    limits: &Limits,
) -> Route {
    let (tier, why, known) = decide(class, hints, timeout, history, limits);
    let growth = history.map_or(0, ClassHistory::growth_kb);
    let asked_for = matches!(why, Why::Isolated(_));
    if tier == Tier::Inline && !asked_for && u64::from(growth) > kb(limits.pooled_memory_mb) / 2 {
        return Route { tier: Tier::Pooled, why: Why::Growth { kb: growth }, known: true };
    }
    Route { tier, why, known }
}

/// The tier, the reason, and whether anything is known of the class.
fn decide(
    class: &str,
    hints: &Hints,
    timeout: Option<u32>,
    history: Option<&ClassHistory>,
    limits: &Limits,
) -> (Tier, Why, bool) {
    if let Some(history) = history.filter(|history| history.is_quarantined()) {
        let crashes = history.crashes();
        return (Tier::Isolated, Why::Quarantined { crashes }, true);
    }
    if let Some(isolated) = hints.isolated {
        let tier = if isolated { Tier::Isolated } else { Tier::Inline };
        return (tier, Why::Isolated(isolated), true);
    }
    if let Some(mb) = hints.max_memory_mb.filter(|mb| *mb > limits.pooled_memory_mb) {
        return (Tier::Isolated, Why::MaxMemory(mb), true);
    }
    let over = |peak: &u32| u64::from(*peak) > kb(limits.pooled_memory_mb);
    if let Some(kb) = history.and_then(ClassHistory::peak_kb).filter(over) {
        return (Tier::Isolated, Why::Peak { kb }, true);
    }
    if let Some(estimate) = hints.estimated_duration {
        return (limits.tier(estimate), Why::Estimate(estimate), true);
    }
    if let Some(tier) = limits.default_tier {
        return (tier, Why::Default, true);
    }
    if let Some((tier, why)) = history.and_then(|history| history.duration_tier(limits)) {
        return (tier, why, true);
    }
    if let Some(seconds) = timeout.filter(|seconds| *seconds > 0) {
        let tier = limits.tier(Duration::from_secs(u64::from(seconds)));
        if tier != Tier::Pooled {
            return (tier, Why::Timeout(seconds), true);
        }
    }
    if let Some(hint) = name_hint(class) {
        let tier = if hint.is_heavy() { Tier::Isolated } else { Tier::Inline };
        return (tier, Why::Name(hint), false);
    }
    (Tier::Pooled, Why::Nothing, false)
}

fn kb(mb: u32) -> u64 {
    u64::from(mb) * 1024
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
