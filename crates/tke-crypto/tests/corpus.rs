//! Runs the fuzz corpus as ordinary tests. `cargo xtask fuzz` searches for more inputs.

#![expect(clippy::print_stderr, reason = "the last printed name is the failing file")]

#[path = "../fuzz/bodies/certificates.rs"]
mod certificates;
#[path = "../fuzz/bodies/sealed_part.rs"]
mod sealed_part;

use std::fs;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora").join(target)
}

/// Runs the body of a target over its corpus, which contains its seeds. The last printed name is the failing file.
fn replay(target: &str, seeds: Vec<(&str, Vec<u8>)>, body: fn(&[u8])) {
    let folder = corpus(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in &files {
        eprintln!("{}", file.display());
        body(&fs::read(file).unwrap());
    }
    eprintln!("{target}: {} files", files.len());
    for (name, bytes) in seeds {
        assert!(
            fs::read(folder.join(name)).is_ok_and(|held| held == bytes),
            "{name} is made in another way today"
        );
    }
}

#[test]
fn certificates() {
    replay("certificates", certificates::seeds(), certificates::check);
}

#[test]
fn sealed_part() {
    replay("sealed_part", sealed_part::seeds(), sealed_part::check);
}
