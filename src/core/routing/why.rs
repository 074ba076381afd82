//! The reason for a route, with its text for operators.

use std::fmt;
use std::time::Duration;

use super::names::NameHint;

/// The reason for the tier of a job. Its text appears in `kqueue stats` and the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Jobs of the class crashed their processes too often.
    Quarantined {
        /// Crashes that are not forgiven.
        crashes: u32,
    },
    /// The job declares `isolated`.
    Isolated(bool),
    /// The job declares `maxMemory`, in MB.
    MaxMemory(u32),
    /// Recent runs used more memory than a pooled worker has.
    Peak {
        /// The highest of the recent peaks, in KB.
        kb: u32,
    },
    /// The memory peaks of recent runs differ too much for a lane.
    Growth {
        /// Difference between the highest and the lowest of the recent peaks, in KB.
        kb: u32,
    },
    /// The job declares `estimatedDuration`.
    Estimate(Duration),
    /// The settings name a default tier.
    Default,
    /// The durations of earlier runs.
    History {
        /// 90th percentile of the recent runs.
        p90: Duration,
        /// Number of those runs.
        runs: usize,
    },
    /// A recent run exceeded the bound of its tier.
    Overrun {
        /// Its duration when the overrun was recorded.
        took: Duration,
    },
    /// The job declares `timeout`, in seconds.
    Timeout(u32),
    /// The class name suggests it.
    Name(NameHint),
    /// No other rule applies.
    Nothing,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined { crashes: 1 } => f.write_str("quarantined after 1 crash"),
            Self::Quarantined { crashes } => write!(f, "quarantined after {crashes} crashes"),
            Self::Isolated(value) => write!(f, "isolated = {value}"),
            Self::MaxMemory(mb) => write!(f, "maxMemory {mb} MB"),
            Self::Peak { kb } => write!(f, "history: memory peak of {} MB", kb / 1024),
            Self::Growth { kb } => write!(f, "history: memory grew by {} MB", kb / 1024),
            Self::Estimate(duration) => write!(f, "estimatedDuration {}", Span(*duration)),
            Self::Default => f.write_str("default_tier"),
            Self::History { p90, runs } => {
                write!(f, "history: p90 of {runs} runs is {}", Span(*p90))
            }
            Self::Overrun { took } => write!(f, "history: a recent run took {}", Span(*took)),
            Self::Timeout(seconds) => write!(f, "timeout {seconds} s"),
            Self::Name(NameHint(first, second)) => write!(f, "name {first}…{second}"),
            Self::Nothing => f.write_str("nothing known"),
        }
    }
}

/// Formats a duration for operators: `240 ms` below a second, else `12 s` or `1.5 s`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match (ms / 1000, ms % 1000) {
            (0, ms) => write!(f, "{ms} ms"),
            (s, 0..100) => write!(f, "{s} s"),
            (s, rest) => write!(f, "{s}.{} s", rest / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_well() {
        let ms = Duration::from_millis;
        for (why, text) in [
            (Why::Quarantined { crashes: 2 }, "quarantined after 2 crashes"),
            (Why::Quarantined { crashes: 1 }, "quarantined after 1 crash"),
            (Why::Isolated(true), "isolated = true"),
            (Why::Isolated(false), "isolated = false"),
            (Why::MaxMemory(512), "maxMemory 512 MB"),
            (Why::Peak { kb: 600 * 1024 }, "history: memory peak of 600 MB"),
            (Why::Growth { kb: 70 * 1024 }, "history: memory grew by 70 MB"),
            (Why::Estimate(ms(12_000)), "estimatedDuration 12 s"),
            (Why::Estimate(ms(1_590)), "estimatedDuration 1.5 s"),
            (Why::Estimate(ms(0)), "estimatedDuration 0 ms"),
            (Why::Default, "default_tier"),
            (Why::History { p90: ms(240), runs: 14 }, "history: p90 of 14 runs is 240 ms"),
            (Why::Overrun { took: ms(1_100) }, "history: a recent run took 1.1 s"),
            (Why::Timeout(300), "timeout 300 s"),
            (Why::Name(NameHint("Process", "Video")), "name Process…Video"),
            (Why::Nothing, "nothing known"),
        ] {
            assert_eq!(why.to_string(), text);
        }
    }
}
