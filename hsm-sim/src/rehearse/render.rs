//! A report as pages for people. Everything in them is from `report.json`, so that they can be made again from it.

mod html;
mod markdown;
mod sections;
mod svg;

use super::model::Report;

/// A page made from a report.
pub(super) struct Page {
    /// Name of its file.
    pub(super) name: &'static str,
    /// Its content.
    pub(super) content: String,
}

/// Every page of a report.
#[must_use]
pub(super) fn pages(report: &Report) -> [Page; 3] {
    let drawing = svg::drawing(report);
    let sections = sections::sections(report);
    [
        Page { name: "report.md", content: markdown::page(report, &sections) },
        Page { name: "report.html", content: html::page(report, &sections, &drawing) },
        Page { name: "report.svg", content: drawing },
    ]
}

/// The report for a terminal: verdict, reasons and the numbers that the objective is about.
#[must_use]
pub(super) fn summary(report: &Report) -> String {
    sections::summary(report)
}

/// Text for HTML and SVG: nothing in it is markup, and no control character is left.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in wire::text::escape_line(text).chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
