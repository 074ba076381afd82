//! Rows that can be sorted by any column and filtered by text. Pure.

use kqueue_system::harmless;

use super::super::show::Mood;

/// Maximum bytes of a cell.
const CELL: usize = 200;

/// A cell: its text, and its sort key (NaN to sort by text).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub text: String,
    pub key: f64,
}

impl Cell {
    /// A cell sorted by its text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self { text: harmless::line(text.as_ref(), CELL), key: f64::NAN }
    }

    /// A cell sorted by a number.
    pub fn number(key: f64, text: impl AsRef<str>) -> Self {
        Self { text: harmless::line(text.as_ref(), CELL), key }
    }

    /// A cell for a number that may be unknown, which is then sorted as the smallest.
    pub fn maybe(key: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        key.map_or_else(|| Self { text: String::new(), key: f64::NEG_INFINITY }, |key| Self::number(key, show(key)))
    }

    pub fn count(n: u64) -> Self {
        Self::number(n as f64, n.to_string())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub cells: Vec<Cell>,
    pub mood: Option<Mood>,
}

impl Row {
    pub fn new(cells: Vec<Cell>) -> Self {
        Self { cells, mood: None }
    }
}

/// Rows with their heads. A head that begins with `>` is of a right-aligned column of numbers.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub title: &'static str,
    pub heads: &'static [&'static str],
    pub rows: Vec<Row>,
}

/// The order of rows: by a column, or unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub column: Option<usize>,
    pub reverse: bool,
}

impl Grid {
    /// Keeps the rows with the filter text in any cell, and sorts them: numbers descending, texts ascending.
    pub fn arranged(mut self, order: Order, filter: &str) -> Self {
        let wanted = filter.to_lowercase();
        self.rows
            .retain(|row| wanted.is_empty() || row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
        if let Some(column) = order.column {
            self.rows.sort_by(|one, other| {
                let (Some(one), Some(other)) = (one.cells.get(column), other.cells.get(column)) else {
                    return std::cmp::Ordering::Equal;
                };
                match one.key.is_nan() || other.key.is_nan() {
                    true => one.text.cmp(&other.text),
                    false => other.key.total_cmp(&one.key),
                }
            });
        }
        if order.reverse {
            self.rows.reverse();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let row = |name: &str, n: Option<f64>| Row::new(vec![Cell::text(name), Cell::maybe(n, |n| n.to_string())]);
        Grid {
            title: "x",
            heads: &["NAME", ">N"],
            rows: vec![row("b", Some(2.0)), row("a\u{1b}[1m", None), row("c", Some(11.0))],
        }
    }

    fn names(order: Order, filter: &str) -> Vec<String> {
        grid().arranged(order, filter).rows.into_iter().map(|row| row.cells[0].text.clone()).collect()
    }

    #[test]
    fn orders_and_filters() {
        let by = |column, reverse| Order { column: Some(column), reverse };
        assert_eq!(names(Order::default(), ""), ["b", "a [1m", "c"]);
        assert_eq!(names(by(0, false), ""), ["a [1m", "b", "c"]);
        assert_eq!(names(by(1, false), ""), ["c", "b", "a [1m"]);
        assert_eq!(names(by(1, true), ""), ["a [1m", "b", "c"]);
        assert_eq!(names(by(0, false), "C"), ["c"]);
        assert_eq!(names(by(7, false), "11"), ["c"]);
    }
}
