//! Histograms: exact counts in buckets that grow by the eighth root of two, so that percentiles are accurate to five
//! percent from one millisecond to weeks.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Buckets in each power of two.
const PER_OCTAVE: f64 = 8.0;
/// Index of the last bucket, for values from 2^32; 2^32 ms are seven weeks.
const LAST: u16 = 8 * 32 + 1;

/// Counts of values, by bucket. Bucket 0 holds zeros; bucket `n` holds values from 2^((n-1)/8) to below 2^(n/8).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Counts of the non-empty buckets.
    #[serde(deserialize_with = "read_buckets")]
    buckets: BTreeMap<u16, u64>,
    /// Sum of all values, saturating.
    sum: u64,
    /// The largest value.
    max: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        *self.buckets.entry(bucket(value)).or_default() += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            let known = self.buckets.entry(*bucket).or_default();
            *known = known.saturating_add(*count);
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |all, count| all.saturating_add(*count))
    }

    /// Sum of all values, saturating.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value; 0 where there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The quantile for `share`, such as `0.95` for the 95th percentile; `None` if there are no values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        let (bucket, _) = self.buckets.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen >= rank
        })?;
        Some(middle(*bucket).min(self.max))
    }

    /// Number of values below 2^`power`; exact, because powers of two are bounds of buckets.
    pub fn below(&self, power: u16) -> u64 {
        self.buckets.range(..=power.saturating_mul(8)).fold(0, |all, (_, count)| all.saturating_add(*count))
    }

    /// Compact binary form for a database, read by [`Histogram::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.buckets.len() * 4);
        number(&mut bytes, self.sum);
        number(&mut bytes, self.max);
        for (bucket, count) in &self.buckets {
            number(&mut bytes, u64::from(*bucket));
            number(&mut bytes, *count);
        }
        bytes
    }

    /// Reads the output of [`Histogram::to_bytes`]; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut sums = Sums::default();
        sums.add_bytes(bytes).then(|| sums.histogram())
    }
}

/// Accumulates many histograms; much faster than repeated [`Histogram::add`].
#[derive(Clone, Debug)]
pub struct Sums {
    buckets: [u64; LAST as usize + 1],
    sum: u64,
    max: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self { buckets: [0; LAST as usize + 1], sum: 0, max: 0 }
    }
}

impl Sums {
    /// Adds the output of [`Histogram::to_bytes`]. For anything else, returns false and adds nothing.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> bool {
        if parts(bytes, |_, _| ()).is_none() {
            return false;
        }
        let add = |bucket: u16, count| {
            if let Some(known) = self.buckets.get_mut(usize::from(bucket)) {
                *known = known.saturating_add(count);
            }
        };
        if let Some((sum, max)) = parts(bytes, add) {
            self.sum = self.sum.saturating_add(sum);
            self.max = self.max.max(max);
        }
        true
    }

    /// The accumulated histogram.
    pub fn histogram(&self) -> Histogram {
        let counts = (0..).zip(self.buckets).filter(|(_, count)| *count > 0);
        Histogram { buckets: counts.collect(), sum: self.sum, max: self.max }
    }
}

/// Calls `each` with every bucket and its count. Returns the sum and the largest value, or `None` for malformed bytes;
/// buckets have to be in ascending order.
fn parts(mut bytes: &[u8], mut each: impl FnMut(u16, u64)) -> Option<(u64, u64)> {
    let (sum, max) = (read_number(&mut bytes)?, read_number(&mut bytes)?);
    let mut next = 0;
    while !bytes.is_empty() {
        let bucket = u16::try_from(read_number(&mut bytes)?).ok().filter(|bucket| (next..=LAST).contains(bucket))?;
        each(bucket, read_number(&mut bytes)?);
        next = bucket + 1;
    }
    Some((sum, max))
}

