//! Tables as text. Pure.

use super::Style;
use kqueue_system::harmless;

/// Maximum bytes of a cell.
const CELL: usize = 400;

/// A table, filled row by row.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Heads that begin with `>` are of right-aligned columns of numbers.
    pub fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, rows: Vec::new() }
    }

    /// Adds a row. Cells are sanitized to one line each.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| harmless::line(cell, CELL)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, by style: aligned columns indented by two, or cells separated by tabs.
    pub fn show(&self, style: Style) -> String {
        if style.columns { self.lines(|line| style.head(line)) } else { self.cells() }
    }

    /// The aligned lines, indented by two, with the heads formatted by `head`.
    pub fn lines(&self, head: impl Fn(&str) -> String) -> String {
        let names: Vec<&str> = self.names().collect();
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain(names.get(at).map(|name| name.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from(" ");
            for ((cell, width), head) in cells.zip(&widths).zip(self.heads) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let right = head.starts_with('>');
                line.push_str(&if right { format!(" {pad}{cell} ") } else { format!(" {cell}{pad} ") });
            }
            line.trim_end().to_owned()
        };
        let mut text = head(&line(&mut names.iter().copied())) + "\n";
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }

    /// The cells separated by tabs, which no cell contains.
    fn cells(&self) -> String {
        let heads: Vec<&str> = self.names().collect();
        let rows = self.rows.iter().map(|row| row.join("\t"));
        [heads.join("\t")].into_iter().chain(rows).map(|line| line + "\n").collect()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.heads.iter().map(|head| head.trim_start_matches('>'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let mut table = Table::new(&["NAME", ">SIZE", "WHY"]);
        table.row(["a".to_owned(), "12".to_owned(), "x".to_owned()]);
        table.row(["béta".to_owned(), "1234567".to_owned(), String::new()]);
        table.row(["c\u{1b}[31m\n".to_owned(), String::new(), "y\tz".to_owned()]);
        let expected = "  NAME        SIZE  WHY\n  a             12  x\n  béta     1234567\n  c [31m            y z\n";
        assert_eq!(table.show(Style { columns: true, ..Style::default() }), expected);
        let expected = "NAME\tSIZE\tWHY\na\t12\tx\nbéta\t1234567\t\nc [31m \t\ty z\n";
        assert_eq!(table.show(Style::default()), expected);
    }
}
