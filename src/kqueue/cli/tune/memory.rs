//! Advice on memory limits, from the peaks of jobs. Pure.

use super::advice::{Advice, CLASS_RUNS, Class, Given, RUNS, class, file, mb, said};

/// A peak from this percentage of its limit is close to it.
const CLOSE: u64 = 85;
/// A peak up to this percentage leaves most of it unused.
const FAR: u64 = 40;
/// The same for a single class.
const CLASS_FAR: u64 = 25;
/// Runs from which a peak is meaningful.
const PEAK_RUNS: u64 = 200;
/// Limits below this many MB are not advised.
const SMALL: u64 = 96;
/// Ended workers from which their number is meaningful.
const ENDS: u64 = 20;

pub(super) fn advise(given: &Given) -> Vec<Advice> {
    let mut advice = isolated(given);
    advice.extend(pooled(given));
    advice.extend(replaced(given));
    advice
}

/// Bytes as a percentage of a limit in MB.
fn share(bytes: u64, limit: u64) -> u64 {
    bytes.saturating_mul(100) / (limit.max(1) << 20)
}

/// The class with the highest peak, and that peak in bytes.
fn hungriest<'a>(classes: &[&'a Class]) -> Option<(&'a Class, u64)> {
    let peaks = classes.iter().filter_map(|class| Some((*class, class.figures.memory_peak?)));
    peaks.max_by_key(|(_, peak)| *peak)
}

/// Whether a class declares its own limit, so that the setting does not apply.
fn declares(class: &Class) -> bool {
    class.why.starts_with("maxMemory")
}

fn isolated(given: &Given) -> Vec<Advice> {
    let Some(limit) = given.number("isolated_memory_max") else { return Vec::new() };
    let classes: Vec<&Class> = given.of_tier("isolated").filter(|class| !declares(class)).collect();
    let Some((most, peak)) = hungriest(&classes) else { return Vec::new() };
    let runs: u64 = classes.iter().map(|class| class.figures.runs()).sum();
    let killed = given.ended("isolated", "oom");
    if share(peak, limit) >= CLOSE && (most.figures.runs() >= CLASS_RUNS || killed > 0) {
        let wanted = given.number("isolated_memory_cap").map_or(mb(peak * 3 / 2), |cap| mb(peak * 3 / 2).min(cap));
        if wanted <= limit {
            return Vec::new();
        }
        let killed = if killed == 0 { String::new() } else { format!("; {killed} were killed at their limit") };
        let evidence = format!("{} used {} of its {limit} MB{killed}", most.name, said(peak));
        return vec![file("isolated_memory_max", wanted, "isolated jobs are not killed for lack of memory", evidence)];
    }
    let known = classes.iter().all(|class| class.figures.memory_peak.is_some());
    let wanted = mb(peak * 2).max(SMALL);
    if known && killed == 0 && runs >= PEAK_RUNS && share(peak, limit) <= FAR && wanted < limit {
        let evidence =
            format!("none of {runs} isolated jobs used more than {} ({}) of {limit} MB", said(peak), most.name);
        return vec![file("isolated_memory_max", wanted, "more isolated jobs fit into the memory", evidence)];
    }
    let frugal = |of: &&Class| {
        let peak = of.figures.memory_peak?;
        let wanted = mb(peak * 2).max(SMALL);
        let few = of.figures.runs() < PEAK_RUNS || share(peak, limit) > CLASS_FAR || wanted >= limit;
        let evidence = format!("none of {} runs used more than {} of {limit} MB", of.figures.runs(), said(peak));
        (!few)
            .then(|| class(of, format!("public int $maxMemory = {wanted};"), "it gets a lower memory limit", evidence))
    };
    classes.iter().filter_map(frugal).collect()
}

fn pooled(given: &Given) -> Option<Advice> {
    let limit = given.number("worker_memory_max")?;
    let classes: Vec<&Class> = given.of_tier("pooled").filter(|class| class.figures.runs() >= CLASS_RUNS).collect();
    let (most, peak) = hungriest(&classes)?;
    if share(peak, limit) < CLOSE {
        return None;
    }
    let wanted = mb(peak * 3 / 2);
    let evidence = format!("{} used {} of the {limit} MB of a pooled worker", most.name, said(peak));
    Some(file("worker_memory_max", wanted, "workers are not killed for lack of memory", evidence))
}

