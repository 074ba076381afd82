//! Tables as text. Pure.

use super::Style;
use kqueue_system::harmless;

/// Maximum bytes of a cell.
const CELL: usize = 400;

/// Heads of columns that are cut to the width of a terminal: text at its end, names of classes at their beginning, which
/// tells least.
const TEXTS: [&str; 5] = ["CAUSE", "EXCEPTION", "WHY", "WHAT", "TAGS"];
const CLASSES: [&str; 4] = ["CLASS", "PAUSED CLASS", "RUNNING", "WAITING"];

/// Characters that are left of a cut column.
const LEAST: usize = 16;

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
        if style.columns { self.lines(style) } else { self.cells() }
    }

    /// The aligned lines, indented by two.
    pub fn lines(&self, style: Style) -> String {
        let names: Vec<&str> = self.names().collect();
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain(names.get(at).map(|name| name.chars().count())).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..names.len()).map(width).collect();
        style.width.into_iter().for_each(|most| self.fit(&mut widths, most));
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from(" ");
            for ((cell, width), head) in cells.zip(&widths).zip(self.heads) {
                let cell = &cut(cell, *width, CLASSES.contains(head));
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let right = head.starts_with('>');
                line.push_str(&if right { format!(" {pad}{cell} ") } else { format!(" {cell}{pad} ") });
            }
            line.trim_end().to_owned()
        };
        let mut text = style.head(&line(&mut names.iter().copied())) + "\n";
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }

    /// Narrows columns until a line has `most` characters, as far as that can be.
    fn fit(&self, widths: &mut [usize], most: usize) {
        let mut excess = widths.iter().map(|width| width + 2).sum::<usize>().saturating_sub(most);
        for kind in [&TEXTS[..], &CLASSES[..]] {
            for (width, _) in widths.iter_mut().zip(self.heads).filter(|(_, head)| kind.contains(head)) {
                let less = excess.min(width.saturating_sub(LEAST));
                *width -= less;
                excess -= less;
            }
        }
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

/// At most `width` characters of a cell: its end where it is `of_class`, else its beginning.
fn cut(cell: &str, width: usize, of_class: bool) -> String {
    let count = cell.chars().count();
    match count.checked_sub(width) {
        None | Some(0) => cell.to_owned(),
        Some(more) if of_class => format!("…{}", cell.chars().skip(more + 1).collect::<String>()),
        Some(_) => format!("{}…", cell.chars().take(width.saturating_sub(1)).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_columns_are_cut_to_the_terminal() {
        let mut table = Table::new(&["CLASS", "JOB", "CAUSE"]);
        let uuid = "c0cb8844-1ecf-4ae2-9922-117e75f5a944";
        table.row([
            "App\\Jobs\\Reports\\Monthly".to_owned(),
            uuid.to_owned(),
            "killed by SIGKILL in the middle".to_owned(),
        ]);
        let lines = |width| table.show(Style { columns: true, width, ..Style::default() });
        let row = |width| lines(width).lines().nth(1).unwrap_or_default().to_owned();
        assert_eq!(row(None), format!("  App\\Jobs\\Reports\\Monthly  {uuid}  killed by SIGKILL in the middle"));
        assert_eq!(row(Some(90)), format!("  App\\Jobs\\Reports\\Monthly  {uuid}  killed by SIGKILL in th…"));
        assert_eq!(row(Some(80)), format!("  …\\Jobs\\Reports\\Monthly  {uuid}  killed by SIGKI…"));
        assert_eq!([90, 80, 40].map(|width| row(Some(width)).chars().count()), [90, 80, 74]);
    }

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
