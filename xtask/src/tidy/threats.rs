//! The threat model names every attack that a test carries out, and no other.

use super::files::{Files, is_in};
use std::path::Path;

const PAGE: &str = "docs/threat-model.md";
/// Number of adversaries, which is the number of columns of the overview.
const ADVERSARIES: usize = 11;
/// What a cell of the overview may say: resists, detects, does not, no access.
const VERDICTS: [&str; 4] = ["r", "d", "–", "·"];

pub(super) fn check(files: &Files) -> Vec<String> {
    let Some(page) = files.find(PAGE) else { return vec![format!("{PAGE} is missing")] };
    let page = files.text(page);
    let mut complaints = overview(page);
    let ours = |path: &&Path| is_in(path, "crates") || is_in(path, "hsm-sim");
    for path in files.with_extension("rs").filter(ours) {
        for name in attacks(files.text(path)) {
            if !page.contains(&format!("{}::{name}`", path.display())) {
                complaints.push(format!("{PAGE} does not name the attack {}::{name}", path.display()));
            }
        }
    }
    complaints
}

/// Names of the tests of a file that carry out attacks.
fn attacks(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn attack_")?;
        let len = name.find('(')?;
        let start = line.find("attack_")?;
        line.get(start..start + "attack_".len() + len)
    })
}

/// The rows of the overview, `| asset | … |`, with one verdict for each adversary.
fn overview(page: &str) -> Vec<String> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| asset |")).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    let mut complaints = Vec::new();
    if rows.is_empty() {
        complaints.push(format!("{PAGE} has no overview of assets and adversaries"));
    }
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (asset, verdicts) = cells.split_first().map_or(("", &[][..]), |(asset, rest)| (*asset, rest));
        if verdicts.len() != ADVERSARIES || !verdicts.iter().all(|verdict| VERDICTS.contains(verdict)) {
            complaints
                .push(format!("{PAGE}: the row of `{asset}` is not {ADVERSARIES} verdicts of {VERDICTS:?}"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "| keys | r | r | d | – | · | r | r | r | r | r | r |";

    fn complaints(row: &str, named: &str) -> Vec<String> {
        let page = format!("| asset | A1 |\n|---|---|\n{row}\n\n1. `{named}`\n");
        let attack = "#[test]\nfn attack_a() {}\n    #[test]\n    async fn attack_b() {}\n";
        check(&Files::of(&[(PAGE, &page), ("crates/a/tests/b.rs", attack)]))
    }

    #[test]
    fn an_attack_that_the_page_does_not_name_is_found() {
        let both = "crates/a/tests/b.rs::attack_a`, `crates/a/tests/b.rs::attack_b";
        assert_eq!(complaints(ROW, both), Vec::<String>::new());
        let one = complaints(ROW, "crates/a/tests/b.rs::attack_a");
        assert!(one.len() == 1 && one[0].contains("attack_b"), "{one:?}");
    }

    #[test]
    fn a_row_without_a_verdict_for_each_adversary_is_found() {
        let both = "crates/a/tests/b.rs::attack_a`, `crates/a/tests/b.rs::attack_b";
        for row in ["| keys | r |", &ROW.replace('d', "maybe")] {
            assert_eq!(complaints(row, both).len(), 1, "{row}");
        }
    }
}
