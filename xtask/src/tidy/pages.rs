//! Pages name files that exist.

use super::files::{Files, slug};
use crate::shell::{Outcome, root};
use std::fs;
use std::path::Path;

/// The page whose table says which files a change touches.
const GUIDE: &str = "CONTRIBUTING.md";

/// Checks every relative link of every page, and every path in the guide's tables.
pub(super) fn check(files: &Files) -> Outcome<Vec<String>> {
    let mut complaints = Vec::new();
    for page in files.with_extension("md") {
        complaints.extend(broken_links(&root(), page, files.text(page)));
    }
    match files.find(GUIDE) {
        Some(guide) => complaints.extend(missing_paths(&root(), GUIDE, files.text(guide))),
        None => complaints.push(format!("{GUIDE} is missing")),
    }
    Ok(complaints)
}

/// Links of a page that lead to no file of the workspace, or to no heading of that file.
fn broken_links(root: &Path, page: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in prose(text) {
        for target in links(line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => root.join(page),
                file => root.join(page).with_file_name("").join(file),
            };
            if !path.exists() {
                complaints.push(format!("{}:{number}: there is no {target}", page.display()));
            } else if !heading.is_empty()
                && let Ok(there) = fs::read_to_string(&path)
                && !headings(&there).any(|known| known == heading)
            {
                complaints.push(format!("{}:{number}: {file} has no heading #{heading}", page.display()));
            }
        }
    }
    complaints
}

/// Paths in backticks in the tables of the sections "How to add", for which there is no file or folder.
///
/// A name with a placeholder (`<name>`), a macro, a type or a command is no path; what has a slash is. A path begins at the
/// workspace's folder or, as names of crates say more than `crates`, below `crates/`; `{a,b}` stands for both.
fn missing_paths(root: &Path, page: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut rows = 0;
    let mut inside = false;
    for (number, line) in prose(text) {
        if line.starts_with('#') {
            inside = line.to_lowercase().contains("how to add");
        }
        if !inside || !line.starts_with('|') {
            continue;
        }
        rows += 1;
        for path in line.split('`').skip(1).step_by(2).filter(|code| is_path(code)) {
            for path in expanded(path) {
                if !root.join(&path).exists() && !root.join("crates").join(&path).exists() {
                    complaints.push(format!("{page}:{number}: there is no {path}"));
                }
            }
        }
    }
    if rows == 0 {
        complaints.push(format!("{page}: no table under a heading \"How to add\""));
    }
    complaints
}

fn is_path(code: &str) -> bool {
    code.contains('/')
        && !code.starts_with('/')
        && !code.contains(|c: char| c.is_whitespace() || "<>*…:()".contains(c))
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((choices, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    choices.split(',').flat_map(|choice| expanded(&format!("{before}{}{after}", choice.trim()))).collect()
}

/// The lines of a page that are not code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// Targets of the links in a line; what stands in backticks is no link.
fn links(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in line.split("](").skip(1) {
        if let Some((target, _)) = part.split_once(')') {
            found.push(target.split_whitespace().next().unwrap_or_default());
        }
    }
    found.retain(|target| !target.is_empty() && !target.contains('`'));
    found
}

fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| slug(line.trim_start_matches('#')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("docs/glossary.md", "# Glossary\n## Key blob, `KeyBlob`\n"),
            ("crates/engine/src/mechanism.rs", ""),
            ("crates/engine/src/error.rs", ""),
            ("xtask/src/main.rs", ""),
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let folder = workspace();
        let links = |page: &str, text: &str| broken_links(folder.path(), Path::new(page), text);
        let good = "[a](docs/glossary.md) [b](https://example.org/x) [c](docs/glossary.md#key-blob-keyblob)\n\
                    ```\n[not a link](nowhere.md)\n```\n";
        assert_eq!(links("README.md", good), Vec::<String>::new());
        assert_eq!(
            links("docs/glossary.md", "[a](../README2.md)"),
            ["docs/glossary.md:1: there is no ../README2.md"]
        );
        assert!(
            links("README.md", "x\n[a](gone.md)").concat().starts_with("README.md:2: there is no gone.md")
        );
        assert!(links("README.md", "[a](docs/glossary.md#gone)").concat().contains("no heading #gone"));
    }

    #[test]
    fn a_path_of_the_guide_that_is_gone_is_found() {
        let folder = workspace();
        let guide = |row: &str| {
            let text = format!(
                "# Guide\n`gone/too.rs`\n## How to add a …\n| a… | touch |\n|---|---|\n{row}\n## Else\n| `gone/x.rs` |"
            );
            missing_paths(folder.path(), GUIDE, &text)
        };
        let good = "| mechanism | `engine/src/{mechanism,error}.rs`, `xtask/src/main.rs`, `crates/engine/`, `crates/<name>/x.rs`, `a b/c` |";
        assert_eq!(guide(good), Vec::<String>::new());
        assert_eq!(
            guide("| mechanism | `engine/src/mechanisms.rs` |"),
            ["CONTRIBUTING.md:6: there is no engine/src/mechanisms.rs"]
        );
        assert!(missing_paths(folder.path(), GUIDE, "# Guide\n").concat().contains("no table"));
    }
}
