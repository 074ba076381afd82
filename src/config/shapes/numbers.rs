//! Whole numbers.

use serde_json::{Value, json};

use super::Shape;
use crate::raw::Raw;

/// A whole number within bounds.
#[derive(Debug)]
pub struct Count<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Shape for Count<MIN, MAX> {
    type Value = u32;
    const METAVAR: &'static str = "N";

    fn want() -> String {
        match MAX {
            u32::MAX => format!("a whole number, {MIN} or more"),
            _ => format!("a whole number from {MIN} to {MAX}"),
        }
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Int(n) => u32::try_from(*n).ok().filter(|n| (MIN..=MAX).contains(n)),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// A [`Count`] as a `usize`: how many of something are held in memory.
#[derive(Debug)]
pub struct Capacity<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Shape for Capacity<MIN, MAX> {
    type Value = usize;
    const METAVAR: &'static str = Count::<MIN, MAX>::METAVAR;

    fn want() -> String {
        Count::<MIN, MAX>::want()
    }

    fn read(raw: &Raw) -> Option<usize> {
        usize::try_from(Count::<MIN, MAX>::read(raw)?).ok()
    }

    fn literal(text: &str) -> Raw {
        Count::<MIN, MAX>::literal(text)
    }

    fn show(value: &usize) -> Value {
        json!(value)
    }
}

/// A whole number from 0 to `i64::MAX`, such as that of `--max-jobs`.
#[derive(Debug)]
pub struct Whole;

impl Shape for Whole {
    type Value = u64;
    const METAVAR: &'static str = "N";

    fn want() -> String {
        "a whole number, 0 or more".into()
    }

    fn read(raw: &Raw) -> Option<Self::Value> {
        match raw {
            Raw::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &Self::Value) -> Value {
        json!(value)
    }
}

/// Order among waiting jobs, higher first: a whole number from -1000 to 1000.
#[derive(Debug)]
pub struct Priority;

impl Shape for Priority {
    type Value = i32;
    const METAVAR: &'static str = "N";

    fn want() -> String {
        "a whole number from -1000 to 1000".into()
    }

    fn read(raw: &Raw) -> Option<i32> {
        match raw {
            Raw::Int(n) => i32::try_from(*n).ok().filter(|n| (-1000..=1000).contains(n)),
            _ => None,
        }
    }

    fn literal(text: &str) -> Raw {
        Raw::number_or_text(text)
    }

    fn show(value: &i32) -> Value {
        json!(value)
    }
}
