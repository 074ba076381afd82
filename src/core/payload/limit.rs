//! The limit that a class declares for its jobs: `#[Kqueue\Limit(concurrent: 2, rate: '30/m', by: 'tenant_id')]`.

use serde_json::Value;

/// Maximum length of `by`, bytes.
const MAX_BY: usize = 100;
/// Maximum of each number, the same as in the settings file.
const MOST: u64 = 1_000_000;

/// A limit that a class declares. Every part is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitHint {
    /// Maximum number of concurrent jobs; never 0.
    pub concurrent: Option<usize>,
    /// Starts, and the period in seconds; neither is 0.
    pub rate: Option<(u32, u32)>,
    /// Maximum number of starts at once after an idle period; never 0.
    pub burst: Option<u32>,
    /// Name of the value by which jobs are counted separately; see [`value_of`](super::value_of).
    pub by: Option<String>,
}

impl LimitHint {
    /// Reads PHP's report about a class: `{"concurrent":2,"rate":[30,60],"burst":5,"by":"tenant_id"}`. Invalid parts
    /// are
    /// ignored; `None` if no part is valid.
    pub fn from_value(value: &Value) -> Option<Self> {
        let number = |value: &Value| value.as_u64().filter(|number| (1..=MOST).contains(number));
        let small = |value: &Value| number(value).and_then(|number| u32::try_from(number).ok());
        let rate = value.get("rate").and_then(Value::as_array).and_then(|parts| match parts.as_slice() {
            [jobs, seconds] => Some((small(jobs)?, small(seconds)?)),
            _ => None,
        });
        let name = |value: &Value| value.as_str().filter(|by| !by.is_empty() && by.len() <= MAX_BY).map(str::to_owned);
        let hint = Self {
            concurrent: value.get("concurrent").and_then(number).and_then(|number| usize::try_from(number).ok()),
            rate,
            burst: value.get("burst").and_then(small),
            by: value.get("by").and_then(name),
        };
        (hint != Self::default()).then_some(hint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let whole = json!({"concurrent": 2, "rate": [30, 60], "burst": 5, "by": "tenant_id", "later": {}});
        let read =
            LimitHint { concurrent: Some(2), rate: Some((30, 60)), burst: Some(5), by: Some("tenant_id".into()) };
        assert_eq!(LimitHint::from_value(&whole), Some(read));
        let part = json!({"concurrent": 0, "rate": [30], "burst": "5", "by": ""});
        assert_eq!(LimitHint::from_value(&part), None);
        for odd in [json!(null), json!([]), json!("30/m"), json!({"rate": [0, 60]}), json!({"concurrent": 9_000_000})] {
            assert_eq!(LimitHint::from_value(&odd), None, "{odd}");
        }
        let one = LimitHint { concurrent: Some(1), ..LimitHint::default() };
        assert_eq!(LimitHint::from_value(&json!({"concurrent": 1, "by": 7})), Some(one));
    }
}
