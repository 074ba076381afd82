//! The idle time after which less is kept.

use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Raw;
use super::shapes::{Shape, Time};

/// A duration of at least 100 ms, or `never`.
#[derive(Debug)]
pub struct IdleTime;

impl Shape for IdleTime {
    type Value = Option<Duration>;
    const METAVAR: &'static str = Time::<0>::METAVAR;

    fn want() -> String {
        format!("\"never\", or {}", Time::<100>::want())
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Text(text) if text == "never" => Some(None),
            raw => Time::<100>::read(raw).map(Some),
        }
    }

    fn literal(text: &str) -> Raw {
        Time::<0>::literal(text)
    }

    fn show(value: &Self::Value) -> Value {
        value.as_ref().map_or_else(|| json!("never"), Time::<100>::show)
    }
}
