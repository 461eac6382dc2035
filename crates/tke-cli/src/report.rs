//! The result of a command: text for people, JSON for programs.

use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// Result of a command.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) json: Value,
    /// Whether the exit status is a success.
    pub(crate) good: bool,
}

impl Report {
    pub(crate) fn new(text: impl Into<String>, json: impl Serialize) -> Self {
        Self { text: text.into(), json: serde_json::to_value(json).unwrap_or_default(), good: true }
    }

    pub(crate) fn good_if(self, good: bool) -> Self {
        Self { good, ..self }
    }

    /// Inserts a line before the text.
    pub(crate) fn after(mut self, line: &str) -> Self {
        if !line.is_empty() {
            self.text = format!("{line}\n{}", self.text);
        }
        self
    }
}

/// A table: columns as wide as their widest line, three spaces apart. A cell may have several lines.
pub(crate) struct Columns {
    rows: Vec<Vec<String>>,
}

const GAP: usize = 3;

impl Columns {
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The lines of the table, without trailing spaces.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.flat_map(|cell| cell.lines()).map(|line| line.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let height = row.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
            for at in 0..height {
                let mut line = String::new();
                for (cell, width) in row.iter().zip(&widths) {
                    let part = cell.lines().nth(at).unwrap_or("");
                    let _ = write!(line, "{part:width$}", width = width + GAP);
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;

    #[test]
    fn columns_are_as_wide_as_their_widest_line() {
        let mut columns = Columns::new(["NUM", "PATTERN"]);
        columns.row(["1".to_owned(), "aaaa\nbb".to_owned()]);
        columns.row(["10000".to_owned(), "c".to_owned()]);
        assert_eq!(columns.text(), "NUM     PATTERN\n1       aaaa\n        bb\n10000   c\n");
    }
}
