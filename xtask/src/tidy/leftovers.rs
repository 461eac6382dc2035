//! What is easily left behind: notes to oneself, files that grew, manifests without lints.

use crate::shell::{Outcome, root};
use std::fs;
use std::path::{Path, PathBuf};

/// Past this many lines a file has more than one noun.
const LONGEST_FILE: usize = 700;

/// Marks of unfinished work, put together here so that this file does not bear them.
fn marks() -> [String; 3] {
    [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()]
}

pub(super) fn check() -> Outcome<Vec<String>> {
    let mut complaints = Vec::new();
    let mut files = Vec::new();
    for folder in ["crates", "hsm-sim", "benches", "xtask"] {
        collect(&root().join(folder), &mut files)?;
    }
    for file in &files {
        let text = fs::read_to_string(file)?;
        let name = file.strip_prefix(root()).unwrap_or(file).display();
        if file.extension().is_some_and(|e| e == "rs") {
            for (number, line) in (1..).zip(text.lines()) {
                if marks().iter().any(|mark| line.contains(mark.as_str())) {
                    complaints.push(format!("{name}:{number}: unfinished: {}", line.trim()));
                }
            }
            let lines = text.lines().count();
            if lines > LONGEST_FILE {
                complaints.push(format!("{name}: {lines} lines; look for its second noun"));
            }
        } else if !text.contains("[lints]\nworkspace = true") {
            complaints.push(format!("{name}: a manifest without the workspace's lints"));
        }
    }
    Ok(complaints)
}

/// Rust files and manifests below `folder`, but for images that are workspaces of their own.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "image" && name != "fuzz" {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
