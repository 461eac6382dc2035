//! Runs the fuzz corpus as ordinary tests. `cargo xtask fuzz` searches for more inputs.

#![expect(clippy::print_stderr, reason = "the last printed name is the failing file")]

#[path = "../fuzz/bodies/frames.rs"]
mod frames;
#[path = "../fuzz/bodies/signed_block.rs"]
mod signed_block;

use std::fs;
use std::path::{Path, PathBuf};

/// Runs the body of a target over its corpus. The last printed name is the failing file.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in &files {
        eprintln!("{}", file.display());
        body(&fs::read(file).unwrap());
    }
    eprintln!("{target}: {} files", files.len());
}

#[test]
fn frames() {
    replay("frames", frames::check);
}

#[test]
fn signed_block() {
    replay("signed_block", signed_block::check);
}
