//! Benchmarks, one file per question asked.

use crate::shell::{self, Outcome, cargo};

/// Runs every benchmark, or the one named.
pub(crate) fn run(which: &[&str]) -> Outcome {
    let mut args = vec!["bench", "--package", "benches", "--locked"];
    if let [name, ..] = which {
        args.extend(["--bench", name]);
    }
    shell::run(&mut cargo(&args))
}
