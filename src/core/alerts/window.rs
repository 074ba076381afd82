//! What was counted of late, in few numbers.

use std::collections::VecDeque;

/// Parts of a window.
const PARTS: u64 = 60;

/// How often something happened within a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// Since the start, as it was told last.
    total: u64,
    /// When a part begins, in milliseconds, and how often in it; the latest last.
    parts: VecDeque<(u64, u64)>,
}

impl Window {
    /// Takes in how often it has happened since the start. How often in the last `span` milliseconds, and whether there is
    /// anything new.
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

/// The least there was within a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Least {
    /// When a part begins, in milliseconds, and the least in it; the latest last.
    parts: VecDeque<(u64, u64)>,
    /// When it was first looked at.
    since: Option<u64>,
}

impl Least {
    /// Takes in how much there is. The least of the last `span` milliseconds, and whether so long has been looked at.
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
