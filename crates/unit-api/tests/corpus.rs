//! What fuzzing has found to be worth keeping, run as ordinary tests. `cargo xtask fuzz` looks for more.

#![expect(clippy::print_stderr, reason = "the last printed name is the failing file")]

#[path = "../fuzz/bodies/frames.rs"]
mod frames;
#[path = "../fuzz/bodies/signed_block.rs"]
mod signed_block;

use std::fs;
use std::path::{Path, PathBuf};

/// Runs the body of a target over its corpus. The last name printed is the file that fails.
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
