//! Formatting of figures, times and tables for people. Pure, except for the check whether standard output is a
//! terminal.

mod table;

use std::io::IsTerminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(in crate::cli) use table::Table;

use kqueue_control::{Snapshot, State};

/// The severity of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Mood {
    Good,
    /// Worth attention.
    Uneasy,
    Bad,
    Quiet,
}

impl Mood {
    pub fn of(snapshot: &Snapshot) -> Self {
        match snapshot.state {
            _ if snapshot.silent.is_some() => Mood::Bad,
            State::Running => Mood::Good,
            State::Degraded => Mood::Bad,
            _ => Mood::Uneasy,
        }
    }
}

/// The output style.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Style {
    pub colour: bool,
    /// Aligned columns; otherwise tabs between cells, for programs.
    pub columns: bool,
    /// Characters of a line of the terminal, where there is one.
    pub width: Option<usize>,
}

impl Style {
    /// Colour and columns if standard output supports them.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Self { colour: kqueue_system::log::has_colour(&stdout), columns: stdout.is_terminal(), width }
    }

    fn dress(self, codes: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn head(self, text: &str) -> String {
        self.dress("2", text)
    }

    pub fn mood(self, mood: Mood, text: &str) -> String {
        match mood {
            Mood::Good => self.dress("32", text),
            Mood::Uneasy => self.dress("33", text),
            Mood::Bad => self.dress("31", text),
            Mood::Quiet => self.dress("2", text),
        }
    }
}

/// A point in time in the local time zone, from seconds since 1970.
pub(in crate::cli) fn moment(epoch: u64) -> String {
    let at = i64::try_from(epoch).ok().and_then(|epoch| Timestamp::from_second(epoch).ok());
    at.map_or("?".to_owned(), |at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The same with milliseconds, from milliseconds since 1970.
pub(in crate::cli) fn moment_ms(ms: u64) -> String {
    format!("{}.{:03}", moment(ms / 1000), ms % 1000)
}

/// A duration in seconds, in its two largest units.
pub(in crate::cli) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let two = |n: u64, large: &str, rest: u64, small: &str| match rest {
        0 => format!("{n} {large}"),
        _ => format!("{n} {large} {rest} {small}"),
    };
    match whole {
        0..=9 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// A duration in milliseconds: exact below ten seconds.
pub(in crate::cli) fn span_ms(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => span(ms as f64 / 1000.0),
    }
}

/// Bytes in MB, rounded up.
pub(in crate::cli) fn memory(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1 << 20))
}

/// `1 job`, `2 jobs`.
pub(in crate::cli) fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [
            (0.31, "0.3 s"),
            (12.9, "12 s"),
            (60.0, "1 min"),
            (3_725.0, "1 h 2 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0.0 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
        assert_eq!((span_ms(42), span_ms(75_000)), ("42 ms".to_owned(), "1 min 15 s".to_owned()));
        assert_eq!((memory(1), memory(96 << 20)), ("1 MB".to_owned(), "96 MB".to_owned()));
        assert_eq!((count(1, "job"), count(0, "job")), ("1 job".to_owned(), "0 jobs".to_owned()));
    }
}
