//! The page of promises names tests that exist.

use super::files::Files;
use std::path::Path;

const PAGE: &str = "hsm-sim/PROMISES.md";

/// Every row has at least one test, written `path/to/file.rs::name`, and that file has that function.
pub(super) fn check(files: &Files) -> Vec<String> {
    let Some(page) = files.find(PAGE) else { return vec![format!("{PAGE} is missing")] };
    let mut complaints = Vec::new();
    for row in files.text(page).lines().filter(|line| is_row(line)) {
        let tests: Vec<(&str, &str)> = row.split('`').filter_map(test_name).collect();
        let id = row.split('|').nth(1).map_or("", str::trim);
        if tests.is_empty() {
            complaints.push(format!("{PAGE}: {id} names no test"));
        }
        for (file, name) in tests {
            if !files.text(Path::new(file)).contains(&format!("fn {name}(")) {
                complaints.push(format!("{PAGE}: {id}: there is no `fn {name}` in {file}"));
            }
        }
    }
    complaints
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

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(row: &str) -> Vec<String> {
        let tests = "#[test]\nfn a_unit_is_added() {}\n";
        check(&Files::of(&[
            (PAGE, &format!("| id | promise |\n{row}\n")),
            ("crates/host/tests/host.rs", tests),
        ]))
    }

    #[test]
    fn a_promise_without_its_test_is_found() {
        assert_eq!(
            complaints("| U-02 | added | `crates/host/tests/host.rs::a_unit_is_added` |"),
            Vec::<String>::new()
        );
        assert_eq!(complaints("| U-02 | added | |"), ["hsm-sim/PROMISES.md: U-02 names no test"]);
        for gone in ["host/tests/host.rs::a_unit_is_removed", "host/tests/gone.rs::a_unit_is_added"] {
            assert_eq!(complaints(&format!("| U-02 | added | `crates/{gone}` |")).len(), 1, "{gone}");
        }
    }
}
