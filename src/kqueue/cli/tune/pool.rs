//! Advice on the number of processes, from the waits of jobs. Pure.

use kqueue_control::Figures;

use super::advice::{Advice, Given, RUNS, file};
use crate::cli::show::span_ms;

/// 95th percentile of the wait of pooled jobs, in ms, from which more of the workers that start with demand are needed.
const SLOW_MS: u64 = 1_000;
/// And from which more are needed than start under pressure.
const SLOWER_MS: u64 = 5_000;
/// The same for isolated jobs, which take long themselves.
const ISOLATED_MS: u64 = 10_000;
/// 99th percentile of the wait, in ms, that is negligible.
const QUICK_MS: u64 = 100;
/// Assumed bytes of a process if unknown.
const PROCESS: u64 = 64 << 20;

pub(super) fn advise(given: &Given) -> Vec<Advice> {
    let mut advice = pooled(given);
    advice.extend(isolated(given));
    advice
}

fn pooled(given: &Given) -> Vec<Advice> {
    let figures = given.tier("pooled");
    let [Some(size), Some(most), Some(at_once)] =
        ["pool_size", "pool_max_size", "max_concurrent_pooled"].map(|key| given.number(key))
    else {
        return Vec::new();
    };
    let Some(waits) = Waits::of(&figures) else { return Vec::new() };
    let peak = given.of_tier("pooled").filter_map(|class| class.figures.memory_peak).max().unwrap_or(PROCESS);
    if waits.p95 >= SLOWER_MS {
        let bound = most.min(at_once);
        let Some(more) = more(bound, peak, given) else { return Vec::new() };
        let evidence =
            format!("{}; at most {bound} pooled jobs run at once{}", waits.said("pooled"), reserved(given, peak));
        let gain = "pooled jobs wait less";
        let mut advice = Vec::new();
        if most < more {
            advice.push(file("pool_max_size", more, gain, evidence.clone()));
        }
        if at_once < more {
            advice.push(file("max_concurrent_pooled", more, gain, evidence));
        }
        return advice;
    }
    if waits.p95 >= SLOW_MS && size < most {
        let more = (size + size.div_ceil(2)).min(most);
        let evidence = format!("{}; more than {size} workers start only once a job has waited", waits.said("pooled"));
        return vec![file("pool_size", more, "pooled jobs wait less", evidence)];
    }
    idle(given, &figures, &waits).into_iter().collect()
}

/// Advice to keep fewer idle workers.
fn idle(given: &Given, figures: &Figures, waits: &Waits) -> Option<Advice> {
    let (kept, load) = (given.number("pool_min_idle")?, given.load(figures));
    let enough = load.ceil() as u64 + 2;
    if waits.p99 > QUICK_MS || kept <= enough {
        return None;
    }
    let evidence =
        format!("{}; on average {load:.1} workers are busy, and {kept} idle ones are kept", waits.said("pooled"));
    Some(file("pool_min_idle", enough, "idle workers hold less memory", evidence))
}

fn isolated(given: &Given) -> Option<Advice> {
    let (figures, most) = (given.tier("isolated"), given.number("max_concurrent_isolated")?);
    let waits = Waits::of(&figures).filter(|waits| waits.p95 >= ISOLATED_MS)?;
    let known = given.of_tier("isolated").filter_map(|class| class.figures.memory_peak).max();
    let peak = known.or_else(|| Some(given.number("isolated_memory_max")? << 20))?;
    let more = more(most, peak, given)?;
    let evidence = format!("{}; at most {most} run at once{}", waits.said("isolated"), reserved(given, peak));
    Some(file("max_concurrent_isolated", more, "isolated jobs wait less", evidence))
}

/// Half as many again, within 3/4 of the machine's memory; `None` if that is no increase.
fn more(now: u64, peak: u64, given: &Given) -> Option<u64> {
    let room = given.memory_mb? * 3 / 4 / (peak >> 20).max(1);
    let more = (now + now.div_ceil(2)).min(room).min(1_000);
    (more > now).then_some(more)
}

fn reserved(given: &Given, peak: u64) -> String {
    let machine = given.memory_mb.unwrap_or(0);
    format!(", each takes {} MB at most, and the machine has {machine} MB", (peak >> 20).max(1))
}

/// The waits of jobs, given enough runs.
struct Waits {
    runs: u64,
    p95: u64,
    p99: u64,
}

impl Waits {
    fn of(figures: &Figures) -> Option<Self> {
        let runs = figures.wait.count();
        let [p95, p99] = [0.95, 0.99].map(|share| figures.wait.quantile(share));
        (runs >= RUNS).then_some(Self { runs, p95: p95?, p99: p99? })
    }

    fn said(&self, tier: &str) -> String {
        let Self { runs, p95, p99 } = self;
        format!("of {runs} {tier} jobs 5 % waited for {} or longer, 1 % for {}", span_ms(*p95), span_ms(*p99))
    }
}

#[cfg(test)]
mod tests {
    use super::super::advice::Class;
    use super::super::advice::tests::{class_of, given, lines};
    use super::*;

    fn pooled_of(wait: u64) -> Given {
        given(vec![class_of("A", "pooled", 500, wait, 2_000)])
    }

    #[test]
    fn workers_by_waits() {
        assert_eq!(lines(&pooled_of(300)), [""; 0]);
        assert_eq!(lines(&pooled_of(2_000)), ["pool_size = 15"]);
        assert_eq!(lines(&pooled_of(20_000)), ["pool_max_size = 30", "max_concurrent_pooled = 30"]);
        let mut at_once = pooled_of(20_000);
        at_once.settings.insert("pool_max_size".to_owned(), 40.into());
        assert_eq!(lines(&at_once), ["max_concurrent_pooled = 30"]);
        let evidence = &super::super::advice::advise(&pooled_of(20_000))[0].evidence;
        assert!(evidence.starts_with("of 500 pooled jobs 5 % waited for 20 s or longer"), "{evidence}");
    }

    #[test]
    fn no_more_than_the_machine_has_memory_for() {
        let full = Given { memory_mb: Some(1_500), ..pooled_of(20_000) };
        assert_eq!(lines(&full), [""; 0]);
        let some = Given { memory_mb: Some(2_100), ..pooled_of(20_000) };
        assert_eq!(lines(&some), ["pool_max_size = 24", "max_concurrent_pooled = 24"]);
        assert_eq!(lines(&Given { memory_mb: None, ..pooled_of(20_000) }), [""; 0]);
    }

    #[test]
    fn isolated_jobs_by_waits() {
        let of = |wait| given(vec![class_of("A", "isolated", 200, wait, 40_000)]);
        assert_eq!(lines(&of(5_000)), [""; 0]);
        assert_eq!(lines(&of(60_000)), ["max_concurrent_isolated = 8"]);
        assert_eq!(lines(&Given { memory_mb: Some(3_000), ..of(60_000) }), [""; 0]);
    }

    #[test]
    fn workers_that_are_kept_for_nothing() {
        let mut kept = given(vec![class_of("A", "pooled", 500, 5, 200)]);
        kept.settings.insert("pool_min_idle".to_owned(), 10.into());
        assert_eq!(lines(&kept), ["pool_min_idle = 3"]);
        kept.seconds = 20;
        assert_eq!(lines(&kept), ["pool_min_idle = 7"], "five are busy all the time");
    }

    #[test]
    fn a_class_without_a_tier_counts_for_none() {
        let stray = Class { tier: String::new(), ..class_of("A", "pooled", 500, 60_000, 100) };
        assert_eq!(lines(&given(vec![stray])), [""; 0]);
    }
}
