//! Advice on tiers, timeouts and `retry_after`, from the durations of jobs. Pure.

use super::advice::{Advice, CLASS_RUNS, Class, Given, class, file};
use crate::cli::show::span_ms;

/// Runs from which the longest one is meaningful.
const LONGEST_RUNS: u64 = 500;
/// Timeout in seconds from which an excess matters.
const LONG: u64 = 300;
/// A timeout this many times the longest run is excessive.
const AMPLE: u64 = 20;
/// Jobs that hit their timeout, from which it is too short: at least this many, and this percentage.
const HITS: u64 = 3;
const HITS_OF_100: u64 = 2;

pub(super) fn advise(given: &Given) -> Vec<Advice> {
    let mut advice: Vec<Advice> = default_tier(given).into_iter().collect();
    for class in given.classes.iter().filter(|class| class.figures.runs() >= CLASS_RUNS) {
        advice.extend(tier(given, class));
        advice.extend(timeout(class));
    }
    advice.extend(retry_after(given));
    advice
}

/// The tier for a job of this many milliseconds.
fn fitting(given: &Given, ms: u64) -> Option<&'static str> {
    let (inline, pooled) = (given.ms("inline_max_duration")?, given.ms("pooled_max_duration")?);
    Some(match ms {
        ms if ms <= inline => "inline",
        ms if ms <= pooled => "pooled",
        _ => "isolated",
    })
}

/// Advice on a `default_tier` that does not fit most classes.
fn default_tier(given: &Given) -> Option<Advice> {
    let word = given.word("default_tier").filter(|word| *word != "auto")?;
    let enough = |class: &&Class| class.figures.runs() >= CLASS_RUNS && class.why == "default_tier";
    let classes: Vec<&Class> = given.classes.iter().filter(enough).collect();
    let elsewhere = |class: &&&Class| {
        let p95 = class.figures.duration.quantile(0.95);
        p95.and_then(|ms| fitting(given, ms)).is_some_and(|tier| tier != word)
    };
    let misplaced: Vec<&str> = classes.iter().filter(elsewhere).map(|class| class.name.as_str()).collect();
    let first = misplaced.first()?;
    let evidence = format!(
        "{} of {} classes would fit another tier by their durations, such as {first}",
        misplaced.len(),
        classes.len()
    );
    (misplaced.len() * 2 > classes.len())
        .then(|| file("default_tier", "\"auto\"", "each class runs in the tier that fits it", evidence))
}

/// Advice on a tier that follows from a class's declarations, but does not match its runs.
fn tier(given: &Given, of: &Class) -> Option<Advice> {
    let (p95, p99) = (of.figures.duration.quantile(0.95)?, of.figures.duration.quantile(0.99)?);
    let runs = of.figures.runs();
    let seconds = |ms: u64| ms.div_ceil(1000).max(1);
    let word = ["isolated", "estimatedDuration", "timeout", "name"].iter().find(|word| of.why.starts_with(**word))?;
    let evidence = |ms: u64| {
        format!("of {runs} runs 95 % took no longer than {}; {} because of: {}", span_ms(ms), of.tier, of.why)
    };
    let estimate = format!("public float $estimatedDuration = {};", seconds(p95));
    match of.tier.as_str() {
        "isolated" if fitting(given, p99)? == "inline" => {
            // A short job with high memory use still harms its neighbours.
            let (peak, limit) = (of.figures.memory_peak?, given.number("worker_memory_max")?);
            let frugal = peak < limit << 18 && !of.figures.outcomes.contains_key("lost");
            let property = if *word == "isolated" { "public ?bool $isolated = null;".to_owned() } else { estimate };
            frugal.then(|| class(of, property, "it starts sooner, without a process of its own", evidence(p95)))
        }
        "inline" if fitting(given, of.figures.duration.quantile(0.5)?)? != "inline" => {
            let property =
                if of.why == "isolated = false" { "public ?bool $isolated = null;".to_owned() } else { estimate };
            Some(class(of, property, "it does not keep a lane from quick jobs", evidence(p95)))
        }
        _ => None,
    }
}

/// Advice on a timeout that is hit often, or never approached.
fn timeout(of: &Class) -> Option<Advice> {
    let timeout = of.timeout.filter(|seconds| *seconds > 0)?;
    let Class { sampled, timed_out, .. } = of;
    let runs = of.figures.runs();
    if *timed_out >= HITS && timed_out * 100 >= sampled * HITS_OF_100 {
        let evidence = format!("{timed_out} of its last {sampled} jobs reached the timeout of {timeout} s");
        let property = format!("public $timeout = {};", timeout * 2);
        return Some(class(of, property, "jobs that only need more time are not killed", evidence));
    }
    let longest = of.figures.duration.max();
    if *timed_out == 0 && runs >= LONGEST_RUNS && timeout >= LONG && longest * AMPLE <= timeout * 1000 {
        let wanted = (longest * 5).div_ceil(1000).max(60).next_multiple_of(30);
        let evidence = format!("the longest of {runs} runs took {}, and the timeout is {timeout} s", span_ms(longest));
        let property = format!("public $timeout = {wanted};");
        return Some(class(of, property, "a job that hangs is ended sooner", evidence));
    }
    None
}