/// Reads counts by bucket. Keys are read as strings: serde does not convert JSON keys to numbers inside a flattened
/// struct.
fn read_buckets<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    let texts = BTreeMap::<String, u64>::deserialize(from)?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|bucket| *bucket <= LAST);
    let read = |(text, count): (String, u64)| {
        Ok((number(&text).ok_or_else(|| D::Error::custom(format_args!("no bucket: {text}")))?, count))
    };
    texts.into_iter().map(read).collect()
}

fn bucket(value: u64) -> u16 {
    if value == 0 {
        return 0;
    }
    // A power of two is the lower bound of a bucket: its logarithm is exact.
    let bucket = ((value as f64).log2() * PER_OCTAVE).floor() as u16;
    bucket.saturating_add(1).min(LAST)
}

/// The geometric middle of a bucket, rounded; 0 for bucket 0.
fn middle(bucket: u16) -> u64 {
    if bucket == 0 {
        return 0;
    }
    2_f64.powf((f64::from(bucket) - 0.5) / PER_OCTAVE).round() as u64
}

/// LEB128: seven bits per byte, least significant first; the eighth bit marks continuation.
fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(place * 7)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram
    }

    #[test]
    fn percentiles_are_true_to_five_percent() {
        let histogram = of(1..=100_000);
        for share in [0.01, 0.5, 0.9, 0.95, 0.99, 1.0] {
            let (true_value, found) = (share * 100_000.0, histogram.quantile(share).unwrap() as f64);
            assert!((found / true_value - 1.0).abs() < 0.05, "{share}: {found}");
        }
        assert_eq!((histogram.count(), histogram.max(), histogram.sum()), (100_000, 100_000, 5_000_050_000));
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(of([0, 0]).quantile(0.99), Some(0));
        assert_eq!(of([3]).quantile(0.5), Some(3));
        assert_eq!(of([u64::MAX]).count(), 1);
    }

    #[test]
    fn powers_of_two_are_bounds() {
        let histogram = of([0, 1, 2, 3, 4, 7, 8, 1023, 1024]);
        for (power, below) in [(0, 1), (1, 2), (2, 4), (3, 6), (4, 7), (10, 8), (11, 9)] {
            assert_eq!(histogram.below(power), below, "2^{power}");
        }
        (0..32).for_each(|power| {
            let bound = 1_u64 << power;
            assert_eq!((of([bound - 1]).below(power), of([bound]).below(power)), (1, 0), "2^{power}");
        });
    }

    #[test]
    fn json_is_read_inside_a_flattened_form_too() {
        #[derive(Deserialize)]
        struct Outer {
            #[serde(flatten)]
            inner: Inner,
        }
        #[derive(Serialize, Deserialize)]
        struct Inner {
            wait: Histogram,
        }
        let inner = Inner { wait: of([0, 3, 900]) };
        let text = serde_json::to_string(&inner).unwrap();
        assert_eq!(serde_json::from_str::<Inner>(&text).unwrap().wait, inner.wait);
        assert_eq!(serde_json::from_str::<Outer>(&text).unwrap().inner.wait, inner.wait);
        for nonsense in [r#"{"wait":{"buckets":{"9999":1}}}"#, r#"{"wait":{"buckets":{"x":1}}}"#] {
            assert!(serde_json::from_str::<Inner>(nonsense).is_err());
        }
    }

    #[test]
    fn sums_and_bytes() {
        let (mut one, other) = (of([1, 5, 900]), of([5, 70_000]));
        one.add(&other);
        assert_eq!(one, of([1, 5, 5, 900, 70_000]));
        let bytes = one.to_bytes();
        assert!(bytes.len() < 20, "{}", bytes.len());
        assert_eq!(Histogram::from_bytes(&bytes), Some(one));
        for nonsense in [&bytes[..1], &bytes[..bytes.len() - 1], &[0, 0, 5, 1, 5, 1], &[0xff; 30], &[]] {
            assert_eq!(Histogram::from_bytes(nonsense), None, "{nonsense:?}");
        }
    }
}
