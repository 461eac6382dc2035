//! What is easily left behind: notes to oneself, files that grew, manifests without lints.

use super::files::{Files, is_in};

/// Past this many lines a file has more than one noun.
const LONGEST_FILE: usize = 700;

/// Workspaces of their own, which have no lints to inherit.
const APART: [&str; 2] = ["xtask/image", "/fuzz"];

/// Marks of unfinished work, put together here so that this file does not bear them.
fn marks() -> [String; 3] {
    [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()]
}

pub(super) fn check(files: &Files) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in files.with_extension("rs") {
        let text = files.text(path);
        for (number, line) in (1..).zip(text.lines()) {
            if marks().iter().any(|mark| line.contains(mark.as_str())) {
                complaints.push(format!("{}:{number}: unfinished: {}", path.display(), line.trim()));
            }
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            complaints.push(format!("{}: {lines} lines; look for its second noun", path.display()));
        }
    }
    for path in files.with_extension("toml") {
        let is_member = path.ends_with("Cargo.toml") && path.components().count() > 1;
        if is_member
            && !APART.iter().any(|folder| is_in(path, folder))
            && !files.text(path).contains("[lints]\nworkspace = true")
        {
            complaints.push(format!("{}: a manifest without the workspace's lints", path.display()));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(&Files::of(&[(path, text)]))
    }

    #[test]
    fn unfinished_work_is_found() {
        let [mark, ..] = marks();
        assert_eq!(
            complaints("crates/a/src/lib.rs", &format!("\n// {mark}: later\n")),
            [format!("crates/a/src/lib.rs:2: unfinished: // {mark}: later")]
        );
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(complaints("a.rs", &"\n".repeat(LONGEST_FILE)).len(), 0);
        assert_eq!(complaints("a.rs", &"\n".repeat(LONGEST_FILE + 1)).len(), 1);
    }

    #[test]
    fn a_manifest_without_lints_is_found() {
        assert_eq!(complaints("crates/a/Cargo.toml", "[package]\n").len(), 1);
        assert_eq!(complaints("crates/a/Cargo.toml", "[lints]\nworkspace = true\n"), Vec::<String>::new());
        for apart in ["Cargo.toml", "clippy.toml", "xtask/image/Cargo.toml", "crates/a/fuzz/Cargo.toml"] {
            assert_eq!(complaints(apart, "[package]\n"), Vec::<String>::new(), "{apart}");
        }
    }
}