/// Advice to renew reservations: a job that outlives its reservation runs twice.
fn retry_after(given: &Given) -> Option<Advice> {
    let (seconds, renewed) = (given.retry_after?, given.is("renew")?);
    let longest = given.classes.iter().max_by_key(|class| class.figures.duration.max())?;
    let ms = longest.figures.duration.max();
    if renewed || ms < seconds * 1000 {
        return None;
    }
    let evidence = format!("{} took {}, and retry_after is {seconds} s", longest.name, span_ms(ms));
    Some(file("renew", "true", "no job runs twice because it takes long", evidence))
}

#[cfg(test)]
mod tests {
    use super::super::advice::tests::{class_of, given, lines};
    use super::*;

    fn quick(why: &str) -> Class {
        let mut class = class_of("App\\Jobs\\Quick", "isolated", 300, 10, 200);
        // High enough that the general limit need not be lowered.
        class.figures.memory_peak = Some(60 << 20);
        Class { why: why.to_owned(), ..class }
    }

    fn tiers(given: &Given) -> Vec<String> {
        super::advise(given).iter().map(Advice::line).collect()
    }

    #[test]
    fn tiers_that_runs_do_not_bear_out() {
        let null = "public ?bool $isolated = null;";
        assert_eq!(tiers(&given(vec![quick("isolated = true")])), [null]);
        assert_eq!(tiers(&given(vec![quick("timeout 600 s")])), ["public float $estimatedDuration = 1;"]);
        assert_eq!(tiers(&given(vec![quick("quarantined after 2 crashes")])), [""; 0]);
        let mut hungry = quick("isolated = true");
        hungry.figures.memory_peak = Some(200 << 20);
        assert_eq!(tiers(&given(vec![hungry])), [""; 0]);
        let slow = class_of("App\\Jobs\\Slow", "inline", 300, 10, 20_000);
        assert_eq!(tiers(&given(vec![Class { why: "isolated = false".to_owned(), ..slow.clone() }])), [null]);
        let estimate = Class { why: "estimatedDuration 500 ms".to_owned(), ..slow };
        // The 95th percentile of a histogram has an error of up to five percent.
        let line = tiers(&given(vec![estimate])).remove(0);
        assert!(["20;", "21;"].iter().any(|end| line == format!("public float $estimatedDuration = {end}")), "{line}");
    }

    #[test]
    fn a_default_that_fits_few() {
        let class =
            |name: &str, took| Class { why: "default_tier".to_owned(), ..class_of(name, "isolated", 200, 5, took) };
        let mut all = given(vec![class("A", 20), class("B", 30), class("C", 60_000)]);
        all.settings.insert("default_tier".to_owned(), "isolated".into());
        assert_eq!(tiers(&all), ["default_tier = \"auto\""]);
        all.classes.pop();
        all.classes.push(class("D", 60_000));
        all.classes.push(class("E", 60_000));
        assert_eq!(tiers(&all), [""; 0]);
    }

    #[test]
    fn timeouts_that_are_hit_and_those_that_are_not() {
        let class =
            |timeout, timed_out| Class { timeout: Some(timeout), timed_out, ..class_of("A", "pooled", 600, 5, 5_000) };
        assert_eq!(lines(&given(vec![class(60, 0)])), [""; 0]);
        assert_eq!(lines(&given(vec![class(60, 20)])), ["public $timeout = 120;"]);
        assert_eq!(lines(&given(vec![class(60, 2)])), [""; 0]);
        assert_eq!(lines(&given(vec![class(3_600, 0)])), ["public $timeout = 60;"]);
        assert_eq!(lines(&given(vec![class(3_600, 1)])), [""; 0]);
        assert_eq!(lines(&given(vec![class(0, 0)])), [""; 0]);
    }

    #[test]
    fn a_reservation_that_jobs_outlive() {
        let classes = || vec![Class { timeout: Some(600), ..class_of("A", "isolated", 200, 5, 100_000) }];
        let mut shop = Given { retry_after: Some(90), ..given(classes()) };
        assert_eq!(lines(&shop), [""; 0], "it is renewed");
        shop.settings.insert("renew".to_owned(), false.into());
        assert_eq!(lines(&shop), ["renew = true"]);
        assert_eq!(lines(&Given { retry_after: Some(900), ..shop }), [""; 0]);
    }
}
