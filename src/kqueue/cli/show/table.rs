//! Columns under each other. Pure.

use kqueue_system::harmless;

/// A table that is filled row by row.
#[derive(Debug)]
pub(super) struct Table {
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Heads that begin with `>` are of columns of numbers, which stand at the right.
    pub fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, rows: Vec::new() }
    }

    /// Adds a row. Nothing of a cell can leave its line, or tell a terminal anything.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| harmless::whole_line(cell)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each dressed by `head` or `body`, indented by two.
    pub fn lines(&self, head: impl Fn(&str) -> String) -> String {
        let names: Vec<&str> = self.heads.iter().map(|head| head.trim_start_matches('>')).collect();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let mut table = Table::new(&["NAME", ">SIZE", "WHY"]);
        table.row(["a".to_owned(), "12".to_owned(), "x".to_owned()]);
        table.row(["béta".to_owned(), "1234567".to_owned(), String::new()]);
        table.row(["c\u{1b}[31m\n".to_owned(), String::new(), "y".to_owned()]);
        let text = table.lines(str::to_owned);
        let expected = "  NAME        SIZE  WHY\n  a             12  x\n  béta     1234567\n  c [31m            y\n";
        assert_eq!(text, expected);
    }
}
