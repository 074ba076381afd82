//! Sliding windows of bounded size.

use std::collections::VecDeque;

/// Number of parts of a window.
const PARTS: u64 = 60;

/// Number of events within a sliding window.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// The last total, counted since the start.
    total: u64,
    /// Start of each part in milliseconds and the events in it, oldest first.
    parts: VecDeque<(u64, u64)>,
}

impl Window {
    /// Takes the total since the start at time `ms`. Returns the number of events in the last `span` milliseconds, and
    /// whether the total has grown.
    pub fn count(&mut self, ms: u64, total: u64, span: u64) -> (u64, bool) {
        let more = total.saturating_sub(self.total);
        self.total = total;
        let width = (span / PARTS).max(1);
        let part = ms - ms % width;
        match self.parts.back_mut() {
            Some((at, count)) if *at >= part => *count += more,
            _ => self.parts.push_back((part, more)),
        }
        while self.parts.front().is_some_and(|(at, _)| at + span <= ms) || self.parts.len() as u64 > PARTS + 1 {
            self.parts.pop_front();
        }
        (self.parts.iter().map(|(_, count)| count).sum(), more > 0)
    }
}

/// Minimum of a figure within a sliding window.
#[derive(Clone, Debug, Default)]
pub(super) struct Least {
    /// Start of each part in milliseconds and the minimum in it, oldest first.
    parts: VecDeque<(u64, u64)>,
    /// Time of the first sample, milliseconds.
    since: Option<u64>,
}

impl Least {
    /// Takes a sample at time `ms`. Returns the minimum of the last `span` milliseconds, and whether samples have been
    /// taken for that long.
    pub fn of(&mut self, ms: u64, much: u64, span: u64) -> (u64, bool) {
        let since = *self.since.get_or_insert(ms);
        let width = (span / PARTS).max(1);
        let part = ms - ms % width;
        match self.parts.back_mut() {
            Some((at, least)) if *at >= part => *least = (*least).min(much),
            _ => self.parts.push_back((part, much)),
        }
        while self.parts.front().is_some_and(|(at, _)| at + span < ms) || self.parts.len() as u64 > PARTS + 1 {
            self.parts.pop_front();
        }
        (self.parts.iter().map(|(_, least)| *least).min().unwrap_or(much), ms.saturating_sub(since) >= span)
    }
}
