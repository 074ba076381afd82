//! Shares of queues, written as `high:5, default:2, low:1`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::error::{At, Error};
use super::keys::{Merged, Settings};
use super::raw::Raw;
use super::shapes::{Name, Shape};

/// The shape of queues with their weights, each queue once.
#[derive(Debug)]
pub struct Weights;

impl Shape for Weights {
    type Value = Vec<(String, u32)>;
    const METAVAR: &'static str = "WEIGHTS";

    fn want() -> String {
        "queues with their weights from 1 to 1000 (such as \"high:5, default:2, low:1\")".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        let parts: Vec<&str> = match raw {
            Raw::Text(text) => text.split(',').collect(),
            Raw::List(list) => list
                .iter()
                .map(|raw| if let Raw::Text(text) = raw { Some(text.as_str()) } else { None })
                .collect::<Option<_>>()?,
            _ => return None,
        };
        let one = |part: &str| {
            // The name of a queue may contain a colon.
            let (queue, weight) = part.rsplit_once(':')?;
            let weight = weight.trim().parse().ok().filter(|weight| (1..=1000).contains(weight))?;
            Some((Name::read(&Raw::Text(queue.to_owned()))?, weight))
        };
        let weights: Vec<(String, u32)> = parts.into_iter().map(one).collect::<Option<_>>()?;
        let queues: BTreeSet<&str> = weights.iter().map(|(queue, _)| queue.as_str()).collect();
        (queues.len() == weights.len()).then_some(weights)
    }

    fn show(value: &Self::Value) -> Value {
        let parts: Vec<_> = value.iter().map(|(queue, weight)| format!("{queue}:{weight}")).collect();
        json!(parts.join(", "))
    }
}

/// Checks that each weighted queue is processed, and has its weight from one place.
///
/// # Errors
/// [`Error::Conflict`] where it is not so.
pub(super) fn check(merged: &Merged) -> Result<(), Error> {
    let Some(given) = &merged.weights else { return Ok(()) };
    let conflict = |what, fix| {
        let at = At { key: "weights", origin: given.origin.clone() };
        Err(Error::Conflict { at, what, fix })
    };
    for (queue, _) in &given.value {
        if merged.tables.0.queue.get(queue).is_some_and(|of| of.weight.is_some()) {
            let what = format!("queue {queue} has a weight here and one in its table");
            return conflict(what, format!("leave {queue} out here, or weight out of its table"));
        }
        if merged.queues.as_ref().is_some_and(|queues| !queues.value.contains(queue)) {
            let what = format!("queue {queue} is not one of queues");
            return conflict(what, format!("add {queue} to queues, or leave it out here"));
        }
    }
    Ok(())
}

impl Settings {
    /// The weights of queues, from `weights` and from the queues' tables.
    pub fn queue_weights(&self) -> BTreeMap<String, u32> {
        let tables = self.tables.queue.iter().filter_map(|(queue, of)| Some((queue.clone(), of.weight?)));
        tables.chain(self.weights.iter().cloned()).collect()
    }
}
