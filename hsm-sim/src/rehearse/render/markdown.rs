//! The report in Markdown.

use super::sections::{Section, Table};
use crate::rehearse::model::Report;
use wire::text::escape_line;

pub(super) fn page(report: &Report, sections: &[Section]) -> String {
    let mut page =
        format!("# Rehearsal of {}: {}\n\n![](report.svg)\n", report.plan.scenario, report.verdict);
    for Section { title, lines, table } in sections {
        page += &format!("\n## {title}\n\n");
        for line in lines {
            page += &cell(line);
            page += "\n\n";
        }
        if let Some(Table { header, rows }) = table {
            page += &row(header.iter().map(|title| (*title).to_owned()));
            page += &row(header.iter().map(|_| "---".to_owned()));
            for cells in rows {
                page += &row(cells.iter().map(|text| cell(text)));
            }
        }
    }
    page
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Text that is no markup, and stays in its cell.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for char in escape_line(text).chars() {
        match char {
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '|' | '*' | '_' | '[' | ']' | '\\' | '#' => {
                cell.push('\\');
                cell.push(char);
            }
            char => cell.push(char),
        }
    }
    cell
}
