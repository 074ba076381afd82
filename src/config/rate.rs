//! A number of starts per period, written as `30/m`. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Raw;
use super::shapes::Shape;

/// A number of starts per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number; never 0.
    pub jobs: u32,
    /// The period: a second, a minute or an hour.
    pub per: Duration,
}

/// The shape of a [`Rate`].
#[derive(Debug)]
pub struct Rates;

const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

impl Shape for Rates {
    type Value = Rate;
    const METAVAR: &'static str = "RATE";

    fn want() -> String {
        "a number per second, minute or hour (a string such as \"5/s\", \"30/m\", \"1000/h\")".into()
    }

    fn read(raw: &Raw) -> Option<Rate> {
        let Raw::Text(text) = raw else { return None };
        let (jobs, period) = text.split_once('/')?;
        let (_, seconds) = PERIODS.iter().find(|(name, _)| *name == period.trim())?;
        let jobs = jobs.trim().parse().ok().filter(|jobs| (1..=1_000_000).contains(jobs))?;
        Some(Rate { jobs, per: Duration::from_secs(*seconds) })
    }

    fn show(value: &Rate) -> Value {
        let period = PERIODS.iter().find(|(_, seconds)| *seconds == value.per.as_secs()).map_or("s", |(name, _)| *name);
        json!(format!("{}/{period}", value.jobs))
    }
}