/// Advice for workers that are replaced, for their memory, long before their limits of jobs or age.
fn replaced(given: &Given) -> Option<Advice> {
    let (memory, most) = (given.number("worker_memory")?, given.number("worker_memory_max")?);
    let (max_jobs, max_ms) = (given.number("worker_max_jobs")?, given.ms("worker_max_time")?);
    let (ended, jobs) = (given.ended("pooled", "recycled"), *given.ended_jobs.get("pooled")?);
    if ended < ENDS || jobs < RUNS {
        return None;
    }
    let each = jobs / ended;
    // The number that age alone would have ended, with a pool of its usual size.
    let aged = (given.uptime * 1000).checked_div(max_ms).unwrap_or(0) * given.number("pool_size")?;
    let early = (max_jobs == 0 || each < max_jobs / 10) && ended > aged.saturating_mul(4);
    let wanted = (memory * 2).min(most / 2).next_multiple_of(32);
    let evidence =
        format!("{ended} pooled workers were replaced, after {each} jobs on average; worker_memory is {memory} MB");
    (early && wanted > memory).then(|| file("worker_memory", wanted, "workers are booted less often", evidence))
}

#[cfg(test)]
mod tests {
    use super::super::advice::tests::{class_of, given, lines};
    use super::*;

    fn took(mut class: Class, mb: u64) -> Class {
        class.figures.memory_peak = Some(mb << 20);
        class
    }

    fn isolated_of(runs: u64, mb: u64) -> Class {
        took(class_of("App\\Jobs\\Render", "isolated", runs, 10, 40_000), mb)
    }

    #[test]
    fn a_limit_that_is_close_is_raised() {
        assert_eq!(lines(&given(vec![isolated_of(200, 300)])), [""; 0]);
        assert_eq!(lines(&given(vec![isolated_of(200, 480)])), ["isolated_memory_max = 736"]);
        let mut capped = given(vec![isolated_of(200, 480)]);
        capped.settings.insert("isolated_memory_cap".to_owned(), 600.into());
        assert_eq!(lines(&capped), ["isolated_memory_max = 600"]);
        let own = Class { why: "maxMemory 512 MB".to_owned(), ..isolated_of(200, 480) };
        assert_eq!(lines(&given(vec![own])), [""; 0]);
    }

    #[test]
    fn a_limit_that_nobody_needs_is_lowered() {
        assert_eq!(lines(&given(vec![isolated_of(300, 60)])), ["isolated_memory_max = 128"]);
        assert_eq!(lines(&given(vec![isolated_of(150, 60)])), [""; 0], "too few runs");
        let mut killed = given(vec![isolated_of(300, 60)]);
        killed.ended.entry("isolated".to_owned()).or_default().insert("oom".to_owned(), 1);
        assert!(!lines(&killed).iter().any(|line| line.starts_with("isolated_memory_max")));
        // Only one of the classes needs it.
        let other = Class { name: "App\\Jobs\\Small".to_owned(), ..isolated_of(300, 60) };
        assert_eq!(lines(&given(vec![isolated_of(300, 300), other])), ["public int $maxMemory = 128;"]);
    }

    #[test]
    fn workers() {
        let hungry = took(class_of("A", "pooled", 200, 10, 2_000), 490);
        assert_eq!(lines(&given(vec![hungry])), ["worker_memory_max = 736"]);
        let mut replaced = given(vec![class_of("A", "pooled", 20_000, 10, 2_000)]);
        replaced.ended.entry("pooled".to_owned()).or_default().insert("recycled".to_owned(), 2_000);
        replaced.ended_jobs.insert("pooled".to_owned(), 20_000);
        assert_eq!(lines(&replaced), ["worker_memory = 256"]);
        replaced.ended.entry("pooled".to_owned()).or_default().insert("recycled".to_owned(), 200);
        assert_eq!(lines(&replaced), [""; 0], "that many end of old age");
    }
}
