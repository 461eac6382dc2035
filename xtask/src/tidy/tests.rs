//! Every test file is compiled.

use crate::shell::{Outcome, root};
use std::fs;
use std::path::Path;

/// Checks that each file beside a test binary's `main.rs` is a module of it.
///
/// Crates with one binary for all their tests switch cargo's discovery of test files off, so that a file which
/// `main.rs` does not name would never be compiled, and its tests never run.
pub(super) fn check() -> Outcome<Vec<String>> {
    let mut folders = vec![root().join("hsm-sim/tests/e2e")];
    for package in fs::read_dir(root().join("crates"))? {
        folders.push(package?.path().join("tests"));
    }
    folders.sort();
    let mut complaints = Vec::new();
    for folder in folders.iter().filter(|folder| folder.join("main.rs").is_file()) {
        complaints.extend(unnamed(folder)?);
    }
    Ok(complaints)
}

fn unnamed(folder: &Path) -> Outcome<Vec<String>> {
    let main = fs::read_to_string(folder.join("main.rs"))?;
    let mut complaints = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "rs")) else {
            continue;
        };
        let name = name.to_string_lossy();
        if name != "main" && !main.lines().any(|line| line == format!("mod {name};")) {
            complaints.push(format!("{}: not a module of main.rs, so its tests never run", path.display()));
        }
    }
    complaints.sort();
    Ok(complaints)
}

#[cfg(test)]
mod own {
    use super::*;

    #[test]
    fn a_file_that_main_does_not_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("main.rs"), "mod kept;\n").unwrap();
        fs::write(folder.path().join("kept.rs"), "").unwrap();
        assert!(unnamed(folder.path()).unwrap().is_empty());
        fs::write(folder.path().join("forgotten.rs"), "").unwrap();
        let complaints = unnamed(folder.path()).unwrap();
        assert!(matches!(&complaints[..], [one] if one.contains("forgotten.rs")), "{complaints:?}");
    }
}
