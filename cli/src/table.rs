//! Columns of text: aligned, without lines around them.

use crate::output::{Paint, Tone, one_line};

/// A table with a header.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    right: bool,
}

/// One entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Cell { text: one_line(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::toned(text, Tone::Plain)
    }
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Table { header: header.to_vec(), ..Table::default() }
    }

    /// Aligns all columns but the first at their right: for numbers.
    pub(crate) fn numbers(mut self) -> Self {
        self.right = true;
        self
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text; columns that are empty in all rows are left out.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let used: Vec<usize> =
            (0..self.header.len()).filter(|&i| self.rows.iter().any(|row| !text(row, i).is_empty())).collect();
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| text(row, i).chars().count());
            cells.chain([self.header[i].chars().count()]).max().unwrap_or(0)
        };
        let header: Vec<Cell> = self.header.iter().map(|h| Cell::toned(h, Tone::Dim)).collect();
        let mut out = String::new();
        for row in [&header].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for &i in &used {
                let cell = row.get(i).cloned().unwrap_or_default();
                let fill = " ".repeat(width(i).saturating_sub(cell.text.chars().count()));
                let shown = paint.tone(cell.tone, &cell.text);
                let last = used.last() == Some(&i);
                match (self.right && i > 0, last) {
                    (true, _) => line.push_str(&format!("{fill}{shown}")),
                    (false, true) => line.push_str(&shown),
                    (false, false) => line.push_str(&format!("{shown}{fill}")),
                }
                if !last {
                    line.push_str("  ");
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn text(row: &[Cell], i: usize) -> &str {
    row.get(i).map_or("", |cell| &cell.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut table = Table::new(&["RUN", "NOTE", "STATE"]);
        table.row(["1a2b3c4d".into(), "".into(), "Ready".into()]);
        table.row(["x".into(), "".into(), Cell::toned("Provisioning", Tone::Warn)]);
        assert_eq!(table.render(Paint::default()), "RUN       STATE\n1a2b3c4d  Ready\nx         Provisioning\n");
        let coloured = table.render(Paint { on: true });
        assert!(coloured.ends_with("x         \x1b[33mProvisioning\x1b[0m\n"), "{coloured:?}");
    }
}
