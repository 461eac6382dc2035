//! Runs the fuzz corpus as ordinary tests. `cargo xtask fuzz` searches for more inputs.

#![expect(clippy::print_stderr, reason = "the last printed name is the failing file")]

use crate::{blob, unit_request};
use std::fs;
use std::path::{Path, PathBuf};

/// Runs the body of a target over its corpus, which contains its seeds. The last printed name is the failing file.
fn replay<N: AsRef<str>>(target: &str, seeds: Vec<(N, Vec<u8>)>, body: fn(&[u8])) {
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
    for (name, bytes) in seeds {
        let name = name.as_ref();
        assert!(
            fs::read(folder.join(name)).is_ok_and(|held| held == bytes),
            "{name} is made in another way today"
        );
    }
}

#[test]
fn blob() {
    replay("blob", blob::seeds(), blob::check);
}

#[test]
fn unit_request() {
    replay("unit_request", unit_request::seeds(), unit_request::check);
}
