//! The page of promises names tests that exist.

use crate::shell::Outcome;
use std::fs;
use std::path::Path;

const PAGE: &str = "hsm-sim/PROMISES.md";

/// Every row has at least one test, written `path/to/file.rs::name`, and that file has that function.
pub(super) fn check() -> Outcome<Vec<String>> {
    let page = fs::read_to_string(PAGE)?;
    let mut complaints = Vec::new();
    for row in page.lines().filter(|line| is_row(line)) {
        let tests: Vec<(&str, &str)> = row.split('`').filter_map(test_name).collect();
        let id = row.split('|').nth(1).map_or("", str::trim);
        if tests.is_empty() {
            complaints.push(format!("{PAGE}: {id} names no test"));
        }
        for (file, name) in tests {
            let source = fs::read_to_string(Path::new(file)).unwrap_or_default();
            if !source.contains(&format!("fn {name}(")) {
                complaints.push(format!("{PAGE}: {id}: there is no `fn {name}` in {file}"));
            }
        }
    }
    Ok(complaints)
}

/// `| U-07 | …`: a letter, a dash, two digits.
fn is_row(line: &str) -> bool {
    let mut id = line.trim_start_matches("| ").chars();
    line.starts_with("| ")
        && id.next().is_some_and(|c| c.is_ascii_uppercase())
        && id.next() == Some('-')
        && id.next().is_some_and(|c| c.is_ascii_digit())
}

fn test_name(text: &str) -> Option<(&str, &str)> {
    text.split_once("::").filter(|(file, name)| file.ends_with(".rs") && !name.contains(' '))
}
